//! Telemetry to a hub.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use dps_core::{ConnectionString, Error, ErrorKind, HubClient, hub::ConnectionState as CoreState};
use napi::{
    Env, JsValue, Unknown,
    bindgen_prelude::{JavaScriptClassExt, PromiseRaw},
};
use napi_derive::napi;
use tokio::{select, sync::watch, task::AbortHandle, time::timeout};
use zeroize::Zeroizing;

use crate::{
    connection_states::ConnectionStates,
    environment::{Environment, KeptAlive, KeptSignal, Start, promise, untraced_promise},
    error::thrown,
    js::{self, IntoJs, Late, invalid},
    message::Message,
    options::{self, seconds, text},
    security::{InUse, Security, X509_OPTIONS, X509Material},
    transport::{self, Mqtt},
};

/// How a client of a hub connects; beside these, the options of `X509`.
#[napi(object, object_to_js = false)]
pub struct ClientOptions<'env> {
    /// The roots that the hub's certificate must lead to, as PEM.
    #[napi(ts_type = "string | Uint8Array")]
    pub ca: Option<Unknown<'env>>,
    /// How long the connection may be idle before the hub is asked for a sign of life, in seconds.
    #[napi(ts_type = "number")]
    pub keepalive: Option<Unknown<'env>>,
    /// How a device with a symmetric key renews what it proves itself with.
    #[napi(ts_type = "TokenRenewal")]
    pub token_renewal: Option<Unknown<'env>>,
}

/// How a device with a symmetric key renews what it proves itself with.
#[napi(object, object_to_js = false)]
pub struct TokenRenewal<'env> {
    /// How long the hub accepts a token, in seconds; the client connects anew before it ends.
    #[napi(ts_type = "number")]
    pub token_valid_time_in_seconds: Option<Unknown<'env>>,
}

/// What `sendEvent` resolves to: the hub has acknowledged the message.
#[napi]
pub struct MessageEnqueued {}

/// A device's connection to its hub, which comes back by itself when it is lost.
#[napi]
pub struct Client(Arc<Device>);

#[napi]
impl Client {
    /// A client for `HostName=…;DeviceId=…;x509=true`, whose certificate `setOptions` gives, or for
    /// `HostName=…;DeviceId=…;SharedAccessKey=…`. Opens nothing yet.
    #[napi(
        catch_unwind,
        factory,
        ts_args_type = "connectionString: string, transport?: Mqtt | typeof Mqtt"
    )]
    pub fn from_connection_string(
        env: &Env,
        connection_string: Unknown<'_>,
        transport: Unknown<'_>,
    ) -> napi::Result<Self> {
        let read = || {
            let text = Zeroizing::new(text(connection_string, "connectionString")?);
            let parsed = ConnectionString::parse(&text)?;
            let transport = Mqtt::from_argument(env, transport)?;
            let (host, device_id) = (parsed.host().to_owned(), parsed.device_id().to_owned());
            let security = parsed.identity()?.map(Security::opened_already).transpose()?;
            Ok(Self::new(host, device_id, transport, security))
        };
        read().map_err(|error: Error| thrown(env, &error))
    }

    pub(crate) fn new(
        host: String,
        device_id: String,
        transport: Mqtt,
        security: Option<Arc<Security>>,
    ) -> Self {
        let settings = Settings { transport, security, keep_alive: None, token_lifetime: None };
        Self(Arc::new(Device {
            host,
            device_id,
            settings: Mutex::new(settings),
            connection: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            closes: watch::Sender::default(),
        }))
    }

    /// Changes how the client will connect the next time it is opened.
    #[napi(catch_unwind, ts_args_type = "options: ClientOptions")]
    pub fn set_options(
        &self,
        env: &Env,
        options: Unknown<'_>,
        callback: Option<Unknown<'_>>,
    ) -> napi::Result<()> {
        let set = match callback {
            // Kept, it would be waited for for ever.
            Some(_) => Err(invalid("callback", "setOptions has none: it is done when it returns")),
            None => self.0.set_options(env, options),
        };
        set.map_err(|error| thrown(env, &error))
    }

    /// Connects, unless the client is connected or coming back already; one that is being closed is
    /// waited for first. The deadline is a minute unless told.
    #[napi(
        catch_unwind,
        ts_args_type = "options?: DeadlineOptions",
        ts_return_type = "Promise<void>"
    )]
    pub fn open<'env>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let start = || {
            let (start, deadline) = options::deadline(env, options, &[])?;
            Ok((start, self.opening(env, deadline)?))
        };
        promise(env, start())
    }

    /// Sends one message, and resolves once the hub has acknowledged it: for as long as the hub
    /// cannot be reached, it waits. Messages are sent in the order of the calls. A cancelled
    /// message that was written already may still arrive.
    #[napi(
        catch_unwind,
        ts_args_type = "message: Message | string | Uint8Array, options?: WaitOptions",
        ts_return_type = "Promise<MessageEnqueued>"
    )]
    pub fn send_event<'env>(
        &self,
        env: &'env Env,
        message: Unknown<'env>,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let start = || {
            let start = options::wait(env, options, &[])?;
            let message = Message::from_argument(message)?;
            let connection = self.0.opened()?;
            let sending = begun(&start, async move { connection.hub.send(message).await });
            Ok((start, async move { sending.await.map(|()| Late(Enqueued)) }))
        };
        untraced_promise(env, start())
    }

    /// Takes no more messages, waits until the hub has acknowledged all that were taken, and
    /// disconnects; after the deadline, 10 seconds unless told, it disconnects all the same and
    /// says how many were not acknowledged. An `open` that is not done yet is rejected.
    #[napi(
        catch_unwind,
        ts_args_type = "options?: DeadlineOptions",
        ts_return_type = "Promise<void>"
    )]
    pub fn close<'env>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = options::deadline(env, options, &[]).map(|(start, deadline)| {
            let device = Arc::clone(&self.0);
            let deadline = deadline.unwrap_or(HubClient::CLOSE_WITHIN);
            let closing = begun(&start, async move { device.close(deadline).await });
            (start, closing)
        });
        promise(env, started)
    }

    /// The states of the connection, from the present one to `closed`:
    /// `for await (const state of client.connectionStates()) …`.
    #[napi(catch_unwind, ts_args_type = "options?: WaitOptions")]
    pub fn connection_states(
        &self,
        env: &Env,
        options: Unknown<'_>,
    ) -> napi::Result<ConnectionStates> {
        let read = || Ok((self.0.opened()?, options::signal(env, options, &[])?));
        let (connection, signal) = read().map_err(|error: Error| thrown(env, &error))?;
        Ok(ConnectionStates::new(connection, KeptSignal::new(env, signal)?))
    }

    /// What opens the connection; from now on, it keeps the process alive until it is closed.
    pub(crate) fn opening(
        &self,
        env: &Env,
        deadline: Option<Duration>,
    ) -> Result<impl Future<Output = Result<(), Error>> + Send + use<>, Error> {
        let device = Arc::clone(&self.0);
        let settings = device.settings().clone();
        let security = settings.security.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                format!("{} has neither a certificate nor a key", device.device_id),
            )
            .with_hint("Give cert and key by setOptions.")
        })?;
        let kept_alive = Environment::current()
            .and_then(|environment| environment.thread().keep_alive(env))
            .map_err(|error| Error::new(ErrorKind::Internal, error.reason.clone()))?;
        let in_use = security.in_use();
        let mut closes = device.closes.subscribe();
        Ok(async move {
            let opened = {
                let closes = closes.clone();
                device.open(settings, in_use, kept_alive, deadline, closes)
            };
            select! {
                biased;
                _ = closes.changed() => Err(device.closed_meanwhile()),
                opened = opened => opened,
            }
        })
    }
}

