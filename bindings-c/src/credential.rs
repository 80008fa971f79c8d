//! `dps_identity`: a credential that was opened and proven.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::Arc,
};

use dps_core::{
    Credential, Identity, Result, Source, key::Passphrase, symmetric_key::derive_device_key_base64,
};

use crate::{
    error::{dps_error, dps_status},
    ffi::{self, Handle, Out},
    hsm::{self, Session, dps_hsm_source},
    panic::{call, guard},
    signer::{ForeignSigner, ForeignTokenSigner, dps_signer},
};

/// Who the device is: a certificate chain and a key that belong together, or a symmetric key.
///
/// Registrations and hub connections keep what they need of it: it may be freed while they last.
pub struct dps_identity {
    _private: [u8; 0],
}

impl Handle for dps_identity {
    type Target = Device;
}

/// An identity and what it came from.
pub(crate) struct Device {
    pub(crate) identity: Identity,
    registration_id: Option<CString>,
    /// Destroyed when the identity is freed.
    _session: Option<Session>,
}

impl Device {
    fn new(identity: Identity, session: Option<Session>) -> Self {
        let registration_id = identity.registration_id().ok().map(|id| ffi::c_string(id.as_str()));
        Self { identity, registration_id, _session: session }
    }
}

/// Opens two files: the full chain, and the leaf's private key (PKCS#8, PKCS#1 or SEC1), which may
/// be encrypted. Each is PEM, or else DER or PKCS#12. passphrase may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_pem_files(
    chain_path: *const c_char,
    key_path: *const c_char,
    passphrase: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let chain = ffi::text(chain_path, "chain_path")?;
        let key = ffi::text(key_path, "key_path")?;
        let credential = Credential::pem_files(chain, key);
        Ok(Device::new(with_passphrase(credential, passphrase)?.open()?, None))
    })
}

/// As dps_identity_from_pem_files, from memory.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_pem(
    chain: *const u8,
    chain_len: usize,
    key: *const u8,
    key_len: usize,
    passphrase: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let chain = ffi::bytes(chain, chain_len, "chain")?;
        let key = ffi::bytes(key, key_len, "key")?;
        let credential = Credential::pem(chain, key);
        Ok(Device::new(with_passphrase(credential, passphrase)?.open()?, None))
    })
}

/// Opens a PKCS#12 (PFX) file with the full chain and the leaf's private key. passphrase may be
/// NULL, and then the empty one is tried.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_pkcs12_file(
    path: *const c_char,
    passphrase: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let credential = Credential::pkcs12_file(ffi::text(path, "path")?);
        Ok(Device::new(with_passphrase(credential, passphrase)?.open()?, None))
    })
}

/// As dps_identity_from_pkcs12_file, from memory.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_pkcs12(
    bytes: *const u8,
    bytes_len: usize,
    passphrase: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let credential = Credential::pkcs12(ffi::bytes(bytes, bytes_len, "bytes")?);
        Ok(Device::new(with_passphrase(credential, passphrase)?.open()?, None))
    })
}

/// Takes a key that signs and stays where it is. Makes one test signature, on this thread, which
/// proves that the key is the leaf's.
///
/// The structure and its chain are copied; userdata is the signer's until its drop is called,
/// which also happens when this call fails, except where signer itself is refused (NULL, an
/// unknown version, no sign).
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_signer(
    signer: *const dps_signer,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        // First, so that whatever is refused below, the signer's drop is called.
        let (chain, signer) = ForeignSigner::new(signer)?;
        let place = Out::new(identity, "identity")?;
        let opened = Credential::signer(chain, Arc::new(signer)).open()?;
        place.set(ffi::give(Device::new(opened, None)));
        Ok(())
    })
}

/// A symmetric key of an individual enrollment, or one derived for this device, in base64. For a
/// hub alone, dps_hub_connect_by_connection_string takes the key of any device.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_symmetric_key(
    registration_id: *const c_char,
    key: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let id = ffi::text(registration_id, "registration_id")?;
        let key = ffi::text(key, "key")?;
        Ok(Device::new(Credential::symmetric_key(id, key).open()?, None))
    })
}

