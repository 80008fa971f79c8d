//! What went over the wire, for tests to read: every MQTT packet and every HTTP request line, the
//! newest ten thousand. Passwords are never kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, SubscribeReasonCode};
use serde::{Serialize, Serializer};

use crate::tls::TlsVersion;

/// Entries kept.
const ENTRIES: usize = 10_000;
/// Payload bytes kept, so that ten thousand large messages do not fill the memory.
const PAYLOAD: usize = 32 * 1024 * 1024;

/// One MQTT packet, HTTP request line or HTTP status. What does not apply is absent.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Recorded {
    /// Counts from 1 since the emulator started.
    pub sequence: u64,
    /// Milliseconds since the emulator started.
    pub elapsed_ms: u64,
    /// Number of the connection.
    pub connection: u64,
    /// Version of TLS that the connection's handshake agreed upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsVersion>,
    /// Name of the server that the client asked for in the handshake (SNI).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// As the emulator sees it.
    pub direction: Direction,
    /// How it came.
    pub transport: Transport,
    /// Whom it was addressed to, once the user name has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Registration ID or device ID, once the user name has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// `CONNECT`, `PUBLISH`, …, `REQUEST`, `RESPONSE`.
    pub packet: String,
    /// Topic, or topic filters joined by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Quality of service of a PUBLISH, or of each filter of a SUBSCRIBE; of a SUBACK, what was
    /// granted, 128 being a refusal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub qos: Vec<u8>,
    /// The DUP flag.
    pub dup: bool,
    /// The RETAIN flag.
    pub retain: bool,
    /// MQTT packet identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet_id: Option<u16>,
    /// Payload of a PUBLISH; base64 in JSON.
    #[serde(serialize_with = "base64", skip_serializing_if = "Vec::is_empty")]
    pub payload: Vec<u8>,
    /// Client identifier of a CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// User name of a CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    /// Whether a CONNECT came with a password, which is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has_password: Option<bool>,
    /// Clean-session flag of a CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean_session: Option<bool>,
    /// Keep-alive of a CONNECT, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<u16>,
    /// CONNACK return code, or HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// HTTP request line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// Which way something went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client.
    #[default]
    In,
    /// To the client.
    Out,
}

/// How something came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// MQTT over TLS.
    #[default]
    Mqtt,
    /// MQTT over WebSocket.
    WebSocket,
    /// HTTPS.
    Http,
}

/// Which service a connection speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The Device Provisioning Service.
    Dps,
    /// An IoT hub.
    Hub,
}

/// Where a record comes from: the part that all records of a connection share.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) connection: u64,
    pub(crate) tls: Option<TlsVersion>,
    pub(crate) server_name: Option<String>,
    pub(crate) transport: Transport,
    pub(crate) role: Option<Role>,
    pub(crate) device: Option<String>,
}

/// What is recorded. The packets of telemetry come in great numbers: they are kept as they are,
/// and written out for whoever reads them.
pub(crate) enum What {
    Publish(Publish),
    PubAck(PubAck),
    /// Only what is said of it itself.
    Other(Box<Recorded>),
}

impl What {
    pub(crate) fn of(mqtt: &Packet) -> Self {
        match mqtt {
            Packet::Publish(publish) => Self::Publish(Publish {
                dup: publish.dup,
                qos: publish.qos,
                retain: publish.retain,
                topic: publish.topic.clone(),
                pkid: publish.pkid,
                // The packet's own would keep all that was read together with it.
                payload: Bytes::copy_from_slice(&publish.payload),
            }),
            Packet::PubAck(ack) => Self::PubAck(ack.clone()),
            _ => Self::Other(Box::new(packet(mqtt))),
        }
    }

    pub(crate) fn request(line: String) -> Self {
        Self::Other(Box::new(Recorded { request: Some(line), ..named("REQUEST") }))
    }

    pub(crate) fn response(status: u16) -> Self {
        Self::Other(Box::new(Recorded { code: Some(status), ..named("RESPONSE") }))
    }

    fn payload(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.payload.len(),
            Self::PubAck(_) | Self::Other(_) => 0,
        }
    }
}

pub(crate) struct Recorder {
    started: Instant,
    ring: Mutex<Ring>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), ring: Mutex::default() }
    }

    /// Keeps what went over a connection at this moment.
    pub(crate) fn push(
        &self,
        source: &Arc<Source>,
        direction: Direction,
        what: impl IntoIterator<Item = What>,
    ) {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut ring = self.ring();
        for what in what {
            ring.sequence += 1;
            ring.payload += what.payload();
            let (sequence, source) = (ring.sequence, source.clone());
            ring.entries.push_back(Entry { sequence, elapsed_ms, source, direction, what });
            while ring.entries.len() > ENTRIES || ring.payload > PAYLOAD {
                let Some(oldest) = ring.entries.pop_front() else { break };
                ring.payload -= oldest.what.payload();
                ring.dropped += 1;
            }
        }
    }

    /// Everything still kept, and how many entries made room for it.
    pub(crate) fn list(&self) -> (Vec<Recorded>, u64) {
        let ring = self.ring();
        (ring.entries.iter().map(Entry::shown).collect(), ring.dropped)
    }

    pub(crate) fn clear(&self) {
        let mut ring = self.ring();
        *ring = Ring { sequence: ring.sequence, ..Ring::default() };
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<Entry>,
    payload: usize,
    sequence: u64,
    dropped: u64,
}

