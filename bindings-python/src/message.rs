//! A message as Python writes it.

use bytes::Bytes;
use dps_core::Message as CoreMessage;
use pyo3::{
    IntoPyObjectExt as _, PyTraverseError, PyVisit,
    exceptions::PyTypeError,
    prelude::*,
    types::{PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyMemoryView, PyString},
};
use time::{OffsetDateTime, PrimitiveDateTime};

type Text = Option<Py<PyAny>>;

/// What a message has beside the arguments of its constructor, for a copy.
type State = ((Text, Text, Text, Text), bool, Option<Py<PyDict>>, Option<Py<PyDict>>);

/// A message to the hub.
///
/// `data` is `str` (sent as UTF-8), bytes, or a number (sent as text).
#[pyclass(subclass, module = "dps_core")]
pub(crate) struct Message {
    #[pyo3(get, set)]
    data: Py<PyAny>,
    /// The ID by which the receiver tells messages apart.
    #[pyo3(get, set)]
    message_id: Option<Py<PyAny>>,
    /// The ID of the message that this one belongs to.
    #[pyo3(get, set)]
    correlation_id: Option<Py<PyAny>>,
    /// The ID of the user that this message comes from.
    #[pyo3(get, set)]
    user_id: Option<Py<PyAny>>,
    /// Such as `utf-8`; routing by the body needs it.
    #[pyo3(get, set)]
    content_encoding: Option<Py<PyAny>>,
    /// Such as `application/json`; routing by the body needs it.
    #[pyo3(get, set)]
    content_type: Option<Py<PyAny>>,
    /// Names the output by which an edge hub routes the message.
    #[pyo3(get, set)]
    output_name: Option<Py<PyAny>>,
    /// When the message loses its worth: a `datetime`, in UTC where it has no time zone.
    #[pyo3(get, set)]
    expiry_time_utc: Option<Py<PyAny>>,
    /// Belongs to messages from the cloud: it is kept, and not sent.
    #[pyo3(get, set)]
    ack: Option<Py<PyAny>>,
    is_security_message: bool,
    /// Made when it is first asked for.
    properties: Option<Py<PyDict>>,
}

#[pymethods]
impl Message {
    #[new]
    #[pyo3(signature = (data, message_id=None, content_encoding=None, content_type=None, output_name=None))]
    fn new(
        data: Py<PyAny>,
        message_id: Option<Py<PyAny>>,
        content_encoding: Option<Py<PyAny>>,
        content_type: Option<Py<PyAny>>,
        output_name: Option<Py<PyAny>>,
    ) -> Self {
        Self {
            data,
            message_id,
            correlation_id: None,
            user_id: None,
            content_encoding,
            content_type,
            output_name,
            expiry_time_utc: None,
            ack: None,
            is_security_message: false,
            properties: None,
        }
    }

    /// Application properties, sent beside the data.
    #[getter]
    fn custom_properties(&mut self, py: Python<'_>) -> Py<PyDict> {
        self.properties.get_or_insert_with(|| PyDict::new(py).unbind()).clone_ref(py)
    }

    #[setter]
    fn set_custom_properties(&mut self, properties: Py<PyDict>) {
        self.properties = Some(properties);
    }

    /// Marks the message as one for Microsoft Defender for IoT.
    fn set_as_security_message(&mut self) {
        self.is_security_message = true;
    }

    /// How many bytes the hub counts: the data and the properties.
    fn get_size(this: &Bound<'_, Self>) -> PyResult<usize> {
        to_core(this.as_any()).map(|message| message.size())
    }

    fn __str__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.data.bind(py).str()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let data = self.data.bind(py);
        let kind = data.get_type().name()?;
        let length = data.len().map(|length| format!(" of {length}")).unwrap_or_default();
        let id = match &self.message_id {
            Some(id) => format!(" {}", id.bind(py).repr()?),
            None => String::new(),
        };
        Ok(format!("<Message{id}: {kind}{length}>"))
    }

    #[pyo3(signature = () -> "tuple[Any, ...]")]
    fn __reduce__(this: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        let py = this.py();
        let it = this.try_borrow()?.snapshot(py);
        let new = py.import("copyreg")?.getattr("__newobj__")?;
        let given = (this.get_type(), it.data, it.message_id, it.content_encoding);
        let given = given.into_pyobject(py)?.add((it.content_type, it.output_name))?;
        // Those of a subclass.
        let more = this.getattr_opt("__dict__")?;
        let ids = (it.correlation_id, it.user_id, it.expiry_time_utc, it.ack);
        let state = (ids, it.is_security_message, it.properties, more);
        (new, given, state).into_py_any(py)
    }

    #[pyo3(signature = (state: "tuple[Any, ...]"))]
    fn __setstate__(this: &Bound<'_, Self>, state: State) -> PyResult<()> {
        let (ids, is_security_message, properties, more) = state;
        {
            let mut it = this.try_borrow_mut()?;
            (it.correlation_id, it.user_id, it.expiry_time_utc, it.ack) = ids;
            it.is_security_message = is_security_message;
            it.properties = properties;
        }
        match more {
            Some(more) => this.getattr("__dict__")?.call_method1("update", (more,)).map(drop),
            None => Ok(()),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.data)?;
        visit.call(&self.properties)?;
        visit.call(&self.expiry_time_utc)?;
        visit.call(&self.ack)?;
        self.texts().into_iter().try_for_each(|text| visit.call(text))
    }

    fn __clear__(&mut self) {
        // The one member whose content can change.
        self.properties = None;
    }
}

