//! Certificate requests (PKCS#10): made for a CA elsewhere, and answered by a CA of ours; and
//! certificates that take the place of older ones.
#![expect(unsafe_code, reason = "exported symbols")]

use std::{ffi::c_char, sync::Arc};

use dps_core::{
    CertificateChain,
    chain::{Authority, Certificate, CertificateRequest, SubjectKey},
    key::PrivateKey,
};

use crate::{
    chain::{dps_authority, dps_key, validity},
    error::{dps_error, dps_status},
    ffi::{self, Out},
    panic::call,
    signer::{ForeignSigner, dps_signer},
};

/// Makes a certificate request with this common name, signed by the key. For a device the name is
/// the registration ID. As PEM text, to be freed by dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_key_certificate_request(
    key: *const dps_key,
    common_name: *const c_char,
    pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(pem, "pem")?;
        let key: Arc<PrivateKey> = Arc::clone(&*ffi::hold(key, "key")?);
        let common_name = ffi::text(common_name, "common_name")?;
        place.set(ffi::give_text(&SubjectKey::from(key).certificate_request(common_name)?));
        Ok(())
    })
}

/// As dps_key_certificate_request, for a key that signs and stays where it is. public_key is its
/// public part as DER SubjectPublicKeyInfo; one of another key gives DPS_KEY_MISMATCH.
///
/// signer.algorithms must name at least one of ECDSA P-256, ECDSA P-384 and RSA PKCS#1;
/// signer.certificate_chain is not read, since there is none yet. sign runs on this thread. The
/// signer is not kept: its drop is called before this returns, also when it fails, except where
/// signer itself is refused (NULL, an unknown version, no sign).
#[unsafe(no_mangle)]
pub extern "C" fn dps_signer_certificate_request(
    signer: *const dps_signer,
    public_key: *const u8,
    public_key_len: usize,
    common_name: *const c_char,
    pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        // First, so that whatever is refused below, the signer's drop is called.
        let signer = Arc::new(ForeignSigner::without_chain(signer)?);
        let place = Out::new(pem, "pem")?;
        let public_key = ffi::bytes(public_key, public_key_len, "public_key")?;
        let common_name = ffi::text(common_name, "common_name")?;
        let key = SubjectKey::signer(signer, public_key.to_vec());
        place.set(ffi::give_text(&key.certificate_request(common_name)?));
        Ok(())
    })
}

/// Issues a device certificate for a request that was made elsewhere, PEM or DER, whose signature
/// holds. Only its common name, the registration ID, and its key are taken over; the extensions are
/// those of dps_authority_issue_device.
///
/// Gives the certificate followed by the issuer's as PEM text, and in ignored, which may be NULL,
/// what the request asked for and did not get, as a JSON array of texts such as
/// ["subject organizationName=Contoso","extension subjectAltName"]. Both are to be freed by
/// dps_string_free.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_issue_requested(
    authority: *const dps_authority,
    request: *const u8,
    request_len: usize,
    days: u32,
    chain_pem: *mut *mut c_char,
    ignored: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(chain_pem, "chain_pem")?;
        let authority = ffi::hold(authority, "authority")?;
        let request = ffi::bytes(request, request_len, "request")?;
        let request = CertificateRequest::from_pem(request)?;
        let device = authority.issue_requested(&request, validity(days)?)?;
        place.set(with_issuer(&device, &authority));
        if !ignored.is_null() {
            let list = serde_json::Value::from(request.ignored()).to_string();
            ffi::set_optional(ignored, ffi::give_text(&list));
        }
        Ok(())
    })
}

/// Issues a device certificate in place of an older one, PEM or DER, alone or with its chain: the
/// same common name, and the same key, or new_key where it is not NULL. Gives what
/// dps_authority_issue_device gives.
#[unsafe(no_mangle)]
pub extern "C" fn dps_authority_reissue_device(
    authority: *const dps_authority,
    certificate: *const u8,
    certificate_len: usize,
    new_key: *const dps_key,
    days: u32,
    chain_pem: *mut *mut c_char,
    error: *mut *mut dps_error,
) -> dps_status {
    call(error, || {
        let place = Out::new(chain_pem, "chain_pem")?;
        let authority = ffi::hold(authority, "authority")?;
        let old = ffi::bytes(certificate, certificate_len, "certificate")?;
        let old = CertificateChain::from_pem(old)?;
        let new_key = ffi::hold_optional(new_key);
        let new_key = new_key.as_ref().map(|key| key.public_key_info());
        let device = authority.reissue_device(old.leaf(), new_key, validity(days)?)?;
        place.set(with_issuer(&device, &authority));
        Ok(())
    })
}

fn with_issuer(device: &Certificate, authority: &Authority) -> *mut c_char {
    ffi::give_text(&(device.to_pem() + &authority.certificate().to_pem()))
}
