//! What a registration ends in, as Python sees it.

use dps_core::Assignment;
use pyo3::{IntoPyObjectExt as _, intern, prelude::*, types::PyDict};

/// The end of a registration.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct RegistrationResult {
    operation_id: String,
    registration_state: Py<RegistrationState>,
}

#[pymethods]
impl RegistrationResult {
    /// The ID of the operation that made the assignment.
    #[getter]
    fn operation_id(&self) -> &str {
        &self.operation_id
    }

    /// `assigned`: any other end of a registration is an exception.
    #[getter]
    fn status(&self) -> &'static str {
        "assigned"
    }

    /// Where the device was assigned to.
    #[getter]
    fn registration_state(&self, py: Python<'_>) -> Py<RegistrationState> {
        self.registration_state.clone_ref(py)
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("{}\n{}", self.registration_state.get().__str__(py)?, self.status()))
    }

    fn __repr__(&self) -> String {
        format!("<RegistrationResult {}: {}>", self.status(), self.registration_state.get().place())
    }

    #[pyo3(signature = () -> "tuple[Any, ...]")]
    fn __reduce__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let parts = (&self.operation_id, self.registration_state.get().0.clone());
        (named(py, "restored_result")?, parts).into_py_any(py)
    }
}

/// Where a device was assigned to.
#[pyclass(frozen, module = "dps_core")]
pub(crate) struct RegistrationState(Parts);

/// Its members, as a copy in another process is made of them.
#[derive(Clone, FromPyObject, IntoPyObject)]
pub(crate) struct Parts {
    #[pyo3(item)]
    registration_id: String,
    #[pyo3(item)]
    device_id: String,
    #[pyo3(item)]
    assigned_hub: String,
    #[pyo3(item)]
    sub_status: Option<String>,
    #[pyo3(item)]
    created: Option<String>,
    #[pyo3(item)]
    last_updated: Option<String>,
    #[pyo3(item)]
    etag: Option<String>,
    /// JSON, as core writes it.
    #[pyo3(item)]
    payload: Option<String>,
    #[pyo3(item)]
    unknown: Option<String>,
}

#[pymethods]
impl RegistrationState {
    /// The registration ID, as the service has it.
    #[getter]
    fn registration_id(&self) -> &str {
        &self.0.registration_id
    }

    /// The device's ID in the hub.
    #[getter]
    fn device_id(&self) -> &str {
        &self.0.device_id
    }

    /// The host name of the hub.
    #[getter]
    fn assigned_hub(&self) -> &str {
        &self.0.assigned_hub
    }

    /// How the assignment came about, such as `initialAssignment`.
    #[getter]
    fn sub_status(&self) -> Option<&str> {
        self.0.sub_status.as_deref()
    }

    /// When the registration was made, as the service writes it.
    #[getter]
    fn created_date_time(&self) -> Option<&str> {
        self.0.created.as_deref()
    }

    /// When the registration last changed, as the service writes it.
    #[getter]
    fn last_update_date_time(&self) -> Option<&str> {
        self.0.last_updated.as_deref()
    }

    /// The entity tag of the registration record.
    #[getter]
    fn etag(&self) -> Option<&str> {
        self.0.etag.as_deref()
    }

    /// What a custom allocation policy returned for the device, as JSON with sorted members, which
    /// `json.dumps` wrote; `null` if nothing.
    #[getter]
    fn response_payload(&self, py: Python<'_>) -> PyResult<String> {
        let Some(payload) = &self.0.payload else { return Ok("null".to_owned()) };
        let json = py.import("json")?;
        let value = json.call_method1(intern!(py, "loads"), (payload,))?;
        let options = PyDict::new(py);
        options.set_item(intern!(py, "sort_keys"), true)?;
        json.call_method(intern!(py, "dumps"), (value,), Some(&options))?.extract()
    }

    /// What the service said beyond all this, as a JSON object; `None` if nothing.
    #[getter]
    fn unknown_fields(&self) -> Option<&str> {
        self.0.unknown.as_deref()
    }

    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        let sub_status = self.sub_status().unwrap_or_default();
        let payload = self.response_payload(py)?;
        Ok([self.device_id(), self.assigned_hub(), sub_status, &payload].join("\n"))
    }

    fn __repr__(&self) -> String {
        format!("<RegistrationState {}>", self.place())
    }

    #[pyo3(signature = () -> "tuple[Any, ...]")]
    fn __reduce__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        (named(py, "restored_state")?, (self.0.clone(),)).into_py_any(py)
    }
}

impl RegistrationState {
    fn place(&self) -> String {
        format!("{} at {}", self.0.device_id, self.0.assigned_hub)
    }
}

/// A function as a pickle finds it again.
fn named<'py>(py: Python<'py>, function: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("dps_core._dps_core")?.getattr(function)
}

/// What a pickle of a [`RegistrationResult`] names.
#[pyfunction]
#[pyo3(signature = (operation_id, state: "dict[str, str | None]"))]
pub(crate) fn restored_result(
    py: Python<'_>,
    operation_id: String,
    state: Parts,
) -> PyResult<RegistrationResult> {
    let registration_state = Py::new(py, RegistrationState(state))?;
    Ok(RegistrationResult { operation_id, registration_state })
}

/// What a pickle of a [`RegistrationState`] names.
#[pyfunction]
#[pyo3(signature = (state: "dict[str, str | None]"))]
pub(crate) fn restored_state(state: Parts) -> RegistrationState {
    RegistrationState(state)
}

/// As Python sees an assignment.
pub(crate) fn result<'py>(
    py: Python<'py>,
    assignment: &Assignment,
) -> PyResult<Bound<'py, RegistrationResult>> {
    let text = |text: Option<&str>| text.map(ToOwned::to_owned);
    let unknown = assignment.unknown_fields();
    let state = Parts {
        registration_id: assignment.registration_id().to_owned(),
        device_id: assignment.device_id().to_owned(),
        assigned_hub: assignment.assigned_hub().to_owned(),
        sub_status: text(assignment.substatus().map(|substatus| substatus.as_str())),
        created: text(assignment.created()),
        last_updated: text(assignment.last_updated()),
        etag: text(assignment.etag()),
        payload: assignment.payload().map(ToString::to_string),
        unknown: (!unknown.is_empty())
            .then(|| serde_json::Value::from(unknown.clone()).to_string()),
    };
    Bound::new(py, restored_result(py, assignment.operation_id().to_owned(), state)?)
}
