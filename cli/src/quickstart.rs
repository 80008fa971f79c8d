//! `dps quickstart`: the whole tutorial for two devices, in one process, against the emulator.

use std::{
    io::{IsTerminal, stderr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use dps_core::{
    Assignment, Credential, Error, ErrorKind, Message, ProvisioningClient, RegistrationId,
    chain::{Authority, Certificate, Folder, Validity},
    key::{KeyType, Passphrase, PrivateKey},
    tls::Roots,
    transport::Network,
};
use dps_emulator::Emulator;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::task;

use crate::{
    chain::{DeviceIssuer, INTERMEDIATE_NAME, Maker, ROOT_NAME},
    emulator::failure,
    interrupt,
    manage::{api::Kind, client::Client},
    output::{Output, io_error, table},
};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  dps quickstart --dir tutorial")]
pub(crate) struct Arguments {
    /// Keep the certificates and keys in this folder [default: a temporary one]
    #[arg(long)]
    dir: Option<PathBuf>,
}

const DEVICES: [&str; 2] = ["device-01", "device-02"];
const GROUP: &str = "my-device-group";
const ROOT_CERTIFICATE: &str = "my-root-ca";

/// The tutorial's passphrase for its test-only CA keys.
const PASSPHRASE: &str = "1234";

/// Ends early, by a signal, as it ends in time: a temporary folder goes, with the keys in it.
pub(crate) async fn run(arguments: Arguments, output: &Output) -> Result<ExitCode, Error> {
    let interrupted = interrupt::caught()?;
    tokio::select! {
        done = tutorial(arguments, output) => done.map(|()| ExitCode::SUCCESS),
        // As a shell tells that a signal ended a command.
        signal = interrupted => Ok(ExitCode::from(128 + signal?)),
    }
}

async fn tutorial(arguments: Arguments, output: &Output) -> Result<(), Error> {
    let temporary = match arguments.dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|error| io_error("a temporary folder", &error))?),
    };
    let dir = match (&arguments.dir, &temporary) {
        (Some(dir), _) => dir.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => Path::new("."),
    };

    output.line("Create an X.509 certificate chain")?;
    let maker = Maker::new(Folder::new(dir));
    check_free(&maker)?;
    let chain = make_chain(&maker).await?;
    for certificate in [&chain.root, &chain.intermediate] {
        output.line(format!("  {}", certificate.subject()))?;
    }
    for device in DEVICES {
        output.line(format!("  CN={device}"))?;
    }
    if arguments.dir.is_some() {
        output.line(format!("  kept in {} (CA keys: passphrase {PASSPHRASE})", dir.display()))?;
    }

    let emulator = Emulator::builder().start().await.map_err(|error| failure(&error))?;
    output.line(format!(
        "\nThe emulator is ready on {}, ID scope {}",
        emulator.connect_to(),
        emulator.id_scope()
    ))?;
    let network =
        Network::default().connect_to(emulator.connect_to()).roots(Roots::pem(emulator.root_pem()));
    let dps = Client::login(&emulator.connection_string(), network.clone())?;
    enroll(&dps, &chain, output).await?;

    output.line("\nProvision the devices")?;
    let (first, second) = tokio::join!(
        provision(DEVICES[0], dir, emulator.id_scope(), &network),
        provision(DEVICES[1], dir, emulator.id_scope(), &network),
    );
    let assignments = [first?, second?];
    for assignment in &assignments {
        output.line(format!(
            "  Registration Information received from service: {}, deviceId: {}",
            assignment.assigned_hub(),
            assignment.device_id()
        ))?;
    }

    let seen = read_back(&dps, &emulator, &network, &assignments).await?;
    seen.print(output)?;
    emulator.stop().await;
    Ok(())
}

/// The certificates that the service is told of.
struct Chain {
    root: Certificate,
    intermediate: Certificate,
}

/// Somebody's keys may be in the folder: that is said before new ones are made.
fn check_free(maker: &Maker) -> Result<(), Error> {
    let found = maker
        .ca_files(Folder::ROOT, false)
        .and_then(|_| maker.ca_files(Folder::INTERMEDIATE, true))
        .and_then(|_| DEVICES.iter().try_for_each(|device| maker.device_files(device).map(drop)));
    found.map_err(|error| {
        error.with_hint("Each run makes everything anew: give another folder by --dir, or none.")
    })
}

