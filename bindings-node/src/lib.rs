//! The Node.js module of dps-core.
//!
//! All logic is in dps-core; here is only what JavaScript needs to reach it: promises, abort
//! signals, errors with a `code`, and keys that JavaScript functions sign with. `index.js` loads
//! this library and adds what only JavaScript can say: a subclass of `Error`, and the wait for a
//! signer's promise.
//!
//! One tokio runtime serves the process (`runtime`); each JavaScript thread, the main one and
//! every worker, has its own `environment`.

mod authority;
mod chain;
mod connection_states;
mod devices;
mod doctor;
mod environment;
mod error;
mod hub;
mod js;
mod key;
mod log;
mod message;
mod options;
mod provisioning;
mod queue;
mod registering;
mod runtime;
mod security;
mod signer;
mod subject_key;
mod token_signer;
mod transport;
mod waits;

/// What the files meet with that `tests/loom` compiles as well.
mod sync {
    pub(crate) use std::sync::{Mutex, MutexGuard, mpsc};
}
