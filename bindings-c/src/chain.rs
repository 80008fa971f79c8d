//! Chains and keys: made, read and checked, as `dps chain` does it.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::Arc,
    time::SystemTime,
};

use dps_core::{
    CertificateChain, RegistrationId, Result,
    chain::{Authority, Certificate, Validity, certificates_from_pem},
    key::{KeyType, Passphrase, PrivateKey},
};

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Handle, Out},
    panic::{call, guard},
};

/// The type and size of a new key: one of DPS_KEY_...
pub type dps_key_type = u32;
/// RSA with 2048 bits.
pub const DPS_KEY_RSA_2048: dps_key_type = 1;
/// RSA with 3072 bits.
pub const DPS_KEY_RSA_3072: dps_key_type = 2;
/// RSA with 4096 bits, which the tutorial uses.
pub const DPS_KEY_RSA_4096: dps_key_type = 3;
/// Elliptic curve P-256.
pub const DPS_KEY_EC_P256: dps_key_type = 4;
/// Elliptic curve P-384.
pub const DPS_KEY_EC_P384: dps_key_type = 5;

/// A private key in this process's memory.
pub struct dps_key {
    _private: [u8; 0],
}

impl Handle for dps_key {
    type Target = Arc<PrivateKey>;
}

/// A CA certificate with its key: issues other certificates.
pub struct dps_authority {
    _private: [u8; 0],
}

impl Handle for dps_authority {
    type Target = Authority;
}

/// A chain of certificates, leaf first.
///
/// All texts belong to the chain and live until dps_chain_free.
pub struct dps_chain {
    _private: [u8; 0],
}

impl Handle for dps_chain {
    type Target = Chain;
}

pub(crate) struct Chain {
    chain: CertificateChain,
    certificates: Vec<CertificateTexts>,
}

struct CertificateTexts {
    subject: CString,
    issuer: CString,
    sha1: CString,
    sha256: CString,
    not_before: i64,
    not_after: i64,
}

impl From<CertificateChain> for Chain {
    fn from(chain: CertificateChain) -> Self {
        let texts = |certificate: &Certificate| CertificateTexts {
            subject: ffi::c_string(certificate.subject()),
            issuer: ffi::c_string(certificate.issuer()),
            sha1: ffi::c_string(&certificate.sha1_thumbprint()),
            sha256: ffi::c_string(&certificate.sha256_thumbprint()),
            not_before: certificate.not_before().unix_timestamp(),
            not_after: certificate.not_after().unix_timestamp(),
        };
        Self { certificates: chain.certificates().iter().map(texts).collect(), chain }
    }
}

/// Makes a new key. RSA-4096 may take seconds.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_generate(
    key_type: dps_key_type,
    key: *mut *mut dps_key,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(key, "key")?;
        place.set(ffi::give(Arc::new(PrivateKey::generate(type_of_key(key_type)?)?)));
        Ok(())
    })
}

/// Reads a key from PEM text: PKCS#8 (plain or encrypted), PKCS#1 or SEC1. passphrase may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_from_pem(
    pem: *const u8,
    pem_len: usize,
    passphrase: *const c_char,
    key: *mut *mut dps_key,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(key, "key")?;
        let pem = ffi::bytes(pem, pem_len, "pem")?;
        let passphrase = ffi::optional_text(passphrase, "passphrase")?.map(Passphrase::new);
        place.set(ffi::give(Arc::new(PrivateKey::from_pem(pem, passphrase.as_ref())?)));
        Ok(())
    })
}

/// The key as PKCS#8 PEM text: encrypted (PBES2, AES-256) under a passphrase, or in the clear for
/// NULL. To be freed by dps_string_free, which wipes it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_to_pem(
    key: *const dps_key,
    passphrase: *const c_char,
    pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(pem, "pem")?;
        let key = ffi::hold(key, "key")?;
        let text = match ffi::optional_text(passphrase, "passphrase")? {
            Some(passphrase) => key.to_encrypted_pem(&Passphrase::new(passphrase))?,
            None => key.to_pem()?,
        };
        place.set(ffi::give_text(&text));
        Ok(())
    })
}

/// The key as PKCS#8 DER in the clear, to be freed by dps_bytes_free, which wipes it.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_to_der(
    key: *const dps_key,
    der: *mut *mut u8,
    der_len: *mut usize,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let (place, length) = (Out::new(der, "der")?, Out::new(der_len, "der_len")?);
        ffi::give_bytes(&ffi::hold(key, "key")?.to_der()?, place, length);
        Ok(())
    })
}

