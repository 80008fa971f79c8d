//! A hub over MQTT: telemetry in, the twin in and out, and the subscriptions a device makes
//! (Microsoft, iot-mqtt-connect-to-iot-hub).

use std::future::ready;
use std::mem::take;
use std::sync::Arc;

use futures_util::TryFutureExt as _;
use percent_encoding::percent_decode_str;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, SubAck, Subscribe, SubscribeReasonCode};

use super::dps::at_most_once_or_least;
use super::session::{Handling, Outcome, Role, Task, Work};
use super::twin;
use crate::faults::{Cut, Firing, Step};
use crate::listener::Shared;
use crate::service::Telemetry;
use crate::store::StoreError;
use crate::store::telemetry::Batch;

/// Largest message, properties included (Microsoft, iot-hub-devguide-quotas-throttling).
const LARGEST_MESSAGE: usize = 256 * 1024;

/// One device connected to its hub.
pub(super) struct Hub {
    name: String,
    device_id: String,
    /// Granted for [`twin::ANSWERS`].
    twin_answers: Option<QoS>,
    held: Held,
    shared: Arc<Shared>,
}

/// Messages on their way into the store together.
#[derive(Default)]
struct Held {
    messages: Batch,
    /// The packet identifiers of those that want an acknowledgement.
    unacknowledged: Vec<u16>,
}

impl Hub {
    pub(super) fn new(name: String, device_id: String, shared: &Arc<Shared>) -> Self {
        let (twin_answers, held) = (None, Held::default());
        Self { name, device_id, twin_answers, held, shared: shared.clone() }
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
                twin::ANSWERS
                    | "$iothub/methods/POST/#"
                    | "$iothub/twin/PATCH/properties/desired/#"
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

    fn twin(&self, request: twin::Request, publish: &Publish) -> Handling {
        // Not at once: acknowledgements go out in the order of the messages (MQTT 3.1.1, 4.6), and
        // telemetry may stand before it.
        let acknowledgement =
            (publish.qos == QoS::AtLeastOnce).then(|| Packet::PubAck(PubAck::new(publish.pkid)));
        let (name, device_id) = (self.name.clone(), self.device_id.clone());
        let (shared, granted, size) = (self.shared.clone(), self.twin_answers, request.size());
        let work = async move {
            match request.answer(&shared.service, &name, &device_id, granted).await {
                Ok(answer) => Outcome::SendAll(acknowledgement.into_iter().chain(answer).collect()),
                Err(error) => Outcome::Fail(format!("cannot reach the twin: {error}")),
            }
        };
        Handling::Work(Task { now: None, work: Box::pin(work), size, alone: false })
    }

    fn telemetry(&self, messages: Batch) -> Telemetry {
        Telemetry { hub: self.name.clone(), device_id: self.device_id.clone(), messages }
    }

    /// A message that a fault is about to strike.
    fn stricken(
        &self,
        firing: Firing,
        messages: Batch,
        publish: &Publish,
        size: usize,
    ) -> Handling {
        let answer = match publish.qos {
            QoS::AtMostOnce => Outcome::Nothing,
            _ if firing.duplicate => Outcome::Acknowledge(vec![publish.pkid; 2]),
            _ => Outcome::Acknowledge(vec![publish.pkid]),
        };
        let (shared, telemetry) = (self.shared.clone(), self.telemetry(messages));
        let work = async move {
            firing.begin(&shared.service).await;
            if firing.cut == Some(Cut::Before) {
                return Outcome::Cut;
            }
            if firing.silent {
                return Outcome::Nothing;
            }
            match shared.service.store_telemetry(telemetry).await {
                Ok(()) if firing.cut.is_some() => Outcome::Cut,
                Ok(()) => answer,
                Err(error) => not_stored(error),
            }
        };
        Handling::Work(Task { now: None, work: Box::pin(work), size, alone: true })
    }
}

impl Role for Hub {
    fn publish(&mut self, publish: &Publish) -> Handling {
        let requested = publish.topic.strip_prefix(twin::REQUESTS);
        if let Some(request) =
            requested.and_then(|topic| twin::Request::parse(topic, &publish.payload))
        {
            return self.twin(request, publish);
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
        if !firing.is_nothing() {
            let mut messages = Batch::default();
            messages.push(properties, publish.dup, &publish.payload);
            return self.stricken(firing, messages, publish, size);
        }
        self.held.messages.push(properties, publish.dup, &publish.payload);
        if publish.qos != QoS::AtMostOnce {
            self.held.unacknowledged.push(publish.pkid);
        }
        Handling::Hold { size }
    }

    async fn hand_in(&mut self) -> Option<Work> {
        let Held { messages, unacknowledged } = take(&mut self.held);
        if messages.is_empty() {
            return None;
        }
        Some(match self.shared.service.take_telemetry(self.telemetry(messages)).await {
            // Without an acknowledgement the device still has them.
            Ok(stored) => Box::pin(
                stored.map_ok_or_else(not_stored, |()| Outcome::Acknowledge(unacknowledged)),
            ),
            Err(error) => Box::pin(ready(not_stored(error))),
        })
    }

    fn subscribe(&mut self, subscribe: Subscribe) -> Handling {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        for filter in &subscribe.filters {
            if self.offers(&filter.path) {
                let granted = at_most_once_or_least(filter.qos);
                if filter.path == twin::ANSWERS {
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
        if topics.iter().any(|topic| topic == twin::ANSWERS) {
            self.twin_answers = None;
        }
    }
}

fn not_stored(error: StoreError) -> Outcome {
    Outcome::Fail(format!("cannot store telemetry: {error}"))
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
