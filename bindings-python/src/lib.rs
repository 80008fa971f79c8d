//! The extension module behind the Python package `dps_core`.
//!
//! It translates and decides nothing: what Python hands over becomes what core takes, and what
//! core answers becomes a Python value or exception. The clients that people use are written in
//! Python, over the `Registration` and `Hub` of here.
//!
//! The rules that keep it from hanging and crashing the interpreter:
//!
//! - No thread of the runtime ever takes the GIL. Results wait in a queue, and the thread that
//!   asked fetches them: see `work`.
//! - Python code of the user (a signer, a log handler) runs on threads that Python made, so that
//!   no Rust frame lies below it when the interpreter ends such a thread: see `signer`.
//! - What a fork would break is in one place, and a child gets a new one: see `process`.

mod assignment;
mod batch;
mod bridge;
mod chain;
mod desk;
mod doctor;
mod door;
mod errors;
mod gate;
mod hub;
mod inbox;
mod inspection;
mod line;
mod log;
mod message;
mod options;
mod process;
mod records;
mod registration;
mod signer;
mod symmetric_key;
mod uses;
mod work;
mod x509;

/// What the files meet with that `tests/loom` compiles as well.
mod sync {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
}

#[pyo3::pymodule]
mod _dps_core {
    #[pymodule_export]
    use crate::{
        assignment::{RegistrationResult, RegistrationState, restored_result, restored_state},
        batch::{Batch, Folder, RegistrationIdRange, RegistrationIds, registration_ids_from_csv},
        bridge::Bridge,
        chain::{
            Authority, Certificate, CertificateChain, CertificateRequest, PrivateKey, SubjectKey,
            c_string, certificates_from_pem, java_string,
        },
        doctor::{Examination, Finding, Report, decode_error},
        errors::error_catalogue,
        hub::Hub,
        inspection::{Inspection, inspect},
        message::Message,
        options::derive_device_key,
        process::{after_fork_in_child, at_exit},
        registration::Registration,
        signer::{SignJob, SignRequest, TokenRequest, next_sign_job},
        symmetric_key::SymmetricKey,
        uses::Ear,
        x509::X509,
    };

    #[pymodule_export]
    use crate::log::next_log_records;

    #[pymodule_init]
    fn init() -> pyo3::PyResult<()> {
        crate::process::refuse_subinterpreters()?;
        crate::process::install();
        crate::log::install();
        Ok(())
    }
}
