//! A key that a JavaScript function signs with.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};

use dps_core::{
    Error, SIGN_LIMIT, SignRequest as CoreRequest, SignatureAlgorithm, Signer, SignerError,
    tls::{SigningExecutor, SigningThreads},
};
use napi::{
    Env, Unknown,
    bindgen_prelude::{Buffer, FnArgs, Function, FunctionRef, ToNapiValue},
};
use napi_derive::napi;
use tokio::sync::oneshot;

use crate::{
    environment::{Environment, JsThread},
    js,
    runtime::offload,
    security::{Reference, elsewhere},
    waits,
};

/// What a signer is asked to sign.
#[napi(object, object_from_js = false)]
pub struct SignRequest {
    /// How to sign: one of the algorithms that the signer was announced with.
    #[napi(ts_type = "SignatureAlgorithm")]
    pub algorithm: &'static str,
    /// The whole message, for a key that hashes by itself.
    pub message: Buffer,
    /// The hash of the message, for a key that takes digests.
    pub digest: Buffer,
}

/// The algorithms of these names.
pub(crate) fn algorithms(names: &[String]) -> Result<Vec<SignatureAlgorithm>, Error> {
    let named = |error: Error| error.in_context("algorithms");
    names.iter().map(|name| name.parse().map_err(named)).collect()
}

/// A function in JavaScript as dps-core's [`Signer`].
pub(crate) struct JsSigner {
    function: SigningFunction,
    algorithms: Vec<SignatureAlgorithm>,
}

impl JsSigner {
    /// A signer that can do this; nothing stands for all that its certificate's key can.
    pub(crate) fn new(
        thread: JsThread,
        function: Reference,
        algorithms: Vec<SignatureAlgorithm>,
        waits: Arc<Waits>,
    ) -> Self {
        // A CA's key may wait for somebody's hand.
        let limit = Duration::MAX;
        Self { function: SigningFunction { thread, function, waits, limit }, algorithms }
    }

    /// One whose signatures are for connections.
    pub(crate) fn of_device(mut self) -> Self {
        self.function.limit = SIGN_LIMIT;
        self
    }
}

impl Signer for JsSigner {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        &self.algorithms
    }

    fn sign(&self, request: &CoreRequest<'_>) -> Result<Vec<u8>, SignerError> {
        let algorithm = request.algorithm().name();
        let (message, digest) = (request.message().to_vec(), request.digest().to_vec());
        self.function.ask(move || SignRequest {
            algorithm,
            message: message.into(),
            digest: digest.into(),
        })
    }
}

/// A function of the user's that signs, on its JavaScript thread.
pub(crate) struct SigningFunction {
    pub(crate) thread: JsThread,
    pub(crate) function: Reference,
    pub(crate) waits: Arc<Waits>,
    /// How long an answer is of use to whoever asks.
    pub(crate) limit: Duration,
}

impl SigningFunction {
    /// Waits for what the function answers to the request: on a thread that may block, never on the
    /// JavaScript thread.
    pub(crate) fn ask<A: ToNapiValue>(
        &self,
        request: impl FnOnce() -> A + Send + 'static,
    ) -> Result<Vec<u8>, SignerError> {
        let (number, wait) = self.waits.begin().ok_or_else(given_up)?;
        let (function, waits) = (Arc::clone(&self.function), Arc::clone(&self.waits));
        self.thread.run(move |env| {
            let waits_for_answer = Arc::clone(&waits);
            let asked = call(env, &function, request(), move |outcome| {
                let answer = outcome.map_err(threw).and_then(signature);
                waits_for_answer.end(number, answer);
            });
            if let Err(error) = asked {
                waits.end(number, Err(threw(error)));
            }
            Ok(())
        });
        wait.answer(self.limit).unwrap_or_else(|| {
            // Too late from now on.
            self.waits.end(number, Err(given_up()));
            Err(given_up())
        })
    }
}

/// Works out what keys may have to sign for. `waits` are those of their signers, where functions of
/// the user's sign: such work is done on threads that they may hold, not on the few that read files,
/// and whoever drops the future no longer waits for the functions.
pub(crate) fn signing<T, F>(
    waits: impl IntoIterator<Item = Arc<Waits>>,
    work: F,
) -> impl Future<Output = Result<T, Error>> + Send + 'static
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    /// Not those that open identities: a CA whose function is silent must not hold up a device.
    static THREADS: OnceLock<SigningThreads> = OnceLock::new();

    let in_use: Vec<InUse> = waits.into_iter().map(|waits| waits.in_use()).collect();
    async move {
        if in_use.is_empty() {
            return offload(work).await;
        }
        let (answer, done) = oneshot::channel();
        THREADS.get_or_init(SigningThreads::default).execute(Box::new(move || {
            // Nobody listens where the wait was over first.
            let _ = answer.send(work());
        }));
        let done = elsewhere(done).await;
        drop(in_use);
        done
    }
}

/// Calls a function of the user's on its JavaScript thread, and hands what it returns or resolves
/// to, or what it throws or rejects with, to `done`.
pub(crate) fn call<A, F>(
    env: &Env,
    function: &FunctionRef<Unknown<'static>, Unknown<'static>>,
    argument: A,
    done: F,
) -> napi::Result<()>
where
    A: ToNapiValue,
    F: Fn(napi::Result<Unknown<'_>>) + 'static,
{
    let done = env.create_function_from_closure::<FnArgs<(Unknown<'_>, Unknown<'_>)>, (), _>(
        "done",
        move |context| {
            let (failed, value) = (context.get::<bool>(0)?, context.get::<Unknown<'_>>(1)?);
            done(match failed {
                true => Err(napi::Error::from_unknown_without_coercion(value)),
                false => Ok(value),
            });
            Ok(())
        },
    )?;
    let function = function.borrow_back(env)?;
    type Call<'a, A, D> =
        Function<'a, FnArgs<(Function<'a, Unknown<'static>, Unknown<'static>>, A, D)>, ()>;
    let call: Call<'_, A, _> = Environment::current()?.hook(env, "call")?;
    call.call((function, argument, done).into())
}

/// What a function has answered, or why it has not.
type Answer = Result<Vec<u8>, SignerError>;

/// The answers that are waited for, and how many calls use the signer.
pub(crate) type Waits = waits::Waits<Answer>;

/// A use of a signer. With the last one, whoever still waits for a signature of it goes.
pub(crate) type InUse = waits::InUse<Answer>;

fn given_up() -> SignerError {
    SignerError::new("nobody waits for it any more")
}

fn signature(value: Unknown<'_>) -> Answer {
    match js::text_or_bytes(value) {
        Ok(Some(bytes)) if js::string(value).is_err() => Ok(bytes),
        _ => Err(SignerError::new("it returned something other than a Uint8Array")),
    }
}

/// What a function of the user's threw, as a signer's failure.
pub(crate) fn threw(error: napi::Error) -> SignerError {
    SignerError::new(error.reason.clone()).with_source(error)
}