/// The public part of the key as DER SubjectPublicKeyInfo, to be freed by dps_bytes_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_public_key(
    key: *const dps_key,
    der: *mut *mut u8,
    der_len: *mut usize,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let (place, length) = (Out::new(der, "der")?, Out::new(der_len, "der_len")?);
        ffi::give_bytes(ffi::hold(key, "key")?.public_key_info(), place, length);
        Ok(())
    })
}

/// Frees a key. What was made with it keeps what it needs.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_free(key: *mut dps_key) {
    guard((), || ffi::release(key));
}

/// A CA that exists already: its certificate as PEM text, and its key. Fails unless they belong
/// together and the certificate is a CA's. Of several certificates the first is taken, and the log
/// mentions the others.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_new(
    certificate_pem: *const u8,
    certificate_pem_len: usize,
    key: *const dps_key,
    authority: *mut *mut dps_authority,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(authority, "authority")?;
        let pem = ffi::bytes(certificate_pem, certificate_pem_len, "certificate_pem")?;
        let key = ffi::hold(key, "key")?;
        let certificate = Certificate::from_pem(pem)?;
        let key: Arc<PrivateKey> = Arc::clone(&key);
        place.set(ffi::give(Authority::new(certificate, key)?));
        Ok(())
    })
}

/// Makes a root CA with the extensions of the tutorial's v3_ca, valid for this many days.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_create_root(
    common_name: *const c_char,
    key: *const dps_key,
    days: u32,
    authority: *mut *mut dps_authority,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(authority, "authority")?;
        let common_name = ffi::text(common_name, "common_name")?;
        let key: Arc<PrivateKey> = Arc::clone(&*ffi::hold(key, "key")?);
        place.set(ffi::give(Authority::create_root(common_name, key, validity(days)?)?));
        Ok(())
    })
}

/// As dps_authority_create_root, with at most path_length CAs on the way from it to a device.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_create_root_with_path_length(
    common_name: *const c_char,
    key: *const dps_key,
    days: u32,
    path_length: u32,
    authority: *mut *mut dps_authority,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(authority, "authority")?;
        let common_name = ffi::text(common_name, "common_name")?;
        let key: Arc<PrivateKey> = Arc::clone(&*ffi::hold(key, "key")?);
        let (validity, path_length) = (validity(days)?, length_of_path(path_length)?);
        let root =
            Authority::create_root_with_path_length(common_name, key, validity, path_length)?;
        place.set(ffi::give(root));
        Ok(())
    })
}

/// Makes an intermediate CA below an issuer, with the extensions of the tutorial's
/// v3_intermediate_ca. Where the issuer limits the CAs below it, the new one allows one less.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_create_intermediate(
    issuer: *const dps_authority,
    common_name: *const c_char,
    key: *const dps_key,
    days: u32,
    authority: *mut *mut dps_authority,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(authority, "authority")?;
        let issuer = ffi::hold(issuer, "issuer")?;
        let common_name = ffi::text(common_name, "common_name")?;
        let key: Arc<PrivateKey> = Arc::clone(&*ffi::hold(key, "key")?);
        place.set(ffi::give(issuer.create_intermediate(common_name, key, validity(days)?)?));
        Ok(())
    })
}

/// As dps_authority_create_intermediate, with at most path_length CAs below it: 0 for one that
/// issues devices only. Fails where the issuer leaves less.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_create_intermediate_with_path_length(
    issuer: *const dps_authority,
    common_name: *const c_char,
    key: *const dps_key,
    days: u32,
    path_length: u32,
    authority: *mut *mut dps_authority,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(authority, "authority")?;
        let issuer = ffi::hold(issuer, "issuer")?;
        let common_name = ffi::text(common_name, "common_name")?;
        let key: Arc<PrivateKey> = Arc::clone(&*ffi::hold(key, "key")?);
        let (validity, path_length) = (validity(days)?, length_of_path(path_length)?);
        let made =
            issuer.create_intermediate_with_path_length(common_name, key, validity, path_length)?;
        place.set(ffi::give(made));
        Ok(())
    })
}

/// The CA's own certificate as PEM text, to be freed by dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_certificate(
    authority: *const dps_authority,
    pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(pem, "pem")?;
        let authority = ffi::hold(authority, "authority")?;
        place.set(ffi::give_text(&authority.certificate().to_pem()));
        Ok(())
    })
}

