//! A certificate request that was made elsewhere (PKCS#10, RFC 2986).

use x509_parser::{
    asn1_rs::FromDer,
    certification_request::X509CertificationRequest,
    cri_attributes::ParsedCriAttribute,
    objects::{oid_registry, oid2sn},
    oid_registry::{OID_X509_COMMON_NAME, Oid},
};

use crate::{
    error::{Error, ErrorKind, Result},
    pem::{self, Der},
    registration_id::RegistrationId,
};

/// A request for a device certificate, whose signature holds.
///
/// Only its common name and its key are taken over: a CA issues under its own profile.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    registration_id: RegistrationId,
    public_key_info: Vec<u8>,
    ignored: Vec<String>,
}

impl CertificateRequest {
    /// Reads a request in PEM or DER.
    pub fn from_pem(bytes: &[u8]) -> Result<Self> {
        if Der::detect(bytes) == Some(Der::Request) {
            return Self::from_der(bytes);
        }
        let parsed = pem::parse(bytes)
            .map_err(|damage| Error::new(ErrorKind::CertificateMalformed, damage.to_string()))?;
        let mut requests = parsed.blocks.iter().filter(|block| {
            matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST")
        });
        match (requests.next(), requests.next()) {
            (Some(block), None) => Self::from_der(&block.der),
            (None, _) => Err(Error::new(
                ErrorKind::WrongFileContent,
                format!("a certificate request was expected, but this is {}", pem::describe(bytes)),
            )),
            (Some(_), Some(_)) => Err(Error::new(
                ErrorKind::WrongFileContent,
                "it holds several certificate requests",
            )),
        }
    }

    /// Reads a request in DER.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        let malformed = |reason: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::CertificateMalformed,
                format!("the certificate request cannot be parsed: {reason}"),
            )
        };
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&format_args!("{} bytes follow it", rest.len())));
        }
        request.verify_signature().map_err(|_| {
            Error::new(
                ErrorKind::CertificateMalformed,
                "the signature of the certificate request was not made by the key it names, or by \
                 an algorithm that is not supported",
            )
        })?;
        let info = &request.certification_request_info;
        let mut ignored = Vec::new();
        let mut common_names = Vec::new();
        for attribute in info.subject.iter_attributes() {
            let text = attribute.as_str().unwrap_or("(not text)");
            match *attribute.attr_type() == OID_X509_COMMON_NAME {
                true => common_names.push(text.to_owned()),
                false => {
                    ignored.push(format!("subject {}={text}", short_name(attribute.attr_type())));
                }
            }
        }
        let common_name = common_names.pop().ok_or_else(|| {
            Error::new(
                ErrorKind::RegistrationIdInvalid,
                "the certificate request has no common name, so it stands for no registration ID",
            )
        })?;
        ignored.extend(common_names.into_iter().map(|other| format!("subject CN={other}")));
        for attribute in info.iter_attributes() {
            match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(requested) => {
                    let names = requested.extensions.iter().map(|extension| {
                        let critical = if extension.critical { "critical " } else { "" };
                        format!("{critical}extension {}", short_name(&extension.oid))
                    });
                    ignored.extend(names);
                }
                _ => ignored.push(format!("attribute {}", short_name(&attribute.oid))),
            }
        }
        Ok(Self {
            registration_id: RegistrationId::parse_common_name(&common_name)?,
            public_key_info: info.subject_pki.raw.to_vec(),
            ignored,
        })
    }

    /// The common name, which is the registration ID.
    pub fn registration_id(&self) -> &RegistrationId {
        &self.registration_id
    }

    /// The public key as DER `SubjectPublicKeyInfo`.
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// What the request asks for beyond its name and key, and does not get.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }
}

fn short_name(oid: &Oid<'_>) -> String {
    oid2sn(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned)
}

/// Whether the signature of this request in DER was made by the key that the request names.
pub(super) fn is_signed_by_its_key(der: &[u8]) -> bool {
    X509CertificationRequest::from_der(der)
        .is_ok_and(|(_, request)| request.verify_signature().is_ok())
}
