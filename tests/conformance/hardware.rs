//! What cases bring along in place of hardware: signers and HSMs, slow where `--delay` says so, and
//! pulled out where `--sign-fails-at` or `--hsm-fails` does.

use std::{
    collections::HashMap,
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use dps_core::{
    Error, Result, SignRequest, SignatureAlgorithm, Signer, SignerError,
    hsm::{SymmetricKeyHsm, X509Hsm},
    key::PrivateKey,
    symmetric_key::{SymmetricKey, TokenSigner},
};
use zeroize::Zeroizing;

/// The settings that were given, by their flags.
pub(crate) type Given<'a> = HashMap<&'a str, &'a str>;

/// A key that signs.
pub(crate) struct Token<K> {
    key: K,
    delay: Duration,
    /// How many calls it is until it fails; 0 is never.
    left: AtomicUsize,
}

impl<K> Token<K> {
    pub(crate) fn new(key: K, given: &Given<'_>) -> Self {
        let number = |name| given.get(name).map_or(0, |text| text.parse().expect("a number"));
        let delay = Duration::from_millis(number("--delay"));
        let left = usize::try_from(number("--sign-fails-at")).expect("a small number");
        Self { key, delay, left: AtomicUsize::new(left) }
    }

    fn touch(&self) -> Result<(), SignerError> {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(SignerError::new("the token was pulled out"));
        }
        thread::sleep(self.delay);
        Ok(())
    }
}

impl Signer for Token<PrivateKey> {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.key.algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.touch()?;
        self.key.sign(request)
    }
}

impl TokenSigner for Token<SymmetricKey> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        self.touch()?;
        self.key.sign(message)
    }
}

/// An HSM that gives its key away.
pub(crate) struct Hsm<'a>(pub(crate) &'a Given<'a>);

impl Hsm<'_> {
    /// What it is asked for; an error where it is to fail at it.
    fn hand_over(&self, what: &str, flag: &str) -> Result<String> {
        thread::sleep(Token::new((), self.0).delay);
        match self.0.get("--hsm-fails") {
            Some(fails) if *fails == what => {
                Err(Error::from(SignerError::new("the token was pulled out")))
            }
            _ => Ok(self.0[flag].to_owned()),
        }
    }
}

impl X509Hsm for Hsm<'_> {
    fn common_name(&self) -> Result<String> {
        self.hand_over("name", "--id")
    }

    fn certificate(&self) -> Result<Vec<u8>> {
        self.hand_over("certificate", "--chain").map(|path| fs::read(path).expect("a file"))
    }

    fn key(&self) -> Result<Zeroizing<Vec<u8>>> {
        let path = self.hand_over("key", "--key")?;
        Ok(Zeroizing::new(fs::read(path).expect("a file")))
    }
}

impl SymmetricKeyHsm for Hsm<'_> {
    fn registration_id(&self) -> Result<String> {
        self.hand_over("name", "--id")
    }

    fn key(&self) -> Result<Zeroizing<Vec<u8>>> {
        self.hand_over("key", "--key").map(|key| Zeroizing::new(key.into_bytes()))
    }
}
