//! Software private keys: made, read, written, and used for signing.

mod proc_type;

use std::{fmt, path::Path, str::FromStr};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::{SystemRandom, fill},
    rsa::{self, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    },
};
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, pkcs5::pbes2};
use x509_parser::asn1_rs::FromDer;
use zeroize::Zeroizing;

use crate::{
    chain::pkcs12,
    error::{Error, ErrorKind, Result},
    pem::{self, Der},
    signer::{SignRequest, SignatureAlgorithm, Signer, SignerError},
};

/// The type and size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyType {
    /// RSA with a modulus of this many bits.
    Rsa(u32),
    /// Elliptic curve P-256 (secp256r1).
    EcP256,
    /// Elliptic curve P-384 (secp384r1).
    EcP384,
}

impl KeyType {
    /// The key type that the tutorial uses.
    pub const TUTORIAL: Self = Self::Rsa(4096);

    /// What a new key may be, by the names that commands and bindings take.
    pub const NAMES: [(&str, Self); 5] = [
        ("rsa-2048", Self::Rsa(2048)),
        ("rsa-3072", Self::Rsa(3072)),
        ("rsa-4096", Self::Rsa(4096)),
        ("ec-p256", Self::EcP256),
        ("ec-p384", Self::EcP384),
    ];
}

impl FromStr for KeyType {
    type Err = Error;

    /// Reads one of [`NAMES`](Self::NAMES).
    fn from_str(text: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, found)| *found).ok_or_else(
            || {
                let known = Self::NAMES.map(|(name, _)| name).join(", ");
                Error::new(ErrorKind::InvalidArgument, format!("{text:?} is none of {known}"))
            },
        )
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA-{bits}"),
            Self::EcP256 => f.write_str("EC P-256"),
            Self::EcP384 => f.write_str("EC P-384"),
        }
    }
}

/// A passphrase; wiped after use, never shown.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the passphrase.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Clone for Passphrase {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// A private key in this process's memory.
///
/// A key that must not be there is a [`Signer`] of its own.
pub struct PrivateKey {
    pair: Pair,
    public_key_info: Vec<u8>,
}

enum Pair {
    Rsa(Box<rsa::KeyPair>),
    Ecdsa(EcdsaKeyPair, KeyType),
}

impl PrivateKey {
    /// Makes a new key: RSA of 2048, 3072 or 4096 bits, EC P-256 or P-384.
    pub fn generate(key_type: KeyType) -> Result<Self> {
        let internal = |_| Error::new(ErrorKind::Internal, "the random generator failed");
        let pair = match key_type {
            KeyType::Rsa(bits) => {
                let size = match bits {
                    2048 => KeySize::Rsa2048,
                    3072 => KeySize::Rsa3072,
                    4096 => KeySize::Rsa4096,
                    _ => return Err(unsupported(&format!("RSA-{bits}"))),
                };
                Pair::Rsa(Box::new(rsa::KeyPair::generate(size).map_err(internal)?))
            }
            KeyType::EcP256 | KeyType::EcP384 => Pair::Ecdsa(
                EcdsaKeyPair::generate(ecdsa_algorithm(key_type)).map_err(internal)?,
                key_type,
            ),
        };
        Self::from_pair(pair)
    }

    /// Reads a key in whatever form it is kept: PKCS#8 (plain, or encrypted by PBES2), PKCS#1 or
    /// SEC1, each in PEM or DER; OpenSSL's old encrypted PEM; a PKCS#12 file.
    pub fn from_pem(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Self> {
        match Der::detect(bytes) {
            Some(Der::Key) => return Self::from_der(bytes),
            Some(Der::EncryptedKey) => return Self::from_encrypted_pkcs8(bytes, passphrase),
            Some(Der::Pkcs12) => return pkcs12::read(bytes, passphrase)?.into_key(),
            _ => {}
        }
        let wrong_content = || {
            Error::new(
                ErrorKind::WrongFileContent,
                format!("a private key was expected, but this is {}", pem::describe(bytes)),
            )
        };
        let blocks = match pem::parse(bytes) {
            Ok(parsed) => parsed.blocks,
            Err(damage) => return Err(Error::new(ErrorKind::KeyMalformed, damage.to_string())),
        };
        let mut keys = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
        let Some(block) = keys.next() else {
            return Err(match blocks.is_empty() {
                true => wrong_content(),
                false => wrong_content()
                    .with_hint("The certificate file and the key file may have been swapped."),
            });
        };
        if keys.next().is_some() {
            return Err(Error::new(ErrorKind::KeyMalformed, "it holds several private keys"));
        }
        let decrypted = match &block.dek_info {
            None => None,
            Some(dek_info) => Some(proc_type::decrypt(&block.der, dek_info, passphrase)?),
        };
        let der = decrypted.as_ref().unwrap_or(&block.der);
        let key = match block.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(der),
            "ENCRYPTED PRIVATE KEY" => Self::from_encrypted_pkcs8(der, passphrase),
            "RSA PRIVATE KEY" => Self::from_pkcs1(der),
            "EC PRIVATE KEY" => Self::from_ec(der),
            label => Err(unsupported(&format!("a {label:?} block"))),
        };
        key.map_err(|error| match (&decrypted, error.kind()) {
            // CBC has no tag: a wrong passphrase that happens to leave valid padding shows here.
            (Some(plain), _) if !is_der(plain) => passphrase_wrong(),
            _ => error,
        })
    }

