//! `dps register`: one registration, and optionally one message to the assigned hub.

use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dps_core::{
    Assignment, Credential, Error, ErrorKind, Identity, ProvisioningClient, RegistrationId,
    provisioning::{GLOBAL_HOST, Progress},
    tls::Roots,
    transport::{Host, Network},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    output::Output,
    passphrase::{PassphraseSource, first_line},
};

/// The environment variable that holds the device's symmetric key.
const SYMMETRIC_KEY: &str = "DPS_SYMMETRIC_KEY";

#[derive(clap::Args)]
#[command(after_help = "Example, with a certificate:
  dps register --id-scope 0ne00000A0A --cert certs/device-01-full-chain.cert.pem \\
    --key private/device-01.key.pem --send 'Hello world'

Example, with a PFX file that holds both:
  dps register --id-scope 0ne00000A0A --cert device-01.pfx --passphrase-file device-01.pass

Example, with a symmetric key:
  dps register --id-scope 0ne00000A0A --registration-id device-01 \\
    --symmetric-key-file device-01.key")]
pub(crate) struct Arguments {
    /// The ID scope of the DPS instance
    #[arg(long, value_name = "SCOPE")]
    id_scope: String,
    /// The file with the device's full certificate chain, in PEM or DER; or the PKCS#12 (PFX) file
    /// with the chain and its key
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The file with the private key of the leaf certificate [default: the key in the PKCS#12 file]
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The file with the device's symmetric key in base64 [else, without --cert: the environment
    /// variable DPS_SYMMETRIC_KEY]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert", "key"])]
    symmetric_key_file: Option<PathBuf>,
    /// The file with the symmetric key of the device's enrollment group in base64, from which its
    /// own is derived
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert", "key", "symmetric_key_file"])]
    group_key_file: Option<PathBuf>,
    /// The registration ID; with a symmetric key it must be given [default: the common name of the
    /// leaf certificate]
    #[arg(long, value_name = "ID", value_parser = RegistrationId::parse)]
    registration_id: Option<RegistrationId>,
    /// The PEM file with the CA certificates that DPS knows: a gap in the chain is then found
    /// before dialling
    #[arg(
        long,
        value_name = "FILE",
        requires = "cert",
        conflicts_with_all = ["symmetric_key_file", "group_key_file"]
    )]
    ca: Option<PathBuf>,
    /// The DPS endpoint
    #[arg(long, default_value = GLOBAL_HOST, value_parser = Host::parse)]
    host: Host,
    /// The port of the DPS endpoint
    #[arg(long, default_value_t = 8883)]
    port: u16,
    /// Where to connect to instead, while the names stay the real ones [env: DPS_CONNECT_TO]
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<String>,
    /// The PEM file with the roots that the server's certificate must lead to [env: SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// What a custom allocation policy is to know about the device, as JSON
    #[arg(long, value_name = "JSON")]
    payload: Option<String>,
    /// The longest that all of it may take, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    deadline: u64,
    /// Send this text to the assigned hub
    #[arg(long, value_name = "TEXT")]
    send: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<(), Error> {
    let identity = arguments.open()?;
    let deadline = Instant::now().checked_add(Duration::from_secs(arguments.deadline));
    let left = || match deadline {
        Some(deadline) => deadline.saturating_duration_since(Instant::now()),
        None => Duration::MAX,
    };
    let assignment = arguments.client(&identity, output.is_json())?.register().await?;
    output.line(format!(
        "Registration Information received from service: {}, deviceId: {}",
        assignment.assigned_hub(),
        assignment.device_id()
    ))?;
    if let Some(text) = &arguments.send {
        let hub = assignment.hub(&identity).deadline(left()).connect().await?;
        // A message that was sent is on its way all the same: closing says what became of it.
        let sent = tokio::time::timeout(left(), hub.send(text.as_str())).await;
        hub.close(left()).await?;
        sent.unwrap_or_else(|_| Err(too_late(arguments.deadline)))?;
        output.line("Message acknowledged by the hub")?;
    }
    output.json(&describe(&assignment, arguments.send.is_some()))
}

