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
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use dps_core::{Error, ErrorKind, Result};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::yield_now,
    time::timeout_at,
};

use crate::broken_pipe::{Muted, mute_this_thread};

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
    if let Some(handle) = started(&SHARED.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(handle);
    }
    // Made with no lock held, which a fork of another thread meanwhile would leave held for ever.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("dps")
        .on_thread_start(mute_this_thread)
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))?;
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = started(&shared) {
        drop(shared);
        // Another thread was faster.
        runtime.shutdown_background();
        return Ok(handle);
    }
    let handle = runtime.handle().clone();
    match shared.replace((process::id(), runtime)) {
        // The parent's; the exit is reported to the child as well.
        Some(inherited) => mem::forget(inherited),
        // SAFETY: `at_exit` has the signature that atexit wants, and touches only a static.
        None => _ = unsafe { libc::atexit(at_exit) },
    }
    Ok(handle)
}

/// The runtime that this process has started already.
fn started(shared: &Option<(u32, Runtime)>) -> Option<Handle> {
    let (process, runtime) = shared.as_ref()?;
    (*process == process::id()).then(|| runtime.handle().clone())
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

/// The runtime of a polled handle: runs only inside the calls on that handle, which are one
/// thread's at a time.
pub(crate) struct OwnRuntime {
    /// `None` only in the drop.
    runtime: Option<Runtime>,
    worker: Mutex<Option<Worker>>,
}

/// The thread that works for a polled handle, and in how many calls: a callback calls back in.
struct Worker {
    thread: ThreadId,
    calls: usize,
}

impl OwnRuntime {
    pub(crate) fn new() -> Result<Self> {
        // There is one connection; room for the default's 1024 events would take 12 KB.
        let runtime =
            Builder::new_current_thread().enable_all().max_io_events_per_tick(EVENTS).build();
        let runtime = Some(runtime.map_err(|error| cannot_start(&error))?);
        Ok(Self { runtime, worker: Mutex::new(None) })
    }

    /// Adds work, which begins with the next turn.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(work));
        }
    }

    /// Takes the handle for this thread, until the shift ends. Comes before whatever a call
    /// changes: a call that is refused has done nothing.
    pub(crate) fn begin(&self) -> Result<Shift<'_>> {
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
        let thread = thread::current().id();
        match &mut *self.worker() {
            Some(worker) if worker.thread != thread => return Err(busy()),
            Some(worker) => worker.calls += 1,
            nobody => *nobody = Some(Worker { thread, calls: 1 }),
        }
        Ok(Shift(self))
    }

    fn worker(&self) -> MutexGuard<'_, Option<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plain drop would wait, which is not allowed inside a signer of another handle.
            runtime.shutdown_background();
        }
    }
}

/// The call of a thread that works for a polled handle, alone or inside another one of its own.
pub(crate) struct Shift<'a>(&'a OwnRuntime);

impl Shift<'_> {
    /// Does what can be done now, without waiting.
    pub(crate) fn turn(&self) {
        self.run(async {
            for _ in 0..LOOKS {
                yield_now().await;
            }
        });
    }

    /// Works until `event` or until the time comes.
    pub(crate) fn run_until(&self, until: Instant, event: impl Future<Output = ()>) {
        self.run(async { _ = timeout_at(until.into(), event).await });
    }

    fn run(&self, work: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0.runtime {
            let _muted = Muted::new();
            runtime.block_on(work);
        }
    }
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        let mut worker = self.0.worker();
        match &mut *worker {
            Some(worker) if worker.calls > 1 => worker.calls -= 1,
            _ => *worker = None,
        }
    }
}

fn cannot_start(error: &io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("the runtime cannot be started: {error}"))
}
