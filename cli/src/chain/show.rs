//! `dps chain inspect` and `dps chain verify`.

use std::{path::PathBuf, time::SystemTime};

use clap::Args;
use dps_core::{
    Error, ErrorKind,
    chain::{Certificate, Inspection},
    doctor::{Doctor, Severity},
    key::Passphrase,
};

use super::read_file;
use crate::{output::Output, passphrase::PassphraseSource};

#[derive(Args)]
pub(crate) struct InspectArguments {
    /// PEM, DER or PKCS#12 files; several are shown as one tree
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

#[derive(Args)]
pub(crate) struct VerifyArguments {
    /// The chain, in PEM, DER or PKCS#12
    #[arg(value_name = "FILE")]
    chain: PathBuf,
    /// A CA certificate that DPS knows: the verified root, or the enrollment group's own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The private key that must be the leaf's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(super) fn inspect(arguments: &InspectArguments, output: &Output) -> Result<(), Error> {
    let now = SystemTime::now();
    let mut certificates: Vec<Certificate> = Vec::new();
    for file in &arguments.files {
        let bytes = read_file(file)?;
        let read = |passphrase: Option<&Passphrase>| {
            Inspection::new(&bytes, passphrase, now)
                .map_err(|error| error.in_context(file.display()))
        };
        let inspection = match read(None) {
            Err(error) if error.kind() == ErrorKind::PassphraseRequired => {
                let prompt = format!("Passphrase of {}: ", file.display());
                read(Some(&arguments.passphrase.read(&prompt)?))?
            }
            result => result?,
        };
        for note in inspection.notes() {
            output.warning(format!("{}: {note}", file.display()));
        }
        for certificate in inspection.certificates() {
            if !certificates.contains(certificate) {
                certificates.push(certificate.clone());
            }
        }
    }
    let all = Inspection::of(certificates, now);
    output.line(all.to_string().trim_end())?;
    output.json(&all.to_json())
}

pub(super) fn verify(arguments: &VerifyArguments, output: &Output) -> Result<(), Error> {
    let mut doctor = Doctor::new().certificate_file(&arguments.chain);
    if let Some(key) = &arguments.key {
        doctor = doctor.key_file(key);
    }
    if let Some(ca) = &arguments.ca {
        doctor = doctor.authorities_file(ca);
    }
    let report = with_passphrase(doctor, &arguments.passphrase)?.offline()?;
    for finding in report.findings() {
        output.line(finding.to_string())?;
    }
    output.json(&report.to_json())?;
    let errors = report.findings().iter().filter(|f| f.severity() == Severity::Error).count();
    if errors > 0 {
        return Err(Error::new(
            ErrorKind::ChainBroken,
            format!("{}: the chain does not hold: {errors} errors", arguments.chain.display()),
        ));
    }
    output.line(format!("{}: the chain holds", arguments.chain.display()))
}

/// Asks for a passphrase only where a file turns out to need one.
pub(crate) fn with_passphrase(doctor: Doctor, source: &PassphraseSource) -> Result<Doctor, Error> {
    if !doctor.needs_passphrase() {
        return Ok(doctor);
    }
    // Where none can be had, the doctor's own finding says it best.
    match source.read_if_any("Passphrase of the private key: ")? {
        Some(passphrase) => Ok(doctor.passphrase(passphrase)),
        None => Ok(doctor),
    }
}