/// Issues a device certificate, with the extensions of the tutorial's usr_cert, for the public part
/// of a key. Gives the certificate followed by the issuer's as PEM text, to be freed by
/// dps_string_free; what stands above the issuer is to be appended.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_issue_device(
    authority: *const dps_authority,
    registration_id: *const c_char,
    key: *const dps_key,
    days: u32,
    chain_pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(chain_pem, "chain_pem")?;
        let authority = ffi::hold(authority, "authority")?;
        let id = RegistrationId::parse(ffi::text(registration_id, "registration_id")?)?;
        let key = ffi::hold(key, "key")?;
        let device = authority.issue_device(&id, key.public_key_info(), validity(days)?)?;
        place.set(ffi::give_text(&(device.to_pem() + &authority.certificate().to_pem())));
        Ok(())
    })
}

/// Issues the certificate that proves to DPS that the caller holds this CA's key: its common name
/// is the verification code. As PEM text, to be freed by dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_issue_verification(
    authority: *const dps_authority,
    verification_code: *const c_char,
    key: *const dps_key,
    days: u32,
    pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(pem, "pem")?;
        let authority = ffi::hold(authority, "authority")?;
        let code = ffi::text(verification_code, "verification_code")?;
        let key = ffi::hold(key, "key")?;
        let made = authority.issue_verification(code, key.public_key_info(), validity(days)?)?;
        place.set(ffi::give_text(&made.to_pem()));
        Ok(())
    })
}

/// Frees a CA.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_free(authority: *mut dps_authority) {
    guard((), || ffi::release(authority));
}

/// Reads a chain from PEM text, in any order: the order becomes leaf first. A stranger or a gap is
/// an error that names the certificate.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_from_pem(
    pem: *const u8,
    pem_len: usize,
    chain: *mut *mut dps_chain,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(chain, "chain")?;
        let parsed = CertificateChain::from_pem(ffi::bytes(pem, pem_len, "pem")?)?;
        place.set(ffi::give(parsed.into()));
        Ok(())
    })
}

/// As dps_chain_from_pem, from a file.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_from_pem_file(
    path: *const c_char,
    chain: *mut *mut dps_chain,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(chain, "chain")?;
        let parsed = CertificateChain::from_pem_file(ffi::text(path, "path")?)?;
        place.set(ffi::give(parsed.into()));
        Ok(())
    })
}

/// Reads the chain of a PKCS#12 (PFX) file, in any order, and its private key, unless key is NULL.
/// passphrase may be NULL, and then the empty one is tried. A file without a MAC is refused.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_from_pkcs12(
    bytes: *const u8,
    bytes_len: usize,
    passphrase: *const c_char,
    chain: *mut *mut dps_chain,
    key: *mut *mut dps_key,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(chain, "chain")?;
        let bytes = ffi::bytes(bytes, bytes_len, "bytes")?;
        let passphrase = ffi::optional_text(passphrase, "passphrase")?.map(Passphrase::new);
        let parsed = CertificateChain::from_pkcs12(bytes, passphrase.as_ref())?;
        if !key.is_null() {
            let read = PrivateKey::from_pem(bytes, passphrase.as_ref())?;
            ffi::set_optional(key, ffi::give(Arc::new(read)));
        }
        place.set(ffi::give(parsed.into()));
        Ok(())
    })
}

/// The chain and the leaf's key as a PKCS#12 (PFX) file under a passphrase (AES-256, a SHA-256
/// MAC), to be freed by dps_bytes_free, which wipes it. Fails unless the key is the leaf's.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_to_pkcs12(
    chain: *const dps_chain,
    key: *const dps_key,
    passphrase: *const c_char,
    bytes: *mut *mut u8,
    bytes_len: *mut usize,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let (place, length) = (Out::new(bytes, "bytes")?, Out::new(bytes_len, "bytes_len")?);
        let chain = ffi::hold(chain, "chain")?;
        let key = ffi::hold(key, "key")?;
        let passphrase = Passphrase::new(ffi::text(passphrase, "passphrase")?);
        ffi::give_bytes(&chain.chain.to_pkcs12(&key, &passphrase)?, place, length);
        Ok(())
    })
}

/// Fails with the first certificate, from the leaf upward, that is not valid now.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_check_validity(
    chain: *const dps_chain,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        ffi::hold(chain, "chain")?.chain.check_validity(SystemTime::now())?;
        Ok(())
    })
}