    /// As [`from_pem`](Self::from_pem), from a file, which the error names.
    pub fn from_file(path: impl AsRef<Path>, passphrase: Option<&Passphrase>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_pem(&pem::read(path)?, passphrase)
            .map_err(|error| error.in_context(path.display()))
    }

    /// Reads a key in DER: PKCS#8, PKCS#1 or SEC1.
    pub fn from_der(der: &[u8]) -> Result<Self> {
        if PrivateKeyInfoRef::try_from(der).is_ok() {
            return Self::from_pkcs8(der);
        }
        // The version number of SEC1 is 1, that of PKCS#1 is 0 (RFC 5915, section 3; RFC 8017,
        // appendix A.1.2).
        match x509_parser::asn1_rs::Sequence::from_der(der) {
            Ok((_, outer)) if outer.content.starts_with(&[0x02, 0x01, 0x01]) => Self::from_ec(der),
            _ => Self::from_pkcs1(der),
        }
    }

    /// The key as PKCS#8 PEM, in the clear.
    pub fn to_pem(&self) -> Result<Zeroizing<String>> {
        Ok(pem::write("PRIVATE KEY", &self.to_der()?))
    }

    /// The key as PKCS#8 PEM, encrypted by PBES2 (RFC 8018): PBKDF2 with HMAC-SHA-256, AES-256-CBC.
    pub fn to_encrypted_pem(&self, passphrase: &Passphrase) -> Result<Zeroizing<String>> {
        // OWASP, Password Storage Cheat Sheet: 600,000 iterations for PBKDF2-HMAC-SHA256.
        const ITERATIONS: u32 = 600_000;

        let internal = |_| Error::new(ErrorKind::Internal, "the key could not be encrypted");
        let (mut salt, mut iv) = ([0; 16], [0; 16]);
        fill(&mut salt).map_err(|_| internal(()))?;
        fill(&mut iv).map_err(|_| internal(()))?;
        let der = self.to_der()?;
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv)
            .map_err(|_| internal(()))?;
        let document = PrivateKeyInfoRef::try_from(der.as_slice())
            .map_err(|_| internal(()))?
            .encrypt_with_params(parameters, passphrase.as_bytes())
            .map_err(|_| internal(()))?;
        Ok(pem::write("ENCRYPTED PRIVATE KEY", document.as_bytes()))
    }

    /// The key as PKCS#8 DER, in the clear.
    pub fn to_der(&self) -> Result<Zeroizing<Vec<u8>>> {
        let internal = |_| Error::new(ErrorKind::Internal, "the key has no PKCS#8 form");
        Ok(match &self.pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'static> = pair.as_der().map_err(internal)?;
                Zeroizing::new(der.as_ref().to_vec())
            }
            Pair::Ecdsa(pair, _) => {
                Zeroizing::new(pair.to_pkcs8v1().map_err(internal)?.as_ref().to_vec())
            }
        })
    }

    /// The public key as DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// The type and size of the key.
    pub fn key_type(&self) -> KeyType {
        match &self.pair {
            Pair::Rsa(pair) => {
                KeyType::Rsa(u32::try_from(pair.public_modulus_len()).unwrap_or(0) * 8)
            }
            Pair::Ecdsa(_, key_type) => *key_type,
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self> {
        // OIDs: rsaEncryption (RFC 8017) and id-ecPublicKey (RFC 5480).
        const RSA: pkcs8::ObjectIdentifier =
            pkcs8::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
        const EC: pkcs8::ObjectIdentifier =
            pkcs8::ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| malformed("PKCS#8"))?;
        match info.algorithm.oid {
            RSA => {
                Self::from_rsa(rsa::KeyPair::from_pkcs8(der).map_err(|_| malformed("PKCS#8 RSA"))?)
            }
            EC => Self::from_ec(der),
            oid => Err(unsupported(&format!("a key with algorithm {oid}"))),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self> {
        Self::from_rsa(rsa::KeyPair::from_der(der).map_err(|_| malformed("PKCS#1 RSA"))?)
    }

    fn from_encrypted_pkcs8(der: &[u8], passphrase: Option<&Passphrase>) -> Result<Self> {
        // A file may ask for 2^32 rounds or for all memory, which would look like a hang or end
        // the process.
        const MAX_ITERATIONS: u32 = 10_000_000;
        const MAX_SCRYPT_MEMORY: u64 = 1 << 30;
        const MAX_SCRYPT_LANES: u16 = 16;

        let old_scheme = || unsupported_encryption("PKCS#5 v1 or PKCS#12 encryption");
        let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| old_scheme())?;
        let parameters = info.encryption_algorithm.pbes2().ok_or_else(old_scheme)?;
        if parameters.kdf.pbkdf2().is_some_and(|kdf| kdf.iteration_count > MAX_ITERATIONS) {
            return Err(unsupported_encryption("over 10 million PBKDF2 iterations"));
        }
        if parameters.kdf.scrypt().is_some_and(|kdf| {
            let memory = kdf
                .cost_parameter
                .checked_mul(u64::from(kdf.block_size))
                .and_then(|blocks| blocks.checked_mul(128));
            memory.is_none_or(|memory| memory > MAX_SCRYPT_MEMORY)
                || kdf.parallelization > MAX_SCRYPT_LANES
        }) {
            return Err(unsupported_encryption("scrypt over 1 GiB or 16 lanes"));
        }
        let passphrase = passphrase.ok_or_else(passphrase_required)?;
        let plain = info.decrypt(passphrase.as_bytes()).map_err(|_| passphrase_wrong())?;
        // CBC has no tag: a wrong passphrase that happens to leave valid padding shows here.
        PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(|_| passphrase_wrong())?;
        Self::from_pkcs8(plain.as_bytes())
    }

    fn from_rsa(pair: rsa::KeyPair) -> Result<Self> {
        if pair.public_modulus_len() < 256 {
            return Err(unsupported(&format!("RSA-{}", pair.public_modulus_len() * 8)));
        }
        Self::from_pair(Pair::Rsa(Box::new(pair)))
    }

    /// Takes SEC1 (RFC 5915) and PKCS#8 alike.
    fn from_ec(der: &[u8]) -> Result<Self> {
        for key_type in [KeyType::EcP256, KeyType::EcP384] {
            let algorithm = ecdsa_algorithm(key_type);
            if let Ok(pair) = EcdsaKeyPair::from_private_key_der(algorithm, der) {
                return Self::from_pair(Pair::Ecdsa(pair, key_type));
            }
        }
        Err(unsupported("an EC key that is damaged or on a curve other than P-256 and P-384"))
    }

    fn from_pair(pair: Pair) -> Result<Self> {
        let public: Result<PublicKeyX509Der<'static>, _> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ecdsa(pair, _) => pair.public_key().as_der(),
        };
        let public = public
            .map_err(|_| Error::new(ErrorKind::Internal, "the public key has no DER form"))?;
        Ok(Self { pair, public_key_info: public.as_ref().to_vec() })
    }
}

