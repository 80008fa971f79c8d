//! `dps register`: one registration, and optionally one message to the assigned hub.

use std::{path::PathBuf, time::Duration};

use dps_core::{
    Assignment, Credential, Error, ErrorKind, Identity, ProvisioningClient,
    provisioning::{GLOBAL_HOST, Progress},
    tls::Roots,
    transport::Network,
};
use serde_json::{Value, json};

use crate::{output::Output, passphrase::PassphraseSource};

#[derive(clap::Args)]
#[command(after_help = "Example:
  dps register --id-scope 0ne00000A0A --cert certs/device-01-full-chain.cert.pem \\
    --key private/device-01.key.pem --send 'Hello world'")]
pub(crate) struct Arguments {
    /// The ID scope of the DPS instance
    #[arg(long, value_name = "SCOPE")]
    id_scope: String,
    /// The PEM file with the device's full certificate chain
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The PEM file with the private key of the leaf certificate
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The registration ID [default: the common name of the leaf certificate]
    #[arg(long, value_name = "ID")]
    registration_id: Option<String>,
    /// The PEM file with the CA certificates that DPS knows: a gap in the chain is then found
    /// before dialling
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The DPS endpoint
    #[arg(long, default_value = GLOBAL_HOST)]
    host: String,
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
    /// The longest that the registration may take, in seconds
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    deadline: u64,
    /// Send this text to the assigned hub
    #[arg(long, value_name = "TEXT")]
    send: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<(), Error> {
    let identity = arguments.open()?;
    for warning in identity.chain().warnings() {
        output.warning(warning);
    }
    let assignment = arguments.client(&identity, output.is_json())?.register().await?;
    output.line(format!(
        "Registration Information received from service: {}, deviceId: {}",
        assignment.assigned_hub(),
        assignment.device_id()
    ))?;
    if let Some(text) = &arguments.send {
        let hub = assignment.connect(&identity).await?;
        hub.send(text.as_str()).await?;
        hub.close(Duration::from_secs(10)).await?;
        output.line("Message acknowledged by the hub")?;
    }
    output.json(&describe(&assignment, arguments.send.is_some()))
}

impl Arguments {
    /// Asks for a passphrase only where the key turns out to need one.
    fn open(&self) -> Result<Identity, Error> {
        let credential = || {
            let credential = Credential::pem_files(&self.cert, &self.key);
            match &self.ca {
                Some(ca) => credential.authorities_file(ca),
                None => credential,
            }
        };
        match credential().open() {
            Err(error) if error.kind() == ErrorKind::PassphraseRequired => {
                let prompt = format!("Passphrase of {}: ", self.key.display());
                // Where none can be had, the first error says it best.
                let Ok(passphrase) = self.passphrase.read(&prompt) else { return Err(error) };
                credential().passphrase(passphrase).open()
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
            .host(&self.host)
            .port(self.port)
            .network(network)
            .deadline(Duration::from_secs(self.deadline));
        if let Some(registration_id) = &self.registration_id {
            client = client.registration_id(registration_id);
        }
        if let Some(payload) = &self.payload {
            client = client.payload(serde_json::from_str(payload).map_err(|error| {
                Error::new(ErrorKind::InvalidArgument, format!("--payload is not JSON: {error}"))
            })?);
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
