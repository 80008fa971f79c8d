//! What an enrollment grants to a device that it lets in.

use aws_lc_rs::digest;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// The part of an enrollment that registration reads. Fields that are absent or null have the
/// service's defaults.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Terms {
    pub(crate) device_id: Option<String>,
    provisioning_status: Option<ProvisioningStatus>,
    pub(crate) allocation_policy: Option<AllocationPolicy>,
    iot_hubs: Option<Vec<String>>,
    iot_hub_host_name: Option<String>,
    reprovision_policy: Option<ReprovisionPolicy>,
    initial_twin: Option<InitialTwin>,
    capabilities: Option<Capabilities>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ProvisioningStatus {
    Enabled,
    Disabled,
}

/// How a hub is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllocationPolicy {
    Hashed,
    /// Stored as such, assigned as hashed.
    GeoLatency,
    Static,
    Custom,
}

impl AllocationPolicy {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::GeoLatency => "geoLatency",
            Self::Static => "static",
            Self::Custom => "custom",
        }
    }
}

/// In any letter case: `az` compares so, and its users write `geolatency`.
impl<'de> Deserialize<'de> for AllocationPolicy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        [Self::Hashed, Self::GeoLatency, Self::Static, Self::Custom]
            .into_iter()
            .find(|policy| policy.text().eq_ignore_ascii_case(&text))
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "unknown allocationPolicy `{text}`, expected hashed, geoLatency, static or \
                     custom"
                ))
            })
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReprovisionPolicy {
    update_hub_assignment: Option<bool>,
    migrate_device_data: Option<bool>,
}

/// What happens to a device that registers again (Microsoft, concepts-device-reprovision).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reprovision {
    /// The hub is chosen anew; the device's twin moves along.
    Migrate,
    /// The hub is chosen anew; the twin starts from the enrollment's initial twin.
    Reset,
    /// The last assignment stays.
    Never,
}

/// The twin a device starts with.
#[derive(Clone, Default, Deserialize)]
pub(crate) struct InitialTwin {
    tags: Option<Map<String, Value>>,
    properties: Option<InitialProperties>,
}

#[derive(Clone, Default, Deserialize)]
struct InitialProperties {
    desired: Option<Map<String, Value>>,
}

impl InitialTwin {
    pub(crate) fn tags(&self) -> Map<String, Value> {
        plain(self.tags.as_ref())
    }

    pub(crate) fn desired(&self) -> Map<String, Value> {
        plain(self.properties.as_ref().and_then(|properties| properties.desired.as_ref()))
    }
}

/// Without `$version` and `$metadata`, which a twin that was read elsewhere still carries.
fn plain(given: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut map = given.cloned().unwrap_or_default();
    map.retain(|name, _| !name.starts_with('$'));
    map
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    iot_edge: Option<bool>,
}

impl Terms {
    /// Reads them out of an enrollment in the shape of the service API.
    pub(crate) fn read(document: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        Self::deserialize(document)
    }

    pub(crate) fn enabled(&self) -> bool {
        self.provisioning_status != Some(ProvisioningStatus::Disabled)
    }

    pub(crate) fn reprovision(&self) -> Reprovision {
        let policy = self.reprovision_policy;
        let updates = policy.and_then(|policy| policy.update_hub_assignment).unwrap_or(true);
        let migrates = policy.and_then(|policy| policy.migrate_device_data).unwrap_or(true);
        match (updates, migrates) {
            (true, true) => Reprovision::Migrate,
            (true, false) => Reprovision::Reset,
            (false, _) => Reprovision::Never,
        }
    }

    pub(crate) fn initial_twin(&self) -> InitialTwin {
        self.initial_twin.clone().unwrap_or_default()
    }

    pub(crate) fn iot_edge(&self) -> bool {
        self.capabilities.and_then(|capabilities| capabilities.iot_edge).unwrap_or(false)
    }

    /// The hubs that it chooses from; all that are linked where it names none.
    pub(crate) fn named_hubs(&self) -> Vec<&String> {
        match self.iot_hubs.as_deref() {
            Some(hubs) if !hubs.is_empty() => hubs.iter().collect(),
            _ => self.iot_hub_host_name.iter().filter(|hub| !hub.is_empty()).collect(),
        }
    }

