//! Who a device is: its chain and what signs for it, proven to belong together, or its symmetric
//! key.

mod awaited;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use x509_parser::{asn1_rs::FromDer, x509::SubjectPublicKeyInfo};

use self::awaited::{Awaited, Calls};
use crate::{
    chain::{Certificate, CertificateChain, PublicKeyType},
    crypto::{
        fill,
        signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256,
            RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
            RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey,
            VerificationAlgorithm,
        },
    },
    error::{Error, ErrorKind, Result},
    key::{KeyType, PrivateKey},
    pacing::Pacing,
    registration_id::RegistrationId,
    signer::{self, SignatureAlgorithm, Signer},
    symmetric_key::{SymmetricKey, TokenSigner, Tokens},
    tls::{ClientKey, Roots, TlsClient},
};

/// Who the device is. Cheap to clone.
///
/// There is no identity whose private key does not belong to its leaf certificate.
#[derive(Clone)]
pub struct Identity(Arc<Inner>, Arc<Pacing>);

enum Inner {
    X509 {
        chain: CertificateChain,
        key: Arc<ClientKey>,
        /// What errors call the place that the chain was read from.
        source: Box<str>,
        calls: Calls,
    },
    /// The ID is a registration ID, or that of a device of a hub, which may have other letters.
    SymmetricKey { id: String, signer: Arc<dyn TokenSigner>, calls: Calls },
}

impl Identity {
    /// A key in this process's memory.
    pub(crate) fn from_key(
        chain: CertificateChain,
        key: PrivateKey,
        source: impl fmt::Display,
    ) -> Result<Self> {
        let leaf = chain.leaf();
        supported_key_type(leaf)?;
        if leaf.public_key_info() != key.public_key_info() {
            let found = match leaf.public_key_type() {
                PublicKeyType::Supported(same) if *same == key.key_type() => {
                    "the private key is another key of the same type".to_owned()
                }
                _ => format!("the private key is {}", key.key_type()),
            };
            return Err(mismatch(leaf, &found));
        }
        Ok(Self::x509(chain, Arc::new(key), source, Calls::default()))
    }

    /// A key that is elsewhere. It proves that it is the leaf's by one test signature.
    pub(crate) fn from_signer(
        chain: CertificateChain,
        signer: Arc<dyn Signer>,
        source: impl fmt::Display,
    ) -> Result<Self> {
        let signer = signer::for_certificate(signer, chain.leaf());
        prove(chain.leaf(), signer.as_ref())?;
        Ok(Self::from_proven_signer(chain, signer, source))
    }

    /// As [`from_signer`](Self::from_signer), of a signer that has passed [`prove`] already.
    pub(crate) fn from_proven_signer(
        chain: CertificateChain,
        signer: Arc<dyn Signer>,
        source: impl fmt::Display,
    ) -> Self {
        let calls = Calls::default();
        let signer = Arc::new(Awaited { signer, calls: calls.clone() });
        Self::x509(chain, signer, source, calls)
    }

    /// A symmetric key in this process's memory, of a device that registers or that a hub knows
    /// already. Only the service can tell whether it is the right one.
    pub(crate) fn from_symmetric_key(id: String, key: SymmetricKey) -> Self {
        Self::keyed(id, Arc::new(key), Calls::default())
    }

    /// As [`from_symmetric_key`](Self::from_symmetric_key), with a key that is elsewhere.
    pub(crate) fn from_token_signer(id: String, signer: Arc<dyn TokenSigner>) -> Self {
        let calls = Calls::default();
        Self::keyed(id, Arc::new(Awaited { signer, calls: calls.clone() }), calls)
    }

    fn keyed(id: String, signer: Arc<dyn TokenSigner>, calls: Calls) -> Self {
        Self(Arc::new(Inner::SymmetricKey { id, signer, calls }), Arc::default())
    }

    fn x509(
        chain: CertificateChain,
        signer: Arc<dyn Signer>,
        source: impl fmt::Display,
        calls: Calls,
    ) -> Self {
        let key = Arc::new(ClientKey::new(chain.to_der(), signer));
        let source = source.to_string().into();
        Self(Arc::new(Inner::X509 { chain, key, source, calls }), Arc::default())
    }

    /// The device's certificates, and where they were read from.
    pub(crate) fn chain_and_source(&self) -> Option<(&CertificateChain, &str)> {
        match self.0.as_ref() {
            Inner::X509 { chain, source, .. } => Some((chain, source)),
            Inner::SymmetricKey { .. } => None,
        }
    }

    /// The device's certificates; a device with a symmetric key has none.
    pub fn chain(&self) -> Option<&CertificateChain> {
        self.chain_and_source().map(|(chain, _)| chain)
    }

    /// The registration ID: the one that the leaf's common name stands for, or the one that the
    /// symmetric key was given with.
    pub fn registration_id(&self) -> Result<RegistrationId> {
        let leaf = match self.0.as_ref() {
            Inner::X509 { chain, .. } => chain.leaf(),
            Inner::SymmetricKey { id, .. } => return RegistrationId::parse(id),
        };
        let common_name = leaf.common_name().ok_or_else(|| {
            Error::new(
                ErrorKind::RegistrationIdMismatch,
                format!(
                    "the leaf certificate ({}) has no common name, so it stands for no registration ID",
                    leaf.subject()
                ),
            )
            .with_hint("Issue a device certificate whose common name is the registration ID.")
        })?;
        RegistrationId::parse_common_name(common_name)
    }

