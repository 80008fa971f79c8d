//! `dps enrollment-group`: who may provision by a common CA.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use dps_core::{
    Error, ErrorKind, RegistrationId, SymmetricKey, chain::Certificate,
    symmetric_key::derive_device_key,
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    api::Kind,
    certificate_file, explain,
    query::{Show, ShowArguments},
    registration,
    settings::SettingsArguments,
    symmetric_key::{self, KeyArguments},
    target::{Connection, Instance},
};
use crate::output::Output;

const COLUMNS: &str = "{EnrollmentID:enrollmentGroupId, Attestation:attestation.type, \
                       CA:attestation.x509.caReferences.primary, Status:provisioningStatus, \
                       AllocationPolicy:allocationPolicy}";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create an enrollment group: enabled and hashed, unless told otherwise.
    #[command(after_help = "\
Example:
  dps enrollment-group create --dps-name my-dps-x509 --enrollment-id my-device-group \\
    --ca-name my-intermediate-ca --provisioning-status enabled

Example, with symmetric keys that the service makes:
  dps enrollment-group create --dps-name my-dps-x509 --enrollment-id my-keyed-group")]
    Create {
        #[command(flatten)]
        id: Id,

        #[command(flatten)]
        authority: Box<AuthorityArguments>,

        #[command(flatten)]
        keys: KeyArguments,

        #[command(flatten)]
        settings: Box<SettingsArguments>,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Show an enrollment group.
    #[command(after_help = "\
Example:
  dps enrollment-group show --dps-name my-dps-x509 --enrollment-id my-device-group")]
    Show {
        #[command(flatten)]
        id: Id,

        /// Show the keys of a symmetric key attestation too.
        #[arg(long, visible_alias = "keys")]
        show_keys: bool,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// List all enrollment groups.
    #[command(after_help = "\
Example:
  dps enrollment-group list --dps-name my-dps-x509 \\
    --query \"[].{EnrollmentID:enrollmentGroupId, Status:provisioningStatus}\" -o table")]
    List {
        #[command(flatten)]
        top: Top,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Change settings of an enrollment group; what is not named stays.
    #[command(after_help = "\
Example:
  dps enrollment-group update --dps-name my-dps-x509 --enrollment-id my-device-group \\
    --provisioning-status disabled")]
    Update {
        #[command(flatten)]
        id: Id,

        #[command(flatten)]
        authority: Box<AuthorityArguments>,

        #[command(flatten)]
        settings: Box<SettingsArguments>,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Delete an enrollment group. Its registration records stay and count against the quota.
    #[command(after_help = "\
Example, the registration records first:
  dps enrollment-group registration delete --enrollment-id my-device-group --all
  dps enrollment-group delete --dps-name my-dps-x509 --enrollment-id my-device-group")]
    Delete {
        #[command(flatten)]
        id: Id,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// Compute the key of one device from the key of its group.
    #[command(after_help = "\
The key is printed bare; -o json puts it in quotation marks.

Example, with the key that the instance holds:
  dps enrollment-group compute-device-key --enrollment-id my-keyed-group \\
    --registration-id device-001")]
    ComputeDeviceKey {
        /// Registration ID of the device, in the letter case in which the device sends it.
        #[arg(long, visible_alias = "rid", value_name = "ID")]
        registration_id: String,

        /// Symmetric key of the group in base64; with it no service is called.
        #[arg(
            long,
            visible_alias = "symmetric-key",
            value_name = "KEY",
            conflicts_with = "enrollment_id"
        )]
        key: Option<String>,

        /// Name of the group whose primary key is taken.
        #[arg(
            long,
            visible_alias = "eid",
            value_name = "ID",
            value_parser = NonEmptyStringValueParser::new()
        )]
        enrollment_id: Option<String>,

        #[command(flatten)]
        common: Box<Common>,
    },
    /// The registration records of an enrollment group.
    #[command(
        subcommand,
        after_help = "Example:
  dps enrollment-group registration list --dps-name my-dps-x509 \\
    --enrollment-id my-device-group -o table"
    )]
    Registration(registration::Command),
}

#[derive(Args)]
pub(crate) struct Id {
    /// Name of the enrollment.
    #[arg(
        long,
        visible_alias = "eid",
        value_name = "ID",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(super) enrollment_id: String,
}

#[derive(Args)]
pub(crate) struct Etag {
    /// Act only on this version of the enrollment.
    #[arg(long, short = 'e', value_name = "ETAG")]
    pub(super) etag: Option<String>,
}

#[derive(Args)]
pub(crate) struct Top {
    /// The most to list [default: all].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) top: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(super) instance: Instance,

    #[command(flatten)]
    pub(super) show: ShowArguments,
}