struct Entry {
    sequence: u64,
    elapsed_ms: u64,
    source: Arc<Source>,
    direction: Direction,
    what: What,
}

impl Entry {
    fn shown(&self) -> Recorded {
        let Source { connection, tls, server_name, transport, role, device } =
            (*self.source).clone();
        let what = match &self.what {
            What::Publish(publish) => packet(&Packet::Publish(publish.clone())),
            What::PubAck(ack) => packet(&Packet::PubAck(ack.clone())),
            What::Other(said) => (**said).clone(),
        };
        let (sequence, elapsed_ms, direction) = (self.sequence, self.elapsed_ms, self.direction);
        Recorded {
            sequence,
            elapsed_ms,
            connection,
            tls,
            server_name,
            direction,
            transport,
            role,
            device,
            ..what
        }
    }
}

/// What is said of an MQTT packet itself.
fn packet(packet: &Packet) -> Recorded {
    let numbered =
        |text: &str, id: u16| Recorded { packet_id: (id != 0).then_some(id), ..named(text) };
    match packet {
        Packet::Connect(connect) => Recorded {
            client_id: Some(connect.client_id.clone()),
            user_name: connect.login.as_ref().map(|login| login.username.clone()),
            has_password: Some(
                connect.login.as_ref().is_some_and(|login| !login.password.is_empty()),
            ),
            clean_session: Some(connect.clean_session),
            keep_alive: Some(connect.keep_alive),
            ..named("CONNECT")
        },
        Packet::ConnAck(ack) => Recorded { code: Some(ack.code as u16), ..named("CONNACK") },
        Packet::Publish(Publish { dup, qos, retain, topic, pkid, payload }) => Recorded {
            topic: Some(topic.clone()),
            qos: vec![*qos as u8],
            dup: *dup,
            retain: *retain,
            payload: payload.to_vec(),
            ..numbered("PUBLISH", *pkid)
        },
        Packet::PubAck(ack) => numbered("PUBACK", ack.pkid),
        Packet::PubRec(ack) => numbered("PUBREC", ack.pkid),
        Packet::PubRel(ack) => numbered("PUBREL", ack.pkid),
        Packet::PubComp(ack) => numbered("PUBCOMP", ack.pkid),
        Packet::Subscribe(subscribe) => {
            let filters: Vec<_> = subscribe.filters.iter().map(|f| f.path.as_str()).collect();
            Recorded {
                topic: Some(filters.join(" ")),
                qos: subscribe.filters.iter().map(|filter| filter.qos as u8).collect(),
                ..numbered("SUBSCRIBE", subscribe.pkid)
            }
        }
        Packet::SubAck(ack) => {
            let granted = |code: &SubscribeReasonCode| match code {
                SubscribeReasonCode::Success(qos) => *qos as u8,
                SubscribeReasonCode::Failure => 0x80,
            };
            Recorded {
                qos: ack.return_codes.iter().map(granted).collect(),
                ..numbered("SUBACK", ack.pkid)
            }
        }
        Packet::Unsubscribe(unsubscribe) => Recorded {
            topic: Some(unsubscribe.topics.join(" ")),
            ..numbered("UNSUBSCRIBE", unsubscribe.pkid)
        },
        Packet::UnsubAck(ack) => numbered("UNSUBACK", ack.pkid),
        Packet::PingReq => named("PINGREQ"),
        Packet::PingResp => named("PINGRESP"),
        Packet::Disconnect => named("DISCONNECT"),
    }
}

fn named(name: &str) -> Recorded {
    Recorded { packet: name.to_owned(), ..Recorded::default() }
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::Connect;

    fn source(connection: u64) -> Arc<Source> {
        let (tls, server_name, transport) = (None, None, Transport::Mqtt);
        Arc::new(Source { connection, tls, server_name, transport, role: None, device: None })
    }

    #[test]
    fn only_the_newest_are_kept_and_the_loss_is_counted() {
        let recorder = Recorder::new();
        for id in 0..ENTRIES + 3 {
            recorder.push(&source(id as u64), Direction::In, [What::of(&Packet::PingReq)]);
        }
        let (entries, dropped) = recorder.list();
        assert_eq!((entries.len(), dropped), (ENTRIES, 3));
        assert_eq!((entries[0].connection, entries[0].sequence), (3, 4));

        let large = Publish::new("topic", QoS::AtMostOnce, vec![0; PAYLOAD / 2]);
        let three = vec![Packet::Publish(large); 3];
        recorder.push(&source(1), Direction::In, three.iter().map(What::of));
        assert_eq!(recorder.list().0.len(), 2);
    }

    #[test]
    fn a_password_is_never_recorded() {
        let mut connect = Connect::new("device-01");
        connect.set_login("scope/registrations/device-01/api-version=1", "SharedAccessSignature x");
        let recorder = Recorder::new();
        recorder.push(&source(1), Direction::In, [What::of(&Packet::Connect(connect))]);
        let (entries, _) = recorder.list();
        let text = format!("{entries:?} {}", serde_json::to_string(&entries).unwrap());
        assert!(text.contains("\"hasPassword\":true") && !text.contains("SharedAccessSignature"));
    }
}
