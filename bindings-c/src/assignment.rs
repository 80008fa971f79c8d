//! `dps_assignment`: what a registration gives.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{CString, c_char},
    ptr,
};

use dps_core::Assignment;
use serde_json::Value;

use crate::{
    ffi::{self, Handle},
    panic::guard,
};

/// The hub that a device was assigned to, and the device's name there.
///
/// All texts belong to the assignment and live until dps_assignment_free.
pub struct dps_assignment {
    _private: [u8; 0],
}

impl Handle for dps_assignment {
    type Target = AssignmentTexts;
}

/// An assignment as C wants it.
pub(crate) struct AssignmentTexts {
    hub: CString,
    device_id: CString,
    registration_id: CString,
    operation_id: CString,
    substatus: Option<CString>,
    created: Option<CString>,
    last_updated: Option<CString>,
    etag: Option<CString>,
    payload: Option<CString>,
    unknown_fields: Option<CString>,
}

impl From<Assignment> for AssignmentTexts {
    fn from(assignment: Assignment) -> Self {
        let optional = |text: Option<&str>| text.map(ffi::c_string);
        Self {
            hub: ffi::c_string(assignment.assigned_hub()),
            device_id: ffi::c_string(assignment.device_id()),
            registration_id: ffi::c_string(assignment.registration_id()),
            operation_id: ffi::c_string(assignment.operation_id()),
            substatus: optional(assignment.substatus().map(|substatus| substatus.as_str())),
            created: optional(assignment.created()),
            last_updated: optional(assignment.last_updated()),
            etag: optional(assignment.etag()),
            payload: assignment.payload().map(|payload| ffi::c_string(&payload.to_string())),
            unknown_fields: Some(assignment.unknown_fields())
                .filter(|fields| !fields.is_empty())
                .map(|fields| ffi::c_string(&Value::from(fields.clone()).to_string())),
        }
    }
}

/// The host name of the assigned hub.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_hub(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| Some(&assignment.hub))
}

/// The device's ID in the hub.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_device_id(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| Some(&assignment.device_id))
}

/// The registration ID, as the service has it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_registration_id(
    assignment: *const dps_assignment,
) -> *const c_char {
    text(assignment, |assignment| Some(&assignment.registration_id))
}

/// The ID under which the service registered the device, which Microsoft's support may ask for.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_operation_id(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| Some(&assignment.operation_id))
}

/// How the assignment came about, in the service's own word, such as "initialAssignment"; or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_substatus(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| assignment.substatus.as_ref())
}

/// When the registration was made, as the service writes it (RFC 3339); or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_created(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| assignment.created.as_ref())
}

/// When the registration last changed, as the service writes it (RFC 3339); or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_last_updated(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| assignment.last_updated.as_ref())
}

/// The entity tag of the registration record; or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_etag(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| assignment.etag.as_ref())
}

/// What a custom allocation policy returned for the device, as JSON text; or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_payload(assignment: *const dps_assignment) -> *const c_char {
    text(assignment, |assignment| assignment.payload.as_ref())
}

/// The fields of the registration state that this version does not know, as the JSON text of an
/// object; or NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_unknown_fields(
    assignment: *const dps_assignment,
) -> *const c_char {
    text(assignment, |assignment| assignment.unknown_fields.as_ref())
}

/// Frees an assignment and its texts.
#[unsafe(no_mangle)]
pub extern "C" fn dps_assignment_free(assignment: *mut dps_assignment) {
    guard((), || ffi::release(assignment));
}

fn text(
    assignment: *const dps_assignment,
    choose: impl FnOnce(&AssignmentTexts) -> Option<&CString>,
) -> *const c_char {
    guard(ptr::null(), || {
        ffi::peek(assignment, |assignment| ffi::borrowed(choose(assignment))).unwrap_or(ptr::null())
    })
}
