//! Private keys in this process's memory.

use std::sync::Arc;

use dps_core::{
    Error,
    chain::SubjectKey,
    key::{KeyType, Passphrase, PrivateKey as CoreKey},
};
use napi::{
    Env, Unknown,
    bindgen_prelude::{Buffer, PromiseRaw},
};
use napi_derive::napi;

use crate::{
    environment::promise,
    error::thrown,
    js::{self, Late, SecretText, invalid},
    options::{self, optional_text, text},
    runtime::offload,
    security::source,
};

/// Where a private key is; beside these, `WaitOptions`.
#[napi(object, object_to_js = false)]
pub struct PrivateKeyOptions<'env> {
    /// The key, as PEM, DER or PKCS#12.
    #[napi(ts_type = "string | Uint8Array")]
    pub key: Option<Unknown<'env>>,
    /// The path of a file with it; errors then name the file.
    #[napi(ts_type = "string")]
    pub key_file: Option<Unknown<'env>>,
    /// The passphrase of an encrypted key or of a PKCS#12 file.
    #[napi(ts_type = "string")]
    pub passphrase: Option<Unknown<'env>>,
}

/// A private key in this process's memory.
#[napi]
pub struct PrivateKey {
    key: Arc<CoreKey>,
}

#[napi]
impl PrivateKey {
    /// Makes a new key; `rsa-4096`, as in the tutorial, unless told.
    #[napi(
        catch_unwind,
        ts_args_type = "keyType?: KeyType, options?: WaitOptions",
        ts_return_type = "Promise<PrivateKey>"
    )]
    pub fn generate<'env>(
        env: &'env Env,
        key_type: Option<Unknown<'env>>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &[])?;
            let key_type = self::key_type(key_type)?;
            Ok((start, offload(move || CoreKey::generate(key_type).map(Self::from))))
        };
        promise(env, started())
    }

    /// Reads a key in whatever form it is kept: PKCS#8, PKCS#1, SEC1, encrypted or not, or PKCS#12.
    #[napi(
        catch_unwind,
        ts_args_type = "options: PrivateKeyOptions",
        ts_return_type = "Promise<PrivateKey>"
    )]
    pub fn from_pem<'env>(
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &["key", "keyFile", "passphrase"])?;
            let PrivateKeyOptions { key, key_file, passphrase } =
                js::options(env, options, "options")?;
            let key = source("key", key, key_file)?
                .ok_or_else(|| invalid("options", "it has neither key nor keyFile"))?;
            let passphrase = self::passphrase(passphrase)?;
            Ok((
                start,
                offload(move || {
                    key.parse(|bytes| CoreKey::from_pem(bytes, passphrase.as_ref())).map(Self::from)
                }),
            ))
        };
        promise(env, started())
    }

    /// The key as PEM (PKCS#8), encrypted where there is a passphrase.
    #[napi(
        catch_unwind,
        ts_args_type = "passphrase?: string, options?: WaitOptions",
        ts_return_type = "Promise<string>"
    )]
    pub fn to_pem<'env>(
        &self,
        env: &'env Env,
        passphrase: Option<Unknown<'env>>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &[])?;
            let (key, passphrase) = (self.shared(), self::passphrase(passphrase)?);
            Ok((
                start,
                offload(move || {
                    match passphrase {
                        Some(passphrase) => key.to_encrypted_pem(&passphrase),
                        None => key.to_pem(),
                    }
                    .map(|pem| Late(SecretText(pem)))
                }),
            ))
        };
        promise(env, started())
    }

    /// The key as DER (PKCS#8), unencrypted. Whoever is given it wipes it: `der.fill(0)`.
    #[napi(catch_unwind)]
    pub fn to_der(&self, env: &Env) -> napi::Result<Buffer> {
        let der = self.key.to_der().map_err(|error| thrown(env, &error))?;
        Ok(der.to_vec().into())
    }

    /// A certificate request (PKCS#10) in PEM with this common name.
    #[napi(
        catch_unwind,
        ts_args_type = "commonName: string, options?: WaitOptions",
        ts_return_type = "Promise<string>"
    )]
    pub fn certificate_request<'env>(
        &self,
        env: &'env Env,
        common_name: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = || {
            let start = options::wait(env, options, &[])?;
            let common_name = text(common_name, "commonName")?;
            let key = SubjectKey::from(self.shared());
            Ok((start, offload(move || key.certificate_request(&common_name))))
        };
        promise(env, started())
    }

    /// The public key as DER SubjectPublicKeyInfo.
    #[napi(getter, catch_unwind)]
    pub fn public_key_info(&self) -> Buffer {
        self.key.public_key_info().to_vec().into()
    }

    /// The type, such as `EC P-256`.
    #[napi(getter, catch_unwind)]
    pub fn key_type(&self) -> String {
        self.key.key_type().to_string()
    }
}

impl From<CoreKey> for PrivateKey {
    fn from(key: CoreKey) -> Self {
        Self { key: Arc::new(key) }
    }
}

impl PrivateKey {
    /// The key that the argument `key` is.
    pub(crate) fn from_argument(value: Unknown<'_>) -> Result<Arc<CoreKey>, Error> {
        js::instance::<Self>(value)
            .map(|key| key.shared())
            .ok_or_else(|| invalid("key", "it is no PrivateKey"))
    }

    pub(crate) fn shared(&self) -> Arc<CoreKey> {
        Arc::clone(&self.key)
    }
}

/// The type of key that an argument or option names.
pub(crate) fn key_type(value: Option<Unknown<'_>>) -> Result<KeyType, Error> {
    let Some(name) = optional_text(value, "keyType")? else { return Ok(KeyType::TUTORIAL) };
    name.parse().map_err(|error: Error| invalid("keyType", error.message()))
}

/// The passphrase that an argument or option is.
pub(crate) fn passphrase(value: Option<Unknown<'_>>) -> Result<Option<Passphrase>, Error> {
    Ok(optional_text(value, "passphrase")?.map(Passphrase::new))
}
