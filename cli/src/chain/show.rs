//! `dps chain inspect` and `dps chain verify`.

use std::{path::PathBuf, time::SystemTime};

use clap::Args;
use dps_core::{
    Error, ErrorKind,
    chain::Inspection,
    doctor::{Doctor, Severity},
};

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
    let read = |file: &PathBuf| match Inspection::file(file, None, now) {
        Err(error) if error.kind() == ErrorKind::PassphraseRequired => {
            Inspection::file(file, Some(&arguments.passphrase.read(file.display())?), now)
        }
        result => result,
    };
    let (first, others) = arguments
        .files
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "there is no file to inspect"))?;
    let mut inspection = read(first)?;
    for file in others {
        inspection = inspection.and(read(file)?);
    }
    output.line(inspection.to_string().trim_end())?;
    output.json(&inspection.to_json())
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
    let count = |severity| report.findings().iter().filter(|f| f.severity() == severity).count();
    let chain = arguments.chain.display();
    if let errors @ 1.. = count(Severity::Error) {
        return Err(Error::new(
            ErrorKind::ChainBroken,
            format!("{chain}: the chain does not hold: {}", several(errors, "error")),
        ));
    }
    output.line(match count(Severity::Warning) {
        0 => format!("{chain}: the chain holds"),
        warnings => format!("{chain}: the chain holds, with {}", several(warnings, "warning")),
    })
}

fn several(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Asks for a passphrase only where a file turns out to need one.
pub(crate) fn with_passphrase(doctor: Doctor, source: &PassphraseSource) -> Result<Doctor, Error> {
    if !doctor.needs_passphrase() {
        return Ok(doctor);
    }
    // Where none can be had, the doctor's own finding says it best.
    match source.read_if_any("the private key")? {
        Some(passphrase) => Ok(doctor.passphrase(passphrase)),
        None => Ok(doctor),
    }
}
