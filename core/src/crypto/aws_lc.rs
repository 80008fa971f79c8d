//! Keys and TLS by AWS-LC.

use std::sync::Arc;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{EcdsaKeyPair, KeyPair as _},
};
use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use super::{ecdsa_algorithm, random_generator_failed, rsa_encoding};
use crate::{
    error::{Error, ErrorKind, Result},
    key::KeyType,
    signer::SignatureAlgorithm,
};

/// What TLS is made of.
pub(crate) fn tls_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A private key in this process's memory.
pub(crate) enum KeyPair {
    Rsa(Box<rsa::KeyPair>),
    Ec(EcdsaKeyPair, KeyType),
}

impl KeyPair {
    /// Makes a key; `None` for a size that RSA keys are not made in.
    pub(crate) fn generate(key_type: KeyType) -> Option<Result<Self>> {
        let made = match key_type {
            KeyType::Rsa(bits) => {
                let size = match bits {
                    2048 => KeySize::Rsa2048,
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => return None,
                };
                rsa::KeyPair::generate(size).map(|pair| Self::Rsa(Box::new(pair)))
            }
            KeyType::EcP256 | KeyType::EcP384 => EcdsaKeyPair::generate(ecdsa_algorithm(key_type))
                .map(|pair| Self::Ec(pair, key_type)),
        };
        Some(made.map_err(|_| random_generator_failed()))
    }

    /// Reads an RSA key in PKCS#8.
    pub(crate) fn rsa_from_pkcs8(der: &[u8]) -> Option<Self> {
        rsa::KeyPair::from_pkcs8(der).ok().map(|pair| Self::Rsa(Box::new(pair)))
    }

    /// Reads an RSA key in PKCS#1.
    pub(crate) fn rsa_from_pkcs1(der: &[u8]) -> Option<Self> {
        rsa::KeyPair::from_der(der).ok().map(|pair| Self::Rsa(Box::new(pair)))
    }

    /// Reads a key in SEC1 (RFC 5915) or PKCS#8; `None` where it is none of this curve.
    pub(crate) fn ec_from_der(key_type: KeyType, der: &[u8]) -> Option<Result<Self>> {
        let pair = EcdsaKeyPair::from_private_key_der(ecdsa_algorithm(key_type), der);
        pair.ok().map(|pair| Ok(Self::Ec(pair, key_type)))
    }

    /// The type and size of the key.
    pub(crate) fn key_type(&self) -> KeyType {
        match self {
            Self::Rsa(pair) => {
                KeyType::Rsa(u32::try_from(pair.public_modulus_len()).unwrap_or(0) * 8)
            }
            Self::Ec(_, key_type) => *key_type,
        }
    }

    /// The public key as DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    pub(crate) fn public_key_info(&self) -> Result<Vec<u8>> {
        let public: Result<PublicKeyX509Der<'static>, _> = match self {
            Self::Rsa(pair) => pair.public_key().as_der(),
            Self::Ec(pair, _) => pair.public_key().as_der(),
        };
        let internal = |_| Error::new(ErrorKind::Internal, "the public key has no DER form");
        Ok(public.map_err(internal)?.as_ref().to_vec())
    }

    /// The key as PKCS#8 DER, in the clear.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let internal = |_| Error::new(ErrorKind::Internal, "the key has no PKCS#8 form");
        Ok(match self {
            Self::Rsa(pair) => {
                let der: Pkcs8V1Der<'static> = pair.as_der().map_err(internal)?;
                Zeroizing::new(der.as_ref().to_vec())
            }
            Self::Ec(pair, _) => {
                Zeroizing::new(pair.to_pkcs8v1().map_err(internal)?.as_ref().to_vec())
            }
        })
    }

    /// Signs; `None` where the algorithm is not the key's.
    pub(crate) fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa_encoding(algorithm)?, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ec(pair, _) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}
