//! Certificates as the service reads them: every field its rules and its answers name, and the
//! path from a device's leaf up to the last issuer it presented.
//!
//! Read with x509-parser, because devices in the field present what stricter readers refuse:
//! version 1 roots and unknown critical extensions.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, Pem, X509Certificate, X509Version};

use crate::service::clock;

/// Clock difference forgiven when dates are checked. Microsoft states none; a device that made
/// its certificate a moment ago must not be refused (Azure/azure-iot-sdk-node#679).
const DATE_TOLERANCE: Duration = Duration::seconds(60);

/// More certificates than this in one handshake are not looked at.
const LONGEST_CHAIN: usize = 16;

const PEM_BEGIN: &str = "-----BEGIN ";

/// One certificate, read.
#[derive(Clone)]
pub(crate) struct Certificate {
    der: Vec<u8>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    subject_text: String,
    issuer_text: String,
    common_name: Option<String>,
    serial: String,
    version: u32,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    authority: Authority,
    sha1: String,
    sha256: String,
}

/// What a certificate says about signing others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Authority {
    Granted {
        path_length: Option<u32>,
    },
    /// Version 1 and 2 cannot say; such a certificate is an authority only where it was
    /// uploaded as one (RFC 5280, section 6.1.4 (k)).
    Unstated,
    Denied,
}

/// Why text sent to the management API is not one certificate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadUpload {
    #[error("the certificate is neither PEM nor base64")]
    NotText,
    #[error("the PEM text is damaged")]
    DamagedPem,
    #[error("exactly one certificate is expected, the text holds {0}")]
    Count(usize),
    #[error("the bytes are not an X.509 certificate")]
    NotACertificate,
}

impl Certificate {
    /// Reads DER that holds one certificate and nothing else.
    pub(crate) fn from_der(der: &[u8]) -> Result<Self, BadUpload> {
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| BadUpload::NotACertificate)?;
        if !rest.is_empty() {
            return Err(BadUpload::NotACertificate);
        }
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned);
        Ok(Self {
            der: der.to_vec(),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            subject_text: parsed.subject().to_string(),
            issuer_text: parsed.issuer().to_string(),
            common_name,
            serial: upper_hex(parsed.raw_serial()),
            version: parsed.version().0.saturating_add(1),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            authority: Authority::of(&parsed),
            sha1: upper_hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            sha256: upper_hex(digest::digest(&digest::SHA256, der).as_ref()),
        })
    }

    /// Reads what clients of the management API send: PEM text, base64 of DER, or base64 of a
    /// PEM file (the form of `az iot dps certificate create`).
    pub(crate) fn from_upload(text: &str) -> Result<Self, BadUpload> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.contains(PEM_BEGIN) {
            return Self::from_pem(text.as_bytes());
        }
        let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let bytes = STANDARD.decode(compact).map_err(|_| BadUpload::NotText)?;
        if bytes.windows(PEM_BEGIN.len()).any(|window| window == PEM_BEGIN.as_bytes()) {
            return Self::from_pem(&bytes);
        }
        Self::from_der(&bytes)
    }

    fn from_pem(text: &[u8]) -> Result<Self, BadUpload> {
        let mut found = Vec::new();
        for block in Pem::iter_from_buffer(text) {
            let block = block.map_err(|_| BadUpload::DamagedPem)?;
            if block.label == "CERTIFICATE" {
                found.push(block.contents);
            }
        }
        match found.as_slice() {
            [one] => Self::from_der(one),
            several => Err(BadUpload::Count(several.len())),
        }
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    pub(crate) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// SHA-1 thumbprint in upper-case hexadecimal.
    pub(crate) fn sha1(&self) -> &str {
        &self.sha1
    }

    /// SHA-256 thumbprint in upper-case hexadecimal.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// False for a certificate that says itself that it signs no others.
    pub(crate) fn may_be_authority(&self) -> bool {
        self.authority != Authority::Denied
    }

    pub(crate) fn in_date_at(&self, now: OffsetDateTime) -> bool {
        now.saturating_add(DATE_TOLERANCE) >= self.not_before
            && now.saturating_sub(DATE_TOLERANCE) <= self.not_after
    }

    /// Whether `issuer`'s key made this certificate's signature. Names are not compared.
    pub(crate) fn signed_by(&self, issuer: &Self) -> bool {
        let (Ok((_, this)), Ok((_, issuer))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&issuer.der))
        else {
            return false;
        };
        this.verify_signature(Some(issuer.public_key())).is_ok()
    }

    fn names(&self, issuer: &Self) -> bool {
        self.issuer == issuer.subject
    }

    /// `X509CertificateInfo` of the service API: all it ever shows of an enrolled certificate.
    pub(crate) fn info(&self) -> Value {
        json!({
            "subjectName": self.subject_text,
            "sha1Thumbprint": self.sha1,
            "sha256Thumbprint": self.sha256,
            "issuerName": self.issuer_text,
            "notBeforeUtc": clock::seconds_stamp(self.not_before),
            "notAfterUtc": clock::seconds_stamp(self.not_after),
            "serialNumber": self.serial,
            "version": self.version,
        })
    }
}

