//! Devices by the thousand, and the folder that holds them.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
};

use dps_core::{
    Error, ErrorKind, RegistrationId, Source,
    chain::{
        Batch as CoreBatch, CsvRegistrationIds, Folder as CoreFolder, Outcome,
        RegistrationIdRange as CoreRange, check_distinct,
    },
};
use pyo3::{
    PyTypeInfo as _,
    exceptions::{PyTypeError, PyValueError},
    inspect::PyStaticExpr,
    prelude::*,
    type_hint_identifier, type_hint_subscript,
    types::PyString,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    chain::{Authority, key_type, validity},
    errors::OrRaise as _,
    options::{source, text},
    process::{self, AtHome},
    work::SIGNAL_INTERVAL,
};

/// Where a chain's files are kept, under the tutorial's names: `certs/`, `private/`, `csr/`.
///
/// Files are written whole or not at all; one that exists is left alone unless `overwrite` is set.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct Folder(CoreFolder);

#[pymethods]
impl Folder {
    /// The stem of the root's files.
    #[classattr]
    const ROOT: &'static str = CoreFolder::ROOT;
    /// The stem of the intermediate's files.
    #[classattr]
    const INTERMEDIATE: &'static str = CoreFolder::INTERMEDIATE;
    /// The stem of the proof-of-possession certificate's files.
    #[classattr]
    const VERIFICATION: &'static str = CoreFolder::VERIFICATION;

    #[new]
    #[pyo3(signature = (base, *, overwrite=false))]
    fn new(base: PathBuf, overwrite: bool) -> Self {
        Self(CoreFolder::new(base).overwrite(overwrite))
    }

    /// `certs/STEM.cert.pem`; a device's stem is its registration ID.
    fn certificate(&self, stem: &str) -> PathBuf {
        self.0.certificate(stem)
    }

    /// `certs/STEM-full-chain.cert.pem`.
    fn full_chain(&self, stem: &str) -> PathBuf {
        self.0.full_chain(stem)
    }

    /// `private/STEM.key.pem`.
    fn key(&self, stem: &str) -> PathBuf {
        self.0.key(stem)
    }

    /// `csr/STEM.csr.pem`.
    fn request(&self, stem: &str) -> PathBuf {
        self.0.request(stem)
    }

    /// Writes a certificate or a request, readable by all.
    #[pyo3(signature = (path, contents: "str | bytes"))]
    fn write_public(
        &self,
        py: Python<'_>,
        path: PathBuf,
        contents: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let contents = text(contents, "contents")?;
        process::current().detach(py, || self.0.write_public(&path, contents)).or_raise(py)
    }

    /// Writes a key, readable by its owner alone.
    #[pyo3(signature = (path, contents: "str | bytes"))]
    fn write_private(
        &self,
        py: Python<'_>,
        path: PathBuf,
        contents: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let contents = Zeroizing::new(text(contents, "contents")?);
        process::current().detach(py, || self.0.write_private(&path, &*contents)).or_raise(py)
    }
}

/// Registration IDs that differ in a number: `device-0001..device-1000`, both included.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct RegistrationIdRange(Mutex<CoreRange>);

#[pymethods]
impl RegistrationIdRange {
    #[new]
    fn new(py: Python<'_>, text: &str) -> PyResult<Self> {
        CoreRange::parse(text).map(|range| Self(Mutex::new(range))).or_raise(py)
    }

    /// How many are still to come.
    #[getter]
    fn remaining(&self) -> u64 {
        self.range().remaining()
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let id = self.range().next();
        id.map(|id| id.map(|id| id.to_string()).or_raise(py)).transpose()
    }
}

impl RegistrationIdRange {
    fn range(&self) -> MutexGuard<'_, CoreRange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Ids = Box<dyn Iterator<Item = dps_core::Result<RegistrationId>> + Send>;

/// The registration IDs of a CSV, one after another.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct RegistrationIds(Mutex<Ids>);

#[pymethods]
impl RegistrationIds {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let id = self.ids().next();
        id.map(|id| id.map(|id| id.to_string()).or_raise(py)).transpose()
    }
}

