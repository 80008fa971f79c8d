//! A certificate authority: makes roots, intermediates, device and verification certificates with
//! exactly the extensions of the tutorial's OpenSSL profiles.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use der::{
    Encode,
    asn1::{Ia5StringRef, OctetStringRef},
};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, PublicKeyData,
    SerialNumber, SubjectPublicKeyInfo,
};

use super::{Certificate, CertificateRequest, Issues, Validity, request::is_signed_by_its_key};
use crate::{
    crypto::{
        digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
        fill,
    },
    error::{Error, ErrorKind, Result},
    identity,
    key::PrivateKey,
    pem,
    registration_id::RegistrationId,
    signer::{self, SignatureAlgorithm, Signer, SignerError},
};

/// The key of a new certificate's subject, with what signs for it.
#[derive(Clone)]
pub struct SubjectKey {
    signer: Arc<dyn Signer>,
    public_key_info: Vec<u8>,
}

impl SubjectKey {
    /// A key that signs elsewhere, with its public part as DER `SubjectPublicKeyInfo`.
    pub fn signer(signer: Arc<dyn Signer>, public_key_info: Vec<u8>) -> Self {
        Self { signer, public_key_info }
    }

    /// A certificate request (PKCS#10, RFC 2986) in PEM, with this common name.
    pub fn certificate_request(&self, common_name: &str) -> Result<String> {
        let key = RcgenKey::new(self)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(common_name)?;
        let request = params.serialize_request(&key).map_err(|error| key.failure(error))?;
        if !is_signed_by_its_key(request.der()) {
            return Err(not_its_key());
        }
        Ok(pem::write("CERTIFICATE REQUEST", request.der()).to_string())
    }
}

/// A signer can only be told from the signer of another key by what it signed.
fn not_its_key() -> Error {
    Error::new(
        ErrorKind::KeyMismatch,
        "the signer's key is not the public key that was given with it",
    )
}

impl From<Arc<PrivateKey>> for SubjectKey {
    fn from(key: Arc<PrivateKey>) -> Self {
        let public_key_info = key.public_key_info().to_vec();
        Self { signer: key, public_key_info }
    }
}

