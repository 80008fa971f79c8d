//! One piece of work for the runtime, and who is waiting for it: a thread, or an event loop.

use std::{
    future::Future,
    sync::{Arc, Weak, mpsc},
    time::Duration,
};

use dps_core::{Assignment, Error, ErrorKind, doctor::Report, provisioning::Progress};
use futures_util::future::{AbortHandle, abortable};
use pyo3::prelude::*;
use tokio::{runtime::Handle, task::JoinHandle, time::sleep};

use crate::{bridge::Inbox, doctor, errors, line::Line, process::Visit};

/// How long Ctrl-C may go unnoticed.
pub(crate) const SIGNAL_INTERVAL: Duration = Duration::from_millis(100);

/// What the one who waits is told.
pub(crate) enum Event {
    Progress(Progress),
    /// One error may be the end of much that waited for the same.
    Done(Result<Outcome, Arc<Error>>),
}

impl Event {
    pub(crate) fn done(result: Result<Outcome, Error>) -> Self {
        Self::Done(result.map_err(Arc::new))
    }
}

/// What work ends in.
pub(crate) enum Outcome {
    Nothing,
    Assigned(Box<Assignment>),
    Examined(Box<Report>),
}

impl Outcome {
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Self::Nothing => Ok(py.None()),
            Self::Assigned(assignment) => {
                crate::assignment::result(py, &assignment).map(Bound::into_any).map(Bound::unbind)
            }
            Self::Examined(report) => Ok(Py::new(py, doctor::Report(*report))?.into_any()),
        }
    }
}

/// Who is told.
#[derive(Clone)]
pub(crate) enum Asker {
    Thread(mpsc::Sender<Event>),
    Loop(Arc<Inbox>, u64),
}

impl Asker {
    pub(crate) fn tell(&self, event: Event) {
        match self {
            // Whoever stopped waiting does not want to know.
            Self::Thread(events) => drop(events.send(event)),
            Self::Loop(inbox, ticket) => inbox.put([(*ticket, event)]),
        }
    }
}

/// An asker who is told an end even if the work is dropped.
pub(crate) struct Pending {
    asker: Option<Asker>,
    timer: Option<JoinHandle<()>>,
}

impl Pending {
    pub(crate) fn new(asker: Asker) -> Self {
        Self { asker: Some(asker), timer: None }
    }

    /// Ends the work when its time has come, and tells the asker of that.
    pub(crate) fn end_within(
        &mut self,
        runtime: &Handle,
        deadline: Duration,
        work: GiveUp,
        late: Error,
    ) {
        let asker = self.asker.clone();
        self.timer = Some(runtime.spawn(async move {
            sleep(deadline).await;
            // Before the work ends: of two ends, whoever waits hears the first.
            if let Some(asker) = asker {
                asker.tell(Event::done(Err(late)));
            }
            work.give_up();
        }));
    }

    /// Who is to be told, by the caller from now on.
    pub(crate) fn take(mut self) -> Option<Asker> {
        self.asker.take()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
        if let Some(asker) = &self.asker {
            let message = "the work was given up before it was done";
            asker.tell(Event::done(Err(Error::new(ErrorKind::Closed, message))));
        }
    }
}

/// Gives up the work that nobody waits for any more; after its end it does nothing.
#[derive(Clone)]
pub(crate) struct GiveUp {
    abort: AbortHandle,
    /// Where the work is a message, which a disconnection may wait for.
    line: Weak<Line>,
}

impl GiveUp {
    pub(crate) fn message(abort: AbortHandle, line: &Arc<Line>) -> Self {
        Self { abort, line: Arc::downgrade(line) }
    }

    pub(crate) fn give_up(&self) {
        self.abort.abort();
        if let Some(line) = self.line.upgrade() {
            line.forget_what_was_given_up();
        }
    }
}

/// Starts work on the runtime.
pub(crate) fn spawn(
    handle: &Handle,
    asker: Asker,
    work: impl Future<Output = Result<Outcome, Error>> + Send + 'static,
) -> GiveUp {
    let pending = Pending::new(asker);
    let (work, abort) = abortable(work);
    handle.spawn(async move {
        let result = work.await;
        let asker = pending.take();
        if let (Ok(result), Some(asker)) = (result, asker) {
            asker.tell(Event::done(result));
        }
    });
    GiveUp { abort, line: Weak::new() }
}

/// Waits on this thread, without the GIL, for what `start` starts. Ctrl-C ends the wait and the
/// work.
pub(crate) fn wait(
    py: Python<'_>,
    visit: &Visit<'_>,
    on_progress: Option<&Bound<'_, PyAny>>,
    start: impl FnOnce(Asker) -> Result<GiveUp, Error>,
) -> PyResult<Py<PyAny>> {
    let (asker, mut events) = mpsc::channel();
    let _work = GiveUpOnDrop(start(Asker::Thread(asker)).map_err(|e| errors::raise(py, &e))?);
    loop {
        let (event, back) = visit.detach(move || {
            let event = events.recv_timeout(SIGNAL_INTERVAL);
            (event, events)
        });
        events = back;
        match event {
            Ok(Event::Done(Ok(outcome))) => return outcome.into_python(py),
            Ok(Event::Done(Err(error))) => return Err(errors::raise(py, &error)),
            Ok(Event::Progress(progress)) => {
                if let Some(on_progress) = on_progress {
                    on_progress.call1((progress.name(),))?;
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let error = Error::new(ErrorKind::Closed, "the interpreter is exiting");
                return Err(errors::raise(py, &error));
            }
        }
    }
}

struct GiveUpOnDrop(GiveUp);

impl Drop for GiveUpOnDrop {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// Tells many at once: an event loop is woken once.
pub(crate) fn tell_all(ends: Vec<(Asker, Event)>) {
    type Batch = (Arc<Inbox>, Vec<(u64, Event)>);

    let mut batch: Option<Batch> = None;
    for (asker, event) in ends {
        let Asker::Loop(inbox, ticket) = asker else {
            asker.tell(event);
            continue;
        };
        match &mut batch {
            Some((of, events)) if Arc::ptr_eq(of, &inbox) => events.push((ticket, event)),
            _ => {
                if let Some((inbox, events)) = batch.replace((inbox, vec![(ticket, event)])) {
                    inbox.put(events);
                }
            }
        }
    }
    if let Some((inbox, events)) = batch {
        inbox.put(events);
    }
}
