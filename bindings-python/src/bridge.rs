//! From the runtime to an asyncio event loop: a queue and a doorbell.
//!
//! The doorbell is a socket that the event loop watches like any other, so ringing it takes no
//! GIL, and one ring serves however many events have come since.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::net::UnixStream,
    },
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dps_core::{Error, ErrorKind};
use pyo3::{PyTraverseError, PyVisit, intern, prelude::*};

use crate::{
    errors,
    inbox::{self, Bell},
    process::{self, Process},
    work::{Asker, Event, GiveUp, Outcome},
};

/// What the runtime has to tell one event loop.
pub(crate) type Inbox = inbox::Inbox<(u64, Event), UnixStream>;

impl Bell for UnixStream {
    fn ring(&self) {
        // It fails only where the event loop and its end of the bell are gone.
        let _ = (&*self).write(&[1]);
    }
}

/// What one event loop waits for. Made once for each loop, and kept by it.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct Bridge {
    process: &'static Process,
    inbox: Arc<Inbox>,
    ear: UnixStream,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    waiters: HashMap<u64, Waiter>,
}

/// An asyncio future and the work it is for.
struct Waiter {
    future: Py<PyAny>,
    on_progress: Option<Py<PyAny>>,
    work: GiveUp,
}

#[pymethods]
impl Bridge {
    #[new]
    fn new() -> PyResult<Self> {
        let (bell, ear) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ear.set_nonblocking(true)?;
        let inbox = Arc::new(Inbox::new(bell));
        Ok(Self { process: process::current(), inbox, ear, waiting: Mutex::default() })
    }

    /// What the event loop is to watch for reading.
    fn fileno(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// How many futures are waited for.
    #[getter]
    fn pending(&self) -> usize {
        self.waiting().waiters.len()
    }

    /// Resolves the futures whose work is done; called by the event loop.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_inherited() {
            // What comes is the parent's, and so is the ring.
            return Ok(());
        }
        let _visit = self.process.enter(py);
        let events = self.inbox.take(|| match (&self.ear).read(&mut [0; 64]) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        })?;
        // One future that cannot be resolved must not keep the others waiting for ever.
        let mut failure = Ok(());
        for (ticket, event) in events {
            let told = match event {
                Event::Progress(progress) => self.report(py, ticket, progress.name()),
                Event::Done(result) => self.settle(py, ticket, result),
            };
            failure = failure.and(told);
        }
        failure
    }

    /// Ends the work whose future is not waited for any more.
    fn cancel(&self, ticket: u64) {
        let waiter = self.waiting().waiters.remove(&ticket);
        if let Some(waiter) = waiter {
            self.end(&waiter);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Locked only by threads that hold the GIL, as the collector does.
        if let Ok(waiting) = self.waiting.try_lock() {
            for waiter in waiting.waiters.values() {
                visit.call(&waiter.future)?;
                visit.call(&waiter.on_progress)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        let waiters = std::mem::take(&mut self.waiting().waiters);
        for waiter in waiters.values() {
            self.end(waiter);
        }
    }
}

impl Bridge {
    /// Whether this is a forked child's copy: the socket is still the parent's.
    fn is_inherited(&self) -> bool {
        !ptr::eq(self.process, process::current())
    }

    fn end(&self, waiter: &Waiter) {
        // In a child the work is not there, and what would wake it may be locked for ever.
        if !self.is_inherited() {
            waiter.work.give_up();
        }
    }

    /// Starts work that ends in `future`; the answer is the ticket by which it is cancelled.
    pub(crate) fn start(
        &self,
        py: Python<'_>,
        future: Py<PyAny>,
        on_progress: Option<Py<PyAny>>,
        start: impl FnOnce(Asker) -> Result<GiveUp, Error>,
    ) -> PyResult<u64> {
        if self.is_inherited() {
            let message = "this event loop was made before the process was forked";
            let error = Error::new(ErrorKind::Forked, message)
                .with_hint("Run a new one in the child, as asyncio.run does.");
            return Err(errors::raise(py, &error));
        }
        let ticket = {
            let mut waiting = self.waiting();
            waiting.last += 1;
            waiting.last
        };
        let asker = Asker::Loop(Arc::clone(&self.inbox), ticket);
        // Its end cannot come before the waiter is there: this is the thread that fetches it.
        let work = start(asker).map_err(|error| errors::raise(py, &error))?;
        self.waiting().waiters.insert(ticket, Waiter { future, on_progress, work });
        Ok(ticket)
    }

    fn settle(
        &self,
        py: Python<'_>,
        ticket: u64,
        result: Result<Outcome, Arc<Error>>,
    ) -> PyResult<()> {
        // Whoever was cancelled has been removed.
        let Some(waiter) = self.waiting().waiters.remove(&ticket) else { return Ok(()) };
        let value = match result {
            Ok(outcome) => outcome.into_python(py),
            Err(error) => Err(errors::raise(py, &error)),
        };
        waiter.settle(py, value)
    }

    fn report(&self, py: Python<'_>, ticket: u64, progress: &'static str) -> PyResult<()> {
        let on_progress = match self.waiting().waiters.get(&ticket) {
            Some(Waiter { on_progress: Some(callback), .. }) => callback.clone_ref(py),
            _ => return Ok(()),
        };
        // Not under the lock: it may ask for more work, or cancel this.
        match on_progress.call1(py, (progress,)) {
            Ok(_) => Ok(()),
            Err(error) => {
                let waiter = self.waiting().waiters.remove(&ticket);
                let Some(waiter) = waiter else { return Ok(()) };
                self.end(&waiter);
                waiter.settle(py, Err(error))
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    fn settle(&self, py: Python<'_>, value: PyResult<Py<PyAny>>) -> PyResult<()> {
        let future = self.future.bind(py);
        if future.call_method0(intern!(py, "done"))?.is_truthy()? {
            return Ok(());
        }
        let fail =
            |exception: PyErr| future.call_method1(intern!(py, "set_exception"), (exception,));
        match value {
            Ok(value) => future.call_method1(intern!(py, "set_result"), (value,)),
            // A future does not take a StopIteration, and says so by another exception.
            Err(error) => fail(error).or_else(fail),
        }?;
        Ok(())
    }
}
