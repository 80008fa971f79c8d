//! The provisioning service over MQTT (Microsoft, iot-dps-mqtt-support).

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode};

use super::session::{Handling, Outcome, Role, Task, Work};
use crate::faults::{Answer, Cut, Step};
use crate::listener::{Connection, Shared};
use crate::service::{DeviceCall, Peer};

/// The only filter the service takes.
const ANSWERS: &str = "$dps/registrations/res/#";
/// Largest message the service takes (Microsoft, iot-dps-limits).
const LARGEST_MESSAGE: usize = 96 * 1024;

/// What a fault says to nobody's request.
const STRAY: &str = r#"{"operationId":"0.stray","status":"failed","registrationState":{"errorCode":400207,"errorMessage":"A stray answer."}}"#;

/// One device in the provisioning dialogue.
pub(super) struct Dps {
    id_scope: String,
    registration_id: String,
    peer: Arc<Peer>,
    sas: Option<String>,
    /// Granted for [`ANSWERS`].
    granted: Option<QoS>,
    shared: Arc<Shared>,
}

impl Dps {
    pub(super) fn new(
        id_scope: String,
        registration_id: String,
        sas: Option<String>,
        connection: &Connection,
        shared: &Arc<Shared>,
    ) -> Self {
        let (peer, shared) = (connection.peer.clone(), shared.clone());
        Self { id_scope, registration_id, peer, sas, granted: None, shared }
    }

    pub(super) fn registration_id(&self) -> &str {
        &self.registration_id
    }

    pub(super) fn has_credential(&self) -> bool {
        self.sas.is_some() || !self.peer.certificates.is_empty()
    }
}

impl Role for Dps {
    fn publish(&mut self, publish: &Publish) -> Handling {
        if publish.payload.len() > LARGEST_MESSAGE {
            return Handling::Refuse("a request larger than 96 KB".to_owned());
        }
        let Some(Request { rid, operation }) = Request::parse(&publish.topic) else {
            return Handling::Refuse(format!("a message to the topic {:?}", publish.topic));
        };
        let step = if operation.is_some() { Step::Poll } else { Step::Register };
        let firing = self.shared.faults.at(step, Some(&self.registration_id));
        // The C# SDK's state machine wants this before the answer.
        let now = (publish.qos == QoS::AtLeastOnce && !firing.mutes())
            .then(|| Packet::PubAck(PubAck::new(publish.pkid)));
        let (granted, shared, size) = (self.granted, self.shared.clone(), publish.payload.len());
        let call = DeviceCall {
            id_scope: self.id_scope.clone(),
            registration_id: self.registration_id.clone(),
            peer: self.peer.clone(),
            sas: self.sas.clone(),
            body: publish.payload.clone(),
        };
        let work = async move {
            let service = &shared.service;
            let handle = async {
                match operation {
                    Some(operation) => service.operation_status(call, &operation).await,
                    None => service.register(call).await,
                }
            };
            match (firing.answer(service, handle).await, granted) {
                (Answer::Cut, _) => Outcome::Cut,
                (Answer::Silence, _) => Outcome::Nothing,
                (Answer::Reply { .. }, None) => {
                    tracing::warn!("a device that has not subscribed to answers gets none");
                    Outcome::Nothing
                }
                (
                    Answer::Reply { status, retry_after, body, wrong_rid, stray, copies },
                    Some(qos),
                ) => {
                    let other = if wrong_rid { "not-" } else { "" };
                    let wait = retry_after.map(|s| format!("&retry-after={s}")).unwrap_or_default();
                    let topic = format!("$dps/registrations/res/{status}/?$rid={other}{rid}{wait}");
                    let answer = Packet::Publish(Publish::from_bytes(topic, qos, body));
                    let mut packets = vec![answer; copies];
                    if stray {
                        let topic = format!("$dps/registrations/res/200/?$rid=not-{rid}");
                        let stray = Publish::new(topic, qos, STRAY);
                        packets.insert(0, Packet::Publish(stray));
                    }
                    Outcome::SendAll(packets)
                }
            }
        };
        Handling::Work(Task { now, work: Box::pin(work), size, alone: true })
    }

