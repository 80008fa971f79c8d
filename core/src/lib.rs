//! The device SDK for the Azure IoT Hub Device Provisioning Service (DPS).
//!
//! The flow, each arrow one type in one file; nothing downstream can be made without its upstream:
//!
//! ```text
//! Credential --open--> Identity --register--> Assignment --connect--> HubClient
//! ```
//!
//! ```no_run
//! # async fn flow() -> dps_core::Result<()> {
//! use dps_core::{Credential, ProvisioningClient};
//!
//! let identity =
//!     Credential::pem_files("device-01-full-chain.cert.pem", "device-01.key.pem").open()?;
//! let assignment = ProvisioningClient::new("0ne00000A0A", &identity).register().await?;
//! let hub = assignment.connect(&identity).await?;
//! hub.send("hello").await?;
//! # Ok(())
//! # }
//! ```
//!
//! The crate owns no runtime: its futures run on the caller's tokio, and what it keeps running
//! beside a [`HubClient`] is one task there. Signers that may block are called on up to eight
//! threads of its own, which end when they are idle.
#![forbid(unsafe_code)]

mod backoff;
pub mod chain;
mod connection_string;
pub mod credential;
mod crypto;
pub mod doctor;
pub mod error;
pub mod hsm;
pub mod hub;
pub mod identity;
pub mod key;
pub mod log;
mod pacing;
mod pem;
mod percent;
pub mod provisioning;
pub mod registration_id;
#[doc(hidden)]
pub mod sans_io;
pub mod signer;
mod source;
pub mod symmetric_key;
pub mod tls;
pub mod transport;

pub use crate::{
    chain::CertificateChain,
    connection_string::ConnectionString,
    credential::Credential,
    error::{Error, ErrorKind, Result, ServiceDetails},
    hub::{HubClient, Message},
    identity::Identity,
    provisioning::{Assignment, ProvisioningClient},
    registration_id::RegistrationId,
    signer::{SIGN_LIMIT, SignRequest, SignatureAlgorithm, Signer, SignerError},
    source::Source,
    symmetric_key::{SymmetricKey, TokenSigner},
};
