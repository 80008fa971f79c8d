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
}

impl Registering {
    pub(crate) fn new(
        registration: Registration,
        progress: mpsc::UnboundedReceiver<Progress>,
        signal: KeptSignal,
    ) -> Self {
        let running = Some(Running { registration, progress });
        Self { running: Arc::new(Mutex::new(running)), signal }
    }
}

#[napi]
impl Registering {
    /// The registration itself, for `for await`.
    #[napi(
        well_known_symbol = "asyncIterator",
        ts_return_type = "AsyncIterableIterator<RegistrationStep>"
    )]
    pub fn iterator<'env>(&self, this: This<'env>) -> Object<'env> {
        this.object
    }

    /// Waits for the next step.
    #[napi(ts_return_type = "Promise<IteratorResult<RegistrationStep, void>>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let running = Arc::clone(&self.running);
        let started = self.signal.start(env).map(|start| {
            (start, async move {
                let mut running = running.lock().await;
                // Taken out, so that a cancelled wait takes the registration with it.
                let Some(mut now) = running.take() else { return Ok(Late(Next(None))) };
                let stage = loop {
                    let progress = select! {
                        biased;
                        Some(progress) = now.progress.recv() => progress,
                        result = &mut now.registration => {
                            let result = Some(result?.into());
                            let step = RegistrationStep { stage: "assigned", result };
                            return Ok(Late(Next(Some(step))));
                        }
                    };
                    match progress {
                        Progress::Connected => break "connected",
                        Progress::Registering => break "registering",
                        Progress::Assigning => break "assigning",
                        // The end is told together with the result.
                        _ => {}
                    }
                };
                *running = Some(now);
                Ok(Late(Next(Some(RegistrationStep { stage, result: None }))))
            })
        });
        promise(env, started)
    }

    /// Cancels what is left of the registration; a `for await` that is left early calls it.
    #[napi(js_name = "return", ts_return_type = "Promise<IteratorResult<RegistrationStep, void>>")]
    pub fn cancel<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let running = Arc::clone(&self.running);
        let stop = async move {
            running.lock().await.take();
            Ok(Late(Next::<RegistrationStep>(None)))
        };
        promise(env, Ok((Start::Wait(None), stop)))
    }
}
