//! Attestation by symmetric keys: those that an enrollment is created with.

use clap::Args;
use dps_core::{Error, ErrorKind, SymmetricKey};
use serde_json::{Value, json};

#[derive(Args)]
pub(crate) struct KeyArguments {
    /// First symmetric key in base64 [default: one that the service makes].
    #[arg(long, visible_alias = "pk", value_name = "KEY")]
    primary_key: Option<String>,

    /// Second symmetric key in base64, to change over to [default: one that the service makes].
    #[arg(long, visible_alias = "sk", value_name = "KEY")]
    secondary_key: Option<String>,
}

impl KeyArguments {
    /// Whether neither was given.
    pub(super) fn is_empty(&self) -> bool {
        self.primary_key.is_none() && self.secondary_key.is_none()
    }

    /// The attestation; the service makes the keys that are null.
    pub(super) fn read(&self) -> Result<Value, Error> {
        let keys = json!({
            "primaryKey": checked("--primary-key", self.primary_key.as_deref())?,
            "secondaryKey": checked("--secondary-key", self.secondary_key.as_deref())?,
        });
        Ok(json!({ "type": "symmetricKey", "symmetricKey": keys }))
    }
}

fn checked<'a>(option: &str, key: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    if let Some(key) = key {
        parse(option, key)?;
    }
    Ok(key)
}

/// The key that an option holds; what is wrong with it is a usage mistake.
pub(super) fn parse(option: &str, key: &str) -> Result<SymmetricKey, Error> {
    SymmetricKey::from_base64(key).map_err(|error| {
        let told = Error::new(ErrorKind::InvalidArgument, format!("{option}: {}", error.message()));
        match error.hint() {
            Some(hint) => told.with_hint(hint),
            None => told,
        }
    })
}
