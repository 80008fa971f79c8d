//! Telemetry to the hub that a device was assigned to.
//!
//! A [`HubClient`] sends each message at least once. [`HubClient::send`] resolves once the hub
//! has acknowledged that very message. Until then the message is kept in memory, in a queue of
//! bounded size that makes `send` wait. After a lost connection the client comes back by itself
//! and sends again what was not acknowledged, in send order, so a message may arrive twice, but
//! first deliveries are in send order.

mod driver;
pub(crate) mod machine;
mod window;
mod wire;

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::Instant,
};

use self::driver::{Command, Dialer, Open, Throttled, start};
pub(crate) use self::wire::DeviceId;
use crate::{
    doctor::with_slow_signer,
    error::{Error, ErrorKind, Result},
    identity::Identity,
    symmetric_key::LIFETIME,
    tls::{TlsClient, TlsStream},
    transport::{Host, MQTT_PORT, Network, mqtt::Publish},
};

/// How much may wait for its acknowledgement, in KiB.
const ROOM: usize = 8 * 1024;

/// The longest keep-alive that a hub grants: 29.45 minutes.
/// (Microsoft, "Communicate with IoT Hub using MQTT", default keep-alive timeout)
const MAX_KEEP_ALIVE: Duration = Duration::from_secs(1767);

/// The shortest and the longest life of a token. A client connects anew for each, so a shorter one
/// would be a hot loop.
const TOKEN_LIFETIMES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600);

/// One message from a device to the cloud.
#[derive(Clone, Default)]
#[must_use = "a message is sent by `HubClient::send`"]
pub struct Message {
    payload: Bytes,
    message_id: Option<String>,
    correlation_id: Option<String>,
    user_id: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    output_name: Option<String>,
    expires_at: Option<String>,
    is_security_message: bool,
    properties: Vec<(String, String)>,
}

impl Message {
    /// A message without properties.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// Sets the ID by which the receiver tells messages apart.
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// Sets the ID of the message that this one belongs to.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// Sets the ID of the user that this message comes from.
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.user_id = Some(id.into());
        self
    }

    /// Sets the content type, such as `application/json`; routing by the body needs it.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Sets the content encoding, such as `utf-8`; routing by the body needs it.
    pub fn content_encoding(mut self, content_encoding: impl Into<String>) -> Self {
        self.content_encoding = Some(content_encoding.into());
        self
    }

    /// Names the output that the message goes to, by which an edge hub routes it.
    pub fn output_name(mut self, name: impl Into<String>) -> Self {
        self.output_name = Some(name.into());
        self
    }

    /// Sets when the message loses its worth; sent in UTC (RFC 3339), to the second. Times before
    /// 1970 count as 1970, times after 9999 as none.
    pub fn expires_at(mut self, time: SystemTime) -> Self {
        self.expires_at = wire::utc(time);
        self
    }

    /// Marks the message as one for Microsoft Defender for IoT.
    pub fn security_message(mut self) -> Self {
        self.is_security_message = true;
        self
    }

    /// How many bytes a hub counts: the payload, the values of all properties and the names of
    /// application properties, unencoded. It takes 256 KB.
    /// (Microsoft, "Create and read IoT Hub messages")
    pub fn size(&self) -> usize {
        wire::size(self)
    }

    /// The most bytes that the message takes while it waits for its acknowledgement: its payload,
    /// and its topic, where all properties are percent-encoded.
    pub fn queued_size(&self) -> usize {
        wire::queued_size(self)
    }

    /// Sets an application property, in place of an earlier one of the same name.
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.properties.iter_mut().find(|(other, _)| *other == name) {
            Some(property) => property.1 = value,
            None => self.properties.push((name, value)),
        }
        self
    }
}

impl From<&str> for Message {
    fn from(payload: &str) -> Self {
        Self::new(payload.to_owned())
    }
}

impl From<String> for Message {
    fn from(payload: String) -> Self {
        Self::new(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::new(payload)
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::new(payload)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A payload belongs to the application; it does not belong into a log.
        f.debug_struct("Message")
            .field("bytes", &self.payload.len())
            .field("message_id", &self.message_id)
            .finish_non_exhaustive()
    }
}

/// Whether a client is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The hub has accepted the connection.
    Connected,
    /// The connection is lost and the client is coming back.
    Reconnecting {
        /// Which attempt comes next, since a connection last proved its worth.
        attempt: u32,
        /// Why the last connection or the last attempt failed.
        last_error: String,
    },
    /// The client has been closed, or the hub has refused the device for good.
    Closed,
}

/// A device's connection to its hub; comes back by itself when it is lost.
///
/// Clones share the one connection, which one task on the runtime of the caller keeps. When the
/// last clone is dropped, the connection is closed without waiting for anything.
#[derive(Clone)]
pub struct HubClient(Arc<Handle>);

