//! What the service says when it does not do what was asked.

use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Reply, clock};
use crate::store::StoreError;

/// An HTTP status, the service's own number for the fault, and its words.
///
/// `errorCode` is the status times 1000 plus a sub-code. Where Microsoft publishes no sub-code
/// for a fault, the emulator's is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, sub_code: u32, message: impl Into<String>) -> Self {
        Self { status, code: u32::from(status) * 1000 + sub_code, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, 0, message)
    }

    /// A device or a client that is not let in: unknown ID scope, wrong registration ID, bad
    /// token, no enrollment.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, 2, "Unauthorized")
    }

    /// A chain of which no certificate was uploaded (Azure/azure-iot-sdk-c#1900).
    pub(crate) fn ca_not_found() -> Self {
        Self::new(401, 2, "CA certificate not found.")
    }

    /// A chain that does not hold: signature, date, an issuer that is none, or an authority that
    /// is not verified (Azure/azure-iot-sdk-c#437, #273).
    pub(crate) fn invalid_certificate() -> Self {
        Self::new(401, 2, "Invalid certificate.")
    }

    /// A chain that leads to an uploaded authority past no enrollment
    /// (Azure/azure-iot-sdk-node#532).
    pub(crate) fn no_match_in_chain() -> Self {
        Self::new(401, 2, "Signing certificate info did not match chain elements")
    }

    pub(crate) fn enrollment_not_found() -> Self {
        Self::new(404, 201, "Enrollment not found.")
    }

    pub(crate) fn precondition_failed() -> Self {
        Self::new(412, 0, "Precondition failed.")
    }

    /// `ProvisioningServiceErrorDetails`.
    pub(crate) fn body(&self, now: OffsetDateTime) -> Value {
        json!({
            "errorCode": self.code,
            "trackingId": Uuid::new_v4().to_string(),
            "message": self.message,
            "timestampUtc": clock::stamp(now),
        })
    }

    pub(crate) fn reply(&self, now: OffsetDateTime) -> Reply {
        Reply { status: self.status, retry_after: None, body: self.body(now) }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => Self::new(503, 0, error.to_string()),
            StoreError::Database(_) | StoreError::NoSuchDevice => {
                Self::new(500, 0, error.to_string())
            }
        }
    }
}