impl From<PrivateKey> for SubjectKey {
    fn from(key: PrivateKey) -> Self {
        Arc::new(key).into()
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

/// A CA certificate with what signs for it.
#[derive(Clone)]
pub struct Authority {
    certificate: Certificate,
    key: SubjectKey,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({:?}, ..)", self.certificate.subject())
    }
}

impl Authority {
    /// A CA that exists already. Fails unless the certificate is a CA's and the signer its key.
    pub fn new(certificate: Certificate, signer: Arc<dyn Signer>) -> Result<Self> {
        if !certificate.is_ca() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{:?} is not a CA certificate, so it cannot issue others",
                    certificate.subject()
                ),
            ));
        }
        let signer = signer::for_certificate(signer, &certificate);
        identity::prove(&certificate, signer.as_ref())?;
        let key = SubjectKey::signer(signer, certificate.public_key_info().to_vec());
        Ok(Self { certificate, key })
    }

    /// A new root, signed by itself: the tutorial's profile `v3_ca`.
    pub fn create_root(
        common_name: &str,
        key: impl Into<SubjectKey>,
        validity: Validity,
    ) -> Result<Self> {
        Self::make_root(common_name, key.into(), validity, None)
    }

    /// As [`create_root`](Self::create_root), with at most so many CAs on the way from it to a
    /// device (`pathlen`). Each intermediate below it gets one less.
    pub fn create_root_with_path_length(
        common_name: &str,
        key: impl Into<SubjectKey>,
        validity: Validity,
        path_length: u8,
    ) -> Result<Self> {
        Self::make_root(common_name, key.into(), validity, Some(path_length))
    }

    fn make_root(
        common_name: &str,
        key: SubjectKey,
        validity: Validity,
        path_length: Option<u8>,
    ) -> Result<Self> {
        let rcgen_key = RcgenKey::new(&key)?;
        let params = Profile::Authority { path_length }.params(
            common_name,
            &key.public_key_info,
            validity,
        )?;
        let issuer = Issuer::from_params(&params, &rcgen_key);
        let certificate =
            params.signed_by(&rcgen_key, &issuer).map_err(|error| rcgen_key.failure(error))?;
        let certificate = Certificate::from_der(certificate.der())?;
        match certificate.issues(&certificate) {
            Issues::Yes => Ok(Self { certificate, key }),
            Issues::No | Issues::NameOnly => Err(not_its_key()),
        }
    }

    /// A new intermediate CA below this one: the tutorial's profile `v3_intermediate_ca`. Where
    /// this CA limits the CAs below it, the new one allows one less.
    pub fn create_intermediate(
        &self,
        common_name: &str,
        key: impl Into<SubjectKey>,
        validity: Validity,
    ) -> Result<Self> {
        self.make_intermediate(common_name, key.into(), validity, None)
    }

    /// As [`create_intermediate`](Self::create_intermediate), with at most so many CAs below it.
    pub fn create_intermediate_with_path_length(
        &self,
        common_name: &str,
        key: impl Into<SubjectKey>,
        validity: Validity,
        path_length: u8,
    ) -> Result<Self> {
        self.make_intermediate(common_name, key.into(), validity, Some(path_length))
    }

    fn make_intermediate(
        &self,
        common_name: &str,
        key: SubjectKey,
        validity: Validity,
        asked_for: Option<u8>,
    ) -> Result<Self> {
        let own = self.certificate.path_length();
        let left = match own {
            None => None,
            Some(own) => Some(own.checked_sub(1).ok_or_else(|| {
                self.path_too_short("allows no CA below it (pathlen:0)".to_owned())
            })?),
        };
        let path_length = match (asked_for, left) {
            (Some(asked_for), Some(left)) if u32::from(asked_for) > left => {
                return Err(self.path_too_short(format!(
                    "leaves at most pathlen:{left} to a CA below it, and {asked_for} was asked for"
                )));
            }
            (Some(asked_for), _) => Some(asked_for),
            // A limit beyond what fits is no limit in practice.
            (None, left) => left.map(|left| u8::try_from(left).unwrap_or(u8::MAX)),
        };
        let profile = Profile::Authority { path_length };
        let certificate = self.issue(profile, common_name, &key.public_key_info, validity)?;
        // It signs nothing yet, and would only fail at its first certificate.
        identity::prove(&certificate, key.signer.as_ref())?;
        Ok(Self { certificate, key })
    }

    fn path_too_short(&self, why: String) -> Error {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("the CA {:?} {why}", self.certificate.subject()),
        )
        .with_hint("Issue the CA above again with a greater path length, or without one.")
    }

    /// A device certificate whose common name is the registration ID: the tutorial's profile
    /// `usr_cert`. `public_key_info` is the device's public key as DER `SubjectPublicKeyInfo`.
    pub fn issue_device(
        &self,
        registration_id: &RegistrationId,
        public_key_info: &[u8],
        validity: Validity,
    ) -> Result<Certificate> {
        let registration_id = RegistrationId::parse_common_name(registration_id.as_str())?;
        self.issue(Profile::Device, registration_id.as_str(), public_key_info, validity)
    }

    /// A device certificate for a request that was made elsewhere, under this CA's own profile:
    /// what the request asks for beyond its name and key is
    /// [ignored](CertificateRequest::ignored).
    pub fn issue_requested(
        &self,
        request: &CertificateRequest,
        validity: Validity,
    ) -> Result<Certificate> {
        self.issue_device(request.registration_id(), request.public_key_info(), validity)
    }

    /// A device certificate in place of `old`: the same name, with the same key, or with a new one
    /// where it is given as DER `SubjectPublicKeyInfo`.
    pub fn reissue_device(
        &self,
        old: &Certificate,
        new_public_key_info: Option<&[u8]>,
        validity: Validity,
    ) -> Result<Certificate> {
        if old.is_ca() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{:?} is a CA certificate, not a device's", old.subject()),
            ));
        }
        let id = RegistrationId::parse_common_name(old.common_name().unwrap_or_default())?;
        let public_key_info = new_public_key_info.unwrap_or(old.public_key_info());
        self.issue_device(&id, public_key_info, validity)
    }

    /// A CA certificate in place of `old`, which is this CA's own or one that it issued: the same
    /// name, key and path length, so that all that was issued under the old one leads to the new
    /// one too. The tutorial's profile `v3_ca`, as [`create_root`](Self::create_root) has it.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] for a certificate that this CA did not issue or
    /// that is not a CA's, and with [`ErrorKind::Unsupported`] where its name holds more than a
    /// common name, or its key has another identifier than the SHA-1 of its bits: what was issued
    /// would not lead to it.
    pub fn reissue_authority(&self, old: &Certificate, validity: Validity) -> Result<Certificate> {
        let refused = |kind, what: &str| Error::new(kind, format!("{:?} {what}", old.subject()));
        if !old.is_ca() {
            return Err(refused(ErrorKind::InvalidArgument, "is not a CA certificate"));
        }
        if self.certificate.issues(old) != Issues::Yes {
            let what = format!("was not issued by {:?}", self.certificate.subject());
            return Err(refused(ErrorKind::InvalidArgument, &what));
        }
        // A limit beyond what fits is no limit in practice.
        let path_length = old.path_length().map(|length| u8::try_from(length).unwrap_or(u8::MAX));
        let profile = Profile::Authority { path_length };
        let common_name = old.common_name().unwrap_or_default();
        let new = self.issue(profile, common_name, old.public_key_info(), validity)?;
        let key_id = |ca: &Certificate| ca.extensions().subject_key_id.clone();
        let same_key_id = key_id(old).is_none_or(|id| key_id(&new) == Some(id));
        if !same_key_id || !new.has_same_subject_and_issuer_names_as(old) {
            return Err(refused(
                ErrorKind::Unsupported,
                "has a name or a key identifier that a new certificate cannot repeat",
            )
            .with_hint(
                "Issue it again with the tool that made it: for a root, openssl x509 -in OLD \
                 -signkey KEY -days DAYS -out NEW.",
            ));
        }
        Ok(new)
    }

    /// A proof-of-possession certificate: its common name is the verification code that DPS gave,
    /// its signature shows that the caller holds this CA's key.
    pub fn issue_verification(
        &self,
        verification_code: &str,
        public_key_info: &[u8],
        validity: Validity,
    ) -> Result<Certificate> {
        if verification_code.is_empty()
            || verification_code.len() > RegistrationId::MAX_COMMON_NAME_LENGTH
        {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "a verification code has 1 to 64 characters",
            ));
        }
        self.issue(Profile::Device, verification_code, public_key_info, validity)
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn issue(
        &self,
        profile: Profile,
        common_name: &str,
        public_key_info: &[u8],
        validity: Validity,
    ) -> Result<Certificate> {
        let key = RcgenKey::new(&self.key)?;
        let internal = |error: rcgen::Error| {
            Error::new(ErrorKind::Internal, format!("the certificate could not be made: {error}"))
        };
        let subject_key = SubjectPublicKeyInfo::from_der(public_key_info).map_err(|error| {
            Error::new(
                ErrorKind::KeyUnsupported,
                format!("the subject's public key is not usable: {error}"),
            )
        })?;
        let params = profile.params(common_name, public_key_info, validity)?;
        let issuer =
            Issuer::from_ca_cert_der(&self.certificate.der().into(), &key).map_err(internal)?;
        let issued = params.signed_by(&subject_key, &issuer).map_err(|error| key.failure(error))?;
        let issued = Certificate::from_der(issued.der())?;
        // rcgen writes the issuer's name anew; an unusual encoding of it would break the link.
        match self.certificate.issues(&issued) {
            Issues::Yes => Ok(issued),
            Issues::No | Issues::NameOnly => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the name of the CA {:?} uses an encoding that new certificates cannot repeat",
                    self.certificate.subject()
                ),
            )),
        }
    }
}

