//! A file that holds one certificate.

use std::path::Path;

use dps_core::{
    Error, ErrorKind, Source,
    chain::{self, Certificate},
    doctor::{Check, Doctor},
};

use super::api::Kind;

/// Reads the one certificate of a PEM or DER file.
pub(super) fn read(path: &Path) -> Result<Certificate, Error> {
    Source::file(path).parse(|bytes| {
        let mut certificates = chain::certificates_from_pem(bytes)?;
        match (certificates.pop(), certificates.len()) {
            (Some(only), 0) => Ok(only),
            (_, others) => Err(Error::new(
                ErrorKind::WrongFileContent,
                format!("one certificate was expected, but there are {}", others + 1),
            )
            .with_hint("Give the file of the one certificate, not that of a chain.")),
        }
    })
}

/// What the doctor says of a device's certificate in a group, or of a CA's in an individual
/// enrollment. The service takes both, and then lets nobody in.
pub(super) fn misplaced(kind: Kind, certificate: &Certificate) -> Result<Option<String>, Error> {
    let pem = certificate.to_pem();
    let doctor = Doctor::new().certificate(pem.clone());
    let report = match kind {
        Kind::Group => doctor.group_certificate(pem),
        Kind::Individual => doctor.individual_certificate(pem),
    }
    .offline()?;
    let found = report.findings().iter().find(|found| found.check() == Check::WrongEnrollment);
    Ok(found.map(|found| format!("{} {} {}", found.check().id(), found.evidence(), found.fix())))
}