/// The future, polled once here if it is to be waited for: what it asks of the connection is asked
/// in the order of the calls, and whatever becomes of the wait. An aborted signal asks for nothing.
fn begun<T, F>(start: &Start<'_>, future: F) -> impl Future<Output = T> + Send + use<T, F>
where
    T: Send,
    F: Future<Output = T> + Send,
{
    let mut future = Box::pin(future);
    let first = match start {
        Start::Aborted(_) => Poll::Pending,
        Start::Wait(_) => future.as_mut().poll(&mut Context::from_waker(Waker::noop())),
    };
    async move {
        match first {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => future.await,
        }
    }
}

/// One device at one hub.
struct Device {
    host: String,
    device_id: String,
    settings: Mutex<Settings>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// Held while a connection is opened: two at a time would evict each other.
    opening: tokio::sync::Mutex<()>,
    /// How often the client was closed: what is being opened meanwhile ends.
    closes: watch::Sender<u64>,
}

#[derive(Clone)]
struct Settings {
    transport: Mqtt,
    security: Option<Arc<Security>>,
    keep_alive: Option<Duration>,
    token_lifetime: Option<Duration>,
}

/// A connection that was opened. It may have ended since; its `hub` then says why. It closes when
/// nobody can reach the client any more, and nothing that was asked of it is waited for.
pub(crate) struct Connection {
    pub(crate) hub: HubClient,
    /// Whether somebody has closed it; its end may take a while.
    closing: AtomicBool,
    watch: AbortHandle,
}

/// What a connection needs until it has ended: its signer, and the process.
type Held = (InUse, KeptAlive);

impl Connection {
    fn new(hub: HubClient, held: Held) -> Arc<Self> {
        let watch = tokio::spawn(until_ended(hub.clone(), held)).abort_handle();
        Arc::new(Self { hub, closing: AtomicBool::new(false), watch })
    }

    fn is_open(&self) -> bool {
        !self.closing.load(Ordering::Acquire) && self.hub.state() != CoreState::Closed
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Holds what a connection needs, such as a process that would end by itself.
async fn until_ended(hub: HubClient, held: Held) {
    ended(&hub).await;
    drop(held);
}

async fn ended(hub: &HubClient) {
    let mut known = hub.state();
    while known != CoreState::Closed {
        known = hub.state_changed(&known).await;
    }
}

impl Device {
    fn set_options(&self, env: &Env, options: Unknown<'_>) -> Result<(), Error> {
        let own = ["ca", "keepalive", "tokenRenewal"];
        options::only(env, options, "options", &[&X509_OPTIONS, &own])?;
        let ClientOptions { ca, keepalive, token_renewal } = js::options(env, options, "options")?;
        let x509 = X509Material::read_if_any(env, options)?;
        let roots = ca.map(transport::roots).transpose()?;
        let keep_alive = keepalive.map(|span| seconds(span, "keepalive")).transpose()?;
        let token_lifetime = match token_renewal {
            None => None,
            Some(renewal) => {
                options::only(env, renewal, "tokenRenewal", &[&["tokenValidTimeInSeconds"]])?;
                let TokenRenewal { token_valid_time_in_seconds: span } =
                    js::options(env, renewal, "tokenRenewal")?;
                span.map(|span| seconds(span, "tokenValidTimeInSeconds")).transpose()?
            }
        };
        let security = x509.map(Security::x509).transpose()?;
        let mut settings = self.settings();
        if let Some(roots) = roots {
            settings.transport.network = settings.transport.network.clone().roots(roots);
        }
        settings.keep_alive = keep_alive.or(settings.keep_alive);
        settings.token_lifetime = token_lifetime.or(settings.token_lifetime);
        settings.security = security.or(settings.security.take());
        Ok(())
    }

    /// Connects within the deadline, unless the client is connected or coming back already.
    async fn open(
        &self,
        settings: Settings,
        in_use: InUse,
        kept_alive: KeptAlive,
        deadline: Option<Duration>,
        closes: watch::Receiver<u64>,
    ) -> Result<(), Error> {
        let start = Instant::now();
        let limit = deadline.unwrap_or(HubClient::CONNECT_WITHIN);
        let _alone = timeout(limit, self.opening.lock()).await.map_err(|_| {
            let message = format!("an earlier open of {} was not done in time", self.device_id);
            Error::new(ErrorKind::DeadlineExceeded, message)
        })?;
        if let Some(earlier) = self.current() {
            if earlier.is_open() {
                return Ok(());
            }
            let left = limit.saturating_sub(start.elapsed());
            timeout(left, ended(&earlier.hub)).await.map_err(|_| {
                let message = format!("a close of {} was not done in time", self.device_id);
                Error::new(ErrorKind::DeadlineExceeded, message)
            })?;
        }
        let identity = in_use.hub_identity(limit.saturating_sub(start.elapsed())).await?;
        let Settings { transport, keep_alive, token_lifetime, .. } = settings;
        let mut builder = HubClient::builder(&self.host, &self.device_id, &identity)
            .network(transport.network)
            .deadline(limit.saturating_sub(start.elapsed()));
        if let Some(port) = transport.port {
            builder = builder.port(port);
        }
        if let Some(keep_alive) = keep_alive {
            builder = builder.keep_alive(keep_alive);
        }
        if let Some(token_lifetime) = token_lifetime {
            builder = builder.token_lifetime(token_lifetime);
        }
        let opened = Connection::new(builder.connect().await?, (in_use, kept_alive));
        // Under the lock, so that a close that ends no opening finds the connection.
        let left = {
            let mut connection = self.connection();
            match closes.has_changed() {
                Ok(false) => Ok(connection.replace(opened)),
                _ => Err(opened),
            }
        };
        // Dropped without the lock.
        left.map(drop).map_err(|_| self.closed_meanwhile())
    }

    fn closed_meanwhile(&self) -> Error {
        let message = format!("the client of {} was closed while it connected", self.host);
        Error::new(ErrorKind::Closed, message).during("connect to hub")
    }

    /// Ends what is being opened, and the connection.
    async fn close(&self, deadline: Duration) -> Result<(), Error> {
        self.closes.send_modify(|closes| *closes += 1);
        let Some(connection) = self.current() else { return Ok(()) };
        connection.closing.store(true, Ordering::Release);
        connection.hub.close(deadline).await
    }

    /// The connection, if there was ever one.
    fn current(&self) -> Option<Arc<Connection>> {
        self.connection().clone()
    }

    /// The connection, for sending.
    fn opened(&self) -> Result<Arc<Connection>, Error> {
        self.current().ok_or_else(|| {
            Error::new(ErrorKind::Closed, format!("the client of {} is not open", self.host))
                .with_hint("Call open first.")
        })
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that is open, on its way to JavaScript.
pub(crate) struct Opened(pub(crate) Client);

impl IntoJs for Opened {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        Ok(self.0.into_instance(env)?.to_unknown())
    }
}

/// An acknowledgement, on its way to JavaScript.
struct Enqueued;

impl IntoJs for Enqueued {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        // They are all the same, so one serves them all.
        let make = || Ok(MessageEnqueued {}.into_instance(env)?.as_object(env));
        Environment::current()?.enqueued(env, make)
    }
}