impl RegistrationIds {
    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the registration IDs of a CSV: its text, or the path object of a file.
///
/// The column is the one headed `registrationId` or `deviceId`; one column
/// alone needs no header.
/// Empty rows and those that begin with `#` are skipped. All rows are read before the first is
/// given, so that a bad one raises here.
#[pyfunction]
#[pyo3(signature = (csv: "str | bytes | PathLike[str]"))]
pub(crate) fn registration_ids_from_csv(
    py: Python<'_>,
    csv: &Bound<'_, PyAny>,
) -> PyResult<RegistrationIds> {
    let csv = source(csv, "csv")?;
    let ids = process::current().detach(py, || match csv {
        Source::Memory(text) => CsvRegistrationIds::new(text.to_vec()),
        Source::File(path) => CsvRegistrationIds::file(path),
    });
    Ok(RegistrationIds(Mutex::new(Box::new(ids.or_raise(py)?))))
}

/// Makes devices in a folder, and picks up where an interrupted batch ended: an iterator, each of
/// whose steps makes one device and gives its registration ID, and whether it was made (True) or
/// was there already (False).
///
/// A device is done when its full chain is there, which is written last; one that was interrupted
/// is finished with the key that it has. Ctrl-C ends the batch between two devices. No other batch
/// may be at work in the folder until this one ends, raises or is closed.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct Batch(AtHome<Mutex<Option<Worker>>>);

#[pymethods]
impl Batch {
    #[new]
    #[pyo3(signature = (
        folder,
        issuer,
        registration_ids,
        *,
        key_type=None,
        days=None,
        not_before=None,
        not_after=None
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn new(
        py: Python<'_>,
        folder: &Folder,
        issuer: &Authority,
        registration_ids: Iterable<'_>,
        key_type: Option<&str>,
        days: Option<i64>,
        not_before: Option<OffsetDateTime>,
        not_after: Option<OffsetDateTime>,
    ) -> PyResult<Self> {
        // The IDs may come from a generator of the caller's.
        let visit = process::current().enter(py);
        let key_type = self::key_type(key_type).or_raise(py)?;
        let validity = validity(days, not_before, not_after).or_raise(py)?;
        let (folder, issuer) = (folder.0.clone(), issuer.0.clone());
        let ids = ids(py, &registration_ids.0)?;
        let worker = visit.detach(|| {
            Worker::start(ids, move |make| {
                make(CoreBatch::new(&folder, &issuer, key_type, validity));
            })
        });
        Ok(Self(AtHome::new(Mutex::new(Some(worker.or_raise(py)?)))))
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(String, bool)>> {
        let visit = process::current().enter(py);
        let mut slot = self.slot(py)?;
        let Some(mut worker) = slot.take() else { return Ok(None) };
        worker.begin();
        let mut interrupted = None;
        let step = loop {
            let steps = &mut worker.steps;
            match visit.detach(move || steps.recv_timeout(SIGNAL_INTERVAL)) {
                Ok(step) => break Some(step),
                Err(RecvTimeoutError::Disconnected) => break None,
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(signal) = py.check_signals()
                        && interrupted.replace(signal).is_some()
                    {
                        // Whoever asks twice does not wait for the device.
                        worker.abandon();
                        break None;
                    }
                }
            }
        };
        match (interrupted, step) {
            (Some(signal), _) => Err(signal),
            (None, Some(Ok((id, outcome)))) => {
                *slot = Some(worker);
                Ok(Some((id.to_string(), outcome == Outcome::Made)))
            }
            (None, Some(Err(error))) => Err(error).or_raise(py),
            (None, None) => worker.end().map(|()| None).or_raise(py),
        }
    }

    /// Ends the batch, so that another may begin in the folder.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.slot(py)?.take();
        Ok(())
    }
}

