//! `dps enrollment-group registration`: which devices were provisioned, and where to.

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use dps_core::{Error, ErrorKind};

use super::{
    enrollment_group::{Common, Etag, Id, Top},
    explain,
};
use crate::output::Output;

const COLUMNS: &str = "{RegistrationID:registrationId, DeviceID:deviceId, \
                       AssignedHub:assignedHub, Status:status, Created:createdDateTimeUtc}";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the registration records of an enrollment group, also of one that was deleted.
    #[command(after_help = "\
Example:
  dps enrollment-group registration list --dps-name my-dps-x509 \\
    --enrollment-id my-device-group -o table")]
    List {
        #[command(flatten)]
        id: Id,

        #[command(flatten)]
        top: Top,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Show one registration record.
    #[command(after_help = "\
Example:
  dps enrollment-group registration show --dps-name my-dps-x509 --registration-id device-01")]
    Show {
        #[command(flatten)]
        id: RegistrationId,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Delete one registration record, or all of an enrollment group.
    #[command(after_help = "\
Example:
  dps enrollment-group registration delete --dps-name my-dps-x509 \\
    --enrollment-id my-device-group --all")]
    Delete {
        #[command(flatten)]
        which: Which,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Box<Common>,
    },
}

#[derive(Args)]
pub(crate) struct RegistrationId {
    /// Registration ID of the device.
    #[arg(
        long,
        visible_alias = "rid",
        value_name = "ID",
        value_parser = NonEmptyStringValueParser::new()
    )]
    registration_id: String,
}

#[derive(Args)]
pub(crate) struct Which {
    /// Registration ID of the device.
    #[arg(
        long,
        visible_alias = "rid",
        value_name = "ID",
        value_parser = NonEmptyStringValueParser::new(),
        required_unless_present = "all"
    )]
    registration_id: Option<String>,

    /// All records of the enrollment group.
    #[arg(
        long,
        requires = "enrollment_id",
        conflicts_with_all = ["registration_id", "etag"]
    )]
    all: bool,

    /// Name of the enrollment group.
    #[arg(
        long,
        visible_alias = "eid",
        value_name = "ID",
        value_parser = NonEmptyStringValueParser::new(),
        requires = "all"
    )]
    enrollment_id: Option<String>,
}

pub(super) async fn run(command: Command, output: &Output) -> Result<(), Error> {
    match command {
        Command::List { id, top, common } => {
            let (connection, show) = common.open(output, &format!("[].{COLUMNS}"))?;
            let found = connection.client.list_registrations(&id.enrollment_id, top.top).await?;
            show.list(found, "registrations")
        }
        Command::Show { id, common } => {
            let (connection, show) = common.open(output, COLUMNS)?;
            let id = id.registration_id;
            let found = connection.client.registration(&id).await;
            show.response(found.map_err(|error| explain::registration_not_found(&id, error))?)
        }
        Command::Delete { which, etag, common } => {
            let (connection, _) = common.open(output, COLUMNS)?;
            let client = &connection.client;
            if let Some(id) = which.registration_id {
                let deleted = client.delete_registration(&id, etag.etag.as_deref()).await;
                return deleted.map_err(|error| explain::registration_not_found(&id, error));
            }
            let group = which.enrollment_id.unwrap_or_default();
            let records = client.list_registrations(&group, None).await?;
            let ids = records.as_array().into_iter().flatten();
            for id in ids.filter_map(|record| record["registrationId"].as_str()) {
                match client.delete_registration(id, None).await {
                    // Somebody else was quicker.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    result => result?,
                }
            }
            Ok(())
        }
    }
}