#[derive(Args)]
pub(crate) struct AuthorityArguments {
    /// Name of a certificate of the instance: the CA that signed the devices' certificates.
    #[arg(
        long,
        visible_aliases = ["root-ca-name", "cn"],
        value_name = "NAME",
        conflicts_with = "certificate_path"
    )]
    ca_name: Option<String>,

    /// Name of a second one, to change over to.
    #[arg(
        long,
        visible_aliases = ["secondary-root-ca-name", "scn"],
        value_name = "NAME",
        conflicts_with = "certificate_path"
    )]
    secondary_ca_name: Option<String>,

    /// PEM or DER file of the CA's certificate, to be held by the group itself.
    #[arg(long, visible_alias = "cp", value_name = "FILE")]
    certificate_path: Option<PathBuf>,
}

/// The CA that a group goes by.
enum Authority {
    References { primary: Option<String>, secondary: Option<String> },
    Own(Box<Certificate>),
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Error> {
    match command {
        Command::Create { id, authority, keys, settings, common } => {
            let id = id.enrollment_id;
            let authority = authority.read()?;
            if authority.is_some() && !keys.is_empty() {
                let message = "a group attests by a certificate or by symmetric keys, not by both";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            let mut record = Map::from_iter([(Kind::Group.id_field().to_owned(), json!(id))]);
            match &authority {
                Some(authority) => authority.apply(&mut record),
                // As `az`: without a certificate, by keys.
                None => drop(record.insert("attestation".to_owned(), keys.read()?)),
            }
            settings.read()?.or_defaults().apply(&mut record)?;
            let (connection, show) = common.open(output, COLUMNS)?;
            create(&connection, &id, authority.as_ref(), record, &show).await
        }
        Command::Show { id, show_keys, common } => {
            let (connection, show) = common.open(output, COLUMNS)?;
            show_one(&connection, Kind::Group, &id.enrollment_id, show_keys, &show).await
        }
        Command::List { top, common } => {
            let (connection, show) = common.open(output, &format!("[].{COLUMNS}"))?;
            let groups = connection.client.list_enrollments(Kind::Group, top.top).await?;
            show.list(groups, "enrollment groups")
        }
        Command::Update { id, authority, settings, etag, common } => {
            let id = id.enrollment_id;
            let authority = authority.read()?;
            let settings = settings.read()?;
            if authority.is_none() && settings.is_empty() {
                let message = "nothing was named that is to be changed";
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            let (connection, show) = common.open(output, COLUMNS)?;
            if let Some(authority) = &authority {
                authority.check(&connection, &show).await?;
            }
            let client = &connection.client;
            let found = client.enrollment(Kind::Group, &id).await;
            let found =
                found.map_err(|error| explain::enrollment_not_found(Kind::Group, &id, error))?;
            let Value::Object(mut record) = found.body else {
                let message = format!("enrollment group {id} was not answered with an object");
                return Err(Error::new(ErrorKind::ProtocolViolation, message));
            };
            // Only the service writes these.
            for field in ["createdDateTimeUtc", "lastUpdatedDateTimeUtc"] {
                record.remove(field);
            }
            match &authority {
                Some(authority) => authority.apply(&mut record),
                // It shows no keys, and what is sent without them might get new ones.
                None if record["attestation"]["type"] == "symmetricKey" => {
                    let attestation = client.attestation(Kind::Group, &id).await?;
                    record.insert("attestation".to_owned(), attestation);
                }
                None => {}
            }
            settings.apply(&mut record)?;
            // What somebody else changed since it was read is not overwritten.
            let seen = record.get("etag").and_then(Value::as_str).map(str::to_owned);
            let etag = etag.etag.or(seen).unwrap_or_else(|| "*".to_owned());
            let record = Value::Object(record);
            show.response(client.replace_enrollment(Kind::Group, &id, &record, &etag).await?)
        }
        Command::Delete { id, etag, common } => {
            let (connection, _) = common.open(output, COLUMNS)?;
            let (id, etag) = (id.enrollment_id, etag.etag.as_deref());
            let deleted = connection.client.delete_enrollment(Kind::Group, &id, etag).await;
            deleted.map_err(|error| explain::enrollment_not_found(Kind::Group, &id, error))
        }
        Command::ComputeDeviceKey { registration_id, key, enrollment_id, common } => {
            let registration_id = RegistrationId::parse(&registration_id)
                .map_err(|error| Error::new(ErrorKind::InvalidArgument, error.message()))?;
            let Common { instance, show } = *common;
            let show = show.open(output, "@")?;
            let group_key = match (key.map(Zeroizing::new), enrollment_id) {
                (Some(key), _) => symmetric_key::parse("--key", &key)?,
                (None, Some(id)) => stored_key(&instance.open()?, &id).await?,
                (None, None) => {
                    let message = "whose key? Give --enrollment-id or --key";
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
            };
            let key = derive_device_key(&group_key, &registration_id);
            show.text(&key.to_base64())
        }
        Command::Registration(command) => registration::run(command, output).await,
    }
}

/// The primary key of a group, in the words of `az` where it has none.
async fn stored_key(connection: &Connection, id: &str) -> Result<SymmetricKey, Error> {
    let attestation = connection.client.attestation(Kind::Group, id).await;
    let attestation =
        attestation.map_err(|error| explain::enrollment_not_found(Kind::Group, id, error))?;
    let kind = attestation["type"].as_str().unwrap_or("unknown");
    if kind != "symmetricKey" {
        return Err(Error::new(
            ErrorKind::BadRequest,
            format!(
                "Requested enrollment group has an attestation type of '{kind}'. Currently, \
                 compute-device-key is only supported for enrollment groups with symmetric key \
                 attestation type."
            ),
        ));
    }
    let key = attestation["symmetricKey"]["primaryKey"].as_str().unwrap_or_default();
    SymmetricKey::from_base64(key).map_err(|error| error.in_context(format_args!("group {id}")))
}

/// One enrollment, with its keys if they are asked for and there are any.
pub(super) async fn show_one(
    connection: &Connection,
    kind: Kind,
    id: &str,
    show_keys: bool,
    show: &Show<'_>,
) -> Result<(), Error> {
    let response = connection.client.enrollment(kind, id).await;
    let mut response = response.map_err(|error| explain::enrollment_not_found(kind, id, error))?;
    if show_keys {
        match response.body["attestation"]["type"].as_str() {
            Some("symmetricKey") => {
                response.body["attestation"] = connection.client.attestation(kind, id).await?;
            }
            other => show.warning(&format!(
                "--show-keys is for symmetric keys, but {id} attests by {}",
                other.unwrap_or("something else")
            )),
        }
    }
    show.response(response)
}

async fn create(
    connection: &Connection,
    id: &str,
    authority: Option<&Authority>,
    record: Map<String, Value>,
    show: &Show<'_>,
) -> Result<(), Error> {
    if let Some(authority) = authority {
        authority.check(connection, show).await?;
    }
    let client = &connection.client;
    match client.create_enrollment(Kind::Group, id, &Value::Object(record)).await {
        Ok(response) => show.response(response),
        Err(error) => Err(explain::enrollment_exists(client, Kind::Group, id, error).await),
    }
}

impl Common {
    pub(super) fn open<'a>(
        self,
        output: &'a Output,
        columns: &str,
    ) -> Result<(Connection, Show<'a>), Error> {
        let show = self.show.open(output, columns)?;
        Ok((self.instance.open()?, show))
    }
}

impl AuthorityArguments {
    fn read(self) -> Result<Option<Authority>, Error> {
        let Self { ca_name: primary, secondary_ca_name: secondary, certificate_path } = self;
        if let Some(path) = certificate_path {
            return Ok(Some(Authority::Own(Box::new(certificate_file::read(&path)?))));
        }
        let named = primary.is_some() || secondary.is_some();
        Ok(named.then_some(Authority::References { primary, secondary }))
    }
}

impl Authority {
    /// Looks the named certificates up, and at its own. Azure's management plane takes no
    /// connection string, so there it is left to the service.
    async fn check(&self, connection: &Connection, show: &Show<'_>) -> Result<(), Error> {
        match self {
            Self::References { primary, secondary } if !connection.is_azure => {
                for name in [primary, secondary].into_iter().flatten() {
                    explain::require_verified(&connection.client, name).await?;
                }
            }
            Self::References { .. } => {}
            Self::Own(certificate) => {
                if let Some(warning) = certificate_file::misplaced(Kind::Group, certificate)? {
                    show.warning(&warning);
                }
            }
        }
        Ok(())
    }

    /// Puts it into the record; a reference that is not named stays as it is there.
    fn apply(&self, record: &mut Map<String, Value>) {
        let x509 = match self {
            Self::Own(certificate) => {
                let primary = json!({ "certificate": certificate.to_pem() });
                json!({ "signingCertificates": { "primary": primary } })
            }
            Self::References { primary, secondary } => {
                let kept = record.get("attestation");
                let kept = kept.and_then(|attestation| attestation.pointer("/x509/caReferences"));
                let mut references = kept.and_then(Value::as_object).cloned().unwrap_or_default();
                for (place, name) in [("primary", primary), ("secondary", secondary)] {
                    if let Some(name) = name {
                        references.insert(place.to_owned(), json!(name));
                    }
                }
                json!({ "caReferences": references })
            }
        };
        record.insert("attestation".to_owned(), json!({ "type": "x509", "x509": x509 }));
    }
}
