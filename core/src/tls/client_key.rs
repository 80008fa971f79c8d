//! A [`Signer`] as rustls wants to see it.

use std::{fmt, sync::Arc};

use rustls::{
    OtherError, SignatureScheme,
    client::ResolvesClientCert,
    sign::{CertifiedKey, SigningKey},
};
use rustls_pki_types::CertificateDer;

use crate::signer::{self, SignatureAlgorithm, Signer};

/// The client's chain, sent whole, and the key behind it.
pub(crate) struct ClientKey {
    certified: Arc<CertifiedKey>,
    signer: Arc<dyn Signer>,
}

impl ClientKey {
    pub(crate) fn new(chain: Vec<CertificateDer<'static>>, signer: Arc<dyn Signer>) -> Self {
        let key = Arc::new(RustlsKey(Arc::clone(&signer)));
        Self { certified: Arc::new(CertifiedKey::new(chain, key)), signer }
    }

    pub(super) fn may_block(&self) -> bool {
        self.signer.may_block()
    }

    /// TLS 1.3 knows no RSA PKCS#1 signatures (RFC 8446, section 4.2.3): a key that can do nothing
    /// else would send an empty certificate, and the failure would show only at the first read.
    pub(super) fn needs_tls12(&self) -> bool {
        self.signer.algorithms().iter().all(|algorithm| {
            matches!(
                algorithm,
                SignatureAlgorithm::RsaPkcs1Sha256
                    | SignatureAlgorithm::RsaPkcs1Sha384
                    | SignatureAlgorithm::RsaPkcs1Sha512
            )
        })
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKey(..)")
    }
}

impl ResolvesClientCert for ClientKey {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // The server's list of acceptable CAs is a hint; DPS judges the chain itself.
        Some(Arc::clone(&self.certified))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Clone)]
struct RustlsKey(Arc<dyn Signer>);

impl SigningKey for RustlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        self.0.algorithms().iter().find(|algorithm| offered.contains(&scheme(**algorithm))).map(
            |algorithm| {
                let signer = RustlsSigner { key: Arc::clone(&self.0), algorithm: *algorithm };
                Box::new(signer) as Box<dyn rustls::sign::Signer>
            },
        )
    }

    fn algorithm(&self) -> rustls::SignatureAlgorithm {
        match self.0.algorithms().first() {
            Some(SignatureAlgorithm::EcdsaP256Sha256 | SignatureAlgorithm::EcdsaP384Sha384) => {
                rustls::SignatureAlgorithm::ECDSA
            }
            _ => rustls::SignatureAlgorithm::RSA,
        }
    }
}

impl fmt::Debug for RustlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustlsKey(..)")
    }
}

struct RustlsSigner {
    key: Arc<dyn Signer>,
    algorithm: SignatureAlgorithm,
}

impl rustls::sign::Signer for RustlsSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        signer::sign(self.key.as_ref(), self.algorithm, message)
            // Kept whole, so that the caller sees the signer's own words and cause.
            .map_err(|error| rustls::Error::Other(OtherError(Arc::new(error))))
    }

    fn scheme(&self) -> SignatureScheme {
        scheme(self.algorithm)
    }
}

impl fmt::Debug for RustlsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RustlsSigner({:?}, ..)", self.algorithm)
    }
}

fn scheme(algorithm: SignatureAlgorithm) -> SignatureScheme {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureAlgorithm::EcdsaP384Sha384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureAlgorithm::RsaPssSha256 => SignatureScheme::RSA_PSS_SHA256,
        SignatureAlgorithm::RsaPssSha384 => SignatureScheme::RSA_PSS_SHA384,
        SignatureAlgorithm::RsaPssSha512 => SignatureScheme::RSA_PSS_SHA512,
        SignatureAlgorithm::RsaPkcs1Sha256 => SignatureScheme::RSA_PKCS1_SHA256,
        SignatureAlgorithm::RsaPkcs1Sha384 => SignatureScheme::RSA_PKCS1_SHA384,
        SignatureAlgorithm::RsaPkcs1Sha512 => SignatureScheme::RSA_PKCS1_SHA512,
    }
}
