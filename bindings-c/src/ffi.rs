//! The only place where the pointers of C become references of Rust.
//!
//! What a pointer must be is the contract of the header's first page: NULL, or what this library
//! handed out and has not been told to free, or memory of the caller that is valid for the call.
//! NULL and lengths are checked here; the rest no library can check.
//!
//! Every handle is a counted reference ([`Arc`]): a call holds one of its own while it runs, so a
//! handle may be freed in a callback, or by another thread in the middle of a call.
#![expect(unsafe_code, reason = "this file is the boundary: it turns C's pointers into references")]

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr::{self, NonNull},
    slice,
    sync::Arc,
};

use dps_core::{Error, ErrorKind, Result};
use zeroize::{Zeroize as _, Zeroizing};

/// An opaque C type and what is behind it.
pub(crate) trait Handle {
    /// What the pointers lead to.
    type Target: Send + Sync + 'static;
}

/// Hands a new handle to C.
pub(crate) fn give<H: Handle>(target: H::Target) -> *mut H {
    share(Arc::new(target))
}

/// Hands one more reference to C.
pub(crate) fn share<H: Handle>(target: Arc<H::Target>) -> *mut H {
    Arc::into_raw(target).cast::<H>().cast_mut()
}

/// A reference of the call's own.
pub(crate) fn hold<H: Handle>(pointer: *const H, name: &str) -> Result<Arc<H::Target>> {
    hold_optional(pointer).ok_or_else(|| is_null(name))
}

/// As [`hold`], where NULL is allowed.
pub(crate) fn hold_optional<H: Handle>(pointer: *const H) -> Option<Arc<H::Target>> {
    if pointer.is_null() {
        return None;
    }
    let target = pointer.cast::<H::Target>();
    // SAFETY: by the header's contract a handle that is not NULL came from `share` and has not
    // been freed, so its count is at least one.
    unsafe {
        Arc::increment_strong_count(target);
        Some(Arc::from_raw(target))
    }
}

/// Looks at what is behind a handle, which may be NULL.
pub(crate) fn peek<H: Handle, T>(
    pointer: *const H,
    look: impl FnOnce(&H::Target) -> T,
) -> Option<T> {
    hold_optional(pointer).map(|target| look(&target))
}

/// Takes a reference back from C. NULL is nothing.
pub(crate) fn release<H: Handle>(pointer: *mut H) {
    if !pointer.is_null() {
        // SAFETY: by the header's contract this is the one call that frees this pointer, which
        // came from `share`.
        drop(unsafe { Arc::from_raw(pointer.cast::<H::Target>().cast_const()) });
    }
}

/// A place of the caller's that is written on success.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    /// Fails on NULL, before any work is done.
    pub(crate) fn new(pointer: *mut T, name: &str) -> Result<Self> {
        NonNull::new(pointer).map(Self).ok_or_else(|| is_null(name))
    }

    /// Writes the result.
    pub(crate) fn set(self, value: T) {
        // SAFETY: by the header's contract an output that is not NULL is writable for the call;
        // what it held before may be uninitialised, so it is not dropped.
        unsafe { self.0.write(value) }
    }
}

/// Writes an output that the caller may not want.
pub(crate) fn set_optional<T>(pointer: *mut T, value: T) {
    if let Some(place) = NonNull::new(pointer) {
        Out(place).set(value);
    }
}

/// The text of a C string, which must be UTF-8 and is valid for the call.
pub(crate) fn text<'a>(pointer: *const c_char, name: &str) -> Result<&'a str> {
    optional_text(pointer, name)?.ok_or_else(|| is_null(name))
}

/// As [`text`], where NULL is allowed.
pub(crate) fn optional_text<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by the header's contract a string is NUL-terminated and unchanged during the call.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| invalid(format!("{name} is not UTF-8 text")))
}

/// Bytes of the caller, valid for the call.
pub(crate) fn bytes<'a>(pointer: *const u8, length: usize, name: &str) -> Result<&'a [u8]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(is_null(name));
    }
    // No object of C is larger (C17, 6.5.6); such a length is a negative number gone astray.
    if isize::try_from(length).is_err() {
        return Err(invalid(format!("{name} cannot have {length} bytes")));
    }
    // SAFETY: by the header's contract so many bytes are readable and unchanged during the call.
    Ok(unsafe { slice::from_raw_parts(pointer, length) })
}

/// How many bytes stand before what [`give_block`] hands out: its length, which C cannot change
/// with the content.
const LENGTH: usize = size_of::<usize>();

/// Hands a string to C, which frees it by `dps_string_free`.
pub(crate) fn give_text(text: &str) -> *mut c_char {
    give_block(&Zeroizing::new(c_string(text).into_bytes_with_nul())).cast()
}

/// Hands bytes to C, which frees them by `dps_bytes_free`; their number goes to `length`.
pub(crate) fn give_bytes(bytes: &[u8], place: Out<*mut u8>, length: Out<usize>) {
    place.set(give_block(bytes));
    length.set(bytes.len());
}

fn give_block(content: &[u8]) -> *mut u8 {
    let mut block = Vec::with_capacity(LENGTH + content.len());
    block.extend_from_slice(&content.len().to_ne_bytes());
    block.extend_from_slice(content);
    let block = Box::into_raw(block.into_boxed_slice()).cast::<u8>();
    // SAFETY: the block is at least as long as the length at its beginning.
    unsafe { block.add(LENGTH) }
}

/// Wipes and frees a string of `give_text`, whatever C wrote into it. NULL is nothing.
pub(crate) fn release_text(pointer: *mut c_char) {
    release_bytes(pointer.cast());
}

/// Wipes and frees what `give_bytes` handed out, whatever C wrote into it. NULL is nothing.
pub(crate) fn release_bytes(pointer: *mut u8) {
    if !pointer.is_null() {
        // SAFETY: by the header's contract the pointer came from `give_block`, which put the
        // length before it, and this is the one call that frees it.
        let mut block = unsafe {
            let block = pointer.sub(LENGTH);
            let length = usize::from_ne_bytes(block.cast::<[u8; LENGTH]>().read());
            Box::from_raw(ptr::slice_from_raw_parts_mut(block, LENGTH + length))
        };
        block.zeroize();
    }
}

/// `text` as C wants it: a NUL inside would cut it, so it becomes U+FFFD.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|_| {
        let clean = text.replace('\0', "\u{fffd}");
        CString::new(clean).unwrap_or_default()
    })
}

/// A C string that lives as long as its owner, or NULL.
pub(crate) fn borrowed(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// The pointer that a callback of the user is called with.
///
/// Callbacks themselves have safe function types: that they may be called with what the header
/// says is promised when they are handed in.
#[derive(Clone, Copy)]
pub(crate) struct UserData(pub(crate) *mut c_void);

// SAFETY: this library never follows the pointer; the header says from which threads the callback
// that gets it is called.
unsafe impl Send for UserData {}
// SAFETY: as above.
unsafe impl Sync for UserData {}

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

fn is_null(name: &str) -> Error {
    invalid(format!("{name} is NULL"))
}