impl Batch {
    /// Not waited for: who has it may be waiting for the GIL.
    fn slot(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Option<Worker>>> {
        let (_, worker) = self.0.get().or_raise(py)?;
        match worker.try_lock() {
            Ok(slot) => Ok(slot),
            Err(TryLockError::Poisoned(slot)) => Ok(slot.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(PyValueError::new_err("the batch is making a device already"))
            }
        }
    }
}

type Step = dps_core::Result<(RegistrationId, Outcome)>;
type Open<'a> = dyn FnMut(dps_core::Result<CoreBatch<'_>>) + 'a;

/// The thread that makes the devices: a batch borrows its issuer, and that thread has both.
struct Worker {
    begin: Option<Sender<()>>,
    steps: Receiver<Step>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread, on which `open` hands the batch over; fails if there is none.
    fn start(
        mut ids: Ids,
        open: impl FnOnce(&mut Open<'_>) + Send + 'static,
    ) -> dps_core::Result<Self> {
        let (begin, begun) = mpsc::channel();
        let (step, steps) = mpsc::channel();
        let (opened, opening) = mpsc::channel();
        let work = move || {
            open(&mut |batch| {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => return drop(opened.send(Err(error))),
                };
                drop(opened.send(Ok(())));
                while begun.recv().is_ok() {
                    let Some(id) = ids.next() else { break };
                    let made = id.and_then(|id| batch.device(&id).map(|outcome| (id, outcome)));
                    let failed = made.is_err();
                    if step.send(made).is_err() || failed {
                        break;
                    }
                }
            });
        };
        let thread =
            thread::Builder::new().name("dps-core-batch".into()).spawn(work).map_err(|error| {
                Error::new(ErrorKind::Internal, "no thread could be started").with_source(error)
            })?;
        let mut worker = Self { begin: Some(begin), steps, thread: Some(thread) };
        match opening.recv() {
            Ok(opened) => opened.map(|()| worker),
            Err(_) => worker.end().and_then(|()| Err(ended())),
        }
    }

    /// Has the next device made.
    fn begin(&self) {
        if let Some(begin) = &self.begin {
            // If the thread has ended, its steps have too.
            let _ = begin.send(());
        }
    }

    /// Ends the thread, which is between two devices.
    fn end(&mut self) -> dps_core::Result<()> {
        self.begin = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(ended()),
            _ => Ok(()),
        }
    }

    /// Lets the thread end by itself, after the device that it is making.
    fn abandon(&mut self) {
        self.begin = None;
        self.thread = None;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whoever does not ask for the end has been told what went wrong, or does not want to know.
        drop(self.end());
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Internal, "the batch has ended by a fault of this package")
}

/// What gives registration IDs; a `RegistrationIdRange` does, and a CSV's.
struct Iterable<'py>(Bound<'py, PyAny>);

impl<'py> FromPyObject<'_, 'py> for Iterable<'py> {
    type Error = Infallible;

    const INPUT_TYPE: PyStaticExpr = type_hint_subscript!(
        type_hint_identifier!("collections.abc", "Iterable"),
        PyString::TYPE_HINT
    );

    fn extract(value: Borrowed<'_, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(value.to_owned()))
    }
}

/// The IDs of a range or of a CSV are known to have files of their own, so they need not be in
/// memory; others are checked first.
fn ids(py: Python<'_>, ids: &Bound<'_, PyAny>) -> PyResult<Ids> {
    if let Ok(range) = ids.cast::<RegistrationIdRange>() {
        return Ok(Box::new(range.get().range().clone()));
    }
    if let Ok(csv) = ids.cast::<RegistrationIds>() {
        return Ok(std::mem::replace(&mut *csv.get().ids(), Box::new(std::iter::empty())));
    }
    if ids.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(
            "registration_ids must be a RegistrationIdRange, a CSV's or an iterable of str, not str",
        ));
    }
    let ids: Vec<_> = ids
        .try_iter()?
        .map(|id| RegistrationId::parse_common_name(&id?.extract::<String>()?).or_raise(py))
        .collect::<PyResult<_>>()?;
    check_distinct(&ids).or_raise(py)?;
    Ok(Box::new(ids.into_iter().map(Ok)))
}
