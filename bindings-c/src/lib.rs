//! The C library of dps-core.
//!
//! Everything that a C program sees is in `include/dps_core.h`, which is generated from the files
//! below; its first page states the conventions. Logic lives in the core crate: these files
//! translate.
//!
//! - [`ffi`]: every cast between C's pointers and Rust's references, and who owns what.
//! - [`panic`]: no panic leaves this library; every exported body runs in a boundary.
//! - [`runtime`]: who runs the futures: the process for blocking calls, the caller for polled ones.
//!
//! Unsafe code is in `broken_pipe`, `ffi`, `hsm`, `runtime` and `signer` alone; the other files say
//! `unsafe` only to export a symbol.
#![expect(
    non_camel_case_types,
    reason = "the types are named as the C header shows them, in snake case"
)]

pub mod assignment;
pub mod batch;
mod broken_pipe;
pub mod chain;
pub mod constant;
pub mod credential;
pub mod doctor;
pub mod error;
mod ffi;
pub mod hsm;
pub mod hub;
pub mod log;
mod mailbox;
pub mod message;
pub mod options;
mod panic;
mod pump;
pub mod registration;
pub mod request;
mod runtime;
pub mod signer;

/// What the files meet with that `tests/loom` compiles as well.
mod sync {
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

    pub(crate) use tokio::sync::Notify;
}
