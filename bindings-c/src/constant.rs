//! PEM text as a string constant of a source file: the tutorial's `sed` steps.
#![expect(unsafe_code, reason = "exported symbols")]

use std::ffi::c_char;

use dps_core::{
    Result,
    chain::{c_string, java_string},
};
use zeroize::Zeroizing;

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Out},
    panic::call,
};

/// PEM text as a C string constant, one source line for each line of the text: the same bytes as
/// the tutorial's sed command. To be freed by dps_string_free, which wipes it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_pem_to_c_string(
    pem: *const u8,
    pem_len: usize,
    constant: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    write(c_string, pem, pem_len, constant, error)
}

/// As dps_pem_to_c_string, for Java. Python reads it too, between parentheses.
#[unsafe(no_mangle)]
pub extern "C" fn dps_pem_to_java_string(
    pem: *const u8,
    pem_len: usize,
    constant: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    write(java_string, pem, pem_len, constant, error)
}

fn write(
    language: fn(&[u8]) -> Result<Zeroizing<String>>,
    pem: *const u8,
    pem_len: usize,
    constant: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(constant, "constant")?;
        place.set(ffi::give_text(&language(ffi::bytes(pem, pem_len, "pem")?)?));
        Ok(())
    })
}
