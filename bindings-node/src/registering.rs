//! A registration, step by step.

use std::{future::Future, pin::Pin, sync::Arc};

use dps_core::{Assignment, Error, provisioning::Progress};
use napi::{
    Env,
    bindgen_prelude::{Object, PromiseRaw, This},
};
use napi_derive::napi;
use tokio::{
    select,
    sync::{Mutex, mpsc},
};

use crate::{
    environment::{KeptSignal, Start, promise},
    js::{Late, Next},
    provisioning::RegistrationResult,
};

/// One step of a registration.
#[napi(object, object_from_js = false)]
pub struct RegistrationStep {
    /// How far it is.
    #[napi(ts_type = "'connected' | 'registering' | 'assigning' | 'assigned'")]
    pub stage: &'static str,
    /// What the registration gave, with the stage `assigned`.
    pub result: Option<RegistrationResult>,
}

type Registration = Pin<Box<dyn Future<Output = Result<Assignment, Error>> + Send>>;

/// A registration that goes on while its next step is waited for.
#[napi]
pub struct Registering {
    running: Arc<Mutex<Option<Running>>>,
    signal: KeptSignal,
}

struct Running {
    registration: Registration,
    progress: mpsc::UnboundedReceiver<Progress>,
    /// What it has ended with, while the steps before are still to be told.
    outcome: Option<Result<Assignment, Error>>,
}

impl Registering {
    pub(crate) fn new(
        registration: Registration,
        progress: mpsc::UnboundedReceiver<Progress>,
        signal: KeptSignal,
    ) -> Self {
        let running = Some(Running { registration, progress, outcome: None });
        Self { running: Arc::new(Mutex::new(running)), signal }
    }
}

#[napi]
impl Registering {
    /// The registration itself, for `for await`.
    #[napi(
        catch_unwind,
        well_known_symbol = "asyncIterator",
        ts_return_type = "AsyncIterableIterator<RegistrationStep>"
    )]
    pub fn iterator<'env>(&self, this: This<'env>) -> Object<'env> {
        this.object
    }

    /// Waits for the next step.
    #[napi(catch_unwind, ts_return_type = "Promise<IteratorResult<RegistrationStep, void>>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let running = Arc::clone(&self.running);
        let started = self.signal.start(env).map(|start| {
            (start, async move {
                let mut running = running.lock().await;
                // Taken out, so that a cancelled wait takes the registration with it.
                let Some(mut now) = running.take() else { return Ok(Late(Next(None))) };
                let stage = loop {
                    let progress = match (now.progress.try_recv(), now.outcome.take()) {
                        (Ok(progress), outcome) => {
                            now.outcome = outcome;
                            progress
                        }
                        (Err(_), Some(outcome)) => {
                            let result = Some(outcome?.into());
                            let step =
                                RegistrationStep { stage: Progress::Assigned.name(), result };
                            return Ok(Late(Next(Some(step))));
                        }
                        (Err(_), None) => select! {
                            biased;
                            Some(progress) = now.progress.recv() => progress,
                            outcome = &mut now.registration => {
                                now.outcome = Some(outcome);
                                continue;
                            }
                        },
                    };
                    match progress {
                        // The end is told together with the result.
                        Progress::Assigned => {}
                        progress => break progress.name(),
                    }
                };
                *running = Some(now);
                Ok(Late(Next(Some(RegistrationStep { stage, result: None }))))
            })
        });
        promise(env, started)
    }

    /// Cancels what is left of the registration; a `for await` that is left early calls it.
    #[napi(
        catch_unwind,
        js_name = "return",
        ts_return_type = "Promise<IteratorResult<RegistrationStep, void>>"
    )]
    pub fn cancel<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let running = Arc::clone(&self.running);
        let stop = async move {
            running.lock().await.take();
            Ok(Late(Next::<RegistrationStep>(None)))
        };
        promise(env, Ok((Start::Wait(None), stop)))
    }
}