/// Takes a symmetric key that signs and stays where it is. It is asked for nothing yet: a token is
/// signed for each connection, and only the service can tell whether the key is the right one.
///
/// For a hub alone, registration_id is the ID of a device that the hub knows, which may hold more
/// characters than a registration ID: only registering it then gives DPS_REGISTRATION_ID_INVALID.
///
/// signer->certificate_chain must be NULL. Each request has the algorithm DPS_SIGN_HMAC_SHA256, the
/// message and no digest; the answer is 32 bytes. For userdata and drop see
/// dps_identity_from_signer.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_token_signer(
    registration_id: *const c_char,
    signer: *const dps_signer,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        // First, so that whatever is refused below, the signer's drop is called.
        let signer = ForeignTokenSigner::new(signer)?;
        let place = Out::new(identity, "identity")?;
        let id = ffi::text(registration_id, "registration_id")?;
        let opened = Credential::token_signer(id, Arc::new(signer)).for_hub().open()?;
        place.set(ffi::give(Device::new(opened, None)));
        Ok(())
    })
}

/// Derives the device's key from the key of its enrollment group, in base64. Whoever holds the
/// group's key can take the part of every device of the group: it belongs where devices are made.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_group_key(
    registration_id: *const c_char,
    group_key: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let id = ffi::text(registration_id, "registration_id")?;
        let key = ffi::text(group_key, "group_key")?;
        Ok(Device::new(Credential::group_key(id, key).open()?, None))
    })
}

/// The key of one device of an enrollment group, in base64, to be freed by dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_derive_device_key(
    group_key: *const c_char,
    registration_id: *const c_char,
    device_key: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(device_key, "device_key")?;
        let group_key = ffi::text(group_key, "group_key")?;
        let id = ffi::text(registration_id, "registration_id")?;
        place.set(ffi::give_text(&derive_device_key_base64(group_key, id)?));
        Ok(())
    })
}

/// Asks a custom HSM for its X.509 certificate and key, in the order of Microsoft's client: the
/// common name, the chain, the key. The HSM's functions are called on this thread, and its destroy
/// and deinit on the one that frees the identity.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_hsm_x509(
    source: *const dps_hsm_source,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let (opened, session) = hsm::open_x509(source)?;
        Ok(Device::new(opened, Some(session)))
    })
}

/// Asks a custom HSM for its symmetric key, in the order of Microsoft's client. registration_id and
/// key are given to the HSM first (hsm_client_set_symm_key_info); NULL for both asks it for what it
/// holds already. What the HSM says is its registration ID may be more, for a hub alone, as in
/// dps_identity_from_token_signer. Threads as in dps_identity_from_hsm_x509.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_hsm_symmetric_key(
    source: *const dps_hsm_source,
    registration_id: *const c_char,
    key: *const c_char,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || {
        let (opened, session) = hsm::open_symmetric_key(source, registration_id, key)?;
        Ok(Device::new(opened, Some(session)))
    })
}

/// A TPM behind the custom-HSM interface: not supported by this version, and said so.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_from_hsm_tpm(
    source: *const dps_hsm_source,
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
) -> dps_status {
    open(identity, error, || Err(hsm::open_tpm(source)))
}

/// Whether the chain reaches one of these CA certificates: the verified root, or the enrollment
/// group's own, as a PEM file. So a missing intermediate is found before dialling.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_check_reaches_file(
    identity: *const dps_identity,
    authorities_path: *const c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let device = ffi::hold(identity, "identity")?;
        let path = ffi::text(authorities_path, "authorities_path")?;
        Ok(device.identity.check_reaches(Source::file(path))?)
    })
}

/// As dps_identity_check_reaches_file, from PEM text.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_check_reaches(
    identity: *const dps_identity,
    authorities_pem: *const u8,
    authorities_pem_len: usize,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let device = ffi::hold(identity, "identity")?;
        let pem = ffi::bytes(authorities_pem, authorities_pem_len, "authorities_pem")?;
        Ok(device.identity.check_reaches(pem)?)
    })
}

/// The registration ID that the identity stands for; NULL if it stands for none. Lives as long as
/// the identity.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_registration_id(identity: *const dps_identity) -> *const c_char {
    guard(ptr::null(), || {
        ffi::peek(identity, |device| ffi::borrowed(device.registration_id.as_ref()))
            .unwrap_or(ptr::null())
    })
}

/// Frees an identity.
#[unsafe(no_mangle)]
pub extern "C" fn dps_identity_free(identity: *mut dps_identity) {
    guard((), || ffi::release(identity));
}

fn open(
    identity: *mut *mut dps_identity,
    error: *mut *mut dps_error,
    open: impl FnOnce() -> Result<Device>,
) -> dps_status {
    call(error, || {
        let place = Out::new(identity, "identity")?;
        place.set(ffi::give(open()?));
        Ok(())
    })
}

fn with_passphrase(credential: Credential, passphrase: *const c_char) -> Result<Credential> {
    Ok(match ffi::optional_text(passphrase, "passphrase")? {
        Some(passphrase) => credential.passphrase(Passphrase::new(passphrase)),
        None => credential,
    })
}
