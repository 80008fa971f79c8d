//! The registry of a hub (`/devices`, `/twins`), and the feed of what its devices sent.
//!
//! The feed, `GET /devices/{id}/messages/events?api-version=…[&after=SEQUENCE][&top=COUNT]`, is
//! the emulator's own, since Azure hands telemetry out over AMQP. It answers
//! `{"retained":n,"dropped":n,"messages":[{"sequence","enqueuedTimeUtc","properties":{},
//! "systemProperties":{},"dup","body","bodyBase64"}]}`: messages in order of arrival behind
//! `after` (0), at most `top` (10,000); `dropped` counts those that made room for newer ones;
//! `body` is null where the payload is not UTF-8 text.

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::answer::Answer;
use super::{Call, Precondition};
use crate::service::{Refusal, clock, names, tokens};
use crate::store::StoreError;
use crate::store::devices::{self, Authentication, Device, DeviceDocument, DeviceStatus, Twin};
use crate::store::telemetry::{self, Feed, Message};

/// The hub's word for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Devices of a list, and messages of a feed, when `top` is not given.
const TOP_DEVICES: i64 = 1000;
const TOP_MESSAGES: i64 = 10_000;

/// System properties of the MQTT property bag, by the names that consumers of telemetry see.
const SYSTEM: [(&str, &str); 10] = [
    ("$.mid", "message-id"),
    ("$.cid", "correlation-id"),
    ("$.ct", "content-type"),
    ("$.ce", "content-encoding"),
    ("$.to", "to"),
    ("$.exp", "absolute-expiry-time"),
    ("$.ctime", "iothub-creation-time-utc"),
    ("$.uid", "user-id"),
    ("$.ifid", "iothub-interface-id"),
    ("$.sub", "dt-subject"),
];

/// `GET /devices?top=`.
pub(super) async fn list(call: Call) -> Result<Answer, Refusal> {
    call.demand(&Method::GET)?;
    let hub = hub(&call)?;
    let top = call.number("top")?.unwrap_or(TOP_DEVICES).min(TOP_DEVICES);
    let found = call.service.store().run(move |db| devices::list(db, &hub, top)).await?;
    Ok(Answer::ok(Value::Array(found.iter().map(shown).collect())))
}

/// `GET`, `PUT` and `DELETE` of one device.
pub(super) async fn one(call: Call, id: String) -> Result<Answer, Refusal> {
    match call.method {
        Method::GET => {
            let hub = hub(&call)?;
            let device = call.service.store().run(move |db| stored(db, &hub, &id)).await?;
            Ok(Answer::ok(shown(&device)))
        }
        Method::PUT => put(call, id).await,
        Method::DELETE => delete(call, id).await,
        _ => Err(call.wrong_method()),
    }
}

/// `GET /twins/{id}`.
pub(super) async fn twin(call: Call, id: String) -> Result<Answer, Refusal> {
    call.demand(&Method::GET)?;
    let hub = hub(&call)?;
    let device = call.service.store().run(move |db| stored(db, &hub, &id)).await?;
    Ok(Answer::ok(shown_twin(&device)))
}

/// The emulator's own feed, for devices that are there, and those whose messages still are.
pub(super) async fn feed(call: Call, id: String) -> Result<Answer, Refusal> {
    call.demand(&Method::GET)?;
    let hub = hub(&call)?;
    let after = call.number("after")?.unwrap_or(0);
    let top = call.number("top")?.unwrap_or(TOP_MESSAGES);
    let top = usize::try_from(top).unwrap_or(usize::MAX);
    let feed = call
        .service
        .store()
        .run(move |db| match telemetry::feed(db, &hub, &id, after, top)? {
            Some(feed) => Ok(feed),
            None => stored(db, &hub, &id).map(|_| Feed {
                retained: 0,
                dropped: 0,
                messages: Vec::new(),
            }),
        })
        .await?;
    let messages: Vec<_> = feed.messages.into_iter().map(shown_message).collect();
    Ok(Answer::ok(json!({
        "retained": feed.retained,
        "dropped": feed.dropped,
        "messages": messages,
    })))
}

async fn put(call: Call, id: String) -> Result<Answer, Refusal> {
    names::checked_device(&id)?;
    let hub = hub(&call)?;
    let body = call.json()?;
    if body.get("deviceId").is_some_and(|given| given.as_str() != Some(&id)) {
        return Err(Refusal::bad_request("deviceId of the body is not that of the path."));
    }
    let wish = Wish::read(&body)?;
    let if_match = call.if_match();
    let now = call.service.now();
    let device = call
        .service
        .store()
        .run(move |db| {
            let present = devices::get(db, &hub, &id)?;
            match (&present, &if_match) {
                (Some(_), None) => {
                    return Err(Refusal::new(409, 1, "The device already exists."));
                }
                (None, Some(_)) => return Err(device_not_found()),
                (Some(device), Some(_)) => Precondition::check(if_match.as_ref(), &device.etag)?,
                (None, None) => {}
            }
            devices::put(db, &wish.device(&hub, &id, present, now)?)?;
            stored(db, &hub, &id)
        })
        .await?;
    Ok(Answer::ok(shown(&device)))
}

