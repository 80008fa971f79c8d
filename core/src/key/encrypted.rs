//! Keys under a passphrase, in PKCS#8 (RFC 5958, RFC 8018).

use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, pkcs5::pbes2};
use x509_parser::asn1_rs::{FromDer, Oid, Sequence};
use zeroize::Zeroizing;

pub(super) use super::proc_type::decrypt as decrypt_old;
use super::{Passphrase, malformed, passphrase_wrong};
use crate::{
    crypto,
    error::{Error, ErrorKind, Result},
    pem,
};

/// The PKCS#8 key in an encrypted one, both DER.
pub(super) fn decrypt(der: &[u8], passphrase: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>> {
    // A file may ask for 2^32 rounds or for all memory, which would look like a hang or end
    // the process.
    const MAX_ITERATIONS: u32 = 10_000_000;
    const MAX_SCRYPT_MEMORY: u64 = 1 << 30;
    const MAX_SCRYPT_LANES: u16 = 16;

    if !pem::is_encrypted_key(der) {
        return Err(malformed("PKCS#8"));
    }
    let old_scheme = || unsupported_encryption("PKCS#5 v1 or PKCS#12 encryption");
    let info = EncryptedPrivateKeyInfoRef::try_from(der).map_err(|_| match is_pkcs12_pbe(der) {
        true => old_scheme(),
        false => unsupported_encryption("an encryption that is not known"),
    })?;
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
    Ok(Zeroizing::new(plain.as_bytes().to_vec()))
}

/// A PKCS#8 key, encrypted by PBES2: PBKDF2 with HMAC-SHA-256, AES-256-CBC.
pub(super) fn encrypt(der: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>> {
    // OWASP, Password Storage Cheat Sheet: 600,000 iterations for PBKDF2-HMAC-SHA256.
    const ITERATIONS: u32 = 600_000;

    let internal = |_| Error::new(ErrorKind::Internal, "the key could not be encrypted");
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    crypto::fill(&mut salt)?;
    crypto::fill(&mut iv)?;
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv)
        .map_err(|_| internal(()))?;
    let document = PrivateKeyInfoRef::try_from(der)
        .map_err(|_| internal(()))?
        .encrypt_with_params(parameters, passphrase.as_bytes())
        .map_err(|_| internal(()))?;
    Ok(document.as_bytes().to_vec())
}

/// Whether a well-formed encrypted key names one of the algorithms of PKCS#12 (`pkcs-12PbeIds` of
/// RFC 7292, appendix C): 1.2.840.113549.1.12.1 and what is below it.
fn is_pkcs12_pbe(der: &[u8]) -> bool {
    const PBE_IDS: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x01];

    let algorithm = Sequence::from_der(der)
        .and_then(|(_, outer)| Ok(Sequence::from_der(&outer.content)?.1.content.to_vec()));
    algorithm.is_ok_and(|algorithm| {
        Oid::from_der(&algorithm).is_ok_and(|(_, oid)| oid.as_bytes().starts_with(&PBE_IDS))
    })
}

/// A key that may be a good one, under an encryption that is not read.
pub(super) fn unsupported_encryption(what: &str) -> Error {
    Error::new(
        ErrorKind::KeyUnsupported,
        format!(
            "the private key is encrypted with {what}, which is not supported; PBES2 with PBKDF2 \
             or scrypt is"
        ),
    )
    .with_hint("Convert it: openssl pkcs8 -in OLD -topk8 -v2 aes256 -out NEW.")
}

pub(super) fn passphrase_required() -> Error {
    Error::new(
        ErrorKind::PassphraseRequired,
        "the private key is encrypted and no passphrase was given",
    )
}
