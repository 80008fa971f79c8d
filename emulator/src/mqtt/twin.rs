//! What a device asks of its twin over MQTT (Microsoft, iot-mqtt-connect-to-iot-hub).

use bytes::Bytes;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};

use crate::service::Service;
use crate::store::StoreError;

/// What a device subscribes to before it asks anything.
pub(super) const ANSWERS: &str = "$iothub/twin/res/#";
/// What every request's topic begins with.
pub(super) const REQUESTS: &str = "$iothub/twin/";

/// A request.
pub(super) struct Request {
    /// Exactly as it stands in the topic: each client has its own form.
    rid: String,
    asks: Asks,
}

enum Asks {
    Get,
    /// Puts these properties, a JSON object, into the reported ones.
    Report {
        patch: Bytes,
        /// Only where they have this version (Azure/azure-iot-sdk-java#1776).
        if_version: Option<u64>,
    },
}

impl Request {
    /// Reads it from what follows [`REQUESTS`] in its topic.
    pub(super) fn parse(topic: &str, payload: &Bytes) -> Option<Self> {
        let (method, query) = topic.split_once("/?")?;
        let value = |wanted| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == wanted).map(|(_, value)| value)
        };
        let rid = value("$rid")?.to_owned();
        let asks = match method {
            "GET" => Asks::Get,
            "PATCH/properties/reported" => Asks::Report {
                // A copy: a share of it would keep all that was read with it.
                patch: Bytes::copy_from_slice(payload),
                if_version: value("$version").map(str::parse).transpose().ok()?,
            },
            _ => return None,
        };
        Some(Self { rid, asks })
    }

    /// How many bytes it keeps in memory.
    pub(super) fn size(&self) -> usize {
        let patch = match &self.asks {
            Asks::Get => 0,
            Asks::Report { patch, .. } => patch.len(),
        };
        self.rid.len() + patch
    }

    /// Does what it asks for and answers with the quality of service that was granted for
    /// [`ANSWERS`], if any. An error tells that the twin cannot be reached.
    pub(super) async fn answer(
        self,
        service: &Service,
        hub: &str,
        device_id: &str,
        granted: Option<QoS>,
    ) -> Result<Option<Packet>, StoreError> {
        let Self { rid, asks } = self;
        let (status, version, body) = match asks {
            Asks::Get => {
                let twin = service.device_twin(hub, device_id).await?;
                (200, String::new(), twin.to_string())
            }
            Asks::Report { patch, if_version } => {
                match service.report(hub, device_id, &patch, if_version).await? {
                    Ok(version) => (204, format!("&$version={version}"), String::new()),
                    Err(refusal) => {
                        let body = refusal.body(service.now()).to_string();
                        (refusal.status, String::new(), body)
                    }
                }
            }
        };
        let Some(qos) = granted else {
            tracing::warn!("a device that has not subscribed to {ANSWERS} gets none");
            return Ok(None);
        };
        let topic = format!("$iothub/twin/res/{status}/?$rid={rid}{version}");
        Ok(Some(Packet::Publish(Publish::from_bytes(topic, qos, body.into()))))
    }
}