/// The extension profiles of the tutorial's OpenSSL configuration.
#[derive(Clone, Copy)]
enum Profile {
    /// `v3_ca` and `v3_intermediate_ca`, which are the same; the tutorial limits no path.
    Authority { path_length: Option<u8> },
    /// `usr_cert`.
    Device,
}

impl Profile {
    fn params(
        self,
        common_name: &str,
        public_key_info: &[u8],
        validity: Validity,
    ) -> Result<CertificateParams> {
        // Netscape's certificate comment, which the tutorial's profile sets.
        const NS_COMMENT: &[u64] = &[2, 16, 840, 1, 113730, 1, 13];
        const SUBJECT_KEY_IDENTIFIER: &[u64] = &[2, 5, 29, 14];
        const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
        /// `BasicConstraints ::= SEQUENCE {}`, that is CA:FALSE by default.
        const NOT_A_CA: &[u8] = &[0x30, 0x00];

        let internal = |_| Error::new(ErrorKind::Internal, "an extension could not be encoded");
        let key_id = key_identifier(public_key_info)?;
        let mut params = CertificateParams::default();
        params.not_before = validity.not_before;
        params.not_after = validity.not_after;
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = name(common_name)?;
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id.clone());
        match self {
            Self::Authority { path_length } => {
                params.is_ca = IsCa::Ca(match path_length {
                    Some(path_length) => BasicConstraints::Constrained(path_length),
                    None => BasicConstraints::Unconstrained,
                });
                params.key_usages = vec![
                    KeyUsagePurpose::DigitalSignature,
                    KeyUsagePurpose::CrlSign,
                    KeyUsagePurpose::KeyCertSign,
                ];
            }
            Self::Device => {
                let comment = Ia5StringRef::new("OpenSSL Generated Client Certificate")
                    .and_then(|text| text.to_der())
                    .map_err(internal)?;
                let key_id =
                    OctetStringRef::new(&key_id).and_then(|id| id.to_der()).map_err(internal)?;
                params.is_ca = IsCa::NoCa;
                params.key_usages = vec![
                    KeyUsagePurpose::ContentCommitment,
                    KeyUsagePurpose::DigitalSignature,
                    KeyUsagePurpose::KeyEncipherment,
                ];
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                params.custom_extensions = vec![
                    CustomExtension::from_oid_content(BASIC_CONSTRAINTS, NOT_A_CA.to_vec()),
                    CustomExtension::from_oid_content(NS_COMMENT, comment),
                    CustomExtension::from_oid_content(SUBJECT_KEY_IDENTIFIER, key_id),
                ];
            }
        }
        Ok(params)
    }
}

