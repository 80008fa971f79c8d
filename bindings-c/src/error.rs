//! `dps_status` and `dps_error`: the core's errors and their catalogue.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    error::{self, Error as _},
    ffi::{CString, c_char},
    ptr,
    sync::{Arc, OnceLock},
};

use dps_core::{Error, ErrorKind, SignerError};

use crate::{
    ffi::{self, Handle},
    panic::guard,
};

/// DPS_OK, or what went wrong. The numbers never change; later versions may add some.
pub type dps_status = u32;

pub(crate) const DPS_OK: dps_status = 0;

/// Why a call failed, in detail.
///
/// All texts belong to the error and live until dps_error_free.
pub struct dps_error {
    _private: [u8; 0],
}

impl Handle for dps_error {
    type Target = KnownError;
}

/// An error with its texts as C wants them.
pub(crate) struct KnownError {
    error: Error,
    text: CString,
    operation: CString,
    message: CString,
    hint: Option<CString>,
    service_message: Option<CString>,
    tracking_id: Option<CString>,
}

/// Why the body of a call failed.
pub(crate) enum Failure {
    New(Error),
    /// An error that was shown before and is shown again.
    Known(Arc<KnownError>),
}

impl Failure {
    pub(crate) fn known(self) -> Arc<KnownError> {
        match self {
            Self::New(error) => Arc::new(error.into()),
            Self::Known(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::New(error)
    }
}

impl From<Arc<KnownError>> for Failure {
    fn from(error: Arc<KnownError>) -> Self {
        Self::Known(error)
    }
}

impl From<Error> for KnownError {
    fn from(error: Error) -> Self {
        let service = error.service();
        let optional = |text: Option<&str>| text.map(ffi::c_string);
        Self {
            text: ffi::c_string(&error.to_string()),
            operation: ffi::c_string(error.operation()),
            message: ffi::c_string(error.message()),
            hint: optional(error.hint()),
            service_message: optional(service.and_then(|service| service.message.as_deref())),
            tracking_id: optional(service.and_then(|service| service.tracking_id.as_deref())),
            error,
        }
    }
}

impl KnownError {
    pub(crate) fn status(&self) -> dps_status {
        self.error.kind().code()
    }

    /// The signer's own number, where the failure was the signer's.
    fn signer_code(&self) -> Option<i64> {
        // What comes out of a TLS handshake is shared with the TLS library.
        type Shared = Box<Arc<dyn error::Error + Send + Sync>>;

        let source = self.error.source()?;
        source
            .downcast_ref::<SignerError>()
            .or_else(|| source.downcast_ref::<Shared>()?.downcast_ref::<SignerError>())?
            .code()
    }
}

/// The status that the failed call returned. DPS_OK for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_status(error: *const dps_error) -> dps_status {
    guard(DPS_OK, || ffi::peek(error, KnownError::status).unwrap_or(DPS_OK))
}

/// One line with everything: what was being done, what happened and to which file or host, what
/// the service said, the name of the status, and what to do about it. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_text(error: *const dps_error) -> *const c_char {
    text_of(error, |error| Some(&error.text))
}

/// What happened, without the hint and the service's words. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_message(error: *const dps_error) -> *const c_char {
    text_of(error, |error| Some(&error.message))
}

/// What was being done, such as "register"; empty where nothing was named. NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_operation(error: *const dps_error) -> *const c_char {
    text_of(error, |error| Some(&error.operation))
}

/// What to do about it, or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_hint(error: *const dps_error) -> *const c_char {
    text_of(error, |error| error.hint.as_ref())
}

/// The HTTP-like status with which the service refused, such as 401; 0 if it was not the service.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_service_status(error: *const dps_error) -> u32 {
    let status = |error: &KnownError| error.error.service().and_then(|service| service.status);
    guard(0, || ffi::peek(error, status).flatten().map_or(0, u32::from))
}

/// The service's own number, such as 401002; 0 if it gave none.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_service_code(error: *const dps_error) -> u32 {
    let code = |error: &KnownError| error.error.service().and_then(|service| service.error_code);
    guard(0, || ffi::peek(error, code).flatten().unwrap_or(0))
}

/// The service's message, verbatim, or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_service_message(error: *const dps_error) -> *const c_char {
    text_of(error, |error| error.service_message.as_ref())
}

