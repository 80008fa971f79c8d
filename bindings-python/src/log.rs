//! From core's diagnostics to Python's `logging`.
//!
//! A record waits in a queue for a thread that Python made, so that no thread of the runtime waits
//! for the GIL, or for a handler that writes to a slow disk.

use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};

use dps_core::log::{self, Level, Line};
use pyo3::{intern, prelude::*, types::PyList, wrap_pyfunction};

use crate::process::{self, Process, start_thread};

/// How many records may wait; what comes beyond is dropped.
const MOST: usize = 1000;

/// The least of Python's levels that is of interest, as `logging` numbers them.
static LEVEL: AtomicU8 = AtomicU8::new(WARNING);
const WARNING: u8 = 30;

/// How long the end of the interpreter waits for records that are being handed on.
const FAREWELL: Duration = Duration::from_secs(1);

/// The records that wait for Python.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    handed_on: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    served: bool,
    /// Records have been taken for Python, which has not come back for more yet.
    on_the_way: bool,
}

struct Record {
    level: u8,
    logger: String,
    message: String,
    seconds: f64,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets core's diagnostics arrive here.
pub(crate) fn install() {
    // This library's own copy of tracing has no other subscriber.
    let _ = log::install(Collector);
}

/// Looks up what `logging` wants to know, and sees to it that somebody hands the records on.
pub(crate) fn refresh(py: Python<'_>, process: &'static Process) {
    LEVEL.store(level(py).unwrap_or(WARNING), Ordering::Relaxed);
    let first = !std::mem::replace(&mut process.log.state().served, true);
    if first {
        let next = wrap_pyfunction!(next_log_records, py);
        let started = next.and_then(|next| start_thread(py, "dps_core._logging", next));
        // Without a thread the records come at exit.
        drop(started);
    }
}

/// The level of the logger `dps_core`; the default one as long as nobody uses `logging`.
fn level(py: Python<'_>) -> PyResult<u8> {
    let modules = py.import("sys")?.getattr(intern!(py, "modules"))?;
    let logging = modules.call_method1(intern!(py, "get"), ("logging",))?;
    if logging.is_none() {
        return Ok(WARNING);
    }
    let logger = logging.call_method1(intern!(py, "getLogger"), ("dps_core",))?;
    let level: i64 = logger.call_method0(intern!(py, "getEffectiveLevel"))?.extract()?;
    Ok(u8::try_from(level.clamp(0, 255)).unwrap_or(WARNING))
}

/// Waits for records and returns them: level, logger, message, time.
#[pyfunction]
#[pyo3(signature = () -> "list[tuple[int, str, str, float]]")]
pub(crate) fn next_log_records(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let process = process::current();
    // Before the wait, which does not return while the interpreter ends.
    process.log.state().on_the_way = false;
    process.log.handed_on.notify_all();
    let records = process.detach(py, || {
        let mut state = process.log.state();
        while state.records.is_empty() {
            state = process.log.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.on_the_way = true;
        std::mem::take(&mut state.records)
    });
    list(py, records)
}

/// Hands on what is left when the interpreter ends.
pub(crate) fn flush(py: Python<'_>, process: &'static Process) -> PyResult<()> {
    let records = process.detach(py, || {
        let state = process.log.state();
        let waited = process.log.handed_on.wait_timeout_while(state, FAREWELL, |s| s.on_the_way);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.records)
    });
    if !records.is_empty() {
        let records = list(py, records)?;
        py.import("dps_core._logging")?.call_method1("emit", (records,))?;
    }
    Ok(())
}

fn list(py: Python<'_>, records: VecDeque<Record>) -> PyResult<Bound<'_, PyList>> {
    let rows = records
        .into_iter()
        .map(|record| (record.level, record.logger, record.message, record.seconds));
    PyList::new(py, rows.collect::<Vec<_>>())
}

struct Collector;

impl log::Sink for Collector {
    fn wants(&self, level: Level) -> bool {
        number(level) >= LEVEL.load(Ordering::Relaxed)
    }

    fn take(&self, line: Line) {
        let record = Record {
            level: number(line.level),
            logger: line.target.replace("::", "."),
            message: line.message,
            seconds: SystemTime::UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64()),
        };
        let queue = &process::current().log;
        let mut state = queue.state();
        if state.records.len() < MOST {
            state.records.push_back(record);
            queue.more.notify_one();
        }
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::Error => 40,
        Level::Warn => 30,
        Level::Info => 20,
        Level::Debug => 10,
        Level::Trace => 5,
    }
}
