//! A key that a JavaScript function signs with, for a new certificate or a request for one.

use std::sync::Arc;

use dps_core::{Error, chain::SubjectKey as CoreSubjectKey};
use napi::{
    Env, Unknown,
    bindgen_prelude::{Buffer, PromiseRaw},
};
use napi_derive::napi;

use crate::{
    environment::{Environment, promise},
    error::thrown,
    js::{self, invalid},
    key::PrivateKey,
    options::{self, text},
    security::{internal, signing_function},
    signer::{self, JsSigner, Waits, signing},
};

/// A function that signs, and the key that it signs with.
#[napi(object, object_to_js = false)]
pub struct SubjectKeyOptions<'env> {
    /// Signs in place of a key: the key stays where it is.
    #[napi(ts_type = "Signer")]
    pub signer: Unknown<'env>,
    /// What the signer can do, in order of preference. Certificates may have ECDSA and RSA PKCS#1.
    #[napi(ts_type = "SignatureAlgorithm[]")]
    pub algorithms: Vec<String>,
    /// The public key as DER SubjectPublicKeyInfo.
    #[napi(ts_type = "Uint8Array")]
    pub public_key_info: Unknown<'env>,
}

/// A key that signs elsewhere, for a CA's or a device's certificate, or a request for one.
#[napi]
pub struct SubjectKey {
    key: CoreSubjectKey,
    public_key_info: Vec<u8>,
    waits: Arc<Waits>,
}

#[napi]
impl SubjectKey {
    /// Signs nothing yet: what is wrong with the signer is said by the first call that needs it.
    #[napi(catch_unwind, constructor, ts_args_type = "key: SubjectKeyOptions")]
    pub fn new(env: &Env, key: Unknown<'_>) -> napi::Result<Self> {
        Self::read(env, key).map_err(|error| thrown(env, &error))
    }

    fn read(env: &Env, key: Unknown<'_>) -> Result<Self, Error> {
        options::only(env, key, "key", &[&["signer", "algorithms", "publicKeyInfo"]])?;
        let SubjectKeyOptions { signer, algorithms, public_key_info } =
            js::options(env, key, "key")?;
        let function = signing_function(signer)?;
        let algorithms = signer::algorithms(&algorithms)?;
        let public_key_info = js::bytes(public_key_info)
            .ok_or_else(|| invalid("publicKeyInfo", "it is not a Uint8Array"))?;
        let thread = Environment::current().map_err(|error| internal(&error))?.thread();
        let waits = Arc::<Waits>::default();
        let signer = JsSigner::new(thread, function, algorithms, Arc::clone(&waits));
        let key = CoreSubjectKey::signer(Arc::new(signer), public_key_info.clone());
        Ok(Self { key, public_key_info, waits })
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
            let (key, waits) = (self.key.clone(), Some(Arc::clone(&self.waits)));
            Ok((start, signing(waits, move || key.certificate_request(&common_name))))
        };
        promise(env, started())
    }

    /// The public key as DER SubjectPublicKeyInfo.
    #[napi(getter, catch_unwind)]
    pub fn public_key_info(&self) -> Buffer {
        self.public_key_info.clone().into()
    }
}

/// The key of a new CA, with the waits for its signatures where a function makes them.
pub(crate) fn subject_key(
    value: Unknown<'_>,
) -> Result<(CoreSubjectKey, Option<Arc<Waits>>), Error> {
    if let Some(key) = js::instance::<SubjectKey>(value) {
        return Ok((key.key.clone(), Some(Arc::clone(&key.waits))));
    }
    match js::instance::<PrivateKey>(value) {
        Some(key) => Ok((key.shared().into(), None)),
        None => Err(invalid("key", "it is neither a PrivateKey nor a SubjectKey")),
    }
}

/// The public key that the argument `key` is, or has, as DER SubjectPublicKeyInfo.
pub(crate) fn public_key(value: Unknown<'_>) -> Result<Vec<u8>, Error> {
    if let Some(key) = js::instance::<PrivateKey>(value) {
        return Ok(key.shared().public_key_info().to_vec());
    }
    if let Some(key) = js::instance::<SubjectKey>(value) {
        return Ok(key.public_key_info.clone());
    }
    js::bytes(value)
        .ok_or_else(|| invalid("key", "it is no PrivateKey, no SubjectKey and no Uint8Array"))
}
