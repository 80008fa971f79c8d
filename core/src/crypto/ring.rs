//! Keys and TLS by *ring*. It makes no RSA keys, and it keeps no key in a form that can be written:
//! the form that was read is kept beside it.

use std::sync::Arc;

use der::{
    Decode, Encode, Sequence,
    asn1::{AnyRef, BitStringRef, OctetStringRef},
};
use pkcs8::{AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef, SubjectPublicKeyInfoRef};
use ring::{
    rand::SystemRandom,
    signature::{EcdsaKeyPair, KeyPair as _, RsaKeyPair},
};
use rustls::{
    SignatureScheme, SupportedCipherSuite,
    crypto::{
        CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SupportedKxGroup,
        WebPkiSupportedAlgorithms, ring as tls,
    },
    sign::SigningKey,
};
use rustls_pki_types::PrivateKeyDer;
use webpki::ring as verified;
use zeroize::Zeroizing;

use super::{ecdsa_algorithm, random_generator_failed, rsa_encoding};
use crate::{
    error::{Error, ErrorKind, Result},
    key::KeyType,
    signer::SignatureAlgorithm,
};

// RFC 8017, appendix A.1; RFC 5480, section 2.1.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// What TLS is made of: AES-GCM, and key exchange on the curves that signatures need anyway.
pub(crate) fn tls_provider() -> Arc<CryptoProvider> {
    static SUITES: [SupportedCipherSuite; 6] = [
        tls::cipher_suite::TLS13_AES_256_GCM_SHA384,
        tls::cipher_suite::TLS13_AES_128_GCM_SHA256,
        tls::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        tls::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        tls::cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        tls::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ];
    static GROUPS: [&dyn SupportedKxGroup; 2] =
        [tls::kx_group::SECP256R1, tls::kx_group::SECP384R1];

    Arc::new(CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        kx_groups: GROUPS.to_vec(),
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Random,
        key_provider: &NoKeys,
    })
}

/// What a server may sign with: as in rustls' own provider by *ring*, which cannot be had without
/// all else that is in it, and without Ed25519, which no public CA certifies (CA/Browser Forum,
/// Baseline Requirements, section 6.1.5).
static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        verified::ECDSA_P256_SHA256,
        verified::ECDSA_P256_SHA384,
        verified::ECDSA_P384_SHA256,
        verified::ECDSA_P384_SHA384,
        verified::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        verified::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        verified::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        verified::RSA_PKCS1_2048_8192_SHA256,
        verified::RSA_PKCS1_2048_8192_SHA384,
        verified::RSA_PKCS1_2048_8192_SHA512,
        verified::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
        verified::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
        verified::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    ],
    // TLS 1.2 does not tie a hash to a curve.
    mapping: &[
        (
            SignatureScheme::ECDSA_NISTP384_SHA384,
            &[verified::ECDSA_P384_SHA384, verified::ECDSA_P256_SHA384],
        ),
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            &[verified::ECDSA_P256_SHA256, verified::ECDSA_P384_SHA256],
        ),
        (SignatureScheme::RSA_PSS_SHA512, &[verified::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[verified::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA256, &[verified::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[verified::RSA_PKCS1_2048_8192_SHA512]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[verified::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA256, &[verified::RSA_PKCS1_2048_8192_SHA256]),
    ],
};

#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        super::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

/// Every key of this crate is a signer of its own: rustls reads none.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("keys are not read here".into()))
    }
}

/// A private key in this process's memory.
pub(crate) struct KeyPair {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>, KeyType),
}

/// `ECPrivateKey` (RFC 5915, section 3).
#[derive(Sequence)]
struct EcPrivateKey<'a> {
    version: u8,
    private_key: &'a OctetStringRef,
    #[asn1(context_specific = "0", optional = "true")]
    parameters: Option<ObjectIdentifier>,
    #[asn1(context_specific = "1", optional = "true")]
    public_key: Option<BitStringRef<'a>>,
}

