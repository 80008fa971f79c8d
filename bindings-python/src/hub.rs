//! Telemetry to the assigned hub.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dps_core::{
    ConnectionString, Error, ErrorKind, HubClient, Message, hub::ConnectionState,
    transport::Network,
};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, AbortRegistration, Abortable, Aborted, join_all},
    stream::FuturesUnordered,
};
use pyo3::prelude::*;
use tokio::{
    runtime::Handle,
    select,
    sync::{
        mpsc::{self, error::SendError},
        oneshot,
    },
    task::unconstrained,
    time::timeout,
};

use crate::{
    bridge::Bridge,
    door::Door,
    errors::OrRaise as _,
    message,
    options::{network, optional_duration},
    process::{self, AtHome, Process},
    symmetric_key::SymmetricKey,
    uses::InUse,
    work::{self, Asker, Event, Outcome, Pending},
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
        let Ok((_, line)) = self.0.get() else { return false };
        line.state()
            .link
            .as_ref()
            .is_some_and(|link| link.hub.state() == ConnectionState::Connected)
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
    #[pyo3(signature = (message) -> "None")]
    fn send(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let message = message::to_core(message)?;
        let visit = process::current().enter(py);
        let start = self.sending(py, Batch::One(Box::new(message)))?;
        work::wait(py, &visit, None, start)
    }

    /// Sends one message; the event loop's future is resolved.
    fn start_send(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        message: &Bound<'_, PyAny>,
    ) -> PyResult<u64> {
        let message = message::to_core(message)?;
        let start = self.sending(py, Batch::One(Box::new(message)))?;
        self.bind(py, event_loop)?;
        bridge.start(py, future, None, start)
    }

    /// Sends messages in their order, and waits on this thread for every acknowledgement.
    #[pyo3(signature = (messages) -> "None")]
    fn send_all(&self, py: Python<'_>, messages: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let visit = process::current().enter(py);
        let start = self.sending(py, Batch::from_python(messages)?)?;
        work::wait(py, &visit, None, start)
    }

    /// Sends messages in their order; the event loop's future is resolved.
    fn start_send_all(
        &self,
        py: Python<'_>,
        bridge: &Bridge,
        event_loop: &Bound<'_, PyAny>,
        future: Py<PyAny>,
        messages: &Bound<'_, PyAny>,
    ) -> PyResult<u64> {
        let start = self.sending(py, Batch::from_python(messages)?)?;
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
        let turn = tokio::sync::Mutex::new(());
        Self(AtHome::new(Arc::new(Line { settings, state: Mutex::default(), turn })))
    }

    fn connecting(
        &self,
        py: Python<'_>,
        deadline: Option<f64>,
    ) -> PyResult<impl FnOnce(Asker) -> Result<AbortHandle, Error> + use<>> {
        let (process, line) = self.0.get().or_raise(py)?;
        let deadline = optional_duration(py, "deadline", deadline)?;
        let (handle, line) = (process.handle(py).or_raise(py)?, Arc::clone(line));
        Ok(move |asker| {
            Ok(work::spawn(&handle, asker, async move {
                line.link(process, deadline).await.map(|()| Outcome::Nothing)
            }))
        })
    }

    fn sending(
        &self,
        py: Python<'_>,
        batch: Batch,
    ) -> PyResult<impl FnOnce(Asker) -> Result<AbortHandle, Error> + use<'_>> {
        let (process, line) = self.0.get().or_raise(py)?;
        let way = match line.open() {
            Some(link) => Way::Open(link),
            None => Way::Closed(process.handle(py).or_raise(py)?),
        };
        Ok(move |asker| Ok(line.send(process, way, batch, asker)))
    }

    fn closing(
        &self,
        py: Python<'_>,
        deadline: Option<f64>,
        for_good: bool,
    ) -> PyResult<impl FnOnce(Asker) -> Result<AbortHandle, Error> + use<>> {
        let (process, line) = self.0.get().or_raise(py)?;
        let deadline = optional_duration(py, "deadline", deadline)?;
        let deadline = deadline.unwrap_or(HubClient::CLOSE_WITHIN);
        let (handle, line) = (process.handle(py).or_raise(py)?, Arc::clone(line));
        Ok(move |asker| {
            Ok(work::spawn(&handle, asker, async move {
                line.close(deadline, for_good).await.map(|()| Outcome::Nothing)
            }))
        })
    }

    fn bind(&self, py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<()> {
        let (_, line) = self.0.get().or_raise(py)?;
        line.settings.door.bind(event_loop);
        Ok(())
    }
}

