//! Telemetry to a hub.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use dps_core::{
    Error, ErrorKind, HubClient, ProvisioningClient, hub::ConnectionState as CoreState,
};
use napi::{
    Env, JsValue, Unknown,
    bindgen_prelude::{JavaScriptClassExt, PromiseRaw},
};
use napi_derive::napi;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use crate::{
    connection_states::ConnectionStates,
    environment::{Environment, KeptAlive, KeptSignal, Start, promise},
    error::thrown,
    js::{self, IntoJs, Late, invalid},
    message::Message,
    options::{self, duration, text},
    security::{InUse, Security, X509, X509Material},
    transport::{self, Mqtt},
};

/// How long `close` waits for acknowledgements where nothing else is said.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// How a client of a hub connects. `cert`, `key` and their kin are those of `X509`.
#[napi(object, object_to_js = false)]
pub struct ClientOptions<'env> {
    /// The full chain as PEM.
    #[napi(ts_type = "string | Uint8Array")]
    pub cert: Option<Unknown<'env>>,
    /// The path of a PEM file with the full chain.
    pub cert_file: Option<String>,
    /// The leaf's private key as PEM.
    #[napi(ts_type = "string | Uint8Array")]
    pub key: Option<Unknown<'env>>,
    /// The path of a PEM file with the leaf's private key.
    pub key_file: Option<String>,
    /// The passphrase of an encrypted key.
    pub passphrase: Option<String>,
    /// Signs in place of a key.
    #[napi(ts_type = "Signer")]
    pub signer: Option<Unknown<'env>>,
    /// What the signer can do.
    #[napi(ts_type = "SignatureAlgorithm[]")]
    pub algorithms: Option<Vec<String>>,
    /// The roots that the hub's certificate must lead to, as PEM.
    #[napi(ts_type = "string | Uint8Array")]
    pub ca: Option<Unknown<'env>>,
    /// How long the connection may be idle before the hub is asked for a sign of life, in seconds.
    pub keepalive: Option<f64>,
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
    #[napi(factory, ts_args_type = "connectionString: string, transport?: Mqtt | typeof Mqtt")]
    pub fn from_connection_string(
        env: &Env,
        connection_string: Unknown<'_>,
        transport: Unknown<'_>,
    ) -> napi::Result<Self> {
        let read = || {
            let parts = ConnectionString::parse(text(connection_string, "connectionString")?)?;
            let transport = Mqtt::from_argument(transport)?;
            let security = match parts.key {
                Some(key) => Some(Security::symmetric_key(parts.device_id.clone(), key)?),
                None => None,
            };
            Ok(Self::new(parts.host, parts.device_id, transport, security))
        };
        read().map_err(|error: Error| thrown(env, &error))
    }

    pub(crate) fn new(
        host: String,
        device_id: String,
        transport: Mqtt,
        security: Option<Arc<Security>>,
    ) -> Self {
        let settings = Settings { transport, security, keep_alive: None };
        let settings = Mutex::new(settings);
        let (connection, opening) = (Mutex::default(), tokio::sync::Mutex::default());
        Self(Arc::new(Device { host, device_id, settings, connection, opening }))
    }

    /// Changes how the client will connect the next time it is opened.
    #[napi(ts_args_type = "options: ClientOptions")]
    pub fn set_options(&self, env: &Env, options: Unknown<'_>) -> napi::Result<()> {
        self.0.set_options(env, options).map_err(|error| thrown(env, &error))
    }

    /// Connects, unless the client is connected or coming back already.
    #[napi(ts_args_type = "options?: DeadlineOptions", ts_return_type = "Promise<void>")]
    pub fn open<'env>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let start = || {
            let (start, deadline) = options::deadline(env, options)?;
            Ok((start, self.opening(env, deadline)?))
        };
        promise(env, start())
    }

    /// Sends one message, and resolves once the hub has acknowledged it: for as long as the hub
    /// cannot be reached, it waits. Messages are sent in the order of the calls. A cancelled
    /// message that was written already may still arrive.
    #[napi(
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
            let start = options::wait(env, options)?;
            let message = Message::from_argument(message)?;
            let hub = self.0.hub()?;
            let mut sending = Box::pin(async move { hub.send(message).await });
            // The first poll takes the message's place in the queue, here, in the order of the
            // calls; an aborted signal takes none.
            let begun = match start {
                Start::Aborted(_) => Poll::Pending,
                Start::Wait(_) => sending.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            };
            Ok((start, async move {
                match begun {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => sending.await,
                }
                .map(|()| Late(Enqueued))
            }))
        };
        promise(env, start())
    }

    /// Takes no more messages, waits until the hub has acknowledged all that were taken, and
    /// disconnects; after the deadline, 10 seconds unless told, it disconnects all the same and
    /// says how many were not acknowledged.
    #[napi(ts_args_type = "options?: DeadlineOptions", ts_return_type = "Promise<void>")]
    pub fn close<'env>(
        &self,
        env: &'env Env,
        options: Unknown<'env>,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let started = options::deadline(env, options).map(|(start, deadline)| {
            let device = Arc::clone(&self.0);
            (start, async move {
                let Some(hub) = device.connection().as_ref().map(|open| open.hub.clone()) else {
                    return Ok(());
                };
                let closed = hub.close(deadline.unwrap_or(CLOSE_DEADLINE)).await;
                device.let_go();
                closed
            })
        });
        promise(env, started)
    }

    /// The states of the connection, from the present one to `closed`:
    /// `for await (const state of client.connectionStates()) …`.
    #[napi(ts_args_type = "options?: WaitOptions")]
    pub fn connection_states(
        &self,
        env: &Env,
        options: Unknown<'_>,
    ) -> napi::Result<ConnectionStates> {
        let read = || Ok((self.0.hub()?, options::signal(env, options)?));
        let (hub, signal) = read().map_err(|error: Error| thrown(env, &error))?;
        Ok(ConnectionStates::new(hub, KeptSignal::new(env, signal)?))
    }

    /// What opens the connection; from now on, it keeps the process alive until it is closed.
    pub(crate) fn opening(
        &self,
        env: &Env,
        deadline: Option<Duration>,
    ) -> Result<impl Future<Output = Result<(), Error>> + Send + use<>, Error> {
        let device = Arc::clone(&self.0);
        let Settings { transport, security, keep_alive } = device.settings().clone();
        let security = security.ok_or_else(|| {
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
        Ok(async move {
            let _alone = device.opening.lock().await;
            if device.is_open() {
                return Ok(());
            }
            let limit = deadline.unwrap_or(ProvisioningClient::DEFAULT_DEADLINE);
            let identity = in_use.identity(limit).await?;
            let mut builder = HubClient::builder(&device.host, &device.device_id, &identity)
                .network(transport.network);
            if let Some(deadline) = deadline {
                builder = builder.deadline(deadline);
            }
            if let Some(port) = transport.port {
                builder = builder.port(port);
            }
            if let Some(keep_alive) = keep_alive {
                builder = builder.keep_alive(keep_alive);
            }
            let hub = builder.connect().await?;
            let held = Some((in_use, kept_alive));
            let watch = tokio::spawn(watch(Arc::downgrade(&device), hub.clone())).abort_handle();
            let before = device.connection().replace(Connection { hub, held, watch });
            drop(before);
            Ok(())
        })
    }
}

impl Drop for Client {
    /// Nobody can reach the client any more: its connection closes, and with it what it held.
    fn drop(&mut self) {
        self.0.connection().take();
    }
}

/// One device at one hub.
struct Device {
    host: String,
    device_id: String,
    settings: Mutex<Settings>,
    connection: Mutex<Option<Connection>>,
    /// Held while a connection is opened: two at a time would evict each other.
    opening: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Settings {
    transport: Mqtt,
    security: Option<Arc<Security>>,
    keep_alive: Option<Duration>,
}

/// A connection that was opened. It may have ended since; its `hub` then says why.
struct Connection {
    hub: HubClient,
    /// What it needs until it has ended: its signer, and the process.
    held: Option<(InUse, KeptAlive)>,
    watch: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Device {
    fn set_options(&self, env: &Env, options: Unknown<'_>) -> Result<(), Error> {
        let ClientOptions {
            cert,
            cert_file,
            key,
            key_file,
            passphrase,
            signer,
            algorithms,
            ca,
            keepalive,
        } = js::options(env, options, "options")?;
        let roots = ca.map(transport::roots).transpose()?;
        let keep_alive = match keepalive {
            None => None,
            Some(seconds) => Some(duration(seconds).ok_or_else(|| {
                invalid("keepalive", &format!("{seconds} is not a number of seconds"))
            })?),
        };
        let has_x509 = cert.is_some() || cert_file.is_some() || key.is_some() || key_file.is_some();
        let security = if has_x509 || signer.is_some() {
            let x509 = X509 { cert, cert_file, key, key_file, passphrase, signer, algorithms };
            Some(Security::x509(X509Material::from_options(x509)?)?)
        } else {
            None
        };
        let mut settings = self.settings();
        if let Some(roots) = roots {
            settings.transport.network = settings.transport.network.clone().roots(roots);
        }
        settings.keep_alive = keep_alive.or(settings.keep_alive);
        settings.security = security.or(settings.security.take());
        Ok(())
    }

    /// The connection, for sending.
    fn hub(&self) -> Result<HubClient, Error> {
        self.connection().as_ref().map(|connection| connection.hub.clone()).ok_or_else(|| {
            Error::new(ErrorKind::Closed, format!("the client of {} is not open", self.host))
                .with_hint("Call open first.")
        })
    }

    fn is_open(&self) -> bool {
        let connection = self.connection();
        connection.as_ref().is_some_and(|connection| connection.hub.state() != CoreState::Closed)
    }

    /// Releases what the connection held; with it, perhaps, the process.
    fn let_go(&self) {
        let held = match &mut *self.connection() {
            Some(connection) if connection.hub.state() == CoreState::Closed => {
                connection.held.take()
            }
            _ => None,
        };
        drop(held);
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets go of what an ended connection holds, such as a process that would end by itself.
async fn watch(device: Weak<Device>, hub: HubClient) {
    let mut known = hub.state();
    while known != CoreState::Closed {
        known = hub.state_changed(&known).await;
    }
    if let Some(device) = device.upgrade() {
        device.let_go();
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

/// `HostName=…;DeviceId=…` with `x509=true` or `SharedAccessKey=…`.
/// (Microsoft, "Control access to IoT Hub", device connection strings)
struct ConnectionString {
    host: String,
    device_id: String,
    key: Option<Zeroizing<String>>,
}

impl ConnectionString {
    fn parse(text: String) -> Result<Self, Error> {
        let text = Zeroizing::new(text);
        let (mut host, mut device_id, mut key, mut x509) = (None, None, None, false);
        for part in text.split(';').filter(|part| !part.is_empty()) {
            // No part is repeated in an error: it may hold the key.
            let Some((name, value)) = part.split_once('=') else {
                return Err(malformed("a part of it has no value"));
            };
            match name {
                "HostName" => host = Some(value.to_owned()),
                "DeviceId" => device_id = Some(value.to_owned()),
                "SharedAccessKey" => key = Some(Zeroizing::new(value.to_owned())),
                "x509" => x509 = value.eq_ignore_ascii_case("true"),
                _ => return Err(malformed("it has a part that is not supported")),
            }
        }
        if x509 == key.is_some() {
            return Err(malformed("it needs either x509=true or SharedAccessKey=…"));
        }
        Ok(Self {
            host: host.ok_or_else(|| malformed("it has no HostName"))?,
            device_id: device_id.ok_or_else(|| malformed("it has no DeviceId"))?,
            key,
        })
    }
}

fn malformed(what: &str) -> Error {
    invalid("connectionString", what)
        .with_hint("Write HostName=…;DeviceId=…;x509=true, or …;SharedAccessKey=….")
}