impl KeyPair {
    /// Makes a key on a curve.
    pub(crate) fn generate(key_type: KeyType) -> Option<Result<Self>> {
        if let KeyType::Rsa(_) = key_type {
            return Some(Err(Error::left_out("making RSA keys")
                .with_hint("Make an EC P-256 key, or the RSA key elsewhere.")));
        }
        let made = EcdsaKeyPair::generate_pkcs8(ecdsa_algorithm(key_type), &SystemRandom::new());
        let made = made.map_err(|_| random_generator_failed());
        Some(made.and_then(|pkcs8| {
            let internal = || Error::new(ErrorKind::Internal, "a new key cannot be read");
            Self::ec_from_der(key_type, pkcs8.as_ref()).ok_or_else(internal)?
        }))
    }

    /// Reads an RSA key in PKCS#8.
    pub(crate) fn rsa_from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = RsaKeyPair::from_pkcs8(der).ok()?;
        Some(Self { pair: Pair::Rsa(Box::new(pair)), pkcs8: Zeroizing::new(der.to_vec()) })
    }

    /// Reads an RSA key in PKCS#1.
    pub(crate) fn rsa_from_pkcs1(der: &[u8]) -> Option<Self> {
        let pair = RsaKeyPair::from_der(der).ok()?;
        let pkcs8 = to_pkcs8(RSA, AnyRef::NULL, der)?;
        Some(Self { pair: Pair::Rsa(Box::new(pair)), pkcs8 })
    }

    /// Reads a key in SEC1 (RFC 5915) or PKCS#8; `None` where it is none of this curve.
    pub(crate) fn ec_from_der(key_type: KeyType, der: &[u8]) -> Option<Result<Self>> {
        let (sec1, curve) = match PrivateKeyInfoRef::try_from(der) {
            Ok(info) => (
                info.private_key.as_bytes(),
                Some(info.algorithm.parameters?.decode_as::<ObjectIdentifier>().ok()?),
            ),
            Err(_) => (der, None),
        };
        let key = EcPrivateKey::from_der(sec1).ok()?;
        if curve.or(key.parameters)? != curve_of(key_type) {
            return None;
        }
        // *ring* does not compute it.
        let Some(public) = key.public_key else {
            let error = Error::left_out("EC keys that are kept without their public key");
            return Some(Err(error.with_hint("Write it anew: openssl ec -in OLD -out NEW.")));
        };
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            ecdsa_algorithm(key_type),
            key.private_key.as_bytes(),
            public.as_bytes()?,
            &SystemRandom::new(),
        );
        let curve = curve_of(key_type);
        let pkcs8 = to_pkcs8(EC, AnyRef::from(&curve), sec1)?;
        Some(Ok(Self { pair: Pair::Ec(Box::new(pair.ok()?), key_type), pkcs8 }))
    }

    /// The type and size of the key.
    pub(crate) fn key_type(&self) -> KeyType {
        match &self.pair {
            Pair::Rsa(pair) => {
                KeyType::Rsa(u32::try_from(pair.public().modulus_len()).unwrap_or(0) * 8)
            }
            Pair::Ec(_, key_type) => *key_type,
        }
    }

    /// The public key as DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    pub(crate) fn public_key_info(&self) -> Result<Vec<u8>> {
        let curve;
        let (oid, parameters, public) = match &self.pair {
            Pair::Rsa(pair) => (RSA, AnyRef::NULL, pair.public_key().as_ref()),
            Pair::Ec(pair, key_type) => {
                curve = curve_of(*key_type);
                (EC, AnyRef::from(&curve), pair.public_key().as_ref())
            }
        };
        let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
        BitStringRef::from_bytes(public)
            .and_then(|public| {
                SubjectPublicKeyInfoRef { algorithm, subject_public_key: public }.to_der()
            })
            .map_err(|_| Error::new(ErrorKind::Internal, "the public key has no DER form"))
    }

    /// The key as PKCS#8 DER, in the clear.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        Ok(self.pkcs8.clone())
    }

    /// Signs; `None` where the algorithm is not the key's.
    pub(crate) fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(rsa_encoding(algorithm)?, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Pair::Ec(pair, _) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}

fn curve_of(key_type: KeyType) -> ObjectIdentifier {
    match key_type {
        KeyType::EcP384 => P384,
        _ => P256,
    }
}

fn to_pkcs8(
    oid: ObjectIdentifier,
    parameters: AnyRef<'_>,
    key: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let algorithm = AlgorithmIdentifierRef { oid, parameters: Some(parameters) };
    let key = OctetStringRef::new(key).ok()?;
    PrivateKeyInfoRef::new(algorithm, key).to_der().ok().map(Zeroizing::new)
}
