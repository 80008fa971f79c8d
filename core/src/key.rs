//! Software private keys: made, read, written, and used for signing.

#[cfg_attr(not(feature = "encrypted-keys"), path = "key/encrypted_left_out.rs")]
mod encrypted;
#[cfg(feature = "encrypted-keys")]
mod proc_type;

use std::{fmt, path::Path, str::FromStr};

use pkcs8::PrivateKeyInfoRef;
use x509_parser::asn1_rs::FromDer;
use zeroize::Zeroizing;

use crate::{
    chain::pkcs12,
    crypto::KeyPair,
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
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("rsa-2048", Self::Rsa(2048)),
        ("rsa-3072", Self::Rsa(3072)),
        ("rsa-4096", Self::Rsa(4096)),
        ("ec-p256", Self::EcP256),
        ("ec-p384", Self::EcP384),
    ];

    /// The name, of those that [`FromStr`] reads; `None` for a key that is never made, such as RSA
    /// of another size.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(_, named)| *named == self).map(|(name, _)| *name)
    }

    /// Whether the key is too short for Azure, and for anything else today.
    pub(crate) fn is_too_short(self) -> bool {
        matches!(self, Self::Rsa(..2048))
    }

    /// All that a key of this type can sign with, in order of preference.
    pub fn signature_algorithms(self) -> &'static [SignatureAlgorithm] {
        match self {
            Self::Rsa(_) => SignatureAlgorithm::RSA,
            Self::EcP256 => &[SignatureAlgorithm::EcdsaP256Sha256],
            Self::EcP384 => &[SignatureAlgorithm::EcdsaP384Sha384],
        }
    }
}

impl FromStr for KeyType {
    type Err = Error;

    /// Reads one of [`NAMES`](Self::NAMES).
    fn from_str(text: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, found)| *found).ok_or_else(
            || {
                let known: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let message = format!("{text:?} is none of {}", known.join(", "));
                Error::new(ErrorKind::InvalidArgument, message)
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

    #[cfg(feature = "encrypted-keys")]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    #[cfg(feature = "encrypted-keys")]
    fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

// A derived one would not count as a use of the field, and the small build has no other.
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
    pair: KeyPair,
    public_key_info: Vec<u8>,
}

impl PrivateKey {
    /// Makes a new key: RSA of 2048, 3072 or 4096 bits, EC P-256 or P-384.
    pub fn generate(key_type: KeyType) -> Result<Self> {
        let made = KeyPair::generate(key_type);
        Self::from_pair(made.ok_or_else(|| unsupported(&key_type.to_string()))??)
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
            Some(dek_info) => Some(encrypted::decrypt_old(&block.der, dek_info, passphrase)?),
        };
        let der = decrypted.as_ref().unwrap_or(&block.der);
        let key = match block.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8(der),
            "ENCRYPTED PRIVATE KEY" => Self::from_encrypted_pkcs8(der, passphrase),
            "RSA PRIVATE KEY" => Self::from_pkcs1(der),
            "EC PRIVATE KEY" => Self::from_ec(der),
            label => Err(unsupported(&format!("a {label:?} block"))),
        };
        key.map_err(|error| match &decrypted {
            // CBC has no tag: a wrong passphrase that happens to leave valid padding shows here.
            Some(plain) if !is_der(plain) => passphrase_wrong(),
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
        let der = encrypted::encrypt(&self.to_der()?, passphrase)?;
        Ok(pem::write("ENCRYPTED PRIVATE KEY", &der))
    }

    /// The key as PKCS#8 DER, in the clear.
    pub fn to_der(&self) -> Result<Zeroizing<Vec<u8>>> {
        self.pair.to_pkcs8()
    }

    /// The public key as DER `SubjectPublicKeyInfo` (RFC 5280, section 4.1).
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// The type and size of the key.
    pub fn key_type(&self) -> KeyType {
        self.pair.key_type()
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
                Self::from_rsa(KeyPair::rsa_from_pkcs8(der).ok_or_else(|| malformed("PKCS#8 RSA"))?)
            }
            EC => Self::from_ec(der),
            oid => Err(unsupported(&format!("a key with algorithm {oid}"))),
        }
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self> {
        Self::from_rsa(KeyPair::rsa_from_pkcs1(der).ok_or_else(|| malformed("PKCS#1 RSA"))?)
    }

    fn from_encrypted_pkcs8(der: &[u8], passphrase: Option<&Passphrase>) -> Result<Self> {
        Self::from_pkcs8(&encrypted::decrypt(der, passphrase)?)
    }

    fn from_rsa(pair: KeyPair) -> Result<Self> {
        match pair.key_type() {
            short if short.is_too_short() => Err(unsupported(&short.to_string())),
            _ => Self::from_pair(pair),
        }
    }

    /// Takes SEC1 (RFC 5915) and PKCS#8 alike.
    fn from_ec(der: &[u8]) -> Result<Self> {
        let read = |key_type| KeyPair::ec_from_der(key_type, der);
        let pair = [KeyType::EcP256, KeyType::EcP384].into_iter().find_map(read);
        Self::from_pair(pair.ok_or_else(|| {
            unsupported("an EC key that is damaged or on a curve other than P-256 and P-384")
        })??)
    }

    fn from_pair(pair: KeyPair) -> Result<Self> {
        Ok(Self { public_key_info: pair.public_key_info()?, pair })
    }
}

impl Signer for PrivateKey {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.pair.key_type().signature_algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.pair
            .sign(request.algorithm(), request.message())
            .ok_or_else(|| SignerError::new("the key could not sign"))
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

fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::KeyUnsupported,
        format!("{what} is not supported; RSA of 2048 bits and more, EC P-256 and EC P-384 are"),
    )
}

/// Whether the bytes are one SEQUENCE and nothing else, as every key is.
fn is_der(bytes: &[u8]) -> bool {
    x509_parser::asn1_rs::Sequence::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty())
}

fn passphrase_wrong() -> Error {
    Error::new(ErrorKind::PassphraseWrong, "the passphrase does not decrypt the private key")
}

fn malformed(form: &str) -> Error {
    Error::new(ErrorKind::KeyMalformed, format!("the {form} private key cannot be parsed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_type_is_read_by_its_name() {
        for (name, key_type) in KeyType::NAMES {
            assert_eq!(name.parse::<KeyType>().unwrap(), *key_type);
            assert_eq!(key_type.name(), Some(*name));
        }
        assert_eq!(KeyType::Rsa(1024).name(), None);
        let error = "EC P-256".parse::<KeyType>().unwrap_err();
        assert!(error.message().contains("ec-p256"), "{error}");
    }
}
