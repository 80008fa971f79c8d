//! What belongs to one process: its runtime, its queues. It does not survive a fork, and it ends
//! before the interpreter does.

use std::{
    mem, ptr,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use dps_core::{Error, ErrorKind, tls::SigningThreads};
use pyo3::{
    exceptions::PyImportError,
    ffi,
    prelude::*,
    types::{PyCFunction, PyTuple},
};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{desk::Desk, gate::Gate, log, options::RootsCache, signer, uses::Uses};

/// How long the end of the interpreter waits for work that is under way.
const FAREWELL: Duration = Duration::from_millis(500);

/// Everything that a forked child must not touch: its threads stayed in the parent, and a lock
/// may have been held by one of them.
pub(crate) struct Process {
    /// Locked only by threads that hold the GIL, as the thread that forks does.
    runtime: Mutex<Option<Runtime>>,
    /// The thread on which the interpreter ends, once it does.
    exiting: OnceLock<ThreadId>,
    /// The threads that are in the middle of a [`Visit`]; closed when the interpreter ends.
    visits: Gate,
    /// Where a signer proves that it holds the leaf's key.
    pub(crate) openers: SigningThreads,
    pub(crate) signing: Desk<signer::Job>,
    pub(crate) uses: Uses,
    pub(crate) log: log::Queue,
    pub(crate) roots: RootsCache,
}

static CURRENT: AtomicPtr<Process> = AtomicPtr::new(ptr::null_mut());

/// The process that this code runs in.
pub(crate) fn current() -> &'static Process {
    loop {
        // SAFETY: the pointer is null or comes from the leaked box below, so it is valid for ever
        // and never given out as mutable.
        match unsafe { CURRENT.load(Ordering::Acquire).as_ref() } {
            Some(process) => return process,
            None => install(),
        }
    }
}

/// Begins a process. What was before it is leaked: see [`Process`].
pub(crate) fn install() {
    let process = Box::leak(Box::new(Process {
        runtime: Mutex::new(None),
        exiting: OnceLock::new(),
        visits: Gate::default(),
        openers: SigningThreads::default(),
        signing: Desk::default(),
        uses: Uses::default(),
        log: log::Queue::default(),
        roots: RootsCache::default(),
    }));
    CURRENT.store(process, Ordering::Release);
}

/// Python objects that this module keeps belong to one interpreter, so there is only one: the main.
pub(crate) fn refuse_subinterpreters() -> PyResult<()> {
    // SAFETY: called with the GIL, by the interpreter that imports this module, so there is a
    // current one, whose pointer stays valid during the call.
    let interpreter = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    match interpreter {
        0 => Ok(()),
        _ => Err(PyImportError::new_err("dps_core does not support subinterpreters")),
    }
}

/// For `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    install();
}

/// For `atexit`: ends the runtime while the interpreter is still whole.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) -> PyResult<()> {
    let process = current();
    process.exiting.get_or_init(|| thread::current().id());
    process.visits.close();
    let runtime = process.runtime().take();
    py.detach(|| {
        let start = Instant::now();
        if let Some(runtime) = runtime {
            runtime.shutdown_timeout(FAREWELL);
        }
        // They need the GIL to get out of their Rust frames.
        while process.visits.is_occupied() && start.elapsed() < FAREWELL {
            thread::sleep(Duration::from_millis(1));
        }
    });
    log::flush(py, process)
}

