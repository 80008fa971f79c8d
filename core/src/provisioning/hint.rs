//! What a refusal of the service means for this device, and what to do about it.
//!
//! The service's messages are few and vague; what the device sent makes them plain.

use crate::{
    error::{Error, ErrorKind},
    identity::Identity,
};

/// Adds the explanation that fits the error, unless it has one.
pub(super) fn explain(error: Error, identity: &Identity, id_scope: &str) -> Error {
    if error.hint().is_some() {
        return error;
    }
    let (code, message) = match error.service() {
        None => (None, ""),
        Some(service) => (service.error_code, service.message.as_deref().unwrap_or_default()),
    };
    let hint = match error.kind() {
        ErrorKind::Unauthorized => unauthorized(message, identity, id_scope),
        ErrorKind::EnrollmentDisabled => {
            "Enable the device's individual enrollment or its enrollment group; the lowest enrolled \
             certificate of the chain decides, even when it is disabled."
                .into()
        }
        ErrorKind::AllocationFailed if code == Some(400_208) => {
            "The device's certificate is fine: link an IoT hub to the DPS instance, or to the \
             enrollment."
                .into()
        }
        ErrorKind::AllocationFailed => {
            "The device's certificate is fine: look at the enrollment's allocation policy and at \
             the link between the DPS instance and its hubs."
                .into()
        }
        ErrorKind::NotFound => format!("Check the ID scope {id_scope} and the enrollment."),
        ErrorKind::Throttled => "Try again later; spread the first boots of a fleet.".into(),
        _ => return error,
    };
    error.with_hint(hint)
}

fn unauthorized(message: &str, identity: &Identity, id_scope: &str) -> String {
    let chain = identity.chain();
    let top = chain.top();
    let incomplete = !top.is_self_signed();
    let what_was_sent = match chain.certificates().len() {
        1 => format!("The device sent only its leaf {:?}", top.subject()),
        n => format!("The device sent {n} certificates, up to {:?}", top.subject()),
    };
    if message.starts_with("Signing certificate info did not match") {
        return format!(
            "{what_was_sent}. None of them is the certificate that the enrollment holds: the \
             intermediate was made anew, or another one was enrolled."
        );
    }
    if message.starts_with("CA certificate not found") && incomplete {
        return format!(
            "{what_was_sent}; the certificate of {:?}, which issued it, is missing. Send the full \
             chain, up to a certificate that is verified in DPS.",
            top.issuer()
        );
    }
    if message.starts_with("CA certificate not found") || message.starts_with("Invalid certificate")
    {
        return format!(
            "{what_was_sent}. Upload the root {:?} to the DPS instance and verify it, and enroll \
             a certificate of this chain.",
            if incomplete { top.issuer() } else { top.subject() }
        );
    }
    format!(
        "Check the ID scope {id_scope}, that a certificate of this chain is enrolled, and that the \
         registration ID is the common name of the leaf."
    )
}
