//! X.509 certificate chains: read, ordered, checked and made.

mod authority;
mod certificate;
mod check;
mod folder;
mod order;

use std::{path::Path, time::SystemTime};

use rustls_pki_types::CertificateDer;

pub use self::{
    authority::{Authority, SubjectKey, Validity},
    certificate::{Certificate, Issues, PublicKeyType},
    folder::Folder,
};
use crate::{
    error::{Error, ErrorKind, Result},
    pem,
};

/// A device's certificates, leaf first, each followed by its issuer.
///
/// The last one is a root, or the highest certificate that was given.
#[derive(Clone, Debug)]
pub struct CertificateChain {
    certificates: Vec<Certificate>,
    warnings: Vec<String>,
}

impl CertificateChain {
    /// Reads a PEM file, such as the tutorial's `device-01-full-chain.cert.pem`.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_pem(&pem::read(path)?).map_err(|error| error.in_context(path.display()))
    }

    /// Reads PEM text: one certificate or more, in any order.
    ///
    /// The order becomes leaf first. A certificate that stands twice is dropped with a warning;
    /// one that is not on the path from the leaf is an error, and so is a gap in the path.
    pub fn from_pem(bytes: &[u8]) -> Result<Self> {
        order::order(certificates_from_pem(bytes)?)
    }

    /// Takes certificates in DER, in any order, under the same rules as [`from_pem`](Self::from_pem).
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Result<Self> {
        let parsed: Result<Vec<_>> =
            certificates.into_iter().map(|der| Certificate::from_der(&der)).collect();
        order::order(parsed?)
    }

    /// The device's own certificate.
    pub fn leaf(&self) -> &Certificate {
        // `order` never lets an empty chain through.
        &self.certificates[0]
    }

    /// The highest certificate of the chain: the root, where the chain has one.
    pub fn top(&self) -> &Certificate {
        self.certificates.last().unwrap_or_else(|| self.leaf())
    }

    /// All certificates, leaf first.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// What was tolerated while reading, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Fails with the first certificate, from the leaf upward, that is not valid at `now`.
    pub fn check_validity(&self, now: SystemTime) -> Result<()> {
        self.certificates.iter().try_for_each(|certificate| check::validity(certificate, now))
    }

    /// Fails unless the chain reaches one of `authorities`: the CA certificates that DPS knows.
    ///
    /// The error names the issuer whose certificate is missing.
    pub fn check_reaches(&self, authorities: &[Certificate]) -> Result<()> {
        check::reaches(self, authorities)
    }

    /// The chain as PEM, leaf first.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(Certificate::to_pem).collect()
    }

    pub(crate) fn to_der(&self) -> Vec<CertificateDer<'static>> {
        self.certificates.iter().map(|certificate| certificate.der().to_vec().into()).collect()
    }
}

/// Reads every certificate of a PEM text, in the order of the text.
pub fn certificates_from_pem(bytes: &[u8]) -> Result<Vec<Certificate>> {
    let blocks = pem::parse(bytes)
        .map_err(|damage| Error::new(ErrorKind::CertificateMalformed, damage.to_string()))?;
    let mut certificates = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        if !matches!(
            block.label.as_str(),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        ) {
            continue;
        }
        let certificate = Certificate::from_der(&block.der)
            .map_err(|error| error.in_context(format_args!("PEM block {}", index + 1)))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        let holds_key = blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY"));
        let error = Error::new(
            ErrorKind::WrongFileContent,
            format!("PEM certificates were expected, but this is {}", pem::describe(bytes)),
        );
        return Err(match holds_key {
            true => error.with_hint("The certificate file and the key file may have been swapped."),
            false => error,
        });
    }
    Ok(certificates)
}