impl Process {
    /// The runtime, made when it is first needed.
    pub(crate) fn handle(&'static self, py: Python<'_>) -> Result<Handle, Error> {
        self.check()?;
        // Whoever imports it first must not be one of our own threads: it takes that for the main one.
        let _ = py.import("threading");
        log::refresh(py, self);
        let mut runtime = self.runtime();
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let made = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("dps-core")
            // Name lookups; a thousand devices must not become a thousand threads.
            .max_blocking_threads(16)
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "the runtime could not be started")
                    .with_source(error)
            })?;
        let handle = made.handle().clone();
        *runtime = Some(made);
        Ok(handle)
    }

    /// Fails in a forked child of this process, and when the interpreter is ending.
    pub(crate) fn check(&'static self) -> Result<(), Error> {
        if !ptr::eq(self, current()) {
            return Err(Error::new(
                ErrorKind::Forked,
                "this client was made before the process was forked",
            )
            .with_hint("Make a new client in the child; the parent's goes on undisturbed."));
        }
        if self.is_exiting() {
            return Err(Error::new(ErrorKind::Closed, "the interpreter is exiting"));
        }
        Ok(())
    }

    pub(crate) fn is_exiting(&self) -> bool {
        self.exiting.get().is_some()
    }

    /// Begins a visit, unless the interpreter is ending: then this thread goes no further, as it
    /// would not by Python's own rules.
    pub(crate) fn enter<'py>(&'static self, py: Python<'py>) -> Visit<'py> {
        if !self.begin_visit() {
            py.detach(|| self.wait_for_the_end());
        }
        Visit { process: self, py }
    }

    /// As [`enter`](Self::enter), for a thread that does not have the GIL: `None` if the
    /// interpreter is ending.
    pub(crate) fn attach<T>(&'static self, work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
        if !self.begin_visit() {
            return None;
        }
        let result = Python::try_attach(work);
        self.visits.leave();
        result
    }

    /// Runs `work` without the GIL.
    pub(crate) fn detach<T: Send>(
        &'static self,
        py: Python<'_>,
        work: impl FnOnce() -> T + Send,
    ) -> T {
        self.enter(py).detach(work)
    }

    fn begin_visit(&self) -> bool {
        self.visits.enter(|| self.exiting.get() == Some(&thread::current().id()))
    }

    fn wait_for_the_end(&self) -> ! {
        loop {
            thread::park();
        }
    }

    fn runtime(&self) -> MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs Python code, or gives up the GIL and takes it back, below frames of Rust.
///
/// A thread that asks for the GIL while the interpreter ends is ended on the spot (before CPython
/// 3.14), which aborts the process if frames of Rust are on its stack. So the interpreter's end
/// waits for visits, and a visit that has given up the GIL does not ask for it any more then.
pub(crate) struct Visit<'py> {
    process: &'static Process,
    py: Python<'py>,
}

impl Visit<'_> {
    /// Runs `work` without the GIL.
    pub(crate) fn detach<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let process = self.process;
        process.visits.leave();
        self.py.detach(move || {
            let result = work();
            if !process.begin_visit() {
                process.wait_for_the_end();
            }
            result
        })
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.process.visits.leave();
    }
}

/// What must be neither dropped nor touched in a forked child, such as the other end of a channel
/// whose receiver is a task of the parent's runtime.
pub(crate) struct AtHome<T> {
    process: &'static Process,
    value: Option<T>,
}

impl<T> AtHome<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { process: current(), value: Some(value) }
    }

    /// The value, unless it is out of reach here.
    pub(crate) fn get(&self) -> Result<(&'static Process, &T), Error> {
        self.process.check()?;
        match &self.value {
            Some(value) => Ok((self.process, value)),
            None => Err(Error::new(ErrorKind::Closed, "the client is closed")),
        }
    }
}

impl<T> Drop for AtHome<T> {
    fn drop(&mut self) {
        if !ptr::eq(self.process, current()) {
            mem::forget(self.value.take());
        }
    }
}

/// Runs `function` of one of our private modules on a thread that Python makes and does not wait
/// for.
pub(crate) fn start_thread(
    py: Python<'_>,
    module: &str,
    next: Bound<'_, PyCFunction>,
) -> PyResult<()> {
    let serve = py.import(module)?.getattr("serve")?;
    let arguments = PyTuple::new(py, [next])?;
    py.import("_thread")?.call_method1("start_new_thread", (serve, arguments))?;
    Ok(())
}