/// A [`SubjectKey`] as rcgen wants to see it.
struct RcgenKey<'a> {
    key: &'a SubjectKey,
    public: SubjectPublicKeyInfo,
    algorithm: SignatureAlgorithm,
    /// rcgen's error for a remote key carries no cause; it is kept here.
    failure: Mutex<Option<SignerError>>,
}

impl<'a> RcgenKey<'a> {
    fn new(key: &'a SubjectKey) -> Result<Self> {
        let public = SubjectPublicKeyInfo::from_der(&key.public_key_info).map_err(|error| {
            Error::new(ErrorKind::KeyUnsupported, format!("the public key is not usable: {error}"))
        })?;
        let algorithm = key
            .signer
            .algorithms()
            .iter()
            .copied()
            .find(|algorithm| rcgen_algorithm(*algorithm).is_some())
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::KeyUnsupported,
                    "the signer offers no algorithm for certificates: ECDSA P-256, ECDSA P-384 or \
                     RSA PKCS#1",
                )
            })?;
        Ok(Self { key, public, algorithm, failure: Mutex::new(None) })
    }

    fn failure(&self, error: rcgen::Error) -> Error {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(failure) => failure.into(),
            None => Error::new(
                ErrorKind::Internal,
                format!("the certificate could not be made: {error}"),
            ),
        }
    }
}

impl PublicKeyData for RcgenKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        rcgen_algorithm(self.algorithm).unwrap_or(&rcgen::PKCS_ECDSA_P256_SHA256)
    }
}

impl rcgen::SigningKey for RcgenKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        signer::sign(self.key.signer.as_ref(), self.algorithm, message).map_err(|error| {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}

fn rcgen_algorithm(algorithm: SignatureAlgorithm) -> Option<&'static rcgen::SignatureAlgorithm> {
    Some(match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        SignatureAlgorithm::EcdsaP384Sha384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha256 => &rcgen::PKCS_RSA_SHA256,
        SignatureAlgorithm::RsaPkcs1Sha384 => &rcgen::PKCS_RSA_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha512 => &rcgen::PKCS_RSA_SHA512,
        SignatureAlgorithm::RsaPssSha256
        | SignatureAlgorithm::RsaPssSha384
        | SignatureAlgorithm::RsaPssSha512 => return None,
    })
}

