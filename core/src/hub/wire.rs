//! What a hub is told: the user name, the topic of telemetry, and the bag of properties in it.

use std::time::{SystemTime, UNIX_EPOCH};

use percent_encoding::utf8_percent_encode;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::Message;
use crate::{
    error::{Error, ErrorKind, Result},
    percent::RESERVED,
    transport::{
        Host,
        mqtt::{MAX_STRING, Publish, QoS},
    },
};

const API_VERSION: &str = "2021-04-12";

/// The largest message from a device to the cloud, properties included: 256 KB.
/// (Microsoft, "IoT Hub quotas and throttling")
const MAX_MESSAGE: usize = 256 * 1024;

/// The longest device ID. (Microsoft, "Identity registry", device identity properties)
const MAX_DEVICE_ID: usize = 128;

/// The interface of the messages that Microsoft Defender for IoT reads.
const SECURITY_AGENT: &str = "urn:azureiot:Security:SecurityAgent:1";

/// A device ID that a topic can carry.
#[derive(Clone, Debug)]
pub(crate) struct DeviceId(String);

impl DeviceId {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refused = |rule: &str| {
            let shown: String = text.chars().take(MAX_DEVICE_ID).collect();
            Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{shown:?} is not a device ID: {rule}"),
            ))
        };
        // `#` and `+` are legal in a device ID, but no topic that is published to may contain
        // them (MQTT 3.1.1, section 4.7.1).
        let legal = |c: char| c.is_ascii_alphanumeric() || "-.%_*?!(),:=@$'".contains(c);
        if text.is_empty() {
            refused("it is empty")
        } else if text.len() > MAX_DEVICE_ID {
            refused("it is longer than 128 characters")
        } else if let Some(illegal) = text.chars().find(|c| !legal(*c)) {
            refused(&format!("it contains {illegal:?}"))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The user name of CONNECT.
    pub(super) fn user_name(&self, hub: &Host) -> String {
        format!(
            "{hub}/{}/?api-version={API_VERSION}&DeviceClientType=dps-core%2F{}",
            self.0,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// The topic of telemetry without properties. The device ID stands in it as it is: hubs do
    /// not decode it. (Azure/azure-iot-sdk-python wiki, "URL Encoding (MQTT)")
    pub(super) fn telemetry_topic(&self) -> String {
        format!("devices/{}/messages/events/", self.0)
    }
}

/// The packet that carries `message`, without its packet ID.
pub(super) fn publish(telemetry_topic: &str, message: Message) -> Result<Publish> {
    let size = size(&message);
    if size > MAX_MESSAGE {
        return Err(Error::new(
            ErrorKind::MessageTooLarge,
            format!("the message has {size} bytes with its properties, more than {MAX_MESSAGE}"),
        ));
    }
    let mut topic = String::with_capacity(telemetry_topic.len() + message.bag_size());
    topic.push_str(telemetry_topic);
    let mut separator = "";
    for (name, value) in message.all_properties() {
        if name.is_empty() {
            let message = "a property of the message has an empty name";
            return Err(Error::new(ErrorKind::MessageInvalid, message));
        }
        topic.push_str(separator);
        topic.extend(utf8_percent_encode(name, RESERVED));
        topic.push('=');
        topic.extend(utf8_percent_encode(value, RESERVED));
        separator = "&";
    }
    if topic.len() > MAX_STRING {
        let length = topic.len() - telemetry_topic.len();
        return Err(Error::new(
            ErrorKind::MessageInvalid,
            format!("the properties have {length} bytes once encoded; a topic holds {MAX_STRING}"),
        )
        .with_hint("Put what is long into the payload."));
    }
    Ok(Publish::from_bytes(topic, QoS::AtLeastOnce, message.payload))
}

/// How many bytes of `message` a hub counts: its body, the values of all properties, and the names
/// of those that are the application's. (Microsoft, "Create and read IoT Hub messages")
pub(super) fn size(message: &Message) -> usize {
    let system = message.system_properties().map(|(_, value)| value.len());
    let own = message.properties.iter().map(|(name, value)| name.len() + value.len());
    message.payload.len() + system.chain(own).sum::<usize>()
}

/// At most the length of the topic and the payload of `message`.
pub(super) fn queued_size(message: &Message) -> usize {
    // The longest device ID, with what stands around it.
    const TOPIC: usize = MAX_DEVICE_ID + "devices//messages/events/".len();
    // Three bytes for each byte, and two separators for each property.
    let bag: usize =
        message.all_properties().map(|(name, value)| 3 * (name.len() + value.len()) + 2).sum();
    TOPIC + bag + message.payload.len()
}

/// `time` as the hub's system properties carry it, to the second.
pub(super) fn utc(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    time.format(&Rfc3339).ok()
}

impl Message {
    /// In the order in which Microsoft's SDKs send them.
    fn system_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let system = [
            ("$.on", self.output_name.as_deref()),
            ("$.mid", self.message_id.as_deref()),
            ("$.cid", self.correlation_id.as_deref()),
            ("$.uid", self.user_id.as_deref()),
            ("$.ct", self.content_type.as_deref()),
            ("$.ce", self.content_encoding.as_deref()),
            ("$.ifid", self.is_security_message.then_some(SECURITY_AGENT)),
            ("$.exp", self.expires_at.as_deref()),
        ];
        system.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// System properties, then the others.
    fn all_properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.system_properties().chain(own)
    }

    /// The size of the bag, if nothing in it is escaped.
    fn bag_size(&self) -> usize {
        self.all_properties().map(|(name, value)| name.len() + value.len() + 4).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::{borrow::Cow, collections::BTreeMap};

    use bytes::Bytes;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn topic_of(message: Message) -> String {
        let topic = DeviceId::parse("device-01").unwrap().telemetry_topic();
        publish(&topic, message).unwrap().topic
    }

    #[test]
    fn the_user_name_names_hub_device_and_this_sdk() {
        let hub = Host::parse("contoso.azure-devices.net").unwrap();
        assert_eq!(
            DeviceId::parse("device-01").unwrap().user_name(&hub),
            concat!(
                "contoso.azure-devices.net/device-01/?api-version=2021-04-12",
                "&DeviceClientType=dps-core%2F",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn system_properties_come_first_and_everything_is_percent_encoded() {
        assert_eq!(topic_of("hello".into()), "devices/device-01/messages/events/");
        let message = Message::from("hello")
            .property("path", "a/b c")
            .property("100 %", "grüß+&=?#")
            .property("empty", "")
            .content_type("application/json")
            .content_encoding("utf-8")
            .user_id("u-1")
            .correlation_id("c.1~2_3")
            .message_id("m-1");
        assert_eq!(
            topic_of(message),
            "devices/device-01/messages/events/%24.mid=m-1&%24.cid=c.1~2_3&%24.uid=u-1\
             &%24.ct=application%2Fjson&%24.ce=utf-8\
             &path=a%2Fb%20c&100%20%25=gr%C3%BC%C3%9F%2B%26%3D%3F%23&empty="
        );
    }

    #[test]
    fn output_expiry_and_security_are_system_properties_too() {
        let expiry = UNIX_EPOCH + std::time::Duration::from_millis(951_782_400_900);
        let message = Message::from("").expires_at(expiry).security_message().output_name("out");
        assert_eq!(message.size(), 3 + 37 + 20, "their names are not counted");
        let device = DeviceId::parse("device-01").unwrap();
        let sent = publish(&device.telemetry_topic(), message.clone()).unwrap();
        let (queued, sent) = (message.queued_size(), sent.topic.len() + sent.payload.len());
        assert!((sent..sent + 1024).contains(&queued), "{queued} for {sent}");
        assert_eq!(
            topic_of(message),
            "devices/device-01/messages/events/%24.on=out\
             &%24.ifid=urn%3Aazureiot%3ASecurity%3ASecurityAgent%3A1&%24.exp=2000-02-29T00%3A00%3A00Z"
        );
    }

    #[test]
    fn a_property_set_twice_is_sent_once() {
        let message = Message::from("").property("a", "1").property("b", "2").property("a", "3");
        assert_eq!(topic_of(message), "devices/device-01/messages/events/a=3&b=2");
    }

    #[test]
    fn a_message_of_256_kib_with_its_properties_is_the_largest() {
        let of_size = |size: usize| Message::from(vec![0; size - 2]).property("k", "v");
        assert!(publish("t/", of_size(262_144)).is_ok());
        let error = publish("t/", of_size(262_145)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
        assert!(error.message().contains("262145"), "{error}");
    }

    #[test]
    fn properties_that_no_topic_can_hold_are_refused() {
        let error = publish("t/", Message::from("").property("k", "%".repeat(22_000))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MessageInvalid);
        let error = publish("t/", Message::from("").property("", "v")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::MessageInvalid);
    }

    #[test]
    fn device_ids_that_no_topic_can_carry_are_refused() {
        assert!(DeviceId::parse("a-.%_*?!(),:=@$'9").is_ok());
        assert!(DeviceId::parse(&"d".repeat(128)).is_ok());
        for text in ["", "a/b", "a#", "a+", "a b", "gerät", "a\0", &"d".repeat(129)] {
            let error = DeviceId::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_properties_survive_the_topic(
            properties in prop::collection::btree_map(".{1,20}", ".{0,40}", 0..8),
            payload in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut message = Message::from(payload.clone());
            for (name, value) in &properties {
                message = message.property(name, value);
            }
            let publish = publish("t/", message).unwrap();
            prop_assert_eq!(publish.payload, Bytes::from(payload));
            let bag = publish.topic.strip_prefix("t/").unwrap();
            prop_assert!(!bag.contains(['#', '+', '\0', '/', ' ']));
            let decode = |text| percent_decode_str(text).decode_utf8().map(Cow::into_owned).unwrap();
            let read: BTreeMap<_, _> = bag
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(name, value)| (decode(name), decode(value)))
                .collect();
            prop_assert_eq!(read, properties);
        }
    }
}
