//! The one tokio runtime of the process.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dps_core::{Error, ErrorKind, Result};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::spawn_blocking,
};

use crate::security::elsewhere;

/// A gateway's thousand devices share it, beside the JavaScript thread, which has as much to do. A
/// second one would cost a stack and a heap, and each message wake-ups between the two.
const WORKERS: usize = 1;

/// For what blocks: reading files and name lookup. As many as Node itself has for that; each costs
/// a stack and a heap of its own.
const BLOCKING_THREADS: usize = 4;

/// How long the end of the last environment waits for work that cannot be cancelled.
const PATIENCE: Duration = Duration::from_millis(100);

struct State {
    environments: usize,
    runtime: Option<Runtime>,
}

static STATE: Mutex<State> = Mutex::new(State { environments: 0, runtime: None });

/// Counts an environment that may use the runtime.
pub(crate) fn enter() {
    state().environments += 1;
}

/// The last environment takes the runtime with it: by a timeout and not by a drop, which would
/// wait for ever behind a signer that never answers.
pub(crate) fn leave() {
    let mut state = state();
    state.environments = state.environments.saturating_sub(1);
    let last = if state.environments == 0 { state.runtime.take() } else { None };
    drop(state);
    if let Some(runtime) = last {
        runtime.shutdown_timeout(PATIENCE);
    }
}

/// The runtime, started when it is first needed.
pub(crate) fn handle() -> Result<Handle> {
    let mut state = state();
    if let Some(runtime) = &state.runtime {
        return Ok(runtime.handle().clone());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("dps-core")
        .enable_all()
        .build()
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "the runtime could not be started").with_source(error)
        })?;
    Ok(state.runtime.insert(runtime).handle().clone())
}

/// What a thread that may block works out: signatures of RSA keys, passphrases, files.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    elsewhere(spawn_blocking(work)).await
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