impl Arguments {
    fn open(&self) -> Result<Identity, Error> {
        if let Some(cert) = &self.cert {
            return self.open_certificate(cert);
        }
        let (file, credential): (_, fn(&str, &str) -> Credential) =
            match (&self.group_key_file, &self.symmetric_key_file) {
                (Some(file), _) => (Some(file), |id, key| Credential::group_key(id, key)),
                (None, file) => (file.as_ref(), |id, key| Credential::symmetric_key(id, key)),
            };
        let key = match file {
            Some(file) => first_line(file)?,
            None => {
                let key = env::var(SYMMETRIC_KEY).ok().filter(|key| !key.is_empty());
                Zeroizing::new(key.ok_or_else(|| {
                    usage("nothing was given that the device could prove itself by").with_hint(
                        "Give --cert and --key, --cert with a PFX file, --symmetric-key-file or \
                         --group-key-file, or set DPS_SYMMETRIC_KEY.",
                    )
                })?)
            }
        };
        let id = self.registration_id.as_ref().ok_or_else(|| {
            usage("a symmetric key does not tell whose it is: --registration-id is missing")
        })?;
        credential(id.as_str(), key.trim()).open().map_err(|error| match (error.kind(), file) {
            (ErrorKind::KeyMalformed, Some(file)) => error.in_context(file.display()),
            (ErrorKind::KeyMalformed, None) => error.in_context(SYMMETRIC_KEY),
            _ => error,
        })
    }

    /// Asks for a passphrase only where the key turns out to need one.
    fn open_certificate(&self, cert: &Path) -> Result<Identity, Error> {
        let credential = || {
            let credential = match &self.key {
                Some(key) => Credential::pem_files(cert, key),
                None => Credential::pkcs12_file(cert),
            };
            match &self.ca {
                Some(ca) => credential.authorities_file(ca),
                None => credential,
            }
        };
        match credential().open() {
            Err(error) if error.kind() == ErrorKind::PassphraseRequired => {
                let file = self.key.as_deref().unwrap_or(cert).display();
                match self.passphrase.read_if_any(file)? {
                    Some(passphrase) => credential().passphrase(passphrase).open(),
                    None => Err(error.with_hint("Give --passphrase-file or set DPS_PASSPHRASE.")),
                }
            }
            result => result,
        }
    }

    fn client(&self, identity: &Identity, quiet: bool) -> Result<ProvisioningClient, Error> {
        let mut network = Network::default();
        if let Some(connect_to) = &self.connect_to {
            network = network.connect_to(connect_to);
        }
        if let Some(roots) = &self.roots {
            network = network.roots(Roots::pem_file(roots));
        }
        let mut client = ProvisioningClient::new(&self.id_scope, identity)
            .host(self.host.as_str())
            .port(self.port)
            .network(network)
            .deadline(Duration::from_secs(self.deadline));
        if let Some(registration_id) = &self.registration_id {
            client = client.registration_id(registration_id.as_str());
        }
        if let Some(payload) = &self.payload {
            let payload = serde_json::from_str(payload)
                .map_err(|error| usage(&format!("--payload is not JSON: {error}")))?;
            client = client.payload(payload);
        }
        if !quiet {
            client = client.on_progress(|progress| {
                // The same lines as the tutorial's device; a closed pipe shows at the result.
                if let Some(status) = status(progress) {
                    let _ = crate::output::print(&format!("Provisioning Status: {status}"));
                }
            });
        }
        Ok(client)
    }
}

fn usage(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

fn too_late(seconds: u64) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        format!("the hub did not acknowledge the message within {seconds} s of the start"),
    )
    .during("send")
}

fn status(progress: Progress) -> Option<&'static str> {
    match progress {
        Progress::Connected => Some("PROV_DEVICE_REG_STATUS_CONNECTED"),
        Progress::Assigning => Some("PROV_DEVICE_REG_STATUS_ASSIGNING"),
        _ => None,
    }
}

fn describe(assignment: &Assignment, sent: bool) -> Value {
    json!({
        "registrationId": assignment.registration_id(),
        "operationId": assignment.operation_id(),
        "assignedHub": assignment.assigned_hub(),
        "deviceId": assignment.device_id(),
        "substatus": assignment.substatus().map(|substatus| substatus.as_str()),
        "createdDateTimeUtc": assignment.created(),
        "lastUpdatedDateTimeUtc": assignment.last_updated(),
        "etag": assignment.etag(),
        "payload": assignment.payload(),
        "messageAcknowledged": sent,
    })
}