    /// Each request is work by itself.
    async fn hand_in(&mut self) -> Option<Work> {
        None
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Handling {
        let firing = self.shared.faults.at(Step::Subscribe, Some(&self.registration_id));
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            if filter.path == ANSWERS {
                // QoS 2 is granted as 1 (Microsoft, iot-dps-mqtt-support).
                let granted = at_most_once_or_least(filter.qos);
                if !firing.silent && firing.cut != Some(Cut::Before) {
                    self.granted = Some(granted);
                }
                codes.push(SubscribeReasonCode::Success(granted));
            } else {
                tracing::warn!(filter = filter.path, "the only subscription here is {ANSWERS}");
                codes.push(SubscribeReasonCode::Failure);
            }
        }
        let answer = Packet::SubAck(SubAck::new(subscribe.pkid, codes));
        let shared = self.shared.clone();
        let work = async move {
            firing.begin(&shared.service).await;
            match firing.cut {
                Some(_) => Outcome::Cut,
                None if firing.silent => Outcome::Nothing,
                None => Outcome::Send(answer),
            }
        };
        Handling::Work(Task { now: None, work: Box::pin(work), size: 0, alone: true })
    }

    fn unsubscribe(&mut self, topics: &[String]) {
        if topics.iter().any(|topic| topic == ANSWERS) {
            self.granted = None;
        }
    }
}

pub(super) fn at_most_once_or_least(asked: QoS) -> QoS {
    if asked == QoS::AtMostOnce { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

/// A request topic taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// Exactly as it stands in the topic: clients put GUIDs, counters and constants there.
    rid: String,
    /// The operation asked after; `None` registers.
    operation: Option<String>,
}

impl Request {
    fn parse(topic: &str) -> Option<Self> {
        let (method, query) = topic.strip_prefix("$dps/registrations/")?.split_once("/?")?;
        let value = |wanted| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value)
        };
        let rid = value("$rid")?.to_owned();
        let operation = match method {
            "PUT/iotdps-register" => None,
            // The Python SDK encodes it, the others do not.
            "GET/iotdps-get-operationstatus" => {
                let id = percent_decode_str(value("operationId")?).decode_utf8().ok()?;
                Some(id.into_owned())
            }
            _ => return None,
        };
        Some(Self { rid, operation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clients_requests_are_understood() {
        let parse =
            |topic: &str| Request::parse(topic).map(|request| (request.rid, request.operation));
        let register = "$dps/registrations/PUT/iotdps-register/?$rid=";
        assert_eq!(parse(&format!("{register}1")), Some(("1".to_owned(), None)));
        let odd = format!("{register}7c%2F;x y");
        assert_eq!(parse(&odd), Some(("7c%2F;x y".to_owned(), None)));
        let poll = "$dps/registrations/GET/iotdps-get-operationstatus/?";
        for query in ["$rid=2&operationId=4.ab.cd-ef", "operationId=4%2Eab%2Ecd%2Def&$rid=2"] {
            let expected = Some(("2".to_owned(), Some("4.ab.cd-ef".to_owned())));
            assert_eq!(parse(&format!("{poll}{query}")), expected);
        }
    }

    #[test]
    fn anything_else_is_not() {
        for topic in [
            "",
            "$dps/registrations/PUT/iotdps-register/",
            "$dps/registrations/PUT/iotdps-register/?rid=1",
            "$dps/registrations/POST/iotdps-register/?$rid=1",
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1",
            "$dps/registrations/GET/iotdps-get-operationstatus/?$rid=1&operationId=%ff",
            "devices/device-01/messages/events/",
        ] {
            assert_eq!(Request::parse(topic), None, "{topic}");
        }
    }
}