impl Signer for PrivateKey {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        match &self.pair {
            Pair::Rsa(_) => SignatureAlgorithm::RSA,
            Pair::Ecdsa(_, KeyType::EcP256) => &[SignatureAlgorithm::EcdsaP256Sha256],
            Pair::Ecdsa(..) => &[SignatureAlgorithm::EcdsaP384Sha384],
        }
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        let failed = |_| SignerError::new("the key could not sign");
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = rsa_encoding(request.algorithm()).ok_or_else(|| {
                    SignerError::new("an RSA key was asked for an ECDSA signature")
                })?;
                pair.sign(encoding, &random, request.message(), &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair, _) => {
                Ok(pair.sign(&random, request.message()).map_err(failed)?.as_ref().to_vec())
            }
        }
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ..)", self.key_type())
    }
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

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::KeyUnsupported,
        format!("{what} is not supported; RSA of 2048 bits and more, EC P-256 and EC P-384 are"),
    )
}

/// A key that may be a good one, under an encryption that is not read.
fn unsupported_encryption(what: &str) -> Error {
    Error::new(
        ErrorKind::KeyUnsupported,
        format!(
            "the private key is encrypted with {what}, which is not supported; PBES2 with PBKDF2 \
             or scrypt is"
        ),
    )
    .with_hint("Convert it: openssl pkcs8 -in OLD -topk8 -v2 aes256 -out NEW.")
}

/// Whether the bytes are one SEQUENCE and nothing else, as every key is.
fn is_der(bytes: &[u8]) -> bool {
    x509_parser::asn1_rs::Sequence::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty())
}

pub(crate) fn passphrase_required() -> Error {
    Error::new(
        ErrorKind::PassphraseRequired,
        "the private key is encrypted and no passphrase was given",
    )
}

pub(crate) fn passphrase_wrong() -> Error {
    Error::new(ErrorKind::PassphraseWrong, "the passphrase does not decrypt the private key")
}

fn malformed(form: &str) -> Error {
    Error::new(ErrorKind::KeyMalformed, format!("the {form} private key cannot be parsed"))
}
