//! One certificate, parsed (RFC 5280).

use std::{fmt, path::Path, sync::LazyLock};

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::{
    asn1_rs::FromDer,
    certificate::X509Certificate,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
        OID_USERID, OID_X509_DN_QUALIFIER, OID_X509_GIVEN_NAME, OID_X509_POSTAL_CODE,
        OID_X509_SERIALNUMBER, OID_X509_STREET_ADDRESS, OID_X509_SURNAME, OID_X509_TITLE, OidEntry,
        OidRegistry,
    },
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{certificates_from_file, certificates_from_pem, extensions::Extensions};
use crate::{
    crypto::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    error::{Error, ErrorKind, Result},
    key::KeyType,
    pem,
    signer::SignatureAlgorithm,
};

/// An X.509 certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    subject: Name,
    issuer: Name,
    serial: Vec<u8>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    public_key_info: Vec<u8>,
    public_key_type: PublicKeyType,
    version: u32,
    signed_with: SignedWith,
    extensions: Extensions,
}

/// The type of a certificate's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublicKeyType {
    /// A type that this crate can sign with.
    Supported(KeyType),
    /// Another type, as an object identifier or a name.
    Other(String),
}

/// How one certificate relates to another as its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issues {
    /// The names differ.
    No,
    /// The names match, but the signature was not made with the issuer's key.
    NameOnly,
    /// The names match and the signature holds.
    Yes,
}

#[derive(Clone, PartialEq, Eq)]
struct Name {
    der: Vec<u8>,
    text: String,
    common_name: Option<String>,
}