/// Fails unless the chain reaches one of the CA certificates that DPS knows, given as PEM text: the
/// verified root, or the enrollment group's own. The error names the certificate that is missing.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_check_reaches(
    chain: *const dps_chain,
    authorities_pem: *const u8,
    authorities_pem_len: usize,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let chain = ffi::hold(chain, "chain")?;
        let pem = ffi::bytes(authorities_pem, authorities_pem_len, "authorities_pem")?;
        chain.chain.check_reaches(&certificates_from_pem(pem)?)?;
        Ok(())
    })
}

/// The chain as PEM text, leaf first, to be freed by dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_to_pem(
    chain: *const dps_chain,
    pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(pem, "pem")?;
        place.set(ffi::give_text(&ffi::hold(chain, "chain")?.chain.to_pem()));
        Ok(())
    })
}

/// One certificate of the chain in DER; the leaf's index is 0. To be freed by dps_bytes_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_to_der(
    chain: *const dps_chain,
    index: usize,
    der: *mut *mut u8,
    der_len: *mut usize,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let (place, length) = (Out::new(der, "der")?, Out::new(der_len, "der_len")?);
        let chain = ffi::hold(chain, "chain")?;
        let certificate = chain.chain.certificates().get(index).ok_or_else(|| {
            ffi::invalid(format!("the chain has no certificate at index {index}"))
        })?;
        ffi::give_bytes(certificate.der(), place, length);
        Ok(())
    })
}

/// How many certificates the chain has. 0 for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_length(chain: *const dps_chain) -> usize {
    guard(0, || ffi::peek(chain, |chain| chain.certificates.len()).unwrap_or(0))
}

/// The subject of a certificate, such as "CN=device-01"; the leaf's index is 0. NULL beyond the
/// end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_subject(chain: *const dps_chain, index: usize) -> *const c_char {
    text(chain, index, |certificate| &certificate.subject)
}

/// The issuer of a certificate. NULL beyond the end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_issuer(chain: *const dps_chain, index: usize) -> *const c_char {
    text(chain, index, |certificate| &certificate.issuer)
}

/// The SHA-1 thumbprint in upper-case hexadecimal, as the Azure portal shows it. NULL beyond the
/// end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_sha1(chain: *const dps_chain, index: usize) -> *const c_char {
    text(chain, index, |certificate| &certificate.sha1)
}

/// The SHA-256 thumbprint in upper-case hexadecimal. NULL beyond the end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_sha256(chain: *const dps_chain, index: usize) -> *const c_char {
    text(chain, index, |certificate| &certificate.sha256)
}

/// The first second at which a certificate is valid, since 1970 in UTC. 0 beyond the end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_not_before(chain: *const dps_chain, index: usize) -> i64 {
    guard(0, || look(chain, index, |certificate| certificate.not_before).unwrap_or(0))
}

/// The last second at which a certificate is valid, since 1970 in UTC. 0 beyond the end.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_not_after(chain: *const dps_chain, index: usize) -> i64 {
    guard(0, || look(chain, index, |certificate| certificate.not_after).unwrap_or(0))
}

/// Frees a chain and its texts.
#[unsafe(no_mangle)]
pub extern "C" fn dps_chain_free(chain: *mut dps_chain) {
    guard((), || ffi::release(chain));
}

fn look<T>(
    chain: *const dps_chain,
    index: usize,
    look: impl FnOnce(&CertificateTexts) -> T,
) -> Option<T> {
    ffi::peek(chain, |chain| chain.certificates.get(index).map(look)).flatten()
}

fn text(
    chain: *const dps_chain,
    index: usize,
    choose: impl FnOnce(&CertificateTexts) -> &CString,
) -> *const c_char {
    guard(ptr::null(), || look(chain, index, |texts| choose(texts).as_ptr()).unwrap_or(ptr::null()))
}

fn length_of_path(number: u32) -> Result<u8> {
    number.try_into().map_err(|_| ffi::invalid(format!("{number} is no path length: 0 to 255 are")))
}

pub(crate) fn type_of_key(number: dps_key_type) -> Result<KeyType> {
    Ok(match number {
        DPS_KEY_RSA_2048 => KeyType::Rsa(2048),
        DPS_KEY_RSA_3072 => KeyType::Rsa(3072),
        DPS_KEY_RSA_4096 => KeyType::Rsa(4096),
        DPS_KEY_EC_P256 => KeyType::EcP256,
        DPS_KEY_EC_P384 => KeyType::EcP384,
        other => return Err(ffi::invalid(format!("{other} is no type of key"))),
    })
}

pub(crate) fn validity(days: u32) -> Result<Validity> {
    Validity::parse(Some(days.into()), None, None)
}
