//! The settings that both kinds of enrollment have.

use clap::{Args, ValueEnum};
use dps_core::{Error, ErrorKind, transport::Host};
use serde_json::{Map, Value, json};

use super::twin::{Twin, TwinArguments};

#[derive(Args)]
pub(crate) struct SettingsArguments {
    /// Whether devices may be provisioned.
    #[arg(long, visible_alias = "ps", value_name = "STATUS", ignore_case = true)]
    provisioning_status: Option<ProvisioningStatus>,

    /// How a device's hub is chosen.
    #[arg(long, visible_alias = "ap", value_name = "POLICY", ignore_case = true)]
    allocation_policy: Option<AllocationPolicy>,

    /// Host name of the one hub to assign devices to; the allocation policy becomes static.
    #[arg(long, visible_alias = "hn", value_name = "HOST", conflicts_with = "iot_hubs", value_parser = Host::parse)]
    iot_hub_host_name: Option<Host>,

    /// Host names of the hubs to choose from [default: all that are linked].
    #[arg(long, visible_alias = "ih", value_name = "HOST", num_args = 1.., value_parser = Host::parse)]
    iot_hubs: Vec<Host>,

    /// What becomes of a device that registers again.
    #[arg(long, visible_alias = "rp", value_name = "POLICY", ignore_case = true)]
    reprovision_policy: Option<ReprovisionPolicy>,

    #[command(flatten)]
    twin: TwinArguments,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum ProvisioningStatus {
    Enabled,
    Disabled,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
#[value(rename_all = "lower")]
enum AllocationPolicy {
    Hashed,
    GeoLatency,
    Static,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum ReprovisionPolicy {
    ReprovisionAndMigrateData,
    ReprovisionAndResetData,
    Never,
}

/// Settings that were read, to be put into a record.
pub(super) struct Settings {
    provisioning_status: Option<ProvisioningStatus>,
    allocation_policy: Option<AllocationPolicy>,
    hubs: Vec<Host>,
    reprovision_policy: Option<ReprovisionPolicy>,
    twin: Twin,
}

impl SettingsArguments {
    pub(super) fn read(self) -> Result<Settings, Error> {
        let mut allocation_policy = self.allocation_policy;
        if self.iot_hub_host_name.is_some() {
            match allocation_policy {
                None | Some(AllocationPolicy::Static) => {
                    allocation_policy = Some(AllocationPolicy::Static);
                }
                Some(_) => {
                    return Err(invalid("--iot-hub-host-name goes with static allocation only")
                        .with_hint("Use --iot-hubs for the other policies."));
                }
            }
        }
        let hubs = self.iot_hub_host_name.into_iter().chain(self.iot_hubs).collect();
        Ok(Settings {
            provisioning_status: self.provisioning_status,
            allocation_policy,
            hubs,
            reprovision_policy: self.reprovision_policy,
            twin: self.twin.read()?,
        })
    }
}

impl Settings {
    pub(super) fn is_empty(&self) -> bool {
        self.provisioning_status.is_none()
            && self.allocation_policy.is_none()
            && self.hubs.is_empty()
            && self.reprovision_policy.is_none()
            && self.twin.is_empty()
    }

    /// What a new enrollment has unless told otherwise: written out, so that it shows.
    pub(super) fn or_defaults(mut self) -> Self {
        self.provisioning_status.get_or_insert(ProvisioningStatus::Enabled);
        self.allocation_policy.get_or_insert(AllocationPolicy::Hashed);
        self
    }

    pub(super) fn apply(self, record: &mut Map<String, Value>) -> Result<(), Error> {
        let mut set = |field: &str, value: Value| record.insert(field.to_owned(), value);
        if let Some(status) = self.provisioning_status {
            let status = match status {
                ProvisioningStatus::Enabled => "enabled",
                ProvisioningStatus::Disabled => "disabled",
            };
            set("provisioningStatus", json!(status));
        }
        if let Some(policy) = self.allocation_policy {
            let policy = match policy {
                AllocationPolicy::Hashed => "hashed",
                AllocationPolicy::GeoLatency => "geoLatency",
                AllocationPolicy::Static => "static",
            };
            set("allocationPolicy", json!(policy));
        }
        if !self.hubs.is_empty() {
            let hubs: Vec<_> = self.hubs.iter().map(Host::as_str).collect();
            set("iotHubs", json!(hubs));
        }
        if let Some(policy) = self.reprovision_policy {
            let (update, migrate) = match policy {
                ReprovisionPolicy::ReprovisionAndMigrateData => (true, true),
                ReprovisionPolicy::ReprovisionAndResetData => (true, false),
                ReprovisionPolicy::Never => (false, false),
            };
            let flags = json!({ "updateHubAssignment": update, "migrateDeviceData": migrate });
            set("reprovisionPolicy", flags);
        }
        self.twin.apply(record);
        check_static(record)
    }
}

/// `az` refuses it here; the service would only fail each registration.
fn check_static(record: &Map<String, Value>) -> Result<(), Error> {
    if record.get("allocationPolicy").and_then(Value::as_str) != Some("static") {
        return Ok(());
    }
    let hubs = record.get("iotHubs").and_then(Value::as_array).map_or(0, Vec::len);
    let legacy = record.get("iotHubHostName").is_some_and(Value::is_string);
    match hubs {
        0 if !legacy => {
            Err(invalid("static allocation needs a hub")
                .with_hint("Name it with --iot-hub-host-name."))
        }
        0 | 1 => Ok(()),
        _ => Err(invalid("static allocation takes one hub only")
            .with_hint("Name it with --iot-hub-host-name.")),
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}
