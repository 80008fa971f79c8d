//! Who runs the futures of the core.
//!
//! Blocking calls share one runtime with two threads, started at first use and shut down at the
//! exit of the process. A polled handle has a runtime of its own that runs only inside the calls
//! made on it. In a forked child the parent's runtimes are leaked: dropping a socket there would
//! remove the parent's from the epoll instance that both share.
#![expect(unsafe_code, reason = "the exit of the process is reported by a C library function")]

use std::{
    future::Future,
    io, mem, process,
    sync::{Mutex, PoisonError, TryLockError},
    time::{Duration, Instant},
};

use dps_core::{Error, ErrorKind, Result};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::yield_now,
    time::timeout_at,
};

/// How long the exit of the process waits for a name lookup that hangs.
const FAREWELL: Duration = Duration::from_secs(1);

/// How often one turn of a polled runtime looks for more to do, so that what has arrived is read,
/// judged and answered in one call.
const LOOKS: usize = 8;

/// How many events a polled runtime takes at once.
const EVENTS: usize = 16;

/// The runtime of the blocking calls, and the process that started it.
static SHARED: Mutex<Option<(u32, Runtime)>> = Mutex::new(None);

/// The runtime of the blocking calls.
pub(crate) fn shared() -> Result<Handle> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((process, runtime)) = &*shared
        && *process == process::id()
    {
        return Ok(runtime.handle().clone());
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("dps")
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))?;
    let handle = runtime.handle().clone();
    match shared.replace((process::id(), runtime)) {
        // The parent's; the exit is reported to the child as well.
        Some(inherited) => mem::forget(inherited),
        // SAFETY: `at_exit` has the signature that atexit wants, and touches only a static.
        None => _ = unsafe { libc::atexit(at_exit) },
    }
    Ok(handle)
}

extern "C" fn at_exit() {
    let taken = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((process, runtime)) = taken else { return };
    // Somebody called exit() in a callback on one of the runtime's own threads, or in a child.
    if process != process::id() || Handle::try_current().is_ok() {
        return mem::forget(runtime);
    }
    runtime.shutdown_timeout(FAREWELL);
}

/// In which process a handle was made.
#[derive(Clone, Copy)]
pub(crate) struct Birthplace(u32);

impl Birthplace {
    pub(crate) fn here() -> Self {
        Self(process::id())
    }

    pub(crate) fn is_elsewhere(self) -> bool {
        self.0 != process::id()
    }

    /// Fails in a forked child.
    pub(crate) fn check(self) -> Result<()> {
        if self.is_elsewhere() {
            return Err(Error::new(
                ErrorKind::Forked,
                "this handle was made before fork(), and its connection belongs to the parent",
            )
            .with_hint("Make new handles in the child."));
        }
        Ok(())
    }
}

/// The runtime of a polled handle: runs only inside the calls on that handle.
pub(crate) struct OwnRuntime(Mutex<Option<Runtime>>);

impl OwnRuntime {
    pub(crate) fn new() -> Result<Self> {
        // There is one connection; room for the default's 1024 events would take 12 KB.
        let runtime =
            Builder::new_current_thread().enable_all().max_io_events_per_tick(EVENTS).build();
        runtime.map(|runtime| Self(Mutex::new(Some(runtime)))).map_err(|error| cannot_start(&error))
    }

    /// Adds work, which begins with the next turn.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            drop(runtime.spawn(work));
        }
    }

    /// Does what can be done now, without waiting.
    pub(crate) fn turn(&self) -> Result<()> {
        self.run(async {
            for _ in 0..LOOKS {
                yield_now().await;
            }
        })
    }

    /// Works until `event` or until the time comes.
    pub(crate) fn run_until(&self, until: Instant, event: impl Future<Output = ()>) -> Result<()> {
        self.run(async { _ = timeout_at(until.into(), event).await })
    }

    fn run(&self, work: impl Future<Output = ()>) -> Result<()> {
        let busy = || {
            Error::new(
                ErrorKind::InvalidArgument,
                "the handle is being polled already: by another thread, or by the call that \
                 called this signer",
            )
        };
        if Handle::try_current().is_ok() {
            return Err(busy());
        }
        let runtime = match self.0.try_lock() {
            Ok(runtime) => runtime,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(busy()),
        };
        if let Some(runtime) = &*runtime {
            runtime.block_on(work);
        }
        Ok(())
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        let runtime = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // A plain drop would wait, which is not allowed inside a signer of another handle.
            runtime.shutdown_background();
        }
    }
}

fn cannot_start(error: &io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the runtime cannot be started: {error}"))
}
