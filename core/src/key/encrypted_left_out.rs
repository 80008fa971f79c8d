//! Stands for `encrypted.rs` where the feature `encrypted-keys` is off.

use zeroize::Zeroizing;

use super::Passphrase;
use crate::error::{Error, Result};

pub(super) fn decrypt(_: &[u8], _: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>> {
    Err(left_out())
}

pub(super) fn decrypt_old(_: &[u8], _: &str, _: Option<&Passphrase>) -> Result<Zeroizing<Vec<u8>>> {
    Err(left_out())
}

pub(super) fn encrypt(_: &[u8], _: &Passphrase) -> Result<Vec<u8>> {
    Err(left_out())
}

fn left_out() -> Error {
    Error::left_out("encrypted private keys").with_hint(
        "Link the full build, or use a key without a passphrase: openssl pkey -in OLD -out NEW; \
         or one behind a signer.",
    )
}
