//! Telemetry to the assigned hub.

use std::sync::Arc;

use dps_core::{ConnectionString, Error, ErrorKind};
use pyo3::prelude::*;

use crate::{
    bridge::Bridge,
    door::Door,
    errors::OrRaise as _,
    line::{Batch, Line, Settings},
    options::{deadline, network, optional_duration},
    process::{self, AtHome},
    symmetric_key::SymmetricKey,
    work::{self, Asker, GiveUp, Outcome},
    x509::X509,
};

/// What the hub clients in Python are made of.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct Hub(AtHome<Arc<Line>>);

#[pymethods]
impl Hub {
    #[new]
    #[pyo3(signature = (host, device_id, *, x509=None, symmetric_key=None, port=None, roots: "str | bytes | PathLike[str] | None" = None, connect_to=None, keep_alive=None, token_lifetime=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn new(
        py: Python<'_>,
        host: String,
        device_id: String,
        x509: Option<&Bound<'_, X509>>,
        symmetric_key: Option<&Bound<'_, SymmetricKey>>,
        port: Option<u16>,
        roots: Option<&Bound<'_, PyAny>>,
        connect_to: Option<String>,
        keep_alive: Option<f64>,
        token_lifetime: Option<f64>,
    ) -> PyResult<Self> {
        let door = match (x509, symmetric_key) {
            (Some(x509), None) => Door::x509(py, x509.get())?,
            (None, Some(key)) => key.get().to_connect(py, &device_id)?,
            (None, None) => return refuse(py, "there is neither a certificate nor a key"),
            (Some(_), Some(_)) => return refuse(py, "there are both a certificate and a key"),
        };
        Ok(Self::make(Settings {
            door,
            host,
            device_id,
            port,
            keep_alive: optional_duration(py, "keep_alive", keep_alive)?,
            token_lifetime: optional_duration(py, "sastoken_ttl", token_lifetime)?,
            network: network(roots, connect_to)?,
        }))
    }

    /// As the constructor, with host, device ID and symmetric key as a connection string has them.
    #[staticmethod]
    #[pyo3(signature = (connection_string, *, x509=None, port=None, roots: "str | bytes | PathLike[str] | None" = None, connect_to=None, keep_alive=None, token_lifetime=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn from_connection_string(
        py: Python<'_>,
        connection_string: &str,
        x509: Option<&Bound<'_, X509>>,
        port: Option<u16>,
        roots: Option<&Bound<'_, PyAny>>,
        connect_to: Option<String>,
        keep_alive: Option<f64>,
        token_lifetime: Option<f64>,
    ) -> PyResult<Self> {
        let read = ConnectionString::parse(connection_string).or_raise(py)?;
        let door = match (x509, read.identity().or_raise(py)?) {
            (Some(x509), None) => Door::x509(py, x509.get())?,
            (None, Some(identity)) => Door::Open(identity),
            (None, None) => return refuse(py, "x509=true asks for a certificate: give it as x509"),
            (Some(_), Some(_)) => return refuse(py, "there are both a certificate and a key"),
        };
        Ok(Self::make(Settings {
            door,
            host: read.host().to_owned(),
            device_id: read.device_id().to_owned(),
            port,
            keep_alive: optional_duration(py, "keep_alive", keep_alive)?,
            token_lifetime: optional_duration(py, "sastoken_ttl", token_lifetime)?,
            network: network(roots, connect_to)?,
        }))
    }

    /// Whether the hub has accepted the connection, and it has not been lost since.
    #[getter]
    fn connected(&self) -> bool {
        self.0.get().is_ok_and(|(_, line)| line.is_connected())
    }

    /// Connects, and waits on this thread.
    #[pyo3(signature = (deadline=None) -> "None")]
    fn connect(&self, py: Python<'_>, deadline: Option<f64>) -> PyResult<Py<PyAny>> {
        let visit = process::current().enter(py);
        let start = self.connecting(py, deadline)?;
        work::wait(py, &visit, None, start)
    }

    /// Connects; the event loop's future is resolved.
    #[pyo3(signature = (bridge, event_loop, future, deadline=None))]
    fn start_connect(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<u64> {
        let start = self.connecting(py, deadline)?;
        self.bind(py, event_loop)?;
        bridge.start(py, future, None, start)
    }

    /// Sends one message, and waits on this thread for its acknowledgement.
    #[pyo3(signature = (message, deadline=None) -> "None")]
    fn send(
        &self,
        py: Python<'_>,
        message: &Bound<'_, PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        // What a message is made of may be Python code.
        let visit = process::current().enter(py);
        let start = self.sending(py, Batch::one(message)?, deadline)?;
        work::wait(py, &visit, None, start)
    }

    /// Sends one message; the event loop's future is resolved.
    #[pyo3(signature = (bridge, event_loop, future, message, deadline=None))]
    fn start_send(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        message: &Bound<'_, PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<u64> {
        let _visit = process::current().enter(py);
        let start = self.sending(py, Batch::one(message)?, deadline)?;
        self.bind(py, event_loop)?;
        bridge.start(py, future, None, start)
    }

    /// Sends messages in their order, and waits on this thread for every acknowledgement.
    #[pyo3(signature = (messages, deadline=None) -> "None")]
    fn send_all(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<Py<PyAny>> {
        // They may come from a generator of the caller's.
        let visit = process::current().enter(py);
        let start = self.sending(py, Batch::many(messages)?, deadline)?;
        work::wait(py, &visit, None, start)
    }

    /// Sends messages in their order; the event loop's future is resolved.
    #[pyo3(signature = (bridge, event_loop, future, messages, deadline=None))]
    fn start_send_all(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        messages: &Bound<'_, PyAny>,
        deadline: Option<f64>,
    ) -> PyResult<u64> {
        let _visit = process::current().enter(py);
        let start = self.sending(py, Batch::many(messages)?, deadline)?;
        self.bind(py, event_loop)?;
        bridge.start(py, future, None, start)
    }

    /// Disconnects, and waits on this thread for what has not been acknowledged.
    #[pyo3(signature = (deadline, for_good) -> "None")]
    fn close(&self, py: Python<'_>, deadline: Option<f64>, for_good: bool) -> PyResult<Py<PyAny>> {
        let visit = process::current().enter(py);
        let start = self.closing(py, deadline, for_good)?;
        work::wait(py, &visit, None, start)
    }

    /// Disconnects; the event loop's future is resolved.
    fn start_close(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        future: Py<PyAny>,
        deadline: Option<f64>,
        for_good: bool,
    ) -> PyResult<u64> {
        let start = self.closing(py, deadline, for_good)?;
        bridge.start(py, future, None, start)
    }
}

impl Hub {
    fn make(settings: Settings) -> Self {
        Self(AtHome::new(Arc::new(Line::new(settings))))
    }

    fn connecting(
        &self,
        py: Python<'_>,
        deadline: Option<f64>,
    ) -> PyResult<impl FnOnce(Asker) -> Result<GiveUp, Error> + use<>> {
        let (process, line) = self.0.get().or_raise(py)?;
        let deadline = self::deadline(py, deadline)?;
        let (handle, line) = (process.handle(py).or_raise(py)?, Arc::clone(line));
        Ok(move |asker| {
            let connected = line.connect(process, deadline);
            Ok(work::spawn(
                &handle,
                asker,
                async move { connected.await.map(|()| Outcome::Nothing) },
            ))
        })
    }

    fn sending(
        &self,
        py: Python<'_>,
        batch: Batch,
        deadline: Option<f64>,
    ) -> PyResult<impl FnOnce(Asker) -> Result<GiveUp, Error> + use<'_>> {
        let (process, line) = self.0.get().or_raise(py)?;
        let deadline = self::deadline(py, deadline)?;
        let runtime = match line.runtime() {
            Some(runtime) => runtime,
            None => process.handle(py).or_raise(py)?,
        };
        Ok(move |asker| Ok(line.send(process, &runtime, batch, deadline, asker)))
    }

    fn closing(
        &self,
        py: Python<'_>,
        deadline: Option<f64>,
        for_good: bool,
    ) -> PyResult<impl FnOnce(Asker) -> Result<GiveUp, Error> + use<>> {
        let (process, line) = self.0.get().or_raise(py)?;
        let deadline = self::deadline(py, deadline)?;
        let (handle, line) = (process.handle(py).or_raise(py)?, Arc::clone(line));
        Ok(move |asker| {
            let closed = line.close(deadline, for_good);
            Ok(work::spawn(&handle, asker, async move { closed.await.map(|()| Outcome::Nothing) }))
        })
    }

    fn bind(&self, py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let (_, line) = self.0.get().or_raise(py)?;
        line.bind(event_loop);
        Ok(())
    }
}

fn refuse<T>(py: Python<'_>, message: &str) -> PyResult<T> {
    Err(Error::new(ErrorKind::InvalidArgument, message)).or_raise(py)
}
