//! Registration with the Device Provisioning Service.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use dps_core::{
    Error, ErrorKind, ProvisioningClient,
    provisioning::{GLOBAL_HOST, payload_from_json},
    transport::Network,
};
use pyo3::prelude::*;

use crate::{
    bridge::Bridge,
    door::Door,
    errors::OrRaise as _,
    options::{deadline, network},
    process::{self, Process},
    symmetric_key::SymmetricKey,
    work::{self, Asker, Event, Outcome},
    x509::X509,
};

/// What the provisioning clients in Python are made of.
#[pyclass(frozen, module = "dps_core._dps_core")]
pub(crate) struct Registration {
    process: &'static Process,
    settings: Settings,
}

#[derive(Clone)]
struct Settings {
    door: Door,
    host: String,
    id_scope: String,
    registration_id: Option<String>,
    port: Option<u16>,
    api_version: Option<String>,
    network: Network,
}

#[pymethods]
impl Registration {
    #[new]
    #[pyo3(signature = (host, id_scope, registration_id, *, x509=None, symmetric_key=None, port=None, roots: "str | bytes | PathLike[str] | None" = None, connect_to=None, api_version=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments")]
    fn new(
        py: Python<'_>,
        host: Option<String>,
        id_scope: String,
        registration_id: Option<String>,
        x509: Option<&Bound<'_, X509>>,
        symmetric_key: Option<&Bound<'_, SymmetricKey>>,
        port: Option<u16>,
        roots: Option<&Bound<'_, PyAny>>,
        connect_to: Option<String>,
        api_version: Option<String>,
    ) -> PyResult<Self> {
        let door = match (x509, symmetric_key) {
            (Some(x509), _) => Door::x509(py, x509.get())?,
            (None, Some(key)) => key.get().to_register(py, registration_id.as_deref())?,
            (None, None) => {
                return Err(Error::new(ErrorKind::InvalidArgument, "there is no credential"))
                    .or_raise(py);
            }
        };
        let host = host.unwrap_or_else(|| GLOBAL_HOST.to_owned());
        let network = network(roots, connect_to)?;
        let settings =
            Settings { door, host, id_scope, registration_id, port, api_version, network };
        Ok(Self { process: process::current(), settings })
    }

    /// Registers, and waits on this thread.
    #[pyo3(signature = (payload=None, deadline=None, on_progress=None) -> "RegistrationResult")]
    fn register(
        &self,
        py: Python<'_>,
        payload: Option<&str>,
        deadline: Option<f64>,
        on_progress: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let visit = self.process.enter(py);
        let handle = self.process.handle(py).or_raise(py)?;
        let request = self.request(py, payload, deadline)?;
        work::wait(py, &visit, on_progress.as_ref(), |asker| {
            Ok(work::spawn(&handle, asker.clone(), request(asker)))
        })
    }

    /// Registers; the event loop's future is resolved.
    #[pyo3(signature = (bridge, event_loop, future, payload=None, deadline=None, on_progress=None))]
    #[expect(clippy::too_many_arguments, reason = "called by our own Python code alone")]
    fn start(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        payload: Option<&str>,
        deadline: Option<f64>,
        on_progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let handle = self.process.handle(py).or_raise(py)?;
        let request = self.request(py, payload, deadline)?;
        self.settings.door.bind(event_loop);
        bridge.start(py, future, on_progress, |asker| {
            Ok(work::spawn(&handle, asker.clone(), request(asker)))
        })
    }
}

impl Registration {
    /// The work, for whoever is told of its progress.
    fn request(
        &self,
        py: Python<'_>,
        payload: Option<&str>,
        deadline: Option<f64>,
    ) -> PyResult<impl FnOnce(Asker) -> BoxedWork + use<>> {
        let payload = payload.map(payload_from_json).transpose().or_raise(py)?;
        let deadline = self::deadline(py, deadline)?;
        let settings = self.settings.clone();
        let process = self.process;
        Ok(move |asker| {
            Box::pin(register(process, settings, payload, deadline, asker)) as BoxedWork
        })
    }
}

type BoxedWork = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Error>> + Send>>;

async fn register(
    process: &'static Process,
    settings: Settings,
    payload: Option<serde_json::Value>,
    deadline: Option<Duration>,
    asker: Asker,
) -> Result<Outcome, Error> {
    let Settings { door, host, id_scope, registration_id, port, api_version, network } = settings;
    let _in_use = door.in_use();
    let deadline = deadline.unwrap_or(ProvisioningClient::DEFAULT_DEADLINE);
    let start = Instant::now();
    let identity = door.identity(process, deadline).await?;
    let mut client = ProvisioningClient::new(id_scope, &identity)
        .host(host)
        .network(network)
        .deadline(deadline.saturating_sub(start.elapsed()))
        .on_progress(move |progress| asker.tell(Event::Progress(progress)));
    if let Some(registration_id) = registration_id {
        client = client.registration_id(registration_id);
    }
    if let Some(port) = port {
        client = client.port(port);
    }
    if let Some(api_version) = api_version {
        client = client.api_version(api_version);
    }
    if let Some(payload) = payload {
        client = client.payload(payload);
    }
    client.register().await.map(|assignment| Outcome::Assigned(Box::new(assignment)))
}
