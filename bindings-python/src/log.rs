//! From core's diagnostics to Python's `logging`.
//!
//! A record waits in a queue for a thread that Python made, so that no thread of the runtime waits
//! for the GIL, or for a handler that writes to a slow disk.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    time::{Duration, SystemTime},
};

use dps_core::log::{self, Level, Line};
use pyo3::{intern, prelude::*, types::PyList, wrap_pyfunction};

use crate::{
    process::{self, Process, start_thread},
    records::Records,
};

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
    records: Records<Record>,
    /// Whether a thread has been started that hands them on.
    served: AtomicBool,
}

struct Record {
    level: u8,
    logger: String,
    message: String,
    seconds: f64,
}

/// Lets core's diagnostics arrive here.
pub(crate) fn install() {
    // This library's own copy of tracing has no other subscriber.
    let _ = log::install(Collector);
}

/// Looks up what `logging` wants to know, and sees to it that somebody hands the records on.
pub(crate) fn refresh(py: Python<'_>, process: &'static Process) {
    LEVEL.store(level(py).unwrap_or(WARNING), Ordering::Relaxed);
    let first = !process.log.served.swap(true, Ordering::Relaxed);
    if first {
        let next = wrap_pyfunction!(next_log_records, py);
        let started = next.and_then(|next| start_thread(py, "dps_core._logging", next));
        // Without a thread the records come at exit.
        drop(started);
    }
}

/// The least level that one of our loggers wants; the default one as long as nobody uses `logging`.
fn level(py: Python<'_>) -> PyResult<u8> {
    let modules = py.import("sys")?.getattr(intern!(py, "modules"))?;
    let logging = modules.call_method1(intern!(py, "get"), ("logging",))?;
    if logging.is_none() {
        return Ok(WARNING);
    }
    let level: i64 =
        py.import("dps_core._logging")?.call_method0(intern!(py, "level"))?.extract()?;
    Ok(u8::try_from(level.clamp(0, 255)).unwrap_or(WARNING))
}

/// Waits for records and returns them: level, logger, message, time.
#[pyfunction]
#[pyo3(signature = () -> "list[tuple[int, str, str, float]]")]
pub(crate) fn next_log_records(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let process = process::current();
    let records = &process.log.records;
    // Before the wait, which does not return while the interpreter ends.
    records.come_back();
    process.detach(py, || records.wait());
    // After the wait: what is left then is for `flush`.
    list(py, records.take())
}

/// Hands on what is left when the interpreter ends.
pub(crate) fn flush(py: Python<'_>, process: &'static Process) -> PyResult<()> {
    let records = process.detach(py, || process.log.records.rest(FAREWELL));
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
        process::current().log.records.put(record, MOST);
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