    /// The hub for a device, out of the linked ones; `None` if none is both linked and allowed.
    pub(crate) fn choose_hub(&self, registration_id: &str, linked: &[String]) -> Option<String> {
        let named = self.named_hubs();
        let is_linked = |name: &str| linked.iter().find(|hub| hub.eq_ignore_ascii_case(name));
        if self.allocation_policy == Some(AllocationPolicy::Static) {
            return named.first().and_then(|name| is_linked(name)).cloned();
        }
        let candidates: Vec<&String> = if named.is_empty() {
            linked.iter().collect()
        } else {
            named.into_iter().filter_map(|name| is_linked(name)).collect()
        };
        let weighted: Vec<_> =
            candidates.iter().map(|hub| (hub.as_str(), DEFAULT_WEIGHT)).collect();
        hashed(registration_id, &weighted).map(str::to_owned)
    }
}

/// The weight of a linked hub that was given none.
const DEFAULT_WEIGHT: u32 = 1;

/// Evenly weighted distribution. Microsoft's own function is not known; this is rendezvous
/// hashing with SHA-256, so that a device stays with its hub unless a new hub takes it.
fn hashed<'a>(registration_id: &str, hubs: &[(&'a str, u32)]) -> Option<&'a str> {
    let id = registration_id.to_ascii_lowercase();
    let score = |hub: &str, weight: u32| {
        let text = format!("{id}\n{}", hub.to_ascii_lowercase());
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_ref()[..8]);
        // In (0, 1): 52 bits and a half, exact in a double.
        let uniform = ((u64::from_be_bytes(first) >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        -f64::from(weight) / uniform.ln()
    };
    hubs.iter()
        .map(|&(hub, weight)| (hub, score(hub, weight)))
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(hub, _)| hub)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn terms(document: Value) -> Terms {
        Terms::read(document.as_object().expect("object")).expect("terms")
    }

    fn linked() -> Vec<String> {
        ["hub-a", "hub-b", "hub-c"].map(|hub| format!("{hub}.azure-devices.net")).to_vec()
    }

    #[test]
    fn nothing_said_means_the_services_defaults() {
        for document in [json!({}), json!({"provisioningStatus": null, "reprovisionPolicy": null})]
        {
            let terms = terms(document);
            assert!(terms.enabled());
            assert!(terms.reprovision() == Reprovision::Migrate);
            assert!(!terms.iot_edge());
        }
    }

    #[test]
    fn hashed_spreads_devices_by_weight_and_moves_few_when_a_hub_is_added() {
        let share = |hubs: &[(&str, u32)], hub: &str| {
            (0..4000).filter(|n| hashed(&format!("device-{n}"), hubs) == Some(hub)).count()
        };
        let two = [("a", 1), ("b", 3)];
        // A quarter of 4000, within five standard deviations (27 devices each).
        assert!((863..=1137).contains(&share(&two, "a")), "{}", share(&two, "a"));
        let before = [("a", 1), ("b", 1)];
        let after = [("a", 1), ("b", 1), ("c", 1)];
        for n in 0..500 {
            let id = format!("device-{n}");
            let now = hashed(&id, &after);
            assert!(now == hashed(&id, &before) || now == Some("c"));
        }
    }

    #[test]
    fn hubs_are_those_named_or_all_linked_ones() {
        let linked = linked();
        let choose = |document| terms(document).choose_hub("device-01", &linked);
        assert!(choose(json!({})).is_some_and(|hub| linked.contains(&hub)));
        assert_eq!(
            choose(json!({"iotHubs": ["HUB-B.azure-devices.net"]})).as_deref(),
            Some("hub-b.azure-devices.net")
        );
        assert_eq!(
            choose(json!({"allocationPolicy": "static", "iotHubs": ["hub-c.azure-devices.net"]}))
                .as_deref(),
            Some("hub-c.azure-devices.net")
        );
        // Accepted when written, and then no device has a hub (recorded).
        assert_eq!(choose(json!({"allocationPolicy": "static"})), None);
        assert_eq!(choose(json!({"iotHubs": ["elsewhere.azure-devices.net"]})), None);
        assert_eq!(terms(json!({})).choose_hub("device-01", &[]), None);
    }
}
