//! What a registration gives: the hub and the device's name there.

use std::fmt;

use serde_json::{Map, Value};

use super::machine::Registered;
use crate::{
    error::{Error, ErrorKind, Result},
    hub::{HubBuilder, HubClient},
    identity::Identity,
    registration_id::RegistrationId,
    transport::Network,
};

/// The result of a registration.
#[derive(Clone, Debug)]
pub struct Assignment {
    registration_id: String,
    operation_id: String,
    assigned_hub: String,
    device_id: String,
    substatus: Option<Substatus>,
    created: Option<String>,
    last_updated: Option<String>,
    etag: Option<String>,
    payload: Option<Value>,
    unknown: Map<String, Value>,
    network: Network,
}

/// How the assignment came about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Substatus {
    /// The device was assigned for the first time.
    InitialAssignment,
    /// The device was assigned to another hub, and its data moved along.
    DeviceDataMigrated,
    /// The device was assigned anew, and its data was reset.
    DeviceDataReset,
    /// The device was assigned anew to the hub of its first assignment.
    ReprovisionedToInitialAssignment,
    /// A substatus that this version does not know.
    Other(String),
}

impl Assignment {
    pub(super) fn new(
        registered: Registered,
        asked_for: &RegistrationId,
        network: Network,
    ) -> Result<Self> {
        let Registered { operation_id, mut state } = registered;
        let mut text = |name: &str| match state.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let missing = |name: &str| {
            Error::new(
                ErrorKind::ProtocolViolation,
                format!("the service said \"assigned\" without {name}"),
            )
        };
        Ok(Self {
            operation_id,
            registration_id: text("registrationId").unwrap_or_else(|| asked_for.to_string()),
            assigned_hub: text("assignedHub").ok_or_else(|| missing("assignedHub"))?,
            device_id: text("deviceId").ok_or_else(|| missing("deviceId"))?,
            substatus: text("substatus").map(Substatus::from),
            created: text("createdDateTimeUtc"),
            last_updated: text("lastUpdatedDateTimeUtc"),
            etag: text("etag"),
            payload: state.remove("payload").filter(|payload| !payload.is_null()),
            unknown: {
                state.remove("status");
                state
            },
            network,
        })
    }

    /// The registration ID, as the service has it.
    pub fn registration_id(&self) -> &str {
        &self.registration_id
    }

    /// The ID of the operation that made the assignment.
    pub fn operation_id(&self) -> &str {
        &self.operation_id
    }

    /// The host name of the assigned hub.
    pub fn assigned_hub(&self) -> &str {
        &self.assigned_hub
    }

    /// The device's ID in the hub.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// How the assignment came about, where the service says it.
    pub fn substatus(&self) -> Option<&Substatus> {
        self.substatus.as_ref()
    }

    /// When the registration was made, as the service writes it (RFC 3339).
    pub fn created(&self) -> Option<&str> {
        self.created.as_deref()
    }

    /// When the registration last changed, as the service writes it (RFC 3339).
    pub fn last_updated(&self) -> Option<&str> {
        self.last_updated.as_deref()
    }

    /// The entity tag of the registration record.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// What a custom allocation policy returned for the device.
    pub fn payload(&self) -> Option<&Value> {
        self.payload.as_ref()
    }

    /// The fields of the registration state that this version does not know.
    pub fn unknown_fields(&self) -> &Map<String, Value> {
        &self.unknown
    }

    /// Connects to the assigned hub, over the same network as the registration.
    pub async fn connect(&self, identity: &Identity) -> Result<HubClient> {
        self.hub(identity).connect().await
    }

    /// As [`connect`](Self::connect), with settings of one's own.
    pub fn hub<'a>(&'a self, identity: &'a Identity) -> HubBuilder<'a> {
        HubClient::builder(&self.assigned_hub, &self.device_id, identity)
            .network(self.network.clone())
    }
}

impl Substatus {
    /// The service's own word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::InitialAssignment => "initialAssignment",
            Self::DeviceDataMigrated => "deviceDataMigrated",
            Self::DeviceDataReset => "deviceDataReset",
            Self::ReprovisionedToInitialAssignment => "reprovisionedToInitialAssignment",
            Self::Other(text) => text,
        }
    }
}

impl From<String> for Substatus {
    fn from(text: String) -> Self {
        for known in [
            Self::InitialAssignment,
            Self::DeviceDataMigrated,
            Self::DeviceDataReset,
            Self::ReprovisionedToInitialAssignment,
        ] {
            if known.as_str() == text {
                return known;
            }
        }
        Self::Other(text)
    }
}

impl fmt::Display for Substatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