async fn delete(call: Call, id: String) -> Result<Answer, Refusal> {
    let hub = hub(&call)?;
    let if_match = call.if_match();
    call.service
        .store()
        .run(move |db| {
            let device = stored(db, &hub, &id)?;
            Precondition::check(if_match.as_ref(), &device.etag)?;
            telemetry::delete(db, &hub, &id)?;
            devices::delete(db, &hub, &id)?;
            Ok::<_, Refusal>(())
        })
        .await?;
    Ok(Answer::no_content())
}

/// The hub that is called by its host name. Where there is only one, any other name (an address
/// of this machine) means that one.
fn hub(call: &Call) -> Result<String, Refusal> {
    if let Some(hub) = call.service.hub_named(&call.host) {
        return Ok(hub.to_owned());
    }
    let hubs = call.service.hub_names();
    match hubs.as_slice() {
        [only] => Ok(only.clone()),
        _ => Err(Refusal::new(
            404,
            0,
            format!("No hub is called '{}'; there are: {}.", call.host, hubs.join(", ")),
        )),
    }
}

fn stored(db: &Connection, hub: &str, id: &str) -> Result<Device, Refusal> {
    devices::get(db, hub, id)?.ok_or_else(device_not_found)
}

fn device_not_found() -> Refusal {
    Refusal::new(404, 1, "The device is not registered.")
}

/// What a client asks a device to be.
struct Wish {
    status: DeviceStatus,
    status_reason: Option<String>,
    /// `None` keeps what is there, or makes keys.
    authentication: Option<Authentication>,
    iot_edge: bool,
}

impl Wish {
    fn read(body: &Map<String, Value>) -> Result<Self, Refusal> {
        let status = match body.get("status").and_then(Value::as_str) {
            None | Some("enabled") => DeviceStatus::Enabled,
            Some("disabled") => DeviceStatus::Disabled,
            Some(_) => return Err(Refusal::bad_request("status is not enabled or disabled.")),
        };
        let edge = body.get("capabilities").and_then(|capabilities| capabilities.get("iotEdge"));
        let reason = body.get("statusReason").and_then(Value::as_str);
        Ok(Self {
            status,
            status_reason: reason.map(str::to_owned),
            authentication: read_authentication(body.get("authentication"))?,
            iot_edge: edge.and_then(Value::as_bool).unwrap_or(false),
        })
    }

    fn device(
        self,
        hub: &str,
        id: &str,
        present: Option<Device>,
        now: OffsetDateTime,
    ) -> Result<Device, Refusal> {
        let stamp = clock::stamp(now);
        let was = present.as_ref().map(|device| device.document.status);
        let status_changed = if was.is_some_and(|was| was != self.status) {
            Some(stamp.clone())
        } else {
            present.as_ref().and_then(|device| device.document.status_changed.clone())
        };
        let (generation, twin, kept) = match present {
            Some(device) => (device.generation, device.twin, Some(device.document.authentication)),
            None => (tokens::generation_id(now), empty_twin(stamp), None),
        };
        let authentication = match self.authentication.or(kept) {
            Some(authentication) => authentication,
            None => Authentication::Sas { primary: hub_key()?, secondary: hub_key()? },
        };
        let document = DeviceDocument {
            status: self.status,
            status_reason: self.status_reason,
            status_changed,
            authentication,
            iot_edge: self.iot_edge,
        };
        Ok(Device {
            hub: hub.to_owned(),
            id: id.to_owned(),
            generation,
            etag: tokens::short_etag()?,
            document,
            twin,
            connected: false,
            connection_changed: None,
            last_activity: None,
        })
    }
}