struct Handle {
    telemetry_topic: String,
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

/// What the handles and the driver both see.
struct Shared {
    host: Host,
    state: watch::Sender<ConnectionState>,
    /// Room in the queue, in KiB; closed when the client closes.
    room: Arc<Semaphore>,
    /// Why there is no more sending, if it is not because somebody closed the client.
    stopped: OnceLock<Error>,
    /// Rung when somebody stops waiting for a message.
    gave_up: Notify,
}

impl Shared {
    /// Why nothing can be sent any more.
    fn closed(&self) -> Error {
        match self.stopped.get() {
            Some(error) => error.replicate(),
            None => Error::new(ErrorKind::Closed, format!("the client of {} is closed", self.host)),
        }
    }
}

impl HubClient {
    /// How long a [`close`](Self::close) waits for acknowledgements where nothing else is asked for.
    pub const CLOSE_WITHIN: Duration = Duration::from_secs(10);

    /// How long [`connect`](HubBuilder::connect) may take where nothing else is asked for.
    pub const CONNECT_WITHIN: Duration = Duration::from_secs(60);

    /// Prepares a connection of `device_id` to the hub at `host`.
    pub fn builder<'a>(host: &str, device_id: &str, identity: &'a Identity) -> HubBuilder<'a> {
        HubBuilder {
            host: host.to_owned(),
            device_id: device_id.to_owned(),
            identity,
            options: Options::default(),
        }
    }

    /// Sends one message, and resolves once the hub has acknowledged it.
    ///
    /// Waits while there is no room in the queue, and for as long as the hub cannot be reached.
    /// Whoever does not want to wait drops the future: what has not been written yet is then
    /// not sent; what has been may still arrive.
    pub async fn send(&self, message: impl Into<Message>) -> Result<()> {
        let publish = wire::publish(&self.0.telemetry_topic, message.into());
        match publish {
            Ok(publish) => self.0.send(publish).await,
            Err(error) => Err(error),
        }
        .map_err(|error| error.during("send"))
    }

    /// Takes no more messages, waits until the hub has acknowledged all that were taken, and
    /// disconnects. After `deadline` it disconnects all the same, and says how many messages
    /// were not acknowledged.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        self.0.shared.room.close();
        let (answer, answered) = oneshot::channel();
        // Beyond what a clock can count, there is no deadline.
        let deadline = Instant::now().checked_add(deadline);
        match self.0.commands.send(Command::Close(deadline, answer)) {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(self.0.shared.closed())),
            Err(_) => Ok(()),
        }
        .map_err(|error| error.during("close"))
    }

    /// Whether the client is connected.
    pub fn state(&self) -> ConnectionState {
        self.0.shared.state.borrow().clone()
    }

    /// Why the client is closed, where nobody closed it: the hub has refused the device for good.
    pub fn stopped(&self) -> Option<Error> {
        self.0.shared.stopped.get().map(Error::replicate)
    }

    /// Waits until the state is another than `known`, and returns it; at once if it already is.
    pub async fn state_changed(&self, known: &ConnectionState) -> ConnectionState {
        let mut states = self.0.shared.state.subscribe();
        match states.wait_for(|state| state != known).await {
            Ok(state) => state.clone(),
            Err(_) => ConnectionState::Closed,
        }
    }
}

impl fmt::Debug for HubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubClient")
            .field("host", &self.0.shared.host)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Handle {
    async fn send(&self, publish: Publish) -> Result<()> {
        // A fraction of the room, by the sizes that payload and topic may have.
        let size = 1 + (publish.payload.len() + publish.topic.len()) / 1024;
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.shared.room).acquire_many_owned(size).await;
        let room = room.map_err(|_| self.shared.closed())?;
        let (answer, answered) = oneshot::channel();
        let ticket = Ticket { answer, _room: room };
        let mut wait = Wait { answered, shared: &self.shared, over: false };
        self.commands.send(Command::Send(publish, ticket)).map_err(|_| self.shared.closed())?;
        let outcome = (&mut wait.answered).await;
        wait.over = true;
        outcome.unwrap_or_else(|_| Err(self.shared.closed()))
    }
}

/// Who waits for a message, and the room that it takes until then.
struct Ticket {
    answer: oneshot::Sender<Result<()>>,
    _room: OwnedSemaphorePermit,
}

impl machine::Waiter for Ticket {
    fn gave_up(&self) -> bool {
        self.answer.is_closed()
    }

    fn resolve(self, outcome: Result<()>) {
        // Whoever gave up does not want to know.
        let _ = self.answer.send(outcome);
    }
}