/// The ID that Microsoft's support asks for, or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_tracking_id(error: *const dps_error) -> *const c_char {
    text_of(error, |error| error.tracking_id.as_ref())
}

/// How many milliseconds the service asks the device to wait; 0 if it asks for nothing.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_retry_after_ms(error: *const dps_error) -> u32 {
    let wait = |error: &KnownError| error.error.retry_after();
    guard(0, || {
        let wait = ffi::peek(error, wait).flatten().unwrap_or_default();
        u32::try_from(wait.as_millis()).unwrap_or(u32::MAX)
    })
}

/// Whether the same call may succeed later with nothing changed on this side.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_retryable(error: *const dps_error) -> bool {
    guard(false, || ffi::peek(error, |error| error.error.retryable()).unwrap_or(false))
}

/// Whether the failure was a signer's and the signer gave a number, which goes to *code.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_signer_code(error: *const dps_error, code: *mut i64) -> bool {
    guard(false, || match ffi::peek(error, KnownError::signer_code).flatten() {
        Some(number) => {
            ffi::set_optional(code, number);
            true
        }
        None => false,
    })
}

/// Frees an error and its texts.
#[unsafe(no_mangle)]
pub extern "C" fn dps_error_free(error: *mut dps_error) {
    guard((), || ffi::release(error));
}

/// The name of a status, such as "DPS_UNAUTHORIZED"; "DPS_OK" for 0; NULL for a number that is
/// none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn dps_status_name(status: dps_status) -> *const c_char {
    guard(ptr::null(), || entry(status).map_or(ptr::null(), |entry| entry.name.as_ptr()))
}

/// One sentence that says what a status means; NULL for a number that is none. Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn dps_status_sentence(status: dps_status) -> *const c_char {
    guard(ptr::null(), || entry(status).map_or(ptr::null(), |entry| entry.sentence.as_ptr()))
}

/// Whether a call that failed with this status may succeed later with nothing changed.
#[unsafe(no_mangle)]
pub extern "C" fn dps_status_retryable(status: dps_status) -> bool {
    guard(false, || entry(status).is_some_and(|entry| entry.retryable))
}

/// How many statuses this version knows, DPS_OK included.
#[unsafe(no_mangle)]
pub extern "C" fn dps_status_count() -> usize {
    guard(0, || catalogue().len())
}

/// The status at this place of the catalogue, which is in the order of the numbers; DPS_OK beyond
/// its end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_status_at(index: usize) -> dps_status {
    guard(DPS_OK, || catalogue().get(index).map_or(DPS_OK, |entry| entry.status))
}

/// The version of the library, such as "0.1.0". Lives for ever.
#[unsafe(no_mangle)]
pub extern "C" fn dps_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Wipes and frees a string that a call handed out to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn dps_string_free(string: *mut c_char) {
    guard((), || ffi::release_text(string));
}

/// Wipes and frees bytes that a call handed out to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn dps_bytes_free(bytes: *mut u8) {
    guard((), || ffi::release_bytes(bytes));
}

struct Entry {
    status: dps_status,
    name: CString,
    sentence: CString,
    retryable: bool,
}

/// The core's table, with its texts as C wants them.
fn catalogue() -> &'static [Entry] {
    static CATALOGUE: OnceLock<Vec<Entry>> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        let ok = Entry {
            status: DPS_OK,
            name: ffi::c_string("DPS_OK"),
            sentence: ffi::c_string("Everything went well."),
            retryable: false,
        };
        let kinds = ErrorKind::ALL.iter().map(|kind| Entry {
            status: kind.code(),
            name: ffi::c_string(kind.name()),
            sentence: ffi::c_string(kind.sentence()),
            retryable: kind.retryable(),
        });
        std::iter::once(ok).chain(kinds).collect()
    })
}

fn entry(status: dps_status) -> Option<&'static Entry> {
    let catalogue = catalogue();
    let place = catalogue.binary_search_by_key(&status, |entry| entry.status).ok()?;
    catalogue.get(place)
}

fn text_of(
    error: *const dps_error,
    choose: impl FnOnce(&KnownError) -> Option<&CString>,
) -> *const c_char {
    guard(ptr::null(), || {
        ffi::peek(error, |error| ffi::borrowed(choose(error))).unwrap_or(ptr::null())
    })
}
