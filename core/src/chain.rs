//! X.509 certificate chains: read, ordered, checked and made.

mod authority;
mod batch;
mod certificate;
mod check;
mod devices;
mod extensions;
mod folder;
mod inspect;
mod order;
#[cfg_attr(not(feature = "encrypted-keys"), path = "chain/pkcs12_left_out.rs")]
pub(crate) mod pkcs12;
mod request;
mod text;
mod validity;
mod verify;

use std::{path::Path, time::SystemTime};

use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

pub use self::{
    authority::{Authority, SubjectKey},
    batch::{Batch, Outcome},
    certificate::{Certificate, Issues, PublicKeyType},
    devices::{CsvRegistrationIds, RegistrationIdRange, check_distinct, registration_ids_from_csv},
    folder::Folder,
    inspect::Inspection,
    request::CertificateRequest,
    text::{c_string, java_string},
    validity::Validity,
    verify::{Verification, verify},
};
pub(crate) use self::{
    check::{moment, text as date},
    verify::ends_below,
};
use crate::{
    error::{Error, ErrorKind, Result},
    key::{Passphrase, PrivateKey},
    pem::{self, Der},
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
    /// Reads a PEM or DER file, such as the tutorial's `device-01-full-chain.cert.pem`.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_pem(&pem::read(path)?).map_err(|error| error.in_context(path.display()))
    }

    /// Reads PEM text: one certificate or more, in any order; or one certificate in DER.
    ///
    /// The order becomes leaf first. A certificate that stands twice is dropped with a warning;
    /// one that is not on the path from the leaf is an error, and so is a gap in the path.
    pub fn from_pem(bytes: &[u8]) -> Result<Self> {
        let (certificates, mut warnings) = read(bytes)?;
        let mut chain = order::order(certificates)?;
        chain.warnings.append(&mut warnings);
        Ok(chain)
    }

    /// Takes the certificates of a PKCS#12 (PFX) file, under the same rules as
    /// [`from_pem`](Self::from_pem). A file without a MAC is refused.
    pub fn from_pkcs12(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Self> {
        order::order(pkcs12::read(bytes, passphrase)?.certificates)
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

    /// Reads a chain in any form that may hold one: PEM, DER or PKCS#12.
    pub fn from_any_form(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Self> {
        match Der::detect(bytes) {
            Some(Der::Pkcs12) => Self::from_pkcs12(bytes, passphrase),
            _ => Self::from_pem(bytes),
        }
    }

    /// The chain and the leaf's key as a PKCS#12 (PFX) file: the C# sample's input, and what the
    /// Windows certificate store imports.
    pub fn to_pkcs12(
        &self,
        key: &PrivateKey,
        passphrase: &Passphrase,
    ) -> Result<Zeroizing<Vec<u8>>> {
        if self.leaf().public_key_info() != key.public_key_info() {
            return Err(Error::new(
                ErrorKind::KeyMismatch,
                format!("the private key does not belong to {:?}", self.leaf().subject()),
            ));
        }
        pkcs12::write(&self.certificates, key, passphrase)
    }

    pub(crate) fn to_der(&self) -> Vec<CertificateDer<'static>> {
        self.certificates.iter().map(|certificate| certificate.der().to_vec().into()).collect()
    }
}

/// Reads every certificate of a PEM text, in the order of the text; or one certificate in DER.
pub fn certificates_from_pem(bytes: &[u8]) -> Result<Vec<Certificate>> {
    read(bytes).map(|(certificates, _)| certificates)
}

/// Reads every certificate of a file in PEM, DER or PKCS#12, in the order of the file.
pub fn certificates_from_file(
    path: impl AsRef<Path>,
    passphrase: Option<&Passphrase>,
) -> Result<Vec<Certificate>> {
    let path = path.as_ref();
    let certificates = read_any(&pem::read(path)?, passphrase);
    certificates
        .map(|(certificates, _)| certificates)
        .map_err(|error| error.in_context(path.display()))
}

/// The chain and the key of a PKCS#12 file.
pub(crate) fn from_pkcs12(
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(CertificateChain, PrivateKey)> {
    // One that is cut off is damaged, and nothing else.
    let damaged = || Der::detect(bytes).is_none() && bytes.first() == Some(&0x30);
    if Der::detect(bytes) != Some(Der::Pkcs12) && !damaged() {
        return Err(Error::new(
            ErrorKind::WrongFileContent,
            format!("a PKCS#12 (PFX) file was expected, but this is {}", pem::describe(bytes)),
        )
        .with_hint("With PEM or DER, give the file of the private key too."));
    }
    let mut contents = pkcs12::read(bytes, passphrase)?;
    let certificates = std::mem::take(&mut contents.certificates);
    Ok((order::order(certificates)?, contents.into_key()?))
}

/// The certificates of a file in any form that may hold some, and what had to be undone.
pub(crate) fn read_any(
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<(Vec<Certificate>, Vec<String>)> {
    match Der::detect(bytes) {
        Some(Der::Pkcs12) => {
            let certificates = pkcs12::read(bytes, passphrase)?.certificates;
            if certificates.is_empty() {
                return Err(Error::new(
                    ErrorKind::WrongFileContent,
                    "the PKCS#12 file holds no certificate",
                ));
            }
            Ok((certificates, Vec::new()))
        }
        _ => read(bytes),
    }
}

/// The certificates, and what had to be undone before they could be read.
fn read(bytes: &[u8]) -> Result<(Vec<Certificate>, Vec<String>)> {
    if Der::detect(bytes) == Some(Der::Certificate) {
        return Ok((vec![Certificate::from_der(bytes)?], Vec::new()));
    }
    let parsed = pem::parse(bytes)
        .map_err(|damage| Error::new(ErrorKind::CertificateMalformed, damage.to_string()))?;
    let mut certificates = Vec::new();
    for (index, block) in parsed.blocks.iter().enumerate() {
        if !matches!(
            block.label.as_str(),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        ) {
            continue;
        }
        let der = match block.label.as_str() {
            // After the certificate openssl writes what it trusts it for.
            "TRUSTED CERTIFICATE" => pem::first_element(&block.der),
            _ => &block.der,
        };
        let certificate = Certificate::from_der(der)
            .map_err(|error| error.in_context(format_args!("PEM block {}", index + 1)))?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        let holds_key = parsed.blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY"));
        let error = Error::new(
            ErrorKind::WrongFileContent,
            format!("certificates were expected, but this is {}", pem::describe(bytes)),
        );
        return Err(match holds_key {
            true => error.with_hint("The certificate file and the key file may have been swapped."),
            false => error,
        });
    }
    let warnings = parsed.pasted.iter().map(|what| {
        format!("the text was not as PEM should be, and was understood all the same: {what}")
    });
    Ok((certificates, warnings.collect()))
}
