//! The kinds of the custom-HSM interface that C programs know from Microsoft's SDK, as traits.
//!
//! Such an HSM gives its key away: it is asked once, and the key is then in this process's memory.
//! A key that stays where it is belongs behind a [`Signer`](crate::Signer).

use std::mem;

use zeroize::Zeroizing;

use crate::{
    credential::Credential,
    doctor::{Shown, with_finding},
    error::{Error, ErrorKind, Result},
    identity::Identity,
};

/// An HSM that holds an X.509 certificate and its key.
pub trait X509Hsm {
    /// The common name of the certificate, which is the registration ID.
    fn common_name(&self) -> Result<String>;

    /// The full chain as PEM text, leaf first.
    fn certificate(&self) -> Result<Vec<u8>>;

    /// The leaf's private key as PEM text.
    fn key(&self) -> Result<Zeroizing<Vec<u8>>>;
}

/// An HSM that holds a symmetric key.
pub trait SymmetricKeyHsm {
    /// The registration ID that the key belongs to.
    fn registration_id(&self) -> Result<String>;

    /// The key in base64.
    fn key(&self) -> Result<Zeroizing<Vec<u8>>>;
}

/// Asks the HSM in the order in which Microsoft's client asks, and proves that its answers belong
/// together.
pub fn open_x509(hsm: &dyn X509Hsm) -> Result<Identity> {
    try_open_x509(hsm).map_err(|error| error.during("open HSM"))
}

fn try_open_x509(hsm: &dyn X509Hsm) -> Result<Identity> {
    let common_name = hsm.common_name()?;
    let certificate = hsm.certificate()?;
    let mut key = hsm.key()?;
    let identity = Credential::pem(certificate, mem::take(&mut *key)).open()?;
    let registration_id = identity.registration_id()?;
    // DPS compares registration IDs without regard to case.
    if !registration_id.as_str().eq_ignore_ascii_case(&common_name) {
        let error = Error::new(
            ErrorKind::RegistrationIdMismatch,
            format!(
                "the HSM says that its common name is {common_name:?}, but that of its certificate \
                 is {registration_id:?}",
                registration_id = registration_id.as_str()
            ),
        );
        return Err(with_finding(error, Shown::Unknown, None));
    }
    Ok(identity)
}

/// Asks the HSM in the order in which Microsoft's client asks.
///
/// The ID may be that of a device that a hub knows, which may hold more characters than a
/// registration ID; only a registration then fails.
pub fn open_symmetric_key(hsm: &dyn SymmetricKeyHsm) -> Result<Identity> {
    try_open_symmetric_key(hsm).map_err(|error| error.during("open HSM"))
}

fn try_open_symmetric_key(hsm: &dyn SymmetricKeyHsm) -> Result<Identity> {
    let registration_id = hsm.registration_id()?;
    let mut key = hsm.key()?;
    // What is no text holds no key; the bytes are wiped and no error repeats them.
    let key = String::from_utf8(mem::take(&mut *key)).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        Error::new(ErrorKind::KeyMalformed, "the HSM's symmetric key is not base64 text")
    })?;
    Credential::symmetric_key(registration_id, key).for_hub().open()
}