/// `ub-common-name` of RFC 5280, appendix A.1, bounds it.
fn name(common_name: &str) -> Result<DistinguishedName> {
    let length = common_name.chars().count();
    if !(1..=RegistrationId::MAX_COMMON_NAME_LENGTH).contains(&length)
        || common_name.chars().any(char::is_control)
    {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{common_name:?} cannot be the common name of a certificate: it has {length} \
                 characters; 1 to 64 are allowed, and no control characters"
            ),
        ));
    }
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    Ok(name)
}

/// The SHA-1 of the public key's bits (RFC 5280, section 4.2.1.2, method 1), as OpenSSL's `hash`.
fn key_identifier(public_key_info: &[u8]) -> Result<Vec<u8>> {
    let public = SubjectPublicKeyInfo::from_der(public_key_info).map_err(|error| {
        Error::new(ErrorKind::KeyUnsupported, format!("the public key is not usable: {error}"))
    })?;
    Ok(digest(&SHA1_FOR_LEGACY_USE_ONLY, public.der_bytes()).as_ref().to_vec())
}

/// 128 random bits, positive and never zero (RFC 5280, section 4.1.2.2).
fn random_serial() -> Result<SerialNumber> {
    let mut serial = [0; 16];
    fill(&mut serial)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&serial))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyType;

    #[test]
    fn a_signer_of_another_key_makes_neither_a_ca_nor_a_request() {
        for key_type in [KeyType::EcP256, KeyType::Rsa(2048)] {
            let [ours, other] = [(); 2].map(|()| PrivateKey::generate(key_type).unwrap());
            let mixed = SubjectKey::signer(Arc::new(other), ours.public_key_info().to_vec());
            let root = Authority::create_root("Root", mixed.clone(), Validity::days(1));
            assert_eq!(root.err().unwrap().kind(), ErrorKind::KeyMismatch);
            let request = mixed.certificate_request("device-01");
            assert_eq!(request.err().unwrap().kind(), ErrorKind::KeyMismatch);
            let key = Arc::new(PrivateKey::generate(key_type).unwrap());
            let root = Authority::create_root("Root", key, Validity::days(1)).unwrap();
            let intermediate = root.create_intermediate("CA", mixed, Validity::days(1));
            assert_eq!(intermediate.err().unwrap().kind(), ErrorKind::KeyMismatch);
        }
    }

    #[test]
    fn a_ca_that_is_issued_again_still_issues_what_it_issued() {
        let days = Validity::days;
        let [root_key, ca_key, device_key] =
            [(); 3].map(|()| Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap()));
        let root = Authority::create_root_with_path_length("Root", root_key, days(1), 2).unwrap();
        let ca = root.create_intermediate("CA", ca_key, days(1)).unwrap();
        let id = RegistrationId::parse("device-01").unwrap();
        let leaf = ca.issue_device(&id, device_key.public_key_info(), days(1)).unwrap();
        for (old, child) in [(root.certificate(), ca.certificate()), (ca.certificate(), &leaf)] {
            let new = root.reissue_authority(old, days(9)).unwrap();
            assert_eq!((new.subject(), new.issuer()), (old.subject(), old.issuer()));
            assert_eq!(new.public_key_info(), old.public_key_info());
            assert_eq!(new.path_length(), old.path_length());
            assert!(new.is_ca() && new.not_after() > old.not_after());
            assert_eq!(
                (new.issues(child), root.certificate().issues(&new)),
                (Issues::Yes, Issues::Yes)
            );
        }
        for (authority, old) in [(&ca, ca.certificate()), (&ca, root.certificate()), (&ca, &leaf)] {
            let error = authority.reissue_authority(old, days(9)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }

    #[test]
    fn a_ca_whose_name_cannot_be_repeated_is_not_issued_again() {
        let key = Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap());
        let subject = SubjectKey::from(Arc::clone(&key));
        let rcgen_key = RcgenKey::new(&subject).unwrap();
        let mut params = Profile::Authority { path_length: None }
            .params("Root", &subject.public_key_info, Validity::days(1))
            .unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "Contoso");
        let issuer = Issuer::from_params(&params, &rcgen_key);
        let made = params.signed_by(&rcgen_key, &issuer).unwrap();
        let made = Certificate::from_der(made.der()).unwrap();
        let root = Authority::new(made.clone(), key).unwrap();
        let error = root.reissue_authority(&made, Validity::days(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
}