    /// What can be said before dialling: the dates of every certificate of the chain.
    pub fn check(&self, now: SystemTime) -> Result<()> {
        self.chain().map_or(Ok(()), |chain| chain.check_validity(now))
    }

    /// What TLS connections of this identity need.
    pub(crate) fn tls(&self, roots: &Roots) -> Result<TlsClient> {
        match self.0.as_ref() {
            Inner::X509 { key, .. } => TlsClient::new(Arc::clone(key), roots),
            Inner::SymmetricKey { .. } => TlsClient::anonymous(roots),
        }
    }

    /// What a registration of this identity shows in place of a certificate.
    pub(crate) fn registration_tokens(
        &self,
        id_scope: &str,
        registration_id: &RegistrationId,
    ) -> Option<Tokens> {
        let signer = self.token_signer()?;
        Some(Tokens::for_registration(signer, id_scope, registration_id))
    }

    /// What a hub is shown in place of a certificate.
    pub(crate) fn hub_tokens(
        &self,
        hub: &str,
        device_id: &str,
        lifetime: Duration,
    ) -> Option<Tokens> {
        Some(Tokens::for_device(self.token_signer()?, hub, device_id, lifetime))
    }

    /// What this device remembers of being throttled.
    pub(crate) fn pacing(&self) -> &Arc<Pacing> {
        &self.1
    }

    /// Whether a signer that may be slow has been asked, and has not answered yet.
    pub(crate) fn is_signing(&self) -> bool {
        let (Inner::X509 { calls, .. } | Inner::SymmetricKey { calls, .. }) = self.0.as_ref();
        calls.under_way()
    }

    fn token_signer(&self) -> Option<Arc<dyn TokenSigner>> {
        match self.0.as_ref() {
            Inner::X509 { .. } => None,
            Inner::SymmetricKey { signer, .. } => Some(Arc::clone(signer)),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Identity");
        match self.0.as_ref() {
            Inner::X509 { chain, .. } => shown.field("chain", chain),
            Inner::SymmetricKey { id, .. } => shown.field("id", id),
        };
        shown.finish_non_exhaustive()
    }
}

/// Lets the signer sign a random challenge and checks the signature with the certificate's key.
pub(crate) fn prove(certificate: &Certificate, signer: &dyn Signer) -> Result<()> {
    let key_type = supported_key_type(certificate)?;
    let Some(algorithm) =
        signer.algorithms().iter().copied().find(|algorithm| fits(*algorithm, key_type))
    else {
        return Err(mismatch(certificate, "the signer offers no algorithm for it"));
    };
    let mut challenge = [0; 32];
    fill(&mut challenge)?;
    let signature = signer::sign(signer, algorithm, &challenge)?;
    let key = SubjectPublicKeyInfo::from_der(certificate.public_key_info())
        .map(|(_, info)| info.subject_public_key.data.to_vec())
        .map_err(|_| Error::new(ErrorKind::Internal, "the certificate's key cannot be parsed"))?;
    UnparsedPublicKey::new(verification(algorithm), key).verify(&challenge, &signature).map_err(
        |_| mismatch(certificate, "a test signature of the signer does not verify with it"),
    )
}

pub(crate) fn supported_key_type(certificate: &Certificate) -> Result<KeyType> {
    match certificate.public_key_type() {
        PublicKeyType::Supported(short) if short.is_too_short() => Err(Error::new(
            ErrorKind::KeyUnsupported,
            format!(
                "the key of {:?} is {short}; at least 2048 bits are needed",
                certificate.subject()
            ),
        )),
        PublicKeyType::Supported(key_type) => Ok(*key_type),
        PublicKeyType::Other(name) => Err(Error::new(
            ErrorKind::KeyUnsupported,
            format!(
                "the key of {:?} is {name}; RSA, EC P-256 and EC P-384 are supported",
                certificate.subject()
            ),
        )),
    }
}

fn mismatch(certificate: &Certificate, found: &str) -> Error {
    let expected = match certificate.public_key_type() {
        PublicKeyType::Supported(key_type) => key_type.to_string(),
        PublicKeyType::Other(name) => name.clone(),
    };
    Error::new(
        ErrorKind::KeyMismatch,
        format!(
            "the private key does not belong to the certificate {:?}, whose key is {expected}: {found}",
            certificate.subject()
        ),
    )
    .with_hint("Give the key that the certificate was issued for.")
}

pub(crate) fn fits(algorithm: SignatureAlgorithm, key_type: KeyType) -> bool {
    key_type.signature_algorithms().contains(&algorithm)
}

fn verification(algorithm: SignatureAlgorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        SignatureAlgorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        SignatureAlgorithm::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
        SignatureAlgorithm::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        SignatureAlgorithm::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
        SignatureAlgorithm::RsaPkcs1Sha256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureAlgorithm::RsaPkcs1Sha384 => &RSA_PKCS1_2048_8192_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha512 => &RSA_PKCS1_2048_8192_SHA512,
    }
}
