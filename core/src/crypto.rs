//! The one room that names the cryptographic library: AWS-LC, or *ring* in the small build for
//! firmware, which is a third of its size.
//!
//! Both have the same names for hashes, MACs and signatures. They differ in how keys are made, read
//! and written, and in what they give to TLS: `aws_lc` and `ring` below.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(not(feature = "aws-lc"))]
mod ring;

#[cfg(feature = "aws-lc")]
use ::aws_lc_rs as library;
#[cfg(not(feature = "aws-lc"))]
use ::ring as library;
use library::{
    rand::SecureRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaSigningAlgorithm,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
        RSA_PSS_SHA512, RsaEncoding,
    },
};

#[cfg(feature = "aws-lc")]
pub(crate) use self::aws_lc::{KeyPair, tls_provider};
#[cfg(not(feature = "aws-lc"))]
pub(crate) use self::ring::{KeyPair, tls_provider};
pub(crate) use library::{digest, hmac, rand::SystemRandom, signature};

use crate::{
    error::{Error, ErrorKind, Result},
    key::KeyType,
    signer::SignatureAlgorithm,
};

#[cfg(not(any(feature = "aws-lc", feature = "ring")))]
compile_error!("dps-core needs one of its features `aws-lc` and `ring`");

/// Fills `bytes` with random ones, fit for keys.
pub(crate) fn fill(bytes: &mut [u8]) -> Result<()> {
    SystemRandom::new().fill(bytes).map_err(|_| random_generator_failed())
}

fn random_generator_failed() -> Error {
    Error::new(ErrorKind::Internal, "the random generator failed")
}

fn ecdsa_algorithm(key_type: KeyType) -> &'static EcdsaSigningAlgorithm {
    match key_type {
        KeyType::EcP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
    }
}

fn rsa_encoding(algorithm: SignatureAlgorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        SignatureAlgorithm::RsaPkcs1Sha256 => &RSA_PKCS1_SHA256,
        SignatureAlgorithm::RsaPkcs1Sha384 => &RSA_PKCS1_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha512 => &RSA_PKCS1_SHA512,
        SignatureAlgorithm::RsaPssSha256 => &RSA_PSS_SHA256,
        SignatureAlgorithm::RsaPssSha384 => &RSA_PSS_SHA384,
        SignatureAlgorithm::RsaPssSha512 => &RSA_PSS_SHA512,
        SignatureAlgorithm::EcdsaP256Sha256 | SignatureAlgorithm::EcdsaP384Sha384 => return None,
    })
}
