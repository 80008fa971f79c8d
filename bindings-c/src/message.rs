//! `dps_message`: one message from a device to the cloud.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::c_char,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use dps_core::Message;

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Handle, Out},
    panic::{call, guard},
};

/// A message. Sending copies it: one message may be sent several times, changed between.
pub struct dps_message {
    _private: [u8; 0],
}

impl Handle for dps_message {
    type Target = Mutex<Message>;
}

/// A copy of the message that the user holds.
pub(crate) fn copy(message: *const dps_message) -> dps_core::Result<Message> {
    let message = ffi::hold(message, "message")?;
    Ok(message.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// A new message; the payload is copied. NULL is a payload of no bytes if payload_len is 0.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_new(
    payload: *const u8,
    payload_len: usize,
    message: *mut *mut dps_message,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(message, "message")?;
        let payload = ffi::bytes(payload, payload_len, "payload")?;
        place.set(ffi::give(Mutex::new(Message::new(payload.to_vec()))));
        Ok(())
    })
}

/// Sets an application property, in place of an earlier one of the same name.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_property(
    message: *mut dps_message,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let (name, value) = (ffi::text(name, "name")?, ffi::text(value, "value")?);
        Ok(message.property(name, value))
    })
}

/// Sets the ID by which the receiver tells messages apart.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_message_id(
    message: *mut dps_message,
    id: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let id = ffi::text(id, "id")?;
        Ok(message.message_id(id))
    })
}

/// Sets the ID of the message that this one belongs to.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_correlation_id(
    message: *mut dps_message,
    id: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let id = ffi::text(id, "id")?;
        Ok(message.correlation_id(id))
    })
}

/// Sets the ID of the user that this message comes from.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_user_id(
    message: *mut dps_message,
    id: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let id = ffi::text(id, "id")?;
        Ok(message.user_id(id))
    })
}

/// Sets the content type, such as "application/json"; routing by the body needs it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_content_type(
    message: *mut dps_message,
    content_type: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let content_type = ffi::text(content_type, "content_type")?;
        Ok(message.content_type(content_type))
    })
}

/// Sets the content encoding, such as "utf-8"; routing by the body needs it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_content_encoding(
    message: *mut dps_message,
    content_encoding: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let content_encoding = ffi::text(content_encoding, "content_encoding")?;
        Ok(message.content_encoding(content_encoding))
    })
}

/// Names the output that the message goes to, by which an edge hub routes it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_output_name(
    message: *mut dps_message,
    name: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let name = ffi::text(name, "name")?;
        Ok(message.output_name(name))
    })
}

/// Sets when the message loses its worth, in seconds since 1970-01-01T00:00:00Z. Times before that
/// count as 1970, times after the year 9999 as none.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_expiry_time(
    message: *mut dps_message,
    seconds: i64,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let time = match seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
            _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
        };
        let time = time.ok_or_else(|| ffi::invalid(format!("{seconds} seconds is no time")))?;
        Ok(message.expires_at(time))
    })
}

/// Marks the message as one for Microsoft Defender for IoT.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_set_security_message(
    message: *mut dps_message,
    error: *mut *mut dps_error,
) -> dps_status {
    change(message, error, |message| Ok(message.security_message()))
}

/// Frees a message.
#[unsafe(no_mangle)]
pub extern "C" fn dps_message_free(message: *mut dps_message) {
    guard((), || ffi::release(message));
}

fn change(
    message: *mut dps_message,
    error: *mut *mut dps_error,
    change: impl FnOnce(Message) -> dps_core::Result<Message>,
) -> dps_status {
    call(error, || {
        let message = ffi::hold(message, "message")?;
        let mut message = message.lock().unwrap_or_else(PoisonError::into_inner);
        *message = change(message.clone())?;
        Ok(())
    })
}
