//! PKCS#12 (PFX, RFC 7292): certificates and a key in one file under a passphrase.

use p12_keystore::{
    Certificate as P12Certificate, KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKey as P12Key,
    PrivateKeyChain, error::Error as P12Error,
};
use x509_parser::asn1_rs::{FromDer, Sequence};
use zeroize::Zeroizing;

use super::Certificate;
use crate::{
    error::{Error, ErrorKind, Result},
    key::{Passphrase, PrivateKey},
};

/// What a PKCS#12 file holds.
pub(crate) struct Contents {
    pub(crate) certificates: Vec<Certificate>,
    keys: Vec<P12Key>,
}

impl Contents {
    /// The one private key.
    pub(crate) fn into_key(self) -> Result<PrivateKey> {
        match self.keys.as_slice() {
            [key] => PrivateKey::from_der(key.as_der()),
            [] => Err(Error::new(
                ErrorKind::WrongFileContent,
                "the PKCS#12 file holds certificates and no private key",
            )
            .with_hint("Export it again with the private key: openssl pkcs12 -export -inkey KEY.")),
            keys => Err(Error::new(
                ErrorKind::KeyMalformed,
                format!("the PKCS#12 file holds {} private keys", keys.len()),
            )),
        }
    }
}

/// Reads a PKCS#12 file. Without a passphrase the empty one is tried.
///
/// A file without a MAC is refused: nothing would tell its contents from somebody else's.
pub(crate) fn read(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Contents> {
    let malformed = |reason: &dyn std::fmt::Display| {
        Error::new(
            ErrorKind::WrongFileContent,
            format!("the PKCS#12 file cannot be read: {reason}"),
        )
    };
    if !has_mac(bytes).ok_or_else(|| malformed(&"its outer structure is damaged"))? {
        return Err(Error::new(
            ErrorKind::WrongFileContent,
            "the PKCS#12 file has no MAC, so nothing shows that it is the one that was made",
        )
        .with_hint("Export it again: openssl pkcs12 -export without -nomac."));
    }
    let text = passphrase.map_or("", Passphrase::as_str);
    let archive = Pkcs12Archive::from_pkcs12(bytes, text).map_err(|error| match error {
        P12Error::MacError(_) if passphrase.is_none() => Error::new(
            ErrorKind::PassphraseRequired,
            "the PKCS#12 file is encrypted and no passphrase was given",
        ),
        P12Error::MacError(_) => Error::new(
            ErrorKind::PassphraseWrong,
            "the passphrase does not fit the MAC of the PKCS#12 file",
        ),
        P12Error::UnsupportedEncryptionScheme
        | P12Error::UnsupportedMacAlgorithm
        | P12Error::InvalidParameters => Error::new(
            ErrorKind::Unsupported,
            format!(
                "the encryption of the PKCS#12 file is not supported ({error}): AES, 3DES and \
                 RC2-40 with at most a million iterations are"
            ),
        )
        .with_hint(
            "Convert it: openssl pkcs12 -legacy -in OLD.pfx -nodes -out ALL.pem, then openssl \
             pkcs12 -export -in ALL.pem -out NEW.pfx.",
        ),
        other => malformed(&other),
    })?;
    let certificates: Result<Vec<_>> =
        archive.certs.iter().map(|bag| Certificate::from_der(bag.cert.as_der())).collect();
    let keys = archive.keys.into_iter().map(|bag| bag.key).collect();
    Ok(Contents { certificates: certificates?, keys })
}

/// Writes a chain, leaf first, and the leaf's key: AES-256, a SHA-256 MAC, as OpenSSL 3 does.
pub(super) fn write(
    chain: &[Certificate],
    key: &PrivateKey,
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>> {
    // As many as for a key in PKCS#8: the weakest of a file's derivations decides.
    const ITERATIONS: u32 = 600_000;

    let internal = |error: P12Error| {
        Error::new(ErrorKind::Internal, format!("the PKCS#12 file could not be made: {error}"))
    };
    let certificates: Result<Vec<_>, _> =
        chain.iter().map(|certificate| P12Certificate::from_der(certificate.der())).collect();
    let key = P12Key::from_der(&key.to_der()?).map_err(internal)?;
    let name = chain.first().and_then(Certificate::common_name).unwrap_or("dps-core");
    // A friendly name is a BMPString.
    let name = if name.chars().all(|c| u32::from(c) <= 0xffff) { name } else { "dps-core" };
    let mut store = KeyStore::new();
    let entry = PrivateKeyChain::new([1_u8].as_slice(), key, certificates.map_err(internal)?);
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(entry));
    store
        .writer(passphrase.as_str())
        .encryption_iterations(ITERATIONS)
        .mac_iterations(ITERATIONS)
        .write()
        .map(Zeroizing::new)
        .map_err(internal)
}

/// `PFX ::= SEQUENCE { version, authSafe, macData OPTIONAL }` (RFC 7292, section 4).
fn has_mac(bytes: &[u8]) -> Option<bool> {
    let (_, pfx) = Sequence::from_der(bytes).ok()?;
    let (rest, _version) = u8::from_der(pfx.content.as_ref()).ok()?;
    let (rest, _auth_safe) = Sequence::from_der(rest).ok()?;
    Some(!rest.is_empty())
}
