//! Stands for `pkcs12.rs` where the feature `encrypted-keys` is off.

use std::convert::Infallible;

use zeroize::Zeroizing;

use super::Certificate;
use crate::{
    error::{Error, Result},
    key::{Passphrase, PrivateKey},
};

/// What a PKCS#12 file would hold.
pub(crate) struct Contents {
    pub(crate) certificates: Vec<Certificate>,
    never: Infallible,
}

impl Contents {
    pub(crate) fn into_key(self) -> Result<PrivateKey> {
        match self.never {}
    }
}

pub(crate) fn read(_: &[u8], _: Option<&Passphrase>) -> Result<Contents> {
    Err(left_out())
}

pub(super) fn write(
    _: &[Certificate],
    _: &PrivateKey,
    _: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>> {
    Err(left_out())
}

fn left_out() -> Error {
    Error::left_out("PKCS#12 (PFX) files").with_hint(
        "Link the full build, or use PEM files: openssl pkcs12 -in OLD.pfx -nodes -out ALL.pem.",
    )
}
