//! The server's certificates, and a client certificate check that judges nothing but the
//! handshake: whether a device may come in is the service's question, not TLS's.

use std::fmt::Display;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SignatureVerificationAlgorithm, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    PeerMisbehaved, ProtocolVersion, ServerConfig, SignatureScheme, SupportedProtocolVersion,
    version,
};
use serde::Serialize;
use time::{Duration, OffsetDateTime};
use x509_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::certificate::X509Certificate;

use crate::EmulatorError;
use crate::settings::Settings;

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2, the newest that Microsoft documents for the provisioning service (iot-dps,
    /// tls-support).
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

impl TlsVersion {
    /// What a handshake agreed upon.
    pub(crate) fn agreed(version: Option<ProtocolVersion>) -> Option<Self> {
        match version? {
            ProtocolVersion::TLSv1_2 => Some(Self::V1_2),
            ProtocolVersion::TLSv1_3 => Some(Self::V1_3),
            _ => None,
        }
    }

    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::V1_2 => &version::TLS12,
            Self::V1_3 => &version::TLS13,
        }
    }
}

/// The CA that signs the server certificate; kept with the data, so that a client which trusts
/// it goes on doing so after a restart.
pub(crate) struct Root {
    certificate: String,
    key: KeyPair,
}

impl Root {
    pub(crate) fn generate() -> Result<Self, EmulatorError> {
        let key = new_key()?;
        let mut params = params(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "dps-emulator root, test only");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_after = OffsetDateTime::now_utc() + Duration::days(3650);
        let certificate = params.self_signed(&key).map_err(tls_error)?.pem();
        Ok(Self { certificate, key })
    }

    /// Reads what [`Root::to_pem`] wrote.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, EmulatorError> {
        let text = std::str::from_utf8(pem).map_err(tls_error)?;
        let begin = text
            .find("-----BEGIN PRIVATE KEY-----")
            .ok_or_else(|| EmulatorError::Tls("the stored root has no private key".to_owned()))?;
        let (certificate, key) = text.split_at(begin);
        let key = KeyPair::from_pem(key).map_err(tls_error)?;
        Ok(Self { certificate: certificate.to_owned(), key })
    }

    pub(crate) fn to_pem(&self) -> Vec<u8> {
        format!("{}{}", self.certificate, self.key.serialize_pem()).into_bytes()
    }

    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// A TLS configuration whose certificate, made anew, carries `names` and the loopback
    /// addresses.
    pub(crate) fn server_config(
        &self,
        names: &[String],
        settings: &Settings,
    ) -> Result<ServerConfig, EmulatorError> {
        let key = new_key()?;
        let mut names = names.to_vec();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let mut params = params(names)?;
        params.distinguished_name.push(DnType::CommonName, "dps-emulator");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, &self.key).map_err(tls_error)?;
        let leaf = params.signed_by(&key, &issuer).map_err(tls_error)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(tls_error)?;

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = AnyCertificate {
            algorithms: provider.signature_verification_algorithms,
            rsa_pss: settings.rsa_pss,
        };
        let versions = match settings.tls {
            Some(only) => vec![only.supported()],
            None => vec![&version::TLS13, &version::TLS12],
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(tls_error)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_single_cert(vec![leaf.der().clone()], key)
            .map_err(tls_error)?;
        // A resumed session would carry the certificate of an earlier one, and a device that has
        // rolled its key would be judged by the old.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// The CN of a client's leaf, which names the device before any MQTT packet does.
pub(crate) fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// Requests a client certificate, requires none, and believes any whose key signed the
/// handshake. The key is read by x509-parser: webpki, which rustls' own helpers use, refuses
/// version 1 certificates and unknown critical extensions, and the real service answers those
/// with a 401002 of its own rather than with a TLS alert.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether RSA-PSS is among the schemes that a client may choose from.
    rsa_pss: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // TLS 1.2 names a hash, not a curve: whichever algorithm fits the key is meant.
        verify(message, cert, dss, self.named(dss.scheme)?)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        use SignatureScheme as S;
        // RFC 8446, 4.2.3: PKCS#1 v1.5 and SHA-1 are not for handshake signatures; a scheme
        // names one curve, which stands first.
        match dss.scheme {
            S::RSA_PKCS1_SHA1
            | S::RSA_PKCS1_SHA256
            | S::RSA_PKCS1_SHA384
            | S::RSA_PKCS1_SHA512
            | S::ECDSA_SHA1_Legacy => {
                Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
            }
            scheme => verify(message, cert, dss, self.named(scheme)?.get(..1).unwrap_or(&[])),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.retain(|scheme| self.rsa_pss || !is_rsa_pss(*scheme));
        schemes
    }
}

