//! A hub over MQTT: telemetry in, the twin out, and the subscriptions a device makes
//! (Microsoft, iot-mqtt-connect-to-iot-hub).

use std::future::ready;
use std::sync::Arc;

use futures_util::TryFutureExt as _;
use percent_encoding::percent_decode_str;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode};

use super::dps::at_most_once_or_least;
use super::session::{Handling, Outcome, Role, Task, Work};
use crate::faults::{Cut, Step};
use crate::listener::Shared;
use crate::service::Telemetry;

/// Largest message, properties included (Microsoft, iot-hub-devguide-quotas-throttling).
const LARGEST_MESSAGE: usize = 256 * 1024;
/// What a device subscribes to before it asks for its twin.
const TWIN_ANSWERS: &str = "$iothub/twin/res/#";

/// One device connected to its hub.
pub(super) struct Hub {
    name: String,
    device_id: String,
    /// Granted for [`TWIN_ANSWERS`].
    twin_answers: Option<QoS>,
    shared: Arc<Shared>,
}

impl Hub {
    pub(super) fn new(name: String, device_id: String, shared: &Arc<Shared>) -> Self {
        Self { name, device_id, twin_answers: None, shared: shared.clone() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn device_id(&self) -> &str {
        &self.device_id
    }

    /// What a device may subscribe to.
    fn offers(&self, filter: &str) -> bool {
        let own =
            filter.strip_prefix("devices/").and_then(|rest| rest.strip_prefix(&self.device_id));
        own == Some("/messages/devicebound/#")
            || matches!(
                filter,
                TWIN_ANSWERS | "$iothub/methods/POST/#" | "$iothub/twin/PATCH/properties/desired/#"
            )
    }

    /// The property bag of an events topic of this device.
    fn events<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let rest = topic.strip_prefix("devices/")?.strip_prefix(&self.device_id)?;
        match rest.strip_prefix("/messages/events")? {
            "" => Some(""),
            bag => bag.strip_prefix('/'),
        }
    }

    fn read_twin(&self, rid: &str, publish: &Publish) -> Handling {
        let now =
            (publish.qos == QoS::AtLeastOnce).then(|| Packet::PubAck(PubAck::new(publish.pkid)));
        let (name, device_id) = (self.name.clone(), self.device_id.clone());
        let (shared, granted) = (self.shared.clone(), self.twin_answers);
        let topic = format!("$iothub/twin/res/200/?$rid={rid}");
        let work = async move {
            match (shared.service.device_twin(&name, &device_id).await, granted) {
                (Ok(twin), Some(qos)) => {
                    let body = twin.to_string().into();
                    Outcome::Send(Packet::Publish(Publish::from_bytes(topic, qos, body)))
                }
                (Ok(_), None) => {
                    tracing::warn!("a device that has not subscribed to {TWIN_ANSWERS} gets none");
                    Outcome::Nothing
                }
                (Err(error), _) => Outcome::Fail(format!("cannot read the twin: {error}")),
            }
        };
        Handling::Work(Task { now, work: Box::pin(work), size: 0, alone: false })
    }
}

impl Role for Hub {
    async fn publish(&mut self, publish: Publish) -> Handling {
        if let Some(rid) = publish.topic.strip_prefix("$iothub/twin/GET/?$rid=") {
            return self.read_twin(rid, &publish);
        }
        let Some(bag) = self.events(&publish.topic) else {
            return Handling::Refuse(format!("a message to the topic {:?}", publish.topic));
        };
        let size = publish.payload.len() + bag.len();
        let mut properties = properties(bag);
        if publish.payload.len() + counted(&properties) > LARGEST_MESSAGE {
            return Handling::Refuse("a message larger than 256 KB".to_owned());
        }
        if publish.retain {
            properties.push(("mqtt-retain".to_owned(), "true".to_owned()));
        }
        let firing = self.shared.faults.at(Step::Telemetry, Some(&self.device_id));
        let alone = !firing.is_nothing();
        let message = Telemetry {
            hub: self.name.clone(),
            device_id: self.device_id.clone(),
            properties,
            payload: publish.payload,
            dup: publish.dup,
        };
        let answer = match publish.qos {
            QoS::AtMostOnce => Outcome::Nothing,
            _ if firing.duplicate => {
                Outcome::SendAll(vec![Packet::PubAck(PubAck::new(publish.pkid)); 2])
            }
            _ => Outcome::Send(Packet::PubAck(PubAck::new(publish.pkid))),
        };
        let failed = |error| Outcome::Fail(format!("cannot store telemetry: {error}"));
        let work: Work = if firing.is_nothing() {
            match self.shared.service.take_telemetry(message).await {
                // Without an acknowledgement the device still has it.
                Ok(stored) => Box::pin(stored.map_ok_or_else(failed, |()| answer)),
                Err(error) => Box::pin(ready(failed(error))),
            }
        } else {
            let shared = self.shared.clone();
            Box::pin(async move {
                firing.begin(&shared.service).await;
                if firing.cut == Some(Cut::Before) {
                    return Outcome::Cut;
                }
                if firing.silent {
                    return Outcome::Nothing;
                }
                match shared.service.store_telemetry(message).await {
                    Ok(()) if firing.cut.is_some() => Outcome::Cut,
                    Ok(()) => answer,
                    Err(error) => failed(error),
                }
            })
        };
        Handling::Work(Task { now: None, work, size, alone })
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Handling {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            if self.offers(&filter.path) {
                let granted = at_most_once_or_least(filter.qos);
                if filter.path == TWIN_ANSWERS {
                    self.twin_answers = Some(granted);
                }
                codes.push(SubscribeReasonCode::Success(granted));
            } else {
                tracing::warn!(filter = filter.path, "no such subscription at a hub");
                codes.push(SubscribeReasonCode::Failure);
            }
        }
        let answer = Packet::SubAck(SubAck::new(subscribe.pkid, codes));
        let work = ready(Outcome::Send(answer));
        Handling::Work(Task { now: None, work: Box::pin(work), size: 0, alone: false })
    }

    fn unsubscribe(&mut self, topics: &[String]) {
        if topics.iter().any(|topic| topic == TWIN_ANSWERS) {
            self.twin_answers = None;
        }
    }
}

/// A property bag taken apart: `k=v&k2=v2`, percent-encoded; a name alone has an empty value.
fn properties(bag: &str) -> Vec<(String, String)> {
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    bag.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// What the properties add to the size of a message: the values of all, the names of those that
/// are the application's (Microsoft, iot-hub-devguide-messages-construct).
fn counted(properties: &[(String, String)]) -> usize {
    let size = |(name, value): &(String, String)| {
        value.len() + if name.starts_with("$.") { 0 } else { name.len() }
    };
    properties.iter().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_system_properties_are_not_counted() {
        assert_eq!(counted(&properties("%24.mid=m%2F1&alert&a%20b=%C3%A4")), 3 + 5 + 3 + 2);
    }

    #[test]
    fn a_property_bag_is_taken_apart() {
        let pairs =
            properties("%24.mid=m%2F1&%24.ct=application%2Fjson&alert&empty=&a%20b=%C3%A4=");
        let expected = [
            ("$.mid", "m/1"),
            ("$.ct", "application/json"),
            ("alert", ""),
            ("empty", ""),
            ("a b", "ä="),
        ];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert!(properties("").is_empty());
    }
}
