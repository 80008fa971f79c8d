//! A file that holds one certificate.

use std::path::Path;

use dps_core::{
    Error, ErrorKind, Source,
    chain::{self, Certificate},
};

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