/// A device's line to its hub, connected or not.
struct Line {
    settings: Settings,
    state: Mutex<State>,
    /// Held by the one who connects.
    turn: tokio::sync::Mutex<()>,
}

struct Settings {
    door: Door,
    host: String,
    device_id: String,
    port: Option<u16>,
    keep_alive: Option<Duration>,
    token_lifetime: Option<Duration>,
    network: Network,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// What was sent before there was a connection, in its order.
    waiting: Vec<Request>,
    shut: bool,
}

impl State {
    /// The connection, unless there is none or the hub has ended it for good.
    fn open(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| link.hub.state() != ConnectionState::Closed)
    }
}

#[derive(Clone)]
struct Link {
    hub: HubClient,
    requests: mpsc::UnboundedSender<Request>,
    runtime: Handle,
}

/// How a message gets to the hub.
enum Way {
    Open(Link),
    /// There is no connection; this runtime makes one.
    Closed(Handle),
}

enum Request {
    Send { batch: Batch, asker: Pending, abort: AbortRegistration },
    Close { deadline: Duration, answer: oneshot::Sender<Result<(), Error>> },
}

enum Batch {
    One(Box<Message>),
    Many(Vec<Message>),
}

impl Batch {
    fn from_python(messages: &Bound<'_, PyAny>) -> PyResult<Self> {
        let messages = messages.try_iter()?.map(|message| message::to_core(&message?));
        messages.collect::<PyResult<_>>().map(Self::Many)
    }

    /// Every message is sent; the first failure is the answer.
    async fn deliver(self, hub: &HubClient) -> Result<Outcome, Error> {
        match self {
            Self::One(message) => hub.send(*message).await?,
            Self::Many(messages) => {
                let sent = join_all(messages.into_iter().map(|message| hub.send(message))).await;
                sent.into_iter().collect::<Result<(), _>>()?;
            }
        }
        Ok(Outcome::Nothing)
    }
}

impl Line {
    /// The connection, unless there is none or the hub has ended it for good.
    fn open(&self) -> Option<Link> {
        self.state().open().cloned()
    }

    /// The connection; makes it if there is none. The deadline covers the wait for whoever connects
    /// already, and for a signer's proof.
    async fn link(
        &self,
        process: &'static Process,
        deadline: Option<Duration>,
    ) -> Result<(), Error> {
        let deadline = deadline.unwrap_or(HubClient::CONNECT_WITHIN);
        let start = Instant::now();
        let left = || deadline.saturating_sub(start.elapsed());
        let in_use = self.settings.door.in_use();
        let _turn = timeout(deadline, self.turn.lock()).await.map_err(|_| {
            let message = "another call that connects this client did not end in time";
            Error::new(ErrorKind::DeadlineExceeded, message).during("connect to hub")
        })?;
        if self.state().shut {
            return Err(closed());
        }
        if self.open().is_some() {
            return Ok(());
        }
        let Settings { door, host, device_id, port, keep_alive, token_lifetime, network } =
            &self.settings;
        let identity = door.clone().identity(process, left()).await?;
        let mut builder = HubClient::builder(host, device_id, &identity)
            .network(network.clone())
            .deadline(left());
        if let Some(port) = port {
            builder = builder.port(*port);
        }
        if let Some(keep_alive) = keep_alive {
            builder = builder.keep_alive(*keep_alive);
        }
        if let Some(token_lifetime) = token_lifetime {
            builder = builder.token_lifetime(*token_lifetime);
        }
        let hub = builder.connect().await?;
        let (requests, queue) = mpsc::unbounded_channel();
        let link = Link { hub: hub.clone(), requests, runtime: Handle::current() };
        let mut state = self.state();
        if state.shut {
            return Err(closed());
        }
        for request in state.waiting.drain(..) {
            // Its receiver is there still.
            drop(link.requests.send(request));
        }
        // Without tokio's budget, which would begin the 129th of a burst after the later ones.
        tokio::spawn(unconstrained(serve(hub, queue, in_use)));
        state.link = Some(link);
        Ok(())
    }

