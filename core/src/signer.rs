//! The one door for foreign keys: a [`Signer`] signs, and never gives its key away.
//!
//! # Contract
//!
//! - [`Signer::sign`] may be called from any thread and from several at once, and may block. It
//!   is never called with a lock of this crate held.
//! - It is offered the algorithm, the message and the message's digest, since TLS stacks hand
//!   over messages while most hardware wants digests.
//! - It returns the signature: PKCS#1 v1.5 or PSS bytes for RSA; for ECDSA either DER (RFC 3279,
//!   section 2.2.3) or the raw `r || s` that hardware returns, which this crate turns into DER.
//! - A deadline ends the wait, not the call: a signer must be ready to finish later.
//!
//! The same signer authenticates TLS and signs certificates and certificate requests.

use std::{cell::OnceCell, error, fmt, str::FromStr, sync::Arc, time::Duration};

use der::{Decode, Encode, Sequence, asn1::Uint};

use crate::{
    chain::Certificate,
    crypto::digest,
    error::{Error, ErrorKind},
};

/// How long a connection waits for a signature: as long as it may take to open. Nobody wants the
/// signature after that.
pub const SIGN_LIMIT: Duration = Duration::from_secs(30);

/// A private key that signs and stays where it is: in a file's memory, an HSM, a TPM, a daemon.
pub trait Signer: Send + Sync {
    /// What the key can do, in order of preference. Empty: all that the type of the certificate's
    /// key can, which is not known where a key has no certificate yet.
    fn algorithms(&self) -> &[SignatureAlgorithm];

    /// Signs the request's message, or its digest, with the request's algorithm.
    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError>;

    /// Whether [`sign`](Self::sign) may take long. Such a signer is called away from the thread
    /// that serves the other connections. Asked at least once for each registration and each
    /// hub client.
    fn may_block(&self) -> bool {
        true
    }
}

/// How a signature is made: key type, padding and hash in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 over SHA-256.
    EcdsaP256Sha256,
    /// ECDSA on P-384 over SHA-384.
    EcdsaP384Sha384,
    /// RSASSA-PSS over SHA-256, salt as long as the hash, MGF1 with the same hash.
    RsaPssSha256,
    /// RSASSA-PSS over SHA-384, salt as long as the hash, MGF1 with the same hash.
    RsaPssSha384,
    /// RSASSA-PSS over SHA-512, salt as long as the hash, MGF1 with the same hash.
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 over SHA-256.
    RsaPkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 over SHA-384.
    RsaPkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 over SHA-512.
    RsaPkcs1Sha512,
}

impl SignatureAlgorithm {
    /// All that an RSA key can do, in order of preference.
    pub const RSA: &'static [Self] = &[
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
    ];

    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::EcdsaP256Sha256,
        Self::EcdsaP384Sha384,
        Self::RsaPssSha256,
        Self::RsaPssSha384,
        Self::RsaPssSha512,
        Self::RsaPkcs1Sha256,
        Self::RsaPkcs1Sha384,
        Self::RsaPkcs1Sha512,
    ];

    /// The name, such as `ecdsa-p256-sha256`: the same in every language.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 => "ecdsa-p256-sha256",
            Self::EcdsaP384Sha384 => "ecdsa-p384-sha384",
            Self::RsaPssSha256 => "rsa-pss-sha256",
            Self::RsaPssSha384 => "rsa-pss-sha384",
            Self::RsaPssSha512 => "rsa-pss-sha512",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1-sha256",
            Self::RsaPkcs1Sha384 => "rsa-pkcs1-sha384",
            Self::RsaPkcs1Sha512 => "rsa-pkcs1-sha512",
        }
    }

    /// The name of its hash, such as `sha256`.
    pub fn hash_name(self) -> &'static str {
        match self {
            Self::EcdsaP256Sha256 | Self::RsaPssSha256 | Self::RsaPkcs1Sha256 => "sha256",
            Self::EcdsaP384Sha384 | Self::RsaPssSha384 | Self::RsaPkcs1Sha384 => "sha384",
            Self::RsaPssSha512 | Self::RsaPkcs1Sha512 => "sha512",
        }
    }

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::EcdsaP256Sha256 | Self::RsaPssSha256 | Self::RsaPkcs1Sha256 => &digest::SHA256,
            Self::EcdsaP384Sha384 | Self::RsaPssSha384 | Self::RsaPkcs1Sha384 => &digest::SHA384,
            Self::RsaPssSha512 | Self::RsaPkcs1Sha512 => &digest::SHA512,
        }
    }

    /// The length of `r` and of `s` in bytes; `None` for RSA.
    fn ecdsa_scalar_length(self) -> Option<usize> {
        match self {
            Self::EcdsaP256Sha256 => Some(32),
            Self::EcdsaP384Sha384 => Some(48),
            _ => None,
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SignatureAlgorithm {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|algorithm| algorithm.name()).collect();
            let message = format!("{name:?} is no signature algorithm");
            Error::new(ErrorKind::InvalidArgument, message)
                .with_hint(format!("It must be one of {}.", all.join(", ")))
        })
    }
}

/// What is to be signed.
pub struct SignRequest<'a> {
    algorithm: SignatureAlgorithm,
    message: &'a [u8],
    digest: OnceCell<digest::Digest>,
}