impl Certificate {
    /// Reads a DER certificate.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let malformed = |reason: &dyn fmt::Display| {
            Error::new(
                ErrorKind::CertificateMalformed,
                format!("the certificate cannot be parsed: {reason}"),
            )
        };
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&format_args!("{} bytes follow it", rest.len())));
        }
        let key = parsed.public_key();
        Ok(Self {
            der: CertificateDer::from(der.to_vec()),
            subject: Name::new(parsed.subject()),
            issuer: Name::new(parsed.issuer()),
            serial: parsed.raw_serial().to_vec(),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            public_key_info: key.raw.to_vec(),
            public_key_type: public_key_type(key),
            version: parsed.version().0.saturating_add(1),
            signed_with: SignedWith::of(&parsed),
            extensions: Extensions::new(&parsed),
        })
    }

    /// Reads one certificate in PEM or DER. Of several the first is taken, and the others are
    /// mentioned.
    pub fn from_pem(bytes: &[u8]) -> Result<Self> {
        certificates_from_pem(bytes).map(|found| Self::first(found, &"the certificate"))
    }

    /// As [`from_pem`](Self::from_pem), from a file, which may be PKCS#12 too.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        certificates_from_file(path, None).map(|found| Self::first(found, &path.display()))
    }

    /// The first of what was read, which is one at least.
    fn first(mut certificates: Vec<Self>, source: &dyn fmt::Display) -> Self {
        if let others @ 1.. = certificates.len() - 1 {
            tracing::warn!(
                "{source}: of its {} certificates the first was taken, {:?}",
                others + 1,
                certificates[0].subject()
            );
        }
        certificates.swap_remove(0)
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate in PEM.
    pub fn to_pem(&self) -> String {
        pem::write("CERTIFICATE", &self.der).to_string()
    }

    /// The subject, such as `CN=device-01`.
    pub fn subject(&self) -> &str {
        &self.subject.text
    }

    /// The common name of the subject; of several, the last, as most specific.
    pub fn common_name(&self) -> Option<&str> {
        self.subject.common_name.as_deref()
    }

    /// The issuer, such as `CN=Azure IoT Hub Intermediate Cert Test Only`.
    pub fn issuer(&self) -> &str {
        &self.issuer.text
    }

    /// The serial number, big-endian.
    pub fn serial(&self) -> &[u8] {
        &self.serial
    }

    /// The first moment at which the certificate is valid.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// The last moment at which the certificate is valid.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The public key as DER `SubjectPublicKeyInfo`.
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// The type of the public key.
    pub fn public_key_type(&self) -> &PublicKeyType {
        &self.public_key_type
    }

    /// All that the key can sign with, in order of preference; nothing for a type of key that is
    /// not supported.
    pub(crate) fn signature_algorithms(&self) -> &'static [SignatureAlgorithm] {
        match &self.public_key_type {
            PublicKeyType::Supported(key_type) => key_type.signature_algorithms(),
            PublicKeyType::Other(_) => &[],
        }
    }

    /// Whether the certificate may issue others (`basicConstraints` with `CA:TRUE`).
    pub fn is_ca(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|(ca, _)| ca)
    }

    /// How many CAs may follow below this one; `None` for any number, or for no CA.
    pub fn path_length(&self) -> Option<u32> {
        self.extensions.basic_constraints.and_then(|(ca, length)| length.filter(|_| ca))
    }

    /// The X.509 version, which should be 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The uses of the key that the certificate names, such as `digitalSignature`; `None` where it
    /// names none and so allows all.
    pub fn key_usage(&self) -> Option<Vec<&'static str>> {
        self.extensions.key_usage.map(|usage| usage.names().collect())
    }

    /// The purposes that the certificate names, such as `clientAuth`; `None` where it names none
    /// and so allows all.
    pub fn extended_key_usage(&self) -> Option<&[String]> {
        self.extensions.extended_key_usage.as_deref()
    }

    /// How the certificate is signed, such as `SHA-256 with RSA`.
    pub fn signature_algorithm(&self) -> &'static str {
        self.signed_with.name()
    }

    pub(super) fn signed_with(&self) -> SignedWith {
        self.signed_with
    }

    pub(crate) fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether the subject is its own issuer, and the signature its own.
    pub fn is_self_signed(&self) -> bool {
        self.issues(self) == Issues::Yes
    }

    /// The SHA-1 thumbprint in upper-case hexadecimal, as the Azure portal shows it.
    pub fn sha1_thumbprint(&self) -> String {
        upper_hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der).as_ref())
    }

    /// The SHA-256 thumbprint in upper-case hexadecimal.
    pub fn sha256_thumbprint(&self) -> String {
        upper_hex(digest(&SHA256, &self.der).as_ref())
    }

    /// Whether this certificate issued `other`.
    pub fn issues(&self, other: &Self) -> Issues {
        if self.subject.der != other.issuer.der {
            return Issues::No;
        }
        let Ok((_, issued)) = X509Certificate::from_der(&other.der) else {
            return Issues::NameOnly;
        };
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(&self.public_key_info) else {
            return Issues::NameOnly;
        };
        match issued.verify_signature(Some(&key)) {
            Ok(()) => Issues::Yes,
            Err(_) => Issues::NameOnly,
        }
    }

    /// Whether subject and issuer bear the same name, whoever signed.
    pub(crate) fn is_self_issued(&self) -> bool {
        self.subject.der == self.issuer.der
    }

    pub(crate) fn has_same_subject_and_issuer_names_as(&self, other: &Self) -> bool {
        self.subject.der == other.subject.der && self.issuer.der == other.issuer.der
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.subject(), self.sha256_thumbprint())
    }
}

/// What names are made of beside what x509-parser abbreviates, such as CN. Its own registry knows
/// every OID of X.509, which firmware would carry along.
static ATTRIBUTES: LazyLock<OidRegistry<'static>> = LazyLock::new(|| {
    let mut registry = OidRegistry::default();
    for (oid, name) in [
        (OID_USERID, "uid"),
        (OID_X509_DN_QUALIFIER, "dnQualifier"),
        (OID_X509_GIVEN_NAME, "givenName"),
        (OID_X509_POSTAL_CODE, "postalCode"),
        (OID_X509_SERIALNUMBER, "serialNumber"),
        (OID_X509_STREET_ADDRESS, "streetAddress"),
        (OID_X509_SURNAME, "surname"),
        (OID_X509_TITLE, "title"),
    ] {
        registry.insert(oid, OidEntry::new(name, name));
    }
    registry
});