/// RSA-4096 keys, new at each run and made on all cores, in the tutorial's files.
async fn make_chain(maker: &Maker) -> Result<Chain, Error> {
    let progress = match stderr().is_terminal() {
        true => ProgressBar::new(2 + DEVICES.len() as u64),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("  making RSA-4096 keys {wide_bar} {pos}/{len}")
    {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(100));
    let making: Vec<_> = (0..2 + DEVICES.len())
        .map(|_| {
            let progress = progress.clone();
            task::spawn_blocking(move || {
                let key = PrivateKey::generate(KeyType::TUTORIAL);
                progress.inc(1);
                key.map(Arc::new)
            })
        })
        .collect();
    let mut keys = Vec::new();
    for key in making {
        let key = key.await.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        keys.push(key?);
    }
    progress.finish_and_clear();

    let passphrase = Passphrase::new(PASSPHRASE);
    let validity = Validity::days(Validity::TUTORIAL_DAYS);
    let mut keys = keys.into_iter();
    let mut next =
        || keys.next().ok_or_else(|| Error::new(ErrorKind::Internal, "a key is missing"));

    let (root_key, intermediate_key) = (next()?, next()?);
    let root = Authority::create_root(ROOT_NAME, Arc::clone(&root_key), validity)?;
    let files = maker.ca_files(Folder::ROOT, false)?;
    maker.write_ca(&files, &root, ROOT_NAME, &root_key, &passphrase)?;
    let intermediate =
        root.create_intermediate(INTERMEDIATE_NAME, Arc::clone(&intermediate_key), validity)?;
    let files = maker.ca_files(Folder::INTERMEDIATE, true)?;
    maker.write_ca(&files, &intermediate, INTERMEDIATE_NAME, &intermediate_key, &passphrase)?;
    let chain = maker.chain_from(intermediate.certificate())?;
    let issuer = DeviceIssuer { authority: intermediate, chain };
    for device in DEVICES {
        maker.device(&RegistrationId::parse(device)?, &issuer, &next()?, validity)?;
    }
    let intermediate = issuer.authority.certificate().clone();
    Ok(Chain { root: root.certificate().clone(), intermediate })
}

/// The root is uploaded and verified, and a group is made for the intermediate.
async fn enroll(dps: &Client, chain: &Chain, output: &Output) -> Result<(), Error> {
    output.line("\nVerify ownership of the root certificate")?;
    dps.create_certificate(ROOT_CERTIFICATE, &chain.root, true).await?;
    output.line(format!("  {ROOT_CERTIFICATE}: Verified"))?;

    output.line("\nCreate an enrollment group")?;
    let group = json!({
        "enrollmentGroupId": GROUP,
        "attestation": {
            "type": "x509",
            "x509": {
                "signingCertificates": { "primary": { "certificate": chain.intermediate.to_pem() } }
            }
        },
        "provisioningStatus": "enabled",
    });
    dps.create_enrollment(Kind::Group, GROUP, &group).await?;
    output.line(format!("  {GROUP}: enabled, {}", chain.intermediate.subject()))
}

/// What the tutorial's device does: register, connect, send.
async fn provision(
    device: &str,
    dir: &Path,
    id_scope: &str,
    network: &Network,
) -> Result<Assignment, Error> {
    let folder = Folder::new(dir);
    let identity = Credential::pem_files(folder.full_chain(device), folder.key(device)).open()?;
    let assignment =
        ProvisioningClient::new(id_scope, &identity).network(network.clone()).register().await?;
    let hub = assignment.connect(&identity).await?;
    hub.send(Message::from(format!("Hello from {device}"))).await?;
    hub.close(Duration::from_secs(10)).await?;
    Ok(assignment)
}

/// What the service has, read through its management API.
struct Seen {
    telemetry: Vec<(String, Value)>,
    registrations: Vec<Value>,
    devices: Vec<(String, Value)>,
}

async fn read_back(
    dps: &Client,
    emulator: &Emulator,
    network: &Network,
    assignments: &[Assignment],
) -> Result<Seen, Error> {
    let mut seen = Seen {
        telemetry: Vec::new(),
        registrations: rows(dps.list_registrations(GROUP, None).await?),
        devices: Vec::new(),
    };
    for name in emulator.hubs() {
        let hub = Client::login(&emulator.hub_connection_string(name), network.clone())?;
        for device in rows(hub.list_devices(100).await?) {
            seen.devices.push((name.clone(), device));
        }
        for assignment in assignments.iter().filter(|a| a.assigned_hub() == name) {
            let received = hub.list_messages(assignment.device_id()).await?;
            for message in rows(received["messages"].clone()) {
                seen.telemetry.push((assignment.device_id().to_owned(), message));
            }
        }
    }
    Ok(seen)
}

impl Seen {
    fn print(&self, output: &Output) -> Result<(), Error> {
        if output.is_json() {
            let tagged = |name: &str, rows: &[(String, Value)]| -> Vec<Value> {
                rows.iter()
                    .map(|(tag, row)| {
                        let mut row = row.clone();
                        row[name] = json!(tag);
                        row
                    })
                    .collect()
            };
            return output.json(&json!({
                "telemetry": tagged("deviceId", &self.telemetry),
                "registrations": self.registrations,
                "devices": tagged("hub", &self.devices),
            }));
        }
        output.line("\nTelemetry received\n")?;
        let telemetry: Vec<_> = self
            .telemetry
            .iter()
            .map(|(device, message)| {
                vec![device.clone(), text(&message["enqueuedTimeUtc"]), text(&message["body"])]
            })
            .collect();
        output.line(table(&["DeviceId", "EnqueuedTimeUtc", "Body"], &telemetry))?;

        output.line(format!("\nRegistration records of {GROUP}\n"))?;
        let registrations: Vec<_> = self
            .registrations
            .iter()
            .map(|record| {
                ["registrationId", "assignedHub", "deviceId", "status", "createdDateTimeUtc"]
                    .map(|field| text(&record[field]))
                    .to_vec()
            })
            .collect();
        output.line(table(
            &["RegistrationId", "AssignedHub", "DeviceId", "Status", "CreatedDateTimeUtc"],
            &registrations,
        ))?;

        output.line("\nDevices of the hub\n")?;
        let devices: Vec<_> = self
            .devices
            .iter()
            .map(|(hub, device)| {
                vec![hub.clone(), text(&device["deviceId"]), text(&device["status"])]
            })
            .collect();
        output.line(table(&["Hub", "DeviceId", "Status"], &devices))
    }
}

fn rows(value: Value) -> Vec<Value> {
    match value {
        Value::Array(rows) => rows,
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
