//! `dps doctor`: what is wrong, said before dialling.

use std::{path::PathBuf, process::ExitCode};

use dps_core::{
    Error, ErrorKind,
    doctor::{self, Doctor, Report},
    provisioning::GLOBAL_HOST,
};

use crate::{USAGE, chain::with_passphrase, output::Output, passphrase::PassphraseSource};

#[derive(clap::Args)]
#[command(after_help = "\
Exit codes: 0 nothing found, 1 warnings, 2 errors, 3 could not run, 64 usage mistake.
Each finding has an ID, which docs/findings explains.

Examples:
  dps doctor --cert certs/device-01-full-chain.cert.pem --key private/device-01.key.pem \\
    --ca certs/azure-iot-test-only.root.ca.cert.pem
  dps doctor --cert chain.pem --key key.pem --wire
  dps doctor --cert chain.pem --key key.pem --register --id-scope 0ne00000A0A
  dps doctor --error '401002 CA certificate not found'")]
pub(crate) struct Arguments {
    /// The device's full chain, in PEM, DER or PKCS#12 (PFX)
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The private key of the leaf certificate [default: the key in the PKCS#12 file]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The CA certificates that are verified in DPS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The certificate that the enrollment group lists
    #[arg(long, value_name = "FILE")]
    group_certificate: Option<PathBuf>,
    /// The certificate that the device's individual enrollment holds
    #[arg(long, value_name = "FILE")]
    individual_certificate: Option<PathBuf>,
    /// The registration ID that the device uses [default: the common name of the leaf certificate]
    #[arg(long, value_name = "ID")]
    registration_id: Option<String>,
    /// Examine the network too: DNS, ports 8883 and 443, TLS, WebSocket, clocks
    #[arg(long)]
    wire: bool,
    /// Examine the network, and register the device
    #[arg(long, requires = "id_scope")]
    register: bool,
    /// The ID scope of the DPS instance, for --register
    #[arg(long, value_name = "SCOPE")]
    id_scope: Option<String>,
    /// The DPS endpoint
    #[arg(long, default_value = GLOBAL_HOST)]
    host: String,
    /// Where to connect to instead, while the names stay the real ones [env: DPS_CONNECT_TO]
    #[arg(long, value_name = "HOST:PORT")]
    connect_to: Option<String>,
    /// The roots that the server's certificate must lead to [env: SSL_CERT_FILE]
    #[arg(long, value_name = "FILE")]
    roots: Option<PathBuf>,
    /// Explain an error of the service, or of this SDK, instead
    #[arg(long, value_name = "TEXT", value_parser = words, conflicts_with_all = [
        "cert", "key", "ca", "group_certificate", "individual_certificate", "registration_id",
        "wire", "register", "id_scope", "host", "connect_to", "roots", "passphrase_file",
    ])]
    error: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

fn words(text: &str) -> Result<String, &'static str> {
    match text.trim().is_empty() {
        true => Err("there is nothing to explain"),
        false => Ok(text.to_owned()),
    }
}

/// A doctor that could not run has an exit code of its own.
const COULD_NOT_RUN: u8 = 3;

pub(crate) async fn run(arguments: Arguments, output: &Output) -> ExitCode {
    let printed = match arguments.examine().await {
        Ok(report) => print(&report, output).map(|()| report.exit_code()),
        Err(error) => Err(error),
    };
    ExitCode::from(printed.unwrap_or_else(|error| {
        output.error(&error);
        match error.kind() {
            ErrorKind::InvalidArgument => USAGE,
            _ => COULD_NOT_RUN,
        }
    }))
}

fn print(report: &Report, output: &Output) -> Result<(), Error> {
    output.line(report.to_string())?;
    output.json(&report.to_json())
}

impl Arguments {
    async fn examine(&self) -> Result<Report, Error> {
        if let Some(text) = &self.error {
            return Ok(doctor::decode(text));
        }
        let doctor = with_passphrase(self.doctor(), &self.passphrase)?;
        match (self.register, self.wire) {
            (true, _) => doctor.service().await,
            (false, true) => doctor.wire().await,
            (false, false) => doctor.offline(),
        }
    }

    fn doctor(&self) -> Doctor {
        type Give<T> = fn(Doctor, T) -> Doctor;
        let files: [(&Option<PathBuf>, Give<&PathBuf>); 6] = [
            (&self.cert, |doctor, path| doctor.certificate_file(path)),
            (&self.key, |doctor, path| doctor.key_file(path)),
            (&self.ca, |doctor, path| doctor.authorities_file(path)),
            (&self.group_certificate, |doctor, path| doctor.group_certificate_file(path)),
            (&self.individual_certificate, |doctor, path| doctor.individual_certificate_file(path)),
            (&self.roots, |doctor, path| doctor.roots_file(path)),
        ];
        let texts: [(&Option<String>, Give<&String>); 3] = [
            (&self.registration_id, |doctor, text| doctor.registration_id(text)),
            (&self.id_scope, |doctor, text| doctor.id_scope(text)),
            (&self.connect_to, |doctor, text| doctor.connect_to(text)),
        ];
        let mut doctor = Doctor::new().host(&self.host);
        for (path, give) in files {
            if let Some(path) = path {
                doctor = give(doctor, path);
            }
        }
        for (text, give) in texts {
            if let Some(text) = text {
                doctor = give(doctor, text);
            }
        }
        doctor
    }
}