impl fmt::Debug for SignRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignRequest").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl<'a> SignRequest<'a> {
    pub(crate) fn new(algorithm: SignatureAlgorithm, message: &'a [u8]) -> Self {
        Self { algorithm, message, digest: OnceCell::new() }
    }

    /// The algorithm: one of those that the signer named.
    pub fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The whole message, for a signer that hashes by itself.
    pub fn message(&self) -> &'a [u8] {
        self.message
    }

    /// The message's hash under the algorithm, for a signer that takes digests.
    pub fn digest(&self) -> &[u8] {
        self.digest.get_or_init(|| digest::digest(self.algorithm.hash(), self.message)).as_ref()
    }
}

/// Why a signer failed, in its own words.
#[derive(Debug)]
pub struct SignerError {
    code: Option<i64>,
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl SignerError {
    /// A failure that the signer describes as `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: None, message: message.into(), source: None }
    }

    /// Adds the signer's own number for the failure, such as a PKCS#11 return value.
    pub fn with_code(mut self, code: i64) -> Self {
        self.code = Some(code);
        self
    }

    /// Keeps the original failure, such as the exception of a Python signer.
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The signer's own number for the failure.
    pub fn code(&self) -> Option<i64> {
        self.code
    }
}

impl fmt::Display for SignerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} (code {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl error::Error for SignerError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<SignerError> for Error {
    fn from(error: SignerError) -> Self {
        Self::new(ErrorKind::Signer, format!("the signer failed: {error}")).with_source(error)
    }
}

/// The signer of this certificate's key; where it says nothing of what it can do, it can do all.
pub(crate) fn for_certificate(
    signer: Arc<dyn Signer>,
    certificate: &Certificate,
) -> Arc<dyn Signer> {
    match signer.algorithms() {
        [] => Arc::new(Announced { signer, algorithms: certificate.signature_algorithms() }),
        _ => signer,
    }
}

/// A signer with what it did not say itself.
struct Announced {
    signer: Arc<dyn Signer>,
    algorithms: &'static [SignatureAlgorithm],
}

impl Signer for Announced {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.algorithms
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.signer.sign(request)
    }

    fn may_block(&self) -> bool {
        self.signer.may_block()
    }
}

/// Calls the signer and gives its answer the form that X.509 and TLS want.
pub(crate) fn sign(
    signer: &dyn Signer,
    algorithm: SignatureAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, SignerError> {
    let signature = signer.sign(&SignRequest::new(algorithm, message))?;
    let Some(scalar_length) = algorithm.ecdsa_scalar_length() else {
        return Ok(signature);
    };
    if EcdsaSignature::from_der(&signature).is_ok() {
        return Ok(signature);
    }
    if signature.len() != 2 * scalar_length {
        return Err(SignerError::new(format!(
            "it returned {} bytes, which are neither a DER signature nor the {} bytes of r || s",
            signature.len(),
            2 * scalar_length
        )));
    }
    let (r, s) = signature.split_at(scalar_length);
    Uint::new(r)
        .and_then(|r| Uint::new(s).map(|s| EcdsaSignature { r, s }))
        .and_then(|signature| signature.to_der())
        .map_err(|error| SignerError::new("it returned an unusable r || s").with_source(error))
}

/// `ECDSA-Sig-Value` of RFC 3279, section 2.2.3.
#[derive(Sequence)]
struct EcdsaSignature {
    r: Uint,
    s: Uint,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{
        SystemRandom,
        signature::{
            ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
            UnparsedPublicKey,
        },
    };

    struct RawEcdsa(EcdsaKeyPair);

    impl Signer for RawEcdsa {
        fn algorithms(&self) -> &[SignatureAlgorithm] {
            &[SignatureAlgorithm::EcdsaP256Sha256]
        }

        fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
            let signature = self.0.sign(&SystemRandom::new(), request.message());
            Ok(signature.map_err(|_| SignerError::new("refused"))?.as_ref().to_vec())
        }
    }

    struct Garbage(usize);

    impl Signer for Garbage {
        fn algorithms(&self) -> &[SignatureAlgorithm] {
            &[SignatureAlgorithm::EcdsaP256Sha256]
        }

        fn sign(&self, _: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
            Ok(vec![0xa5; self.0])
        }
    }

    #[test]
    fn an_algorithm_is_read_by_its_name() {
        for algorithm in SignatureAlgorithm::ALL {
            assert_eq!(algorithm.name().parse::<SignatureAlgorithm>().unwrap(), *algorithm);
            assert!(algorithm.name().ends_with(algorithm.hash_name()));
        }
        let error = "rsa".parse::<SignatureAlgorithm>().unwrap_err();
        assert!(error.hint().unwrap().contains("rsa-pss-sha256"), "{error}");
    }

    #[test]
    fn raw_scalars_become_der() {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let signer = RawEcdsa(pair);
        for message in 0..64_u8 {
            let der = sign(&signer, SignatureAlgorithm::EcdsaP256Sha256, &[message]).unwrap();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &public)
                .verify(&[message], &der)
                .unwrap();
        }
    }

    #[test]
    fn garbage_is_refused_with_its_length() {
        for length in [0, 1, 63, 65, 128] {
            let error =
                sign(&Garbage(length), SignatureAlgorithm::EcdsaP256Sha256, b"m").unwrap_err();
            assert!(error.to_string().contains(&format!("{length} bytes")), "{error}");
        }
    }
}