impl Message {
    /// The same values. Writing them as text may run code that uses the message meanwhile.
    fn snapshot(&self, py: Python<'_>) -> Self {
        let clone = |value: &Option<Py<PyAny>>| value.as_ref().map(|value| value.clone_ref(py));
        Self {
            data: self.data.clone_ref(py),
            message_id: clone(&self.message_id),
            correlation_id: clone(&self.correlation_id),
            user_id: clone(&self.user_id),
            content_encoding: clone(&self.content_encoding),
            content_type: clone(&self.content_type),
            output_name: clone(&self.output_name),
            expiry_time_utc: clone(&self.expiry_time_utc),
            ack: clone(&self.ack),
            is_security_message: self.is_security_message,
            properties: self.properties.as_ref().map(|properties| properties.clone_ref(py)),
        }
    }

    fn texts(&self) -> [Option<&Py<PyAny>>; 6] {
        [
            self.message_id.as_ref(),
            self.correlation_id.as_ref(),
            self.user_id.as_ref(),
            self.content_encoding.as_ref(),
            self.content_type.as_ref(),
            self.output_name.as_ref(),
        ]
    }

    fn to_core(&self, py: Python<'_>) -> PyResult<CoreMessage> {
        type Set = fn(CoreMessage, String) -> CoreMessage;

        const SETTERS: [Set; 6] = [
            CoreMessage::message_id,
            CoreMessage::correlation_id,
            CoreMessage::user_id,
            CoreMessage::content_encoding,
            CoreMessage::content_type,
            CoreMessage::output_name,
        ];
        let mut message = CoreMessage::new(bytes_of(self.data.bind(py))?);
        for (set, text) in SETTERS.into_iter().zip(self.texts()) {
            if let Some(text) = text {
                message = set(message, text_of(text.bind(py))?);
            }
        }
        if let Some(expiry) = &self.expiry_time_utc {
            message = message.expires_at(moment(expiry.bind(py))?.into());
        }
        if self.is_security_message {
            message = message.security_message();
        }
        if let Some(properties) = &self.properties {
            for (name, value) in pairs(properties.bind(py))? {
                message = message.property(text_of(&name)?, text_of(&value)?);
            }
        }
        Ok(message)
    }
}

/// A [`Message`], or what could be the data of one.
pub(crate) fn to_core(message: &Bound<'_, PyAny>) -> PyResult<CoreMessage> {
    match message.cast::<Message>() {
        Ok(message) => {
            let snapshot = message.try_borrow()?.snapshot(message.py());
            snapshot.to_core(message.py())
        }
        Err(_) => bytes_of(message).map(CoreMessage::new),
    }
}

fn bytes_of(data: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(text) = data.cast::<PyString>() {
        return Ok(Bytes::from(text.to_cow()?.into_owned()));
    }
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if data.is_instance_of::<PyByteArray>() || data.is_instance_of::<PyMemoryView>() {
        let bytes = data.py().get_type::<PyBytes>().call1((data,))?;
        return Ok(Bytes::copy_from_slice(bytes.cast::<PyBytes>()?.as_bytes()));
    }
    if data.is_none() {
        return Ok(Bytes::new());
    }
    if data.is_instance_of::<PyInt>() || data.is_instance_of::<PyFloat>() {
        return text_of(data).map(Bytes::from);
    }
    let kind = data.get_type().name()?;
    Err(PyTypeError::new_err(format!("a message's data is str, bytes or a number, not {kind}")))
}

/// What is in the dictionary now: writing a value as text may run code that changes it.
fn pairs<'py>(
    properties: &Bound<'py, PyDict>,
) -> PyResult<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    properties.items().extract()
}

fn moment(value: &Bound<'_, PyAny>) -> PyResult<OffsetDateTime> {
    let without_zone = || value.extract().map(PrimitiveDateTime::assume_utc);
    value
        .extract()
        .or_else(|_| without_zone())
        .map_err(|_| PyTypeError::new_err("expiry_time_utc must be a datetime"))
}

/// IDs are often UUIDs, and properties numbers.
fn text_of(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(value.str()?.to_cow()?.into_owned())
}
