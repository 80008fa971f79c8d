//! From core's errors to Python's exceptions.

use std::{error, io, path::Path};

use dps_core::{Error, ErrorKind};
use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PyList, PyTuple},
};

/// Every kind of error: code, name, whether a retry may help, and what it means.
#[pyfunction]
#[pyo3(signature = () -> "list[tuple[int, str, bool, str]]")]
pub(crate) fn error_catalogue(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let rows = ErrorKind::ALL
        .iter()
        .map(|kind| (kind.code(), kind.name(), kind.retryable(), kind.sentence()));
    PyList::new(py, rows.collect::<Vec<_>>())
}

/// The exception for this error, with the exception that caused it, if a Python signer's did.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).unwrap_or_else(|failure| failure)
}

/// As [`raise`], for a result.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for dps_core::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, &error))
    }
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

    let make = MAKE.import(py, "dps_core.exceptions", "_from_core")?;
    let service = error
        .service()
        .map(|service| {
            PyTuple::new(
                py,
                [
                    service.status.into_pyobject(py)?.into_any(),
                    service.error_code.into_pyobject(py)?.into_any(),
                    service.message.as_deref().into_pyobject(py)?.into_any(),
                    service.tracking_id.as_deref().into_pyobject(py)?.into_any(),
                    service
                        .retry_after
                        .map(|wait| wait.as_secs_f64())
                        .into_pyobject(py)?
                        .into_any(),
                ],
            )
        })
        .transpose()?;
    let (system, cause) = sources(py, error);
    let made = make.call1((
        error.kind().code(),
        error.to_string(),
        error.operation(),
        error.hint(),
        service,
        system,
        error.path().map(Path::as_os_str),
    ))?;
    let made = PyErr::from_value(made);
    if let Some(cause) = cause {
        made.set_cause(py, Some(cause));
    }
    Ok(made)
}

/// What lies below the error: the system's number for what went wrong, and the exception of a Python
/// signer.
fn sources(py: Python<'_>, error: &Error) -> (Option<i32>, Option<PyErr>) {
    let mut system = None;
    let mut source = error::Error::source(error);
    while let Some(found) = source {
        if let Some(exception) = found.downcast_ref::<PyErr>() {
            return (system, Some(exception.clone_ref(py)));
        }
        if let Some(io) = found.downcast_ref::<io::Error>() {
            system = io.raw_os_error().or(system);
        }
        source = found.source();
    }
    (system, None)
}
