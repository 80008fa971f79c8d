//! Management, with the verbs and option names of `az iot dps`: the service API of DPS, its CA
//! certificates, and the devices of a hub. Azure and the emulator answer the same calls, except
//! where a command says so.

pub(crate) mod api;
pub(crate) mod certificate;
mod certificate_file;
pub(crate) mod client;
pub(crate) mod enrollment;
pub(crate) mod enrollment_group;
mod explain;
pub(crate) mod hub;
mod login;
mod query;
mod registration;
mod sas;
mod settings;
mod symmetric_key;
mod target;
mod twin;