    /// Queues the messages; connects before it where that is needed, as the incumbent does.
    fn send(
        self: &Arc<Self>,
        process: &'static Process,
        way: Way,
        batch: Batch,
        asker: Asker,
    ) -> AbortHandle {
        let (abort, registration) = AbortHandle::new_pair();
        let request = Request::Send { batch, asker: Pending::new(asker), abort: registration };
        match way {
            Way::Open(Link { requests, runtime, .. }) => {
                // It fails where the connection has been closed in this very moment.
                if let Err(SendError(request)) = requests.send(request) {
                    self.connect_for(request, process, &runtime);
                }
            }
            Way::Closed(runtime) => self.connect_for(request, process, &runtime),
        }
        abort
    }

    /// Connects for what waits; one task does it for all, so that they keep their order.
    fn connect_for(
        self: &Arc<Self>,
        request: Request,
        process: &'static Process,
        runtime: &Handle,
    ) {
        let mut state = self.state();
        let request = match state.open() {
            Some(link) => match link.requests.send(request) {
                Ok(()) => return,
                Err(SendError(request)) => request,
            },
            None => request,
        };
        state.waiting.push(request);
        if state.waiting.len() > 1 {
            return;
        }
        drop(state);
        let line = Arc::clone(self);
        runtime.spawn(async move {
            let Err(error) = line.link(process, None).await else { return };
            let error = Arc::new(error);
            let waiting = mem::take(&mut line.state().waiting);
            waiting.into_iter().for_each(|request| request.fail(&error));
        });
    }

    async fn close(&self, deadline: Duration, for_good: bool) -> Result<(), Error> {
        let link = {
            let mut state = self.state();
            state.shut |= for_good;
            state.link.take()
        };
        let Some(link) = link else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        match link.requests.send(Request::Close { deadline, answer }) {
            Ok(()) => answered.await.unwrap_or(Ok(())),
            // The hub has ended it.
            Err(_) => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request {
    fn fail(self, error: &Arc<Error>) {
        if let Self::Send { asker, .. } = self
            && let Some(asker) = asker.take()
        {
            asker.tell(Event::Done(Err(Arc::clone(error))));
        }
    }
}

/// Serves one connection: one task for all its messages keeps their order, and tells of many
/// acknowledgements at once.
async fn serve(
    hub: HubClient,
    mut requests: mpsc::UnboundedReceiver<Request>,
    _in_use: Option<InUse>,
) {
    const MOST: usize = 512;

    let mut sending = FuturesUnordered::new();
    let mut taken = Vec::new();
    loop {
        let mut closing = None;
        select! {
            count = requests.recv_many(&mut taken, MOST) => {
                if count == 0 {
                    return;
                }
                for request in taken.drain(..) {
                    match request {
                        Request::Send { batch, asker, abort } => {
                            let hub = &hub;
                            let work = Abortable::new(batch.deliver(hub), abort);
                            sending.push(work.map(|result| (asker, result)));
                        }
                        Request::Close { deadline, answer } => closing = Some((deadline, answer)),
                    }
                }
            }
            Some(done) = sending.next() => report(done, &mut sending),
        }
        if let Some((deadline, answer)) = closing {
            // What was queued before is begun before.
            if let Some(Some(done)) = sending.next().now_or_never() {
                report(done, &mut sending);
            }
            let close = hub.close(deadline);
            let rest = async {
                while let Some(done) = sending.next().await {
                    report_one(done);
                }
            };
            let (closed, ()) = tokio::join!(close, rest);
            // Whoever stopped waiting does not want to know.
            let _ = answer.send(closed);
            return;
        }
    }
}

type Sent = (Pending, Result<Result<Outcome, Error>, Aborted>);

/// Tells of this end and of all the others that have come meanwhile.
fn report<F: Future<Output = Sent>>(first: Sent, sending: &mut FuturesUnordered<F>) {
    let mut ends = Vec::new();
    let mut next = Some(first);
    while let Some((pending, result)) = next {
        if let (Some(asker), Ok(result)) = (pending.take(), result) {
            ends.push((asker, Event::done(result)));
        }
        next = sending.next().now_or_never().flatten();
    }
    work::tell_all(ends);
}

fn report_one((pending, result): Sent) {
    if let (Some(asker), Ok(result)) = (pending.take(), result) {
        asker.tell(Event::done(result));
    }
}

fn refuse<T>(py: Python<'_>, message: &str) -> PyResult<T> {
    Err(Error::new(ErrorKind::InvalidArgument, message)).or_raise(py)
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the client was shut down")
}
