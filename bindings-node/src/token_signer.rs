//! A symmetric key that stays where it is: a JavaScript function signs tokens with it.

use std::sync::Arc;

use dps_core::{SIGN_LIMIT, SignerError, TokenSigner};
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use crate::{
    environment::JsThread,
    security::Reference,
    signer::{SigningFunction, Waits},
};

/// What a key that signs tokens is asked to sign.
#[napi(object, object_from_js = false)]
pub struct TokenSignRequest {
    /// How to sign: HMAC-SHA256, whose answer has 32 bytes.
    #[napi(ts_type = "'hmac-sha256'")]
    pub algorithm: &'static str,
    /// The message.
    pub message: Buffer,
}

/// A function in JavaScript as dps-core's [`TokenSigner`].
pub(crate) struct JsTokenSigner(SigningFunction);

impl JsTokenSigner {
    pub(crate) fn new(thread: JsThread, function: Reference, waits: Arc<Waits>) -> Self {
        Self(SigningFunction { thread, function, waits, limit: SIGN_LIMIT })
    }
}

impl TokenSigner for JsTokenSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let message = message.to_vec();
        self.0.ask(move || TokenSignRequest { algorithm: "hmac-sha256", message: message.into() })
    }
}