/// Tells the driver when a `send` is cancelled, so that its room is free at once.
struct Wait<'a> {
    answered: oneshot::Receiver<Result<()>>,
    shared: &'a Shared,
    over: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.answered.close();
            self.shared.gave_up.notify_one();
        }
    }
}

/// How a connection to a hub is made.
#[must_use = "nothing happens before `connect`"]
pub struct HubBuilder<'a> {
    host: String,
    device_id: String,
    identity: &'a Identity,
    options: Options,
}

impl fmt::Debug for HubBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubBuilder")
            .field("host", &self.host)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

struct Options {
    network: Network,
    port: u16,
    deadline: Duration,
    keep_alive: Duration,
    token_lifetime: Duration,
    jitter_seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network: Network::default(),
            port: MQTT_PORT,
            deadline: HubClient::CONNECT_WITHIN,
            keep_alive: Duration::from_secs(60),
            token_lifetime: LIFETIME,
            jitter_seed: None,
        }
    }
}

impl HubBuilder<'_> {
    /// How connections are opened.
    pub fn network(mut self, network: Network) -> Self {
        self.options.network = network;
        self
    }

    /// The port of the hub; 8883 unless told.
    pub fn port(mut self, port: u16) -> Self {
        self.options.port = port;
        self
    }

    /// How long [`Self::connect`] may take; a minute unless told.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// How long the connection may be idle before the client asks for a sign of life; a minute
    /// unless told.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.options.keep_alive = keep_alive;
        self
    }

    /// How long the hub accepts a token of a device with a symmetric key; an hour unless told.
    ///
    /// At four fifths of it the client connects anew with a fresh token: it lets the hub
    /// acknowledge what was written, for at most five seconds, and writes what was sent meanwhile
    /// afterwards, so that nothing is lost or overtaken. The state stays
    /// [`Connected`](ConnectionState::Connected), unless connecting anew fails.
    pub fn token_lifetime(mut self, token_lifetime: Duration) -> Self {
        self.options.token_lifetime = token_lifetime;
        self
    }

    /// Makes the waits between attempts to connect the same at each run.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.options.jitter_seed = Some(seed);
        self
    }

    /// Connects. Retries, until the deadline, what may succeed later.
    ///
    /// A call dials at once, whatever the last one ended in, unless the hub has answered this
    /// [`Identity`] that it has too much to do. That is remembered, also beyond the end of a
    /// client, until the hub accepts the device again or half an hour after the next attempt was
    /// due: the call waits until then, with backoff that goes on where it was, and fails at once,
    /// with what the hub said, where that is after the deadline. So a program may simply call
    /// again after a retryable error, with a pause of its own choice.
    ///
    /// Must be called on a tokio runtime, which then keeps the connection.
    pub async fn connect(self) -> Result<HubClient> {
        let identity = self.identity.clone();
        self.try_connect().await.map_err(|error| {
            let late = error.kind() == ErrorKind::DeadlineExceeded;
            let error = if late && identity.is_signing() { with_slow_signer(error) } else { error };
            error.during("connect to hub")
        })
    }

    async fn try_connect(self) -> Result<HubClient> {
        let Options { network, port, deadline, keep_alive, token_lifetime, jitter_seed } =
            self.options;
        let host = Host::parse(&self.host)?;
        let device_id = DeviceId::parse(&self.device_id)?;
        if !(Duration::from_secs(1)..=MAX_KEEP_ALIVE).contains(&keep_alive) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("a keep-alive of {} s is not possible", keep_alive.as_secs_f64()),
            )
            .with_hint(format!("A hub grants 1 to {} seconds.", MAX_KEEP_ALIVE.as_secs())));
        }
        if !TOKEN_LIFETIMES.contains(&token_lifetime) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "a token lifetime of {} s is not possible: one second to one year is",
                    token_lifetime.as_secs_f64()
                ),
            ));
        }
        self.identity.check(SystemTime::now())?;
        let tokens = self.identity.hub_tokens(host.as_str(), device_id.as_str(), token_lifetime);
        let tls = self.identity.tls(network.trusted_roots())?;
        let throttled = Throttled::new(format!("{host}:{port}"), self.identity.pacing());
        let opener = TlsOpener { network, host: host.clone(), port, tls };
        let dialer = Dialer { opener, host, device_id, tokens, keep_alive, throttled };
        start(dialer, deadline, jitter_seed).await
    }
}

/// Opens the real thing.
struct TlsOpener {
    network: Network,
    host: Host,
    port: u16,
    tls: TlsClient,
}

impl Open for TlsOpener {
    type Stream = TlsStream;

    async fn open(&self, first: &[u8]) -> Result<TlsStream> {
        self.network.open(&self.host, self.port, &self.tls, first).await
    }
}

#[cfg(test)]
mod tests;