fn is_rsa_pss(scheme: SignatureScheme) -> bool {
    use SignatureScheme as S;
    matches!(scheme, S::RSA_PSS_SHA256 | S::RSA_PSS_SHA384 | S::RSA_PSS_SHA512)
}

type Algorithms = &'static [&'static dyn SignatureVerificationAlgorithm];

impl AnyCertificate {
    fn named(&self, scheme: SignatureScheme) -> Result<Algorithms, Error> {
        let offered = self.rsa_pss || !is_rsa_pss(scheme);
        let mut mapping = self.algorithms.mapping.iter();
        let found = mapping.find(|(candidate, _)| offered && *candidate == scheme);
        found
            .map(|(_, algorithms)| *algorithms)
            .ok_or_else(|| PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }
}

fn verify(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
    algorithms: Algorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let bad_encoding = || Error::from(CertificateError::BadEncoding);
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| bad_encoding())?;
    let spki = certificate.public_key();
    // SubjectPublicKeyInfo ::= SEQUENCE { algorithm SEQUENCE, … }; rustls-pki-types names an
    // algorithm by the contents of that inner sequence.
    let (_, outer) = Any::from_der(spki.raw).map_err(|_| bad_encoding())?;
    let (_, identifier) = Any::from_der(outer.data).map_err(|_| bad_encoding())?;
    let algorithm = algorithms
        .iter()
        .find(|algorithm| algorithm.public_key_alg_id().as_ref() == identifier.data)
        .ok_or(PeerIncompatible::NoSignatureSchemesInCommon)?;
    algorithm
        .verify_signature(&spki.subject_public_key.data, message, dss.signature())
        .map_err(|_| CertificateError::BadSignature)?;
    Ok(HandshakeSignatureValid::assertion())
}

fn new_key() -> Result<KeyPair, EmulatorError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(tls_error)
}

/// Dates and a random serial: the same serial again under one issuer confuses clients that cache.
fn params(names: Vec<String>) -> Result<CertificateParams, EmulatorError> {
    let mut params = CertificateParams::default();
    for name in names {
        let name = match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.try_into().map_err(tls_error)?),
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(tls_error)?;
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = OffsetDateTime::now_utc() - Duration::hours(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(365);
    Ok(params)
}

fn tls_error(error: impl Display) -> EmulatorError {
    EmulatorError::Tls(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject as _;

    #[test]
    fn a_stored_root_signs_for_the_next_start() {
        let root = Root::generate().unwrap();
        let again = Root::from_pem(&root.to_pem()).unwrap();
        assert_eq!(again.certificate_pem(), root.certificate_pem());
        let names = ["contoso-hub-2.azure-devices.net".to_owned()];
        again.server_config(&names, &Settings::default()).unwrap();
        let der = CertificateDer::from_pem_slice(root.certificate_pem().as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert!(certificate.is_ca() && certificate.validity().is_valid());
        assert_eq!(common_name(&der).as_deref(), Some("dps-emulator root, test only"));
    }

    #[test]
    fn a_damaged_root_is_an_error() {
        let pem = Root::generate().unwrap().to_pem();
        for damaged in [&pem[..40], &pem[..pem.len() - 40], b"\xff\xfe", b""] {
            assert!(matches!(Root::from_pem(damaged), Err(EmulatorError::Tls(_))));
        }
    }
}