impl Authority {
    fn of(parsed: &X509Certificate<'_>) -> Self {
        if parsed.version() != X509Version::V3 {
            return Self::Unstated;
        }
        // A damaged or repeated extension grants nothing.
        let Ok(constraints) = parsed.basic_constraints() else { return Self::Denied };
        let Ok(usage) = parsed.key_usage() else { return Self::Denied };
        let signs_certificates = usage.is_none_or(|usage| usage.value.key_cert_sign());
        match constraints {
            Some(constraints) if constraints.value.ca && signs_certificates => {
                Self::Granted { path_length: constraints.value.path_len_constraint }
            }
            _ => Self::Denied,
        }
    }
}

/// The path a device presented: its leaf, then each certificate that signed the one before.
/// Order and strangers in what was sent do not matter, as with any path builder.
pub(crate) struct Chain {
    leaf: Certificate,
    issuers: Vec<Certificate>,
    /// False once a certificate could not be read, or names a presented issuer whose key did
    /// not sign it.
    intact: bool,
}

impl Chain {
    /// `None` when there is no leaf, or it is not a certificate.
    pub(crate) fn build(presented: &[Vec<u8>]) -> Option<Self> {
        let (leaf, rest) = presented.split_first()?;
        let leaf = Certificate::from_der(leaf).ok()?;
        let mut intact = rest.len() < LONGEST_CHAIN;
        let mut spare = Vec::new();
        for der in rest.iter().take(LONGEST_CHAIN) {
            match Certificate::from_der(der) {
                Ok(certificate) if certificate.sha256 != leaf.sha256 => spare.push(certificate),
                Ok(_) => {}
                Err(_) => intact = false,
            }
        }
        let mut issuers: Vec<Certificate> = Vec::new();
        loop {
            let last = issuers.last().unwrap_or(&leaf);
            let self_issued = last.names(last);
            if self_issued && last.signed_by(last) {
                break;
            }
            if let Some(at) =
                spare.iter().position(|other| last.names(other) && last.signed_by(other))
            {
                let next = spare.remove(at);
                spare.retain(|other| other.sha256 != next.sha256);
                issuers.push(next);
            } else {
                intact &= !self_issued && !spare.iter().any(|other| last.names(other));
                break;
            }
        }
        Some(Self { leaf, issuers, intact })
    }

    pub(crate) fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// From the leaf's issuer upward.
    pub(crate) fn issuers(&self) -> &[Certificate] {
        &self.issuers
    }

    /// Signatures of every link, dates of every certificate, and the right of every issuer to
    /// be one. `uploaded` tells whether a certificate, by SHA-256, was uploaded as an authority.
    pub(crate) fn is_sound(&self, now: OffsetDateTime, uploaded: impl Fn(&str) -> bool) -> bool {
        let mut below = 0u32;
        for issuer in &self.issuers {
            let allowed = match issuer.authority {
                Authority::Granted { path_length } => {
                    path_length.is_none_or(|allowed| below <= allowed)
                }
                Authority::Unstated => uploaded(&issuer.sha256),
                Authority::Denied => false,
            };
            if !allowed {
                return false;
            }
            // RFC 5280, section 6.1.4 (l): self-issued certificates do not count.
            if !issuer.names(issuer) {
                below += 1;
            }
        }
        self.intact && self.leaf.in_date_at(now) && self.issuers.iter().all(|c| c.in_date_at(now))
    }
}

