//! What a file of certificates holds.

use std::time::SystemTime;

use dps_core::{chain::Inspection as CoreInspection, key::Passphrase};
use pyo3::{prelude::*, types::PyTuple};
use time::OffsetDateTime;

use crate::{
    chain::Certificate,
    errors::OrRaise as _,
    options::{self, PassPhrase},
    process,
};

/// The certificates of a file, with what each may be used for; `str()` gives the tree from the
/// root to the leaf.
#[pyclass(frozen, module = "dps_core.chain")]
pub(crate) struct Inspection(CoreInspection);

#[pymethods]
impl Inspection {
    /// The certificates, in the order of the file.
    #[getter]
    fn certificates(&self) -> Vec<Certificate> {
        self.0.certificates().iter().cloned().map(Certificate::from).collect()
    }

    /// What was tolerated while reading, one sentence each.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.0.notes().to_vec()
    }

    /// The inspection as JSON text: `certificates` and `notes`.
    fn to_json(&self) -> String {
        self.0.to_json().to_string()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self) -> String {
        format!("<Inspection of {} certificates>", self.0.certificates().len())
    }
}

/// Reads PEM, DER or PKCS#12, of which a chain need not hold; several are shown as one tree.
#[pyfunction]
#[pyo3(signature = (source: "str | bytes | PathLike[str]", *others: "str | bytes | PathLike[str]", pass_phrase=None, at=None))]
pub(crate) fn inspect(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    others: &Bound<'_, PyTuple>,
    pass_phrase: Option<PassPhrase>,
    at: Option<OffsetDateTime>,
) -> PyResult<Inspection> {
    let passphrase = pass_phrase.map(Passphrase::from);
    let now = at.map_or_else(SystemTime::now, SystemTime::from);
    let read = |source: &Bound<'_, PyAny>| {
        let source = options::source(source, "a source")?;
        process::current()
            .detach(py, || CoreInspection::read(&source, passphrase.as_ref(), now))
            .or_raise(py)
    };
    let first = read(source)?;
    others.iter().try_fold(first, |all, other| Ok(all.and(read(&other)?))).map(Inspection)
}
