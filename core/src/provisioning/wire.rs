//! The registration dialogue as bytes: topics, user name, JSON.
//!
//! Source: Microsoft, "Communicate with DPS using the MQTT protocol"; DPS device API 2021-06-01.

use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::{Error, ErrorKind, Result, ServiceDetails},
    percent::RESERVED,
    registration_id::RegistrationId,
};

/// The DPS device API that is spoken where nothing else is asked for.
pub(super) const API_VERSION: &str = "2021-06-01";

/// Where answers arrive.
pub(super) const ANSWERS: &str = "$dps/registrations/res/#";

/// One request of the dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the answer.
    pub rid: u32,
    /// What is asked.
    pub operation: Operation,
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// To be registered.
    Register,
    /// How far the registration has come.
    Poll {
        /// The ID that the service gave the registration.
        operation_id: String,
    },
}

/// One answer of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request's own, if it is an answer to it.
    pub rid: String,
    /// As in HTTP.
    pub status: u16,
    /// How long to wait before the next request.
    pub retry_after: Option<Duration>,
    /// JSON, or what is taken for it.
    pub body: Vec<u8>,
}

/// The body of an answer below 300.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperationStatus {
    pub(super) operation_id: Option<String>,
    pub(super) status: String,
    pub(super) registration_state: Option<Map<String, Value>>,
}

pub(super) fn user_name(id_scope: &str, id: &RegistrationId, api_version: &str) -> String {
    let version = concat!("dps-core/", env!("CARGO_PKG_VERSION"));
    format!(
        "{id_scope}/registrations/{id}/api-version={api_version}&ClientVersion={}",
        utf8_percent_encode(version, RESERVED)
    )
}

impl Request {
    /// Where it is published.
    pub fn topic(&self) -> String {
        let rid = self.rid;
        match &self.operation {
            Operation::Register => format!("$dps/registrations/PUT/iotdps-register/?$rid={rid}"),
            Operation::Poll { operation_id } => format!(
                "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation_id}"
            ),
        }
    }
}

impl Operation {
    /// What is published; `payload` is for a custom allocation policy.
    pub fn body(&self, id: &RegistrationId, payload: Option<&Value>) -> Vec<u8> {
        match self {
            Self::Register => {
                let mut body = json!({ "registrationId": id.as_str() });
                if let Some(payload) = payload {
                    body["payload"] = payload.clone();
                }
                body.to_string().into_bytes()
            }
            Self::Poll { .. } => Vec::new(),
        }
    }
}

impl Answer {
    /// Reads `$dps/registrations/res/{status}/?$rid={rid}&retry-after={seconds}`; the parameters
    /// come in any order. `None` for a topic that is no answer.
    pub fn parse(topic: &str, body: &[u8]) -> Option<Self> {
        let (status, query) = topic.strip_prefix("$dps/registrations/res/")?.split_once("/?")?;
        let parameter =
            |name| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            rid: parameter("$rid")?.to_owned(),
            status: status.parse().ok()?,
            retry_after: parameter("retry-after")
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs),
            body: body.to_vec(),
        })
    }

    pub(super) fn operation_status(&self) -> Result<OperationStatus> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::new(
                ErrorKind::ProtocolViolation,
                format!(
                    "the service answered status {} with a body of {} bytes that is not a \
                     registration status: {error}",
                    self.status,
                    self.body.len()
                ),
            )
        })
    }

    /// What a refusal says: `{"errorCode":…,"trackingId":…,"message":…}`, or nothing at all.
    pub(super) fn refusal(&self) -> ServiceDetails {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut details = service_details(&body, "message");
        details.status = Some(self.status);
        details.retry_after = self.retry_after;
        details
    }
}

/// The service's `errorCode`, message and `trackingId` out of a body or a registration state.
pub(super) fn service_details(body: &Value, message: &str) -> ServiceDetails {
    let text = |name: &str| body[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    ServiceDetails {
        error_code: body["errorCode"].as_u64().and_then(|code| u32::try_from(code).ok()),
        message: text(message),
        tracking_id: text("trackingId"),
        ..ServiceDetails::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_the_dialogue() {
        let id = RegistrationId::parse("device-01").unwrap();
        assert!(user_name("0ne00000A0A", &id, API_VERSION).starts_with(
            "0ne00000A0A/registrations/device-01/api-version=2021-06-01&ClientVersion=dps-core%2F"
        ));
        let register = Request { rid: 1, operation: Operation::Register };
        assert_eq!(register.topic(), "$dps/registrations/PUT/iotdps-register/?$rid=1");
        assert_eq!(register.operation.body(&id, None), br#"{"registrationId":"device-01"}"#);
        assert_eq!(
            register.operation.body(&id, Some(&json!({"a": 1}))),
            br#"{"payload":{"a":1},"registrationId":"device-01"}"#
        );
        let poll = Request { rid: 2, operation: Operation::Poll { operation_id: "4.a.b".into() } };
        assert_eq!(
            poll.topic(),
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=4.a.b"
        );
        assert!(poll.operation.body(&id, None).is_empty());
    }

    #[test]
    fn answers_are_read_in_any_parameter_order() {
        for topic in [
            "$dps/registrations/res/202/?$rid=7&retry-after=3",
            "$dps/registrations/res/202/?retry-after=3&$rid=7",
        ] {
            let answer = Answer::parse(topic, b"{}").unwrap();
            assert_eq!((answer.rid.as_str(), answer.status), ("7", 202));
            assert_eq!(answer.retry_after, Some(Duration::from_secs(3)));
        }
        let dated = "$dps/registrations/res/429/?$rid=7&retry-after=Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(Answer::parse(dated, b"").unwrap().retry_after, None);
        for topic in ["$dps/registrations/res/x/?$rid=7", "$dps/registrations/res/200/", "a/b"] {
            assert_eq!(Answer::parse(topic, b""), None);
        }
    }
}
