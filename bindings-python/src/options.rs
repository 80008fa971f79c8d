//! What the clients' keyword arguments mean to core.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dps_core::{
    Error, ErrorKind, Source, key::Passphrase, symmetric_key::derive_device_key_base64, tls::Roots,
    transport::Network,
};
use pyo3::{
    PyTypeInfo as _,
    exceptions::{PyTypeError, PyValueError},
    inspect::PyStaticExpr,
    prelude::*,
    type_hint_union,
    types::{PyBytes, PyString},
};
use zeroize::Zeroizing;

use crate::{errors::OrRaise as _, process};

/// Text as `str` or `bytes`, or a file as a path object.
pub(crate) fn source(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Source> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_cow()?.into_owned().into());
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().into());
    }
    value
        .extract()
        .map(Source::File)
        .map_err(|_| PyTypeError::new_err(format!("{what} must be str, bytes or a path object")))
}

/// PEM text as `str` or `bytes`.
pub(crate) fn text(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Zeroizing<Vec<u8>>> {
    match source(value, what) {
        Ok(Source::Memory(text)) => Ok(text),
        _ => Err(PyTypeError::new_err(format!("{what} must be PEM as str or bytes"))),
    }
}

/// What is not text: bytes, or a file as a path object.
pub(crate) fn bytes_or_file(value: &Bound<'_, PyAny>, what: &str) -> PyResult<Source> {
    match value.is_instance_of::<PyString>() {
        true => {
            Err(PyTypeError::new_err(format!("{what} must be bytes or a path object, not str")))
        }
        false => source(value, what),
    }
}

/// A pass phrase as `str` or as `bytes`, which are UTF-8.
pub(crate) struct PassPhrase(Passphrase);

impl FromPyObject<'_, '_> for PassPhrase {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr = type_hint_union!(PyString::TYPE_HINT, PyBytes::TYPE_HINT);

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        // Python's own errors would repeat the pass phrase.
        let not_text = || PyValueError::new_err("a pass phrase must be UTF-8");
        if let Ok(text) = value.cast::<PyString>() {
            return text
                .extract::<String>()
                .map(|text| Self(Passphrase::new(text)))
                .map_err(|_| not_text());
        }
        match value.cast::<PyBytes>() {
            Ok(bytes) => {
                let text = std::str::from_utf8(bytes.as_bytes()).map_err(|_| not_text())?;
                Ok(Self(Passphrase::new(text)))
            }
            Err(_) => Err(PyTypeError::new_err("a pass phrase must be str or bytes")),
        }
    }
}

impl From<PassPhrase> for Passphrase {
    fn from(given: PassPhrase) -> Self {
        given.0
    }
}

/// The roots that were last given as text: a thousand devices share one parsed copy.
#[derive(Default)]
pub(crate) struct RootsCache(Mutex<Option<(Vec<u8>, Roots)>>);

impl RootsCache {
    fn get(&self, text: Vec<u8>) -> Roots {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cache {
            Some((known, roots)) if *known == text => roots.clone(),
            _ => {
                let roots = Roots::pem(text.clone());
                *cache = Some((text, roots.clone()));
                roots
            }
        }
    }
}

/// How connections are opened.
pub(crate) fn network(
    roots: Option<&Bound<'_, PyAny>>,
    connect_to: Option<String>,
) -> PyResult<Network> {
    let mut network = Network::default();
    if let Some(roots) = roots {
        network = network.roots(match source(roots, "roots")? {
            Source::Memory(text) => process::current().roots.get(text.to_vec()),
            Source::File(path) => Roots::pem_file(path),
        });
    }
    if let Some(connect_to) = connect_to {
        network = network.connect_to(connect_to);
    }
    Ok(network)
}

/// Seconds, as Python counts them.
pub(crate) fn duration(py: Python<'_>, name: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|error| {
            Error::new(ErrorKind::InvalidArgument, format!("{name} is {seconds}: {error}"))
        })
        .or_raise(py)
}

/// As [`duration`], where there is a value.
pub(crate) fn optional_duration(
    py: Python<'_>,
    name: &str,
    seconds: Option<f64>,
) -> PyResult<Option<Duration>> {
    seconds.map(|seconds| duration(py, name, seconds)).transpose()
}

/// How long a call may take: seconds, or infinity; `None` for what the call takes by itself.
pub(crate) fn deadline(py: Python<'_>, seconds: Option<f64>) -> PyResult<Option<Duration>> {
    match seconds {
        // As long as a clock can count.
        Some(f64::INFINITY) => Ok(Some(Duration::MAX)),
        seconds => optional_duration(py, "deadline", seconds),
    }
}

/// The key of one device of an enrollment group, in base64.
#[pyfunction]
pub(crate) fn derive_device_key<'py>(
    py: Python<'py>,
    group_key: &str,
    registration_id: &str,
) -> PyResult<Bound<'py, PyString>> {
    let key = derive_device_key_base64(group_key, registration_id).or_raise(py)?;
    Ok(PyString::new(py, &key))
}
