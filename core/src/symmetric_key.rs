//! Symmetric keys: what a device without a certificate proves itself by.
//!
//! The key itself is never sent. It signs tokens (shared access signatures) that name a resource
//! and expire, one for each connection.

mod token;

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

pub(crate) use self::token::{LIFETIME, Tokens};
use crate::{
    crypto::hmac,
    doctor::{Shown, with_finding},
    error::{Error, ErrorKind, Result},
    registration_id::RegistrationId,
    signer::SignerError,
};

/// Signs tokens with a symmetric key that stays where it is, such as in an HSM or a TPM.
///
/// A [`SymmetricKey`] is one that is in this process's memory.
pub trait TokenSigner: Send + Sync {
    /// The HMAC-SHA256 of `message` under the key: 32 bytes (RFC 2104).
    ///
    /// May be called from any thread and from several at once, and never with a lock of this crate
    /// held. A deadline ends the wait, not the call.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;

    /// Whether [`sign`](Self::sign) may take long. Such a signer is called away from the thread
    /// that serves the other connections.
    fn may_block(&self) -> bool {
        true
    }
}

/// A symmetric key in this process's memory; wiped after use, never shown.
#[derive(Clone)]
pub struct SymmetricKey(Zeroizing<Vec<u8>>);

impl SymmetricKey {
    /// The fewest and the most bytes of a key.
    /// (Microsoft, "Symmetric key attestation", enrollments)
    const LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;

    /// Reads a key as DPS shows it: the base64 of 16 to 64 bytes. No error repeats any of it.
    pub fn from_base64(text: &str) -> Result<Self> {
        // Wiped even where only the first half could be decoded.
        let mut bytes = Zeroizing::new(Vec::new());
        BASE64_STANDARD.decode_vec(text, &mut bytes).map_err(|_| {
            malformed("it is not base64")
                .with_hint("Give it as DPS shows it, without quotes, spaces and line breaks.")
        })?;
        if !Self::LENGTHS.contains(&bytes.len()) {
            return Err(malformed(&format!("it has {} bytes, not 16 to 64", bytes.len())));
        }
        Ok(Self(bytes))
    }

    /// The key as [`from_base64`](Self::from_base64) reads it.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64_STANDARD.encode(self.0.as_slice()))
    }

    fn hmac(&self, message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::sign(&key, message).as_ref().to_vec()
    }
}

impl TokenSigner for SymmetricKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok(self.hmac(message))
    }

    fn may_block(&self) -> bool {
        false
    }
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SymmetricKey(..)")
    }
}

/// The key of one device of an enrollment group: the HMAC-SHA256 of its registration ID, in the
/// letter case in which the device sends it, under the group's primary or secondary key.
///
/// Whoever holds the group's key can take the part of every device of the group, so it belongs
/// where devices are made, and the derived key into the device.
/// (Microsoft, "Symmetric key attestation", group enrollments)
pub fn derive_device_key(
    group_key: &SymmetricKey,
    registration_id: &RegistrationId,
) -> SymmetricKey {
    SymmetricKey(Zeroizing::new(group_key.hmac(registration_id.as_str().as_bytes())))
}

/// As [`derive_device_key`], from and to what programs keep: both keys in base64, and the
/// registration ID as text.
pub fn derive_device_key_base64(
    group_key: &str,
    registration_id: &str,
) -> Result<Zeroizing<String>> {
    let derive = || {
        let group_key = SymmetricKey::from_base64(group_key)?;
        let registration_id = RegistrationId::parse(registration_id)?;
        Ok(derive_device_key(&group_key, &registration_id).to_base64())
    };
    derive().map_err(|error| with_finding(error, Shown::Unknown, None).during("derive device key"))
}

fn malformed(reason: &str) -> Error {
    Error::new(ErrorKind::KeyMalformed, format!("the symmetric key cannot be used: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Microsoft, "Symmetric key attestation".
    #[test]
    fn a_device_key_is_derived_as_microsoft_documents_it() {
        let group_key = SymmetricKey::from_base64(
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
        )
        .unwrap();
        let id = RegistrationId::parse("sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").unwrap();
        let device_key = derive_device_key(&group_key, &id);
        assert_eq!(device_key.to_base64().as_str(), "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=");
        let kept = derive_device_key_base64(&group_key.to_base64(), id.as_str()).unwrap();
        assert_eq!(kept, device_key.to_base64());
        let error = derive_device_key_base64(&group_key.to_base64(), "a b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RegistrationIdInvalid);
        let shouted = RegistrationId::parse("SN-007-888-ABC-MAC-A1-B2-C3-D4-E5-F6").unwrap();
        assert_ne!(derive_device_key(&group_key, &shouted).to_base64(), device_key.to_base64());
    }

    #[test]
    fn a_key_is_the_base64_of_16_to_64_bytes() {
        for length in [16, 32, 64] {
            let text = BASE64_STANDARD.encode(vec![0xfb; length]);
            assert_eq!(SymmetricKey::from_base64(&text).unwrap().to_base64().as_str(), text);
        }
        let secret = |length| BASE64_STANDARD.encode(vec![0xfb; length]);
        for (text, reason) in [
            (String::new(), "0 bytes"),
            (secret(15), "15 bytes"),
            (secret(65), "65 bytes"),
            (format!("\"{}\"", secret(32)), "not base64"),
            (format!("{}\n", secret(32)), "not base64"),
            (secret(32).replace('+', "-").replace('/', "_"), "not base64"),
            (secret(32).trim_end_matches('=').to_owned(), "not base64"),
        ] {
            let error = SymmetricKey::from_base64(&text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::KeyMalformed, "{text:?}");
            assert!(error.message().contains(reason), "{error}");
            assert!(!format!("{error} {error:?}").contains("+/v7"), "{error}");
        }
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let key = SymmetricKey::from_base64(&BASE64_STANDARD.encode([0x41; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "SymmetricKey(..)");
    }
}
