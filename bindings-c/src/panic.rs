//! No panic crosses into C: a body that panics gives `DPS_INTERNAL`, or the fallback of a call
//! that has no status.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use dps_core::{Error, ErrorKind};

use crate::{
    error::{DPS_OK, Failure, dps_error, dps_status},
    ffi,
};

/// Runs the body of a call that has a status; a failure goes to `error`, if somebody wants it.
pub(crate) fn call(
    error: *mut *mut dps_error,
    body: impl FnOnce() -> Result<(), Failure>,
) -> dps_status {
    // A call changes what it holds through locks that recover from poison, so nothing half-done
    // is seen after a panic.
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let message = format!("a fault of this SDK: {}", words(panic.as_ref()));
        Err(Error::new(ErrorKind::Internal, message).into())
    });
    match outcome {
        Ok(()) => DPS_OK,
        Err(failure) => {
            let known = failure.known();
            let status = known.status();
            if !error.is_null() {
                ffi::set_optional(error, ffi::share(known));
            }
            status
        }
    }
}

/// Runs the body of a call without a status.
pub(crate) fn guard<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

fn words(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words")
}

/// Panics inside a call, for the test of the boundary. Never part of a distribution.
#[cfg(feature = "forced-panic")]
#[expect(unsafe_code, reason = "an exported symbol")]
#[unsafe(no_mangle)]
pub extern "C" fn dps_test_panic(error: *mut *mut dps_error) -> dps_status {
    call(error, || panic!("forced by dps_test_panic"))
}