fn read_authentication(given: Option<&Value>) -> Result<Option<Authentication>, Refusal> {
    let Some(Value::Object(given)) = given else { return Ok(None) };
    let text = |group: &str, field: &str| {
        given
            .get(group)
            .and_then(|group| group.get(field))
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    match given.get("type").and_then(Value::as_str) {
        Some("selfSigned") => {
            let [primary, secondary] = ["primaryThumbprint", "secondaryThumbprint"]
                .map(|field| text("x509Thumbprint", field));
            let primary = primary.or_else(|| secondary.clone()).ok_or_else(|| {
                Refusal::bad_request("authentication.x509Thumbprint holds no thumbprint.")
            })?;
            let secondary = secondary.unwrap_or_else(|| primary.clone());
            Ok(Some(Authentication::SelfSigned { primary, secondary }))
        }
        None | Some("sas") => {
            let [primary, secondary] =
                ["primaryKey", "secondaryKey"].map(|field| text("symmetricKey", field));
            let (Some(primary), Some(secondary)) = (primary, secondary) else { return Ok(None) };
            let is_key = |key: &str| STANDARD.decode(key).is_ok_and(|key| !key.is_empty());
            if !is_key(&primary) || !is_key(&secondary) {
                return Err(Refusal::bad_request("authentication.symmetricKey is not base64."));
            }
            Ok(Some(Authentication::Sas { primary, secondary }))
        }
        Some(_) => Err(Refusal::bad_request(
            "authentication.type is neither sas nor selfSigned, which are what is emulated.",
        )),
    }
}

/// A key as hubs make them.
fn hub_key() -> Result<String, StoreError> {
    Ok(STANDARD.encode(tokens::random::<32>()?))
}

fn empty_twin(updated: String) -> Twin {
    Twin {
        tags: Map::new(),
        desired: Map::new(),
        reported: Map::new(),
        desired_version: 1,
        reported_version: 1,
        version: 2,
        updated,
    }
}

fn authentication_type(authentication: &Authentication) -> &'static str {
    match authentication {
        Authentication::SelfSigned { .. } => "selfSigned",
        Authentication::Sas { .. } => "sas",
    }
}

fn thumbprints(authentication: &Authentication) -> Value {
    match authentication {
        Authentication::SelfSigned { primary, secondary } => {
            json!({ "primaryThumbprint": primary, "secondaryThumbprint": secondary })
        }
        Authentication::Sas { .. } => {
            json!({ "primaryThumbprint": null, "secondaryThumbprint": null })
        }
    }
}

fn connection_state(device: &Device) -> &'static str {
    if device.connected { "Connected" } else { "Disconnected" }
}

fn shown(device: &Device) -> Value {
    let document = &device.document;
    let keys = match &document.authentication {
        Authentication::Sas { primary, secondary } => {
            json!({ "primaryKey": primary, "secondaryKey": secondary })
        }
        Authentication::SelfSigned { .. } => json!({ "primaryKey": null, "secondaryKey": null }),
    };
    json!({
        "deviceId": device.id,
        "generationId": device.generation,
        "etag": device.etag,
        "connectionState": connection_state(device),
        "status": document.status,
        "statusReason": document.status_reason,
        "connectionStateUpdatedTime": device.connection_changed.as_deref().unwrap_or(NEVER),
        "statusUpdatedTime": document.status_changed.as_deref().unwrap_or(NEVER),
        "lastActivityTime": device.last_activity.as_deref().unwrap_or(NEVER),
        "cloudToDeviceMessageCount": 0,
        "authentication": {
            "symmetricKey": keys,
            "x509Thumbprint": thumbprints(&document.authentication),
            "type": authentication_type(&document.authentication),
        },
        "capabilities": { "iotEdge": document.iot_edge },
    })
}

fn shown_twin(device: &Device) -> Value {
    let (document, twin) = (&device.document, &device.twin);
    let part = |properties: &Map<String, Value>, version: u64| {
        let mut shown = properties.clone();
        shown.insert("$metadata".to_owned(), json!({ "$lastUpdated": twin.updated }));
        shown.insert("$version".to_owned(), json!(version));
        shown
    };
    json!({
        "deviceId": device.id,
        "etag": device.etag,
        "deviceEtag": device.etag,
        "status": document.status,
        "statusUpdateTime": document.status_changed.as_deref().unwrap_or(NEVER),
        "connectionState": connection_state(device),
        "lastActivityTime": device.last_activity.as_deref().unwrap_or(NEVER),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": authentication_type(&document.authentication),
        "x509Thumbprint": thumbprints(&document.authentication),
        "version": twin.version,
        "tags": twin.tags,
        "properties": {
            "desired": part(&twin.desired, twin.desired_version),
            "reported": part(&twin.reported, twin.reported_version),
        },
        "capabilities": { "iotEdge": document.iot_edge },
    })
}

fn shown_message(message: Message) -> Value {
    let (mut properties, mut system) = (Map::new(), Map::new());
    for (name, value) in message.properties {
        let known = SYSTEM.iter().find(|(short, _)| *short == name).map(|(_, long)| *long);
        match known.or_else(|| name.strip_prefix("$.")) {
            Some(name) => system.insert(name.to_owned(), json!(value)),
            None => properties.insert(name, json!(value)),
        };
    }
    json!({
        "sequence": message.sequence,
        "enqueuedTimeUtc": message.enqueued,
        "properties": properties,
        "systemProperties": system,
        "dup": message.dup,
        "body": std::str::from_utf8(&message.payload).ok(),
        "bodyBase64": STANDARD.encode(&message.payload),
    })
}
