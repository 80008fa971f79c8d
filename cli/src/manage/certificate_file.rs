//! A file that holds one certificate.

use std::path::Path;

use dps_core::{
    Error, ErrorKind,
    chain::{self, Certificate},
};

/// The first byte of every DER certificate: a SEQUENCE.
const DER: u8 = 0x30;

/// Reads the one certificate of a PEM or DER file.
pub(super) fn read(path: &Path) -> Result<Certificate, Error> {
    let named = |kind, what: &dyn std::fmt::Display| {
        Error::new(kind, format!("{}: {what}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| named(ErrorKind::FileNotReadable, &error))?;
    let in_file = |error: Error| {
        let told = named(error.kind(), &error.message());
        match error.hint() {
            Some(hint) => told.with_hint(hint),
            None => told,
        }
    };
    if bytes.first() == Some(&DER)
        && let Ok(certificate) = Certificate::from_der(&bytes)
    {
        return Ok(certificate);
    }
    let mut certificates = chain::certificates_from_pem(&bytes).map_err(in_file)?;
    match (certificates.pop(), certificates.len()) {
        (Some(only), 0) => Ok(only),
        (_, others) => {
            let what = format!("one certificate was expected, but there are {}", others + 1);
            Err(named(ErrorKind::WrongFileContent, &what)
                .with_hint("Give the file of the one certificate, not that of a chain."))
        }
    }
}
