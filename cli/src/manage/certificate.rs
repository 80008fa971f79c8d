//! `dps certificate`: the CA certificates of a DPS instance.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use dps_core::{Error, ErrorKind};

use super::{
    certificate_file,
    client::Client,
    explain,
    query::{Show, ShowArguments},
    target::CertificateInstance,
};
use crate::output::Output;

const COLUMNS: &str = "{Name:name, Verified:properties.isVerified, Subject:properties.subject, \
                       Expiry:properties.expiry, Thumbprint:properties.thumbprint}";
const LIST_COLUMNS: &str = "value[].{Name:name, Verified:properties.isVerified, \
                            Subject:properties.subject, Expiry:properties.expiry}";
const CODE_COLUMNS: &str = "{Name:name, VerificationCode:properties.verificationCode}";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Upload a CA certificate.
    #[command(after_help = "\
Example, uploaded as verified:
  dps certificate create --dps-name my-dps-x509 --certificate-name my-root-ca \\
    --path certs/azure-iot-test-only.root.ca.cert.pem --verified true")]
    Create {
        #[command(flatten)]
        name: Name,

        /// PEM or DER file of the certificate.
        #[arg(long, short = 'p', value_name = "FILE")]
        path: PathBuf,

        /// Spare the proof of possession.
        #[arg(
            long,
            short = 'v',
            value_name = "BOOL",
            num_args = 0..=1,
            default_value_t = false,
            default_missing_value = "true",
            value_parser = yes_or_no
        )]
        verified: bool,

        #[command(flatten)]
        common: Common,
    },
    /// List all CA certificates.
    #[command(after_help = "\
Example:
  dps certificate list --dps-name my-dps-x509 \\
    --query \"value[].{Name:name, Verified:properties.isVerified}\" -o table")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one CA certificate.
    #[command(after_help = "\
Example:
  dps certificate show --dps-name my-dps-x509 --certificate-name my-root-ca")]
    Show {
        #[command(flatten)]
        name: Name,

        #[command(flatten)]
        common: Common,
    },
    /// Get a new code for the proof of possession.
    #[command(after_help = "\
Example:
  dps certificate generate-verification-code --dps-name my-dps-x509 \\
    --certificate-name my-root-ca --query properties.verificationCode -o tsv")]
    GenerateVerificationCode {
        #[command(flatten)]
        name: Name,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Common,
    },
    /// Prove possession: upload a certificate for the verification code, signed by the CA.
    #[command(after_help = "\
Example:
  dps certificate verify --dps-name my-dps-x509 --certificate-name my-root-ca \\
    --path certs/verification-code.cert.pem")]
    Verify {
        #[command(flatten)]
        name: Name,

        /// PEM or DER file of the verification certificate, whose common name is the code.
        #[arg(long, short = 'p', value_name = "FILE")]
        path: PathBuf,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Common,
    },
    /// Delete a CA certificate.
    #[command(after_help = "\
Example:
  dps certificate delete --dps-name my-dps-x509 --certificate-name my-root-ca")]
    Delete {
        #[command(flatten)]
        name: Name,

        #[command(flatten)]
        etag: Etag,

        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
pub(crate) struct Name {
    /// Name of the certificate in the instance.
    #[arg(
        long,
        visible_alias = "name",
        short = 'n',
        value_name = "NAME",
        value_parser = NonEmptyStringValueParser::new()
    )]
    certificate_name: String,
}

#[derive(Args)]
pub(crate) struct Etag {
    /// Act only on this version of the certificate [default: the current one].
    #[arg(long, short = 'e', value_name = "ETAG")]
    etag: Option<String>,
}

#[derive(Args)]
pub(crate) struct Common {
    #[command(flatten)]
    instance: CertificateInstance,

    #[command(flatten)]
    show: ShowArguments,
}

pub(crate) async fn run(command: Command, output: &Output) -> Result<(), Error> {
    match command {
        Command::Create { name, path, verified, common } => {
            let certificate = certificate_file::read(&path)?;
            let name = name.certificate_name;
            let (client, show) = common.open(output, COLUMNS)?;
            match client.create_certificate(&name, &certificate, verified).await {
                Ok(response) => show.response(response),
                Err(error) => {
                    Err(explain::certificate_not_created(&client, &name, &certificate, error).await)
                }
            }
        }
        Command::List { common } => {
            let (client, show) = common.open(output, LIST_COLUMNS)?;
            show.list(client.list_certificates().await?.body, "certificates")
        }
        Command::Show { name, common } => {
            let name = name.certificate_name;
            let (client, show) = common.open(output, COLUMNS)?;
            let found = client.certificate(&name).await;
            show.response(found.map_err(|error| explain::certificate_not_found(&name, error))?)
        }
        Command::GenerateVerificationCode { name, etag, common } => {
            let name = name.certificate_name;
            let (client, show) = common.open(output, CODE_COLUMNS)?;
            let etag = etag.or_current(&client, &name).await?;
            let code = client.generate_verification_code(&name, &etag).await;
            show.response(code.map_err(|error| explain::certificate_not_found(&name, error))?)
        }
        Command::Verify { name, path, etag, common } => {
            let proof = certificate_file::read(&path)?;
            let name = name.certificate_name;
            let (client, show) = common.open(output, COLUMNS)?;
            let etag = etag.or_current(&client, &name).await?;
            let verified = client.verify_certificate(&name, &proof, &etag).await;
            show.response(
                verified.map_err(|error| explain::possession_not_proved(&name, &proof, error))?,
            )
        }
        Command::Delete { name, etag, common } => {
            let name = name.certificate_name;
            let (client, _) = common.open(output, COLUMNS)?;
            let etag = etag.or_current(&client, &name).await?;
            client
                .delete_certificate(&name, &etag)
                .await
                .map_err(|error| explain::certificate_not_found(&name, error))
        }
    }
}

/// In any letter case, as the other values.
fn yes_or_no(text: &str) -> Result<bool, std::str::ParseBoolError> {
    text.to_ascii_lowercase().parse()
}

impl Common {
    fn open<'a>(self, output: &'a Output, columns: &str) -> Result<(Client, Show<'a>), Error> {
        let show = self.show.open(output, columns)?;
        Ok((self.instance.open()?, show))
    }
}

impl Etag {
    /// Azure's management plane demands one for each change; `az` makes the user look it up.
    async fn or_current(self, client: &Client, name: &str) -> Result<String, Error> {
        if let Some(etag) = self.etag {
            return Ok(etag);
        }
        let found = client.certificate(name).await;
        let found = found.map_err(|error| explain::certificate_not_found(name, error))?;
        found.body["etag"].as_str().map(str::to_owned).ok_or_else(|| {
            let message = format!("certificate {name} was answered without an etag");
            Error::new(ErrorKind::ProtocolViolation, message)
        })
    }
}
