//! `dps hub`: the devices of an IoT hub.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use dps_core::{Error, ErrorKind};

use super::{
    api::PAGE,
    explain,
    query::{Show, ShowArguments},
    target::{Connection, Hub},
};
use crate::output::Output;

const COLUMNS: &str = "{DeviceID:deviceId, Status:status, ConnectionState:connectionState, \
                       Authentication:authentication.type}";
const MESSAGE_COLUMNS: &str = "messages[].{Sequence:sequence, EnqueuedTimeUtc:enqueuedTimeUtc, \
                               Properties:properties, Body:body}";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The devices of a hub.
    #[command(
        subcommand,
        after_help = "Example:
  dps hub device list --hub-name contoso-hub-2 -o table"
    )]
    Device(Device),
}

#[derive(Subcommand)]
pub(crate) enum Device {
    /// List the devices of a hub.
    #[command(after_help = "\
Example:
  dps hub device list --hub-name contoso-hub-2 -o table")]
    List {
        /// The most to list; a hub lists at most a thousand.
        #[arg(
            long,
            value_name = "COUNT",
            default_value_t = PAGE,
            value_parser = clap::value_parser!(u32).range(1..=i64::from(PAGE))
        )]
        top: u32,

        #[command(flatten)]
        common: Common,
    },
    /// Show a device and its status.
    #[command(after_help = "\
Example:
  dps hub device show --hub-name contoso-hub-2 --device-id device-01")]
    Show {
        #[command(flatten)]
        id: DeviceId,

        #[command(flatten)]
        common: Common,
    },
    /// Delete a device.
    #[command(after_help = "\
Example:
  dps hub device delete --hub-name contoso-hub-2 --device-id device-01")]
    Delete {
        #[command(flatten)]
        id: DeviceId,

        /// Act only on this version of the device.
        #[arg(long, short = 'e', value_name = "ETAG")]
        etag: Option<String>,

        #[command(flatten)]
        common: Common,
    },
    /// List the telemetry that the emulator received from a device.
    #[command(after_help = "\
Example:
  dps hub device messages --hub-name contoso-hub-2 --device-id device-01 -o table")]
    Messages {
        #[command(flatten)]
        id: DeviceId,

        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
pub(crate) struct DeviceId {
    /// Device ID, in its very letter case.
    #[arg(
        long,
        short = 'd',
        value_name = "ID",
        value_parser = NonEmptyStringValueParser::new()
    )]
    device_id: String,
}

#[derive(Args)]
pub(crate) struct Common {
    #[command(flatten)]
    hub: Hub,

    #[command(flatten)]
    show: ShowArguments,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Error> {
    let Command::Device(command) = command;
    match command {
        Device::List { top, common } => {
            let (connection, show) = common.open(output, &format!("[].{COLUMNS}"))?;
            let devices = connection.client.list_devices(top).await?;
            if top == PAGE
                && devices.as_array().is_some_and(|devices| devices.len() >= PAGE as usize)
            {
                show.warning("a hub lists at most a thousand devices; there may be more");
            }
            show.list(devices, "devices")
        }
        Device::Show { id, common } => {
            let (connection, show) = common.open(output, COLUMNS)?;
            let id = id.device_id;
            let found = connection.client.device(&id).await;
            show.response(found.map_err(|error| explain::device_not_found(&id, error))?)
        }
        Device::Delete { id, etag, common } => {
            let (connection, _) = common.open(output, COLUMNS)?;
            let id = id.device_id;
            let deleted = connection.client.delete_device(&id, etag.as_deref()).await;
            deleted.map_err(|error| explain::device_not_found(&id, error))
        }
        Device::Messages { id, common } => {
            let (connection, show) = common.open(output, MESSAGE_COLUMNS)?;
            if connection.is_azure {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "only the emulator lists received telemetry; Azure hands it out over its \
                     Event Hubs endpoint",
                )
                .with_hint(
                    "Use az iot hub monitor-events. For the emulator, give its address with \
                     --connect-to or DPS_CONNECT_TO.",
                ));
            }
            let id = id.device_id;
            let messages = connection.client.list_messages(&id).await;
            let messages = messages.map_err(|error| explain::device_not_found(&id, error))?;
            if let Some(dropped) = messages["dropped"].as_u64().filter(|dropped| *dropped > 0) {
                show.warning(&format!("{dropped} older messages made room for newer ones"));
            }
            show.list(messages, "messages")
        }
    }
}

impl Common {
    fn open<'a>(self, output: &'a Output, columns: &str) -> Result<(Connection, Show<'a>), Error> {
        let show = self.show.open(output, columns)?;
        Ok((self.hub.open()?, show))
    }
}