/// The form of every thumbprint and serial number in Microsoft's answers.
pub(crate) fn upper_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02X}");
        text
    })
}

/// Certificates for the tests of this crate, made in the shape of Microsoft's tutorial.
#[cfg(test)]
pub(crate) mod testing {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
        KeyUsagePurpose,
    };
    use time::{Duration, OffsetDateTime};

    pub(crate) struct Made {
        pub(crate) der: Vec<u8>,
        pub(crate) pem: String,
        params: CertificateParams,
        key: KeyPair,
    }

    pub(crate) struct Profile<'a> {
        pub(crate) name: &'a str,
        pub(crate) ca: bool,
        pub(crate) path_length: Option<u8>,
        pub(crate) from_days: i64,
        pub(crate) to_days: i64,
        pub(crate) unknown_critical: bool,
    }

    pub(crate) fn ca(name: &str) -> Profile<'_> {
        Profile {
            name,
            ca: true,
            path_length: None,
            from_days: -1,
            to_days: 30,
            unknown_critical: false,
        }
    }

    pub(crate) fn leaf(name: &str) -> Profile<'_> {
        Profile { ca: false, ..ca(name) }
    }

    impl Profile<'_> {
        fn params(&self) -> CertificateParams {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CommonName, self.name);
            params.not_before = OffsetDateTime::now_utc() + Duration::days(self.from_days);
            params.not_after = OffsetDateTime::now_utc() + Duration::days(self.to_days);
            if self.ca {
                params.is_ca = IsCa::Ca(
                    self.path_length
                        .map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained),
                );
                params.key_usages =
                    vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
            }
            if self.unknown_critical {
                let mut extension =
                    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 311, 99], vec![5, 0]);
                extension.set_criticality(true);
                params.custom_extensions.push(extension);
            }
            params
        }

        pub(crate) fn self_signed(&self) -> Made {
            let key = KeyPair::generate().expect("key");
            let params = self.params();
            let made = params.self_signed(&key).expect("self-signed");
            Made { der: made.der().to_vec(), pem: made.pem(), params, key }
        }

        pub(crate) fn signed_by(&self, issuer: &Made) -> Made {
            let key = KeyPair::generate().expect("key");
            let params = self.params();
            let signer = Issuer::from_params(&issuer.params, &issuer.key);
            let made = params.signed_by(&key, &signer).expect("signed");
            Made { der: made.der().to_vec(), pem: made.pem(), params, key }
        }
    }

    /// Root, intermediate and leaf of one device.
    pub(crate) struct Family {
        pub(crate) root: Made,
        pub(crate) intermediate: Made,
        pub(crate) leaf: Made,
    }

    pub(crate) fn family(device: &str) -> Family {
        let root = ca("Root").self_signed();
        let intermediate = ca("Intermediate").signed_by(&root);
        let leaf = leaf(device).signed_by(&intermediate);
        Family { root, intermediate, leaf }
    }

    impl Family {
        pub(crate) fn chain(&self) -> Vec<Vec<u8>> {
            vec![self.leaf.der.clone(), self.intermediate.der.clone(), self.root.der.clone()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{ca, family, leaf};
    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn sound(presented: &[Vec<u8>]) -> bool {
        Chain::build(presented).expect("leaf").is_sound(now(), |_| false)
    }

    #[test]
    fn a_chain_in_any_order_with_duplicates_and_strangers_is_one_path() {
        let made = family("device-01");
        let stranger = ca("Stranger").self_signed();
        let chain = Chain::build(&[
            made.leaf.der.clone(),
            made.root.der.clone(),
            stranger.der,
            made.intermediate.der.clone(),
            made.intermediate.der.clone(),
            made.leaf.der.clone(),
        ])
        .expect("chain");
        assert_eq!(chain.leaf().common_name(), Some("device-01"));
        let names: Vec<_> = chain.issuers().iter().filter_map(|c| c.common_name()).collect();
        assert_eq!(names, ["Intermediate", "Root"]);
        assert!(chain.is_sound(now(), |_| false));
    }

    #[test]
    fn a_name_without_its_signature_is_not_an_issuer() {
        let made = family("device-01");
        let impostor = ca("Intermediate").signed_by(&made.root);
        assert!(!sound(&[made.leaf.der, impostor.der, made.root.der]));
    }

    #[test]
    fn dates_of_every_link_are_judged_by_the_given_clock() {
        let root = ca("Root").self_signed();
        let mut profile = ca("Intermediate");
        profile.to_days = 2;
        let intermediate = profile.signed_by(&root);
        let device = leaf("device-01").signed_by(&intermediate);
        let chain = Chain::build(&[device.der, intermediate.der, root.der]).expect("chain");
        assert!(chain.is_sound(now(), |_| false));
        assert!(!chain.is_sound(now() + Duration::days(3), |_| false));
        assert!(!chain.is_sound(now() - Duration::days(2), |_| false));
    }

    #[test]
    fn an_issuer_must_be_allowed_to_issue() {
        let root = ca("Root").self_signed();
        let plain = leaf("Plain").signed_by(&root);
        let device = leaf("device-01").signed_by(&plain);
        assert!(!sound(&[device.der, plain.der, root.der]));
    }

    #[test]
    fn path_length_limits_what_stands_below() {
        let mut profile = ca("Root");
        profile.path_length = Some(0);
        let root = profile.self_signed();
        let direct = leaf("device-01").signed_by(&root);
        assert!(sound(&[direct.der, root.der.clone()]));
        let intermediate = ca("Intermediate").signed_by(&root);
        let device = leaf("device-01").signed_by(&intermediate);
        assert!(!sound(&[device.der, intermediate.der, root.der]));
    }

    #[test]
    fn a_self_signed_leaf_stands_alone_and_unknown_critical_extensions_are_read() {
        let mut profile = leaf("device-01");
        profile.unknown_critical = true;
        let device = profile.self_signed();
        let chain = Chain::build(&[device.der]).expect("chain");
        assert!(chain.issuers().is_empty());
        assert!(chain.is_sound(now(), |_| false));
    }

    /// Made by OpenSSL: `openssl x509 -req` without extensions writes version 1.
    const VERSION_1_ROOT: &str = include_str!("../testdata/v1-root.pem");
    const BELOW_VERSION_1: &str = include_str!("../testdata/below-v1-root.pem");

    #[test]
    fn a_version_1_root_is_an_authority_only_where_it_was_uploaded() {
        let root = Certificate::from_upload(VERSION_1_ROOT).expect("root");
        let device = Certificate::from_upload(BELOW_VERSION_1).expect("device");
        assert_eq!(root.info()["version"], 1);
        let chain = Chain::build(&[device.der().to_vec(), root.der().to_vec()]).expect("chain");
        assert_eq!(chain.issuers().len(), 1);
        let now = device.not_after() - Duration::days(1);
        assert!(!chain.is_sound(now, |_| false));
        assert!(chain.is_sound(now, |uploaded| uploaded == root.sha256()));
    }

    #[test]
    fn every_form_of_upload_is_the_same_certificate() {
        let made = ca("Root").self_signed();
        let with_text =
            format!("\u{feff}subject=CN = Root\r\n{}\r\n", made.pem.replace('\n', "\r\n"));
        for text in
            [made.pem.clone(), STANDARD.encode(&made.pem), STANDARD.encode(&made.der), with_text]
        {
            let read = Certificate::from_upload(&text).expect("upload");
            assert!(read.der() == made.der.as_slice());
        }
    }

    #[test]
    fn what_is_not_one_certificate_is_refused_by_its_fault() {
        let made = ca("Root").self_signed();
        let fault = |text: &str| Certificate::from_upload(text).err();
        assert_eq!(fault(&made.pem.repeat(2)), Some(BadUpload::Count(2)));
        assert_eq!(fault("not a certificate!"), Some(BadUpload::NotText));
        assert_eq!(fault(""), Some(BadUpload::NotACertificate));
        assert_eq!(fault(&STANDARD.encode("hello")), Some(BadUpload::NotACertificate));
        let cut = &made.pem[..made.pem.len() / 2];
        assert_eq!(fault(cut), Some(BadUpload::DamagedPem));
    }
}