impl Name {
    fn new(name: &x509_parser::x509::X509Name<'_>) -> Self {
        Self {
            der: name.as_raw().to_vec(),
            text: match name.to_string_with_registry(&ATTRIBUTES) {
                Ok(text) if text.is_empty() => "an empty name".into(),
                Ok(text) => text,
                Err(_) => "an unreadable name".into(),
            },
            common_name: name
                .iter_common_name()
                .last()
                .and_then(|attribute| attribute.as_str().ok())
                .map(str::to_owned),
        }
    }
}

fn public_key_type(key: &SubjectPublicKeyInfo<'_>) -> PublicKeyType {
    let algorithm = &key.algorithm.algorithm;
    if *algorithm == OID_PKCS1_RSAENCRYPTION
        && let Ok(PublicKey::RSA(rsa)) = key.parsed()
    {
        let bits = u32::try_from(rsa.key_size()).unwrap_or(0);
        return PublicKeyType::Supported(KeyType::Rsa(bits));
    }
    if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        return match curve {
            Some(curve) if curve == OID_EC_P256 => PublicKeyType::Supported(KeyType::EcP256),
            Some(curve) if curve == OID_NIST_EC_P384 => PublicKeyType::Supported(KeyType::EcP384),
            Some(curve) => PublicKeyType::Other(format!("EC on curve {curve}")),
            None => PublicKeyType::Other("EC on an unnamed curve".into()),
        };
    }
    PublicKeyType::Other(format!("algorithm {algorithm}"))
}

/// How a certificate was signed: in the ways that can be verified here, and in those that are too
/// old.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SignedWith {
    Md5Rsa,
    Sha1Rsa,
    Sha1Ecdsa,
    Sha256Rsa,
    Sha384Rsa,
    Sha512Rsa,
    RsaPss,
    Sha256Ecdsa,
    Sha384Ecdsa,
    Sha512Ecdsa,
    Ed25519,
    Other,
}

impl SignedWith {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
            "1.2.840.113549.1.1.4" => Self::Md5Rsa,
            "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => Self::Sha1Rsa,
            "1.2.840.10045.4.1" => Self::Sha1Ecdsa,
            "1.2.840.113549.1.1.11" => Self::Sha256Rsa,
            "1.2.840.113549.1.1.12" => Self::Sha384Rsa,
            "1.2.840.113549.1.1.13" => Self::Sha512Rsa,
            "1.2.840.113549.1.1.10" => Self::RsaPss,
            "1.2.840.10045.4.3.2" => Self::Sha256Ecdsa,
            "1.2.840.10045.4.3.3" => Self::Sha384Ecdsa,
            "1.2.840.10045.4.3.4" => Self::Sha512Ecdsa,
            "1.3.101.112" => Self::Ed25519,
            _ => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Md5Rsa => "MD5 with RSA",
            Self::Sha1Rsa => "SHA-1 with RSA",
            Self::Sha1Ecdsa => "SHA-1 with ECDSA",
            Self::Sha256Rsa => "SHA-256 with RSA",
            Self::Sha384Rsa => "SHA-384 with RSA",
            Self::Sha512Rsa => "SHA-512 with RSA",
            Self::RsaPss => "RSA-PSS",
            Self::Sha256Ecdsa => "SHA-256 with ECDSA",
            Self::Sha384Ecdsa => "SHA-384 with ECDSA",
            Self::Sha512Ecdsa => "SHA-512 with ECDSA",
            Self::Ed25519 => "Ed25519",
            Self::Other => "another algorithm",
        }
    }
}

pub(super) fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn names_are_told_by_the_short_names_of_their_attributes() {
        let mut params = CertificateParams::default();
        for (attribute, value) in [
            (DnType::CommonName, "device-01"),
            (DnType::OrganizationName, "Contoso"),
            (DnType::CustomDnType(vec![2, 5, 4, 5]), "4711"),
            (DnType::CustomDnType(vec![2, 5, 4, 20]), "555-0100"),
        ] {
            params.distinguished_name.push(attribute, value);
        }
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::from_der(made.der()).unwrap();
        let subject = "CN=device-01, O=Contoso, serialNumber=4711, OID(2.5.4.20)=555-0100";
        assert_eq!(certificate.subject(), subject);
    }
}
