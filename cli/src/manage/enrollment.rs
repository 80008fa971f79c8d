//! `dps enrollment`: the enrollment of one device.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use dps_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use super::{
    api::Kind,
    certificate_file,
    enrollment_group::{Common, Etag, Id, Top, show_one},
    explain,
    settings::SettingsArguments,
    symmetric_key::KeyArguments,
};
use crate::output::Output;

const COLUMNS: &str = "{EnrollmentID:registrationId, DeviceID:deviceId, \
                       Attestation:attestation.type, Status:provisioningStatus, \
                       AllocationPolicy:allocationPolicy, \
                       RegistrationStatus:registrationState.status}";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create the enrollment of one device. Disabled, it bars a device that its group would let in.
    #[command(after_help = "\
Example, to bar one device of a group:
  dps enrollment create --dps-name my-dps-x509 --enrollment-id device-001 \\
    --attestation-type x509 --provisioning-status disabled

Example, with symmetric keys that the service makes:
  dps enrollment create --dps-name my-dps-x509 --enrollment-id device-001 \\
    --attestation-type symmetricKey")]
    Create {
        #[command(flatten)]
        id: Id,

        #[command(flatten)]
        attestation: AttestationArguments,

        /// Device ID in the hub [default: the registration ID].
        #[arg(long, short = 'd', value_name = "ID")]
        device_id: Option<String>,

        #[command(flatten)]
        settings: Box<SettingsArguments>,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Show the enrollment of one device.
    #[command(after_help = "\
Example:
  dps enrollment show --dps-name my-dps-x509 --enrollment-id device-001")]
    Show {
        #[command(flatten)]
        id: Id,

        /// Show the keys of a symmetric key attestation too.
        #[arg(long, visible_alias = "keys")]
        show_keys: bool,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// List the enrollments of single devices.
    #[command(after_help = "\
Example:
  dps enrollment list --dps-name my-dps-x509 -o table")]
    List {
        #[command(flatten)]
        top: Top,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Delete the enrollment of one device. Its registration record stays.
    #[command(after_help = "\
Example:
  dps enrollment delete --dps-name my-dps-x509 --enrollment-id device-001")]
    Delete {
        #[command(flatten)]
        id: Id,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Box<Common>,
    },
}

#[derive(Args)]
pub(crate) struct AttestationArguments {
    /// How the device proves who it is.
    #[arg(long, visible_alias = "at", value_name = "TYPE", ignore_case = true)]
    attestation_type: AttestationType,

    /// PEM or DER file of the device's certificate.
    #[arg(long, visible_alias = "cp", value_name = "FILE")]
    certificate_path: Option<PathBuf>,

    #[command(flatten)]
    keys: KeyArguments,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum AttestationType {
    X509,
    SymmetricKey,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Error> {
    match command {
        Command::Create { id, attestation, device_id, settings, common } => {
            let id = id.enrollment_id;
            let (attestation, misplaced) = attestation.read()?;
            let mut record = Map::from_iter([
                (Kind::Individual.id_field().to_owned(), json!(id)),
                ("attestation".to_owned(), attestation),
            ]);
            if let Some(device_id) = device_id {
                record.insert("deviceId".to_owned(), json!(device_id));
            }
            settings.read()?.or_defaults().apply(&mut record)?;
            let (connection, show) = common.open(output, COLUMNS)?;
            if let Some(warning) = misplaced {
                show.warning(&warning);
            }
            let client = &connection.client;
            let record = Value::Object(record);
            match client.create_enrollment(Kind::Individual, &id, &record).await {
                Ok(response) => show.response(response),
                Err(error) => {
                    Err(explain::enrollment_exists(client, Kind::Individual, &id, error).await)
                }
            }
        }
        Command::Show { id, show_keys, common } => {
            let (connection, show) = common.open(output, COLUMNS)?;
            show_one(&connection, Kind::Individual, &id.enrollment_id, show_keys, &show).await
        }
        Command::List { top, common } => {
            let (connection, show) = common.open(output, &format!("[].{COLUMNS}"))?;
            let found = connection.client.list_enrollments(Kind::Individual, top.top).await?;
            show.list(found, "enrollments")
        }
        Command::Delete { id, etag, common } => {
            let (connection, _) = common.open(output, COLUMNS)?;
            let (id, etag) = (id.enrollment_id, etag.etag.as_deref());
            let deleted = connection.client.delete_enrollment(Kind::Individual, &id, etag).await;
            deleted.map_err(|error| explain::enrollment_not_found(Kind::Individual, &id, error))
        }
    }
}

impl AttestationArguments {
    /// The attestation, and what is to be said of its certificate.
    fn read(self) -> Result<(Value, Option<String>), Error> {
        let Self { attestation_type, certificate_path, keys } = self;
        match (attestation_type, certificate_path) {
            (AttestationType::X509, _) if !keys.is_empty() => {
                Err(misplaced("--primary-key and --secondary-key", "symmetrickey"))
            }
            (AttestationType::X509, Some(path)) => {
                let certificate = certificate_file::read(&path)?;
                let warning = certificate_file::misplaced(Kind::Individual, &certificate)?;
                let primary = json!({ "certificate": certificate.to_pem() });
                let certificates = json!({ "clientCertificates": { "primary": primary } });
                Ok((json!({ "type": "x509", "x509": certificates }), warning))
            }
            // Whether that is enough is the service's to say.
            (AttestationType::X509, None) => Ok((json!({ "type": "x509", "x509": {} }), None)),
            (AttestationType::SymmetricKey, None) => Ok((keys.read()?, None)),
            (AttestationType::SymmetricKey, Some(_)) => {
                Err(misplaced("--certificate-path", "x509"))
            }
        }
    }
}

fn misplaced(options: &str, attestation_type: &str) -> Error {
    let message = format!("{options}: for --attestation-type {attestation_type} only");
    Error::new(ErrorKind::InvalidArgument, message)
}
