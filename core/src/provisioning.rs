//! Registration with the Device Provisioning Service over MQTT.

mod assignment;
pub(crate) mod machine;
pub(crate) mod wire;

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::Zeroizing;

pub use self::{
    assignment::{Assignment, Substatus},
    machine::Progress,
};
use self::{
    machine::{Action, Event, Machine},
    wire::{Answer, Operation, Request},
};
use crate::{
    backoff::Backoff,
    doctor::{Check, Shown, remedy, with_finding, with_slow_signer},
    error::{Error, ErrorKind, Missing, Result},
    identity::Identity,
    registration_id::RegistrationId,
    symmetric_key::Tokens,
    tls::{TlsClient, TlsStream},
    transport::{
        Host, MQTT_PORT, Network,
        mqtt::{Connect, Early, Packet, QoS, Session},
    },
};

/// The endpoint that serves every DPS instance of the public cloud.
pub const GLOBAL_HOST: &str = "global.azure-devices-provisioning.net";

/// Reads what a [`payload`](ProvisioningClient::payload) is from JSON text. Fails with
/// [`ErrorKind::InvalidArgument`].
pub fn payload_from_json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, format!("the payload is not JSON: {error}"))
    })
}

/// Registers a device with DPS.
///
/// Retries what may pass (a lost connection, a silent service, 429, 5xx) with jittered backoff
/// and the service's own `retry-after`, until the deadline. Dropping the future of
/// [`register`](Self::register) cancels it.
///
/// A registration that is called again, by this client or another one of the same [`Identity`],
/// remembers for as long as it matters that the service has throttled the device: it sends
/// nothing before the next attempt is due, and fails at once where that is after the deadline. So
/// a program may simply call again after a retryable error, with a pause of its own choice.
#[derive(Clone)]
#[must_use = "nothing happens before `register`"]
pub struct ProvisioningClient {
    identity: Identity,
    id_scope: String,
    registration_id: Option<String>,
    host: String,
    port: u16,
    api_version: String,
    network: Network,
    deadline: Duration,
    payload: Option<Value>,
    seed: Option<u64>,
    on_progress: Option<ProgressCallback>,
}

type ProgressCallback = Arc<dyn Fn(Progress) + Send + Sync>;

impl ProvisioningClient {
    /// The longest that a registration takes where nothing else is asked for.
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(120);

    /// A client for the DPS instance with this ID scope, such as `0ne00000A0A`.
    pub fn new(id_scope: impl Into<String>, identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            id_scope: id_scope.into(),
            registration_id: None,
            host: GLOBAL_HOST.into(),
            port: MQTT_PORT,
            api_version: wire::API_VERSION.into(),
            network: Network::default(),
            deadline: Self::DEFAULT_DEADLINE,
            payload: None,
            seed: None,
            on_progress: None,
        }
    }

    /// The registration ID, where it is not to be taken from the identity (the leaf's common name,
    /// or what the symmetric key was given with), which it must equal all the same.
    pub fn registration_id(mut self, registration_id: impl Into<String>) -> Self {
        self.registration_id = Some(registration_id.into());
        self
    }

    /// The DPS endpoint, where it is not [`GLOBAL_HOST`].
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// The port, where it is not 8883.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// The version of the DPS device API, where it is not `2021-06-01`.
    pub fn api_version(mut self, api_version: impl Into<String>) -> Self {
        self.api_version = api_version.into();
        self
    }

    /// How connections are opened; the hub is reached the same way.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// The longest that the registration may take, waits and retries included.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What a custom allocation policy is to know about the device.
    pub fn payload(mut self, payload: Value) -> Self {
        self.payload = Some(payload);
        self
    }

    /// The seed of the jitter, where a run is to be repeated exactly.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Called with each stage that the registration reaches.
    pub fn on_progress(mut self, callback: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(callback));
        self
    }

    /// Registers the device and waits for its assignment.
    pub async fn register(&self) -> Result<Assignment> {
        self.try_register().await.map_err(|error| {
            let late = error.kind() == ErrorKind::DeadlineExceeded;
            let explained = match late && self.identity.is_signing() {
                true => with_slow_signer(error),
                false => with_finding(error, Shown::by(&self.identity), Some(&self.id_scope)),
            };
            explained.during("register")
        })
    }

    async fn try_register(&self) -> Result<Assignment> {
        let target = self.check()?;
        if self.deadline.is_zero() {
            let message = "the deadline is 0 s, so the registration was not begun";
            return Err(Error::new(ErrorKind::DeadlineExceeded, message)
                .with_hint("Give it some seconds at least."));
        }
        let start = Instant::now();
        let pacing = self.identity.pacing();
        let service = format!("{}:{}/{}", target.host, target.port, self.id_scope);
        let mut machine = match pacing.recall(&service, start) {
            Some(earlier) => Machine::resume(self.deadline, earlier),
            None => Machine::new(self.deadline, Backoff::new(self.seed)),
        };
        if pacing.is_one_by_one(&service, start) {
            machine = machine.one_by_one();
        }
        // Whether a request went along with the connection and has not been answered.
        let mut unanswered = false;
        let mut session = None;
        let mut step = machine.start();
        loop {
            for progress in machine.take_progress() {
                self.tell(progress, &target);
            }
            // Now, since whoever waits may stop waiting.
            if matches!(step.action, Action::Pause | Action::Finish(_)) {
                pacing.note(&service, start, machine.throttling());
            }
            let until = start + step.until;
            let event = match step.action {
                Action::Connect { along } => {
                    // The old connection is closed before the new one evicts it.
                    session = None;
                    unanswered = along.is_some();
                    let along = along.map(|request| self.message(&request, &target));
                    match before(until, target.connect(&self.network, along)).await {
                        Some(Ok(opened)) => {
                            session = Some(opened);
                            Event::Connected
                        }
                        Some(Err(error)) => Event::Failed(error),
                        None => Event::TimeOver,
                    }
                }
                Action::Send(request) => match &mut session {
                    Some(session) => {
                        let message = self.message(&request, &target);
                        exchange(session, Some(message), until).await
                    }
                    None => Event::Failed(no_session()),
                },
                Action::Listen => match &mut session {
                    Some(session) => exchange(session, None, until).await,
                    None => Event::Failed(no_session()),
                },
                Action::Pause => {
                    let flushed = match &mut session {
                        Some(session) => session.flush().await,
                        None => Ok(()),
                    };
                    match flushed {
                        Ok(()) => {
                            sleep_until(until).await;
                            Event::TimeOver
                        }
                        Err(error) => Event::Failed(error),
                    }
                }
                Action::Finish(result) => {
                    if let Some(session) = session.take() {
                        session.disconnect().await;
                    }
                    let network = self.network.clone();
                    let registered =
                        result.map_err(|error| target.where_it_ended(error, &self.network))?;
                    let assignment = Assignment::new(registered, &target.registration_id, network)?;
                    self.tell(Progress::Assigned, &target);
                    return Ok(assignment);
                }
            };
            match &event {
                Event::Answer(_) => unanswered = false,
                silent if unanswered && target.fell_silent(silent) => {
                    pacing.one_by_one(&service, Instant::now());
                }
                _ => {}
            }
            if let Event::Failed(_) = event {
                // It may hold bytes that can never be written.
                session = None;
            }
            step = machine.handle(event, start.elapsed());
        }
    }

    fn message(&self, request: &Request, target: &Target) -> Message {
        let payload = request.operation.body(&target.registration_id, self.payload.as_ref());
        Message { topic: request.topic(), payload }
    }

    fn tell(&self, progress: Progress, target: &Target) {
        tracing::debug!("registration of {}: {progress:?}", target.registration_id);
        if let Some(callback) = &self.on_progress {
            callback(progress);
        }
    }

    /// All that can be wrong before dialling.
    fn check(&self) -> Result<Target> {
        let host = Host::parse(&self.host)?;
        if self.id_scope.is_empty()
            || !self.id_scope.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{:?} is not an ID scope, which looks like 0ne00000A0A", self.id_scope),
            ));
        }
        let registration_id = self.checked_registration_id()?;
        self.check_payload(&registration_id)?;
        self.identity.check(SystemTime::now())?;
        let tls = self.identity.tls(self.network.trusted_roots())?;
        let user_name = wire::user_name(&self.id_scope, &registration_id, &self.api_version);
        let tokens = self.identity.registration_tokens(&self.id_scope, &registration_id);
        let port = self.port;
        let is_open = AtomicBool::new(false);
        Ok(Target { host, port, tls, user_name, tokens, registration_id, is_open })
    }

    fn check_payload(&self, registration_id: &RegistrationId) -> Result<()> {
        let Some(payload) = &self.payload else { return Ok(()) };
        let size = Operation::Register.body(registration_id, Some(payload)).len();
        match size <= LONGEST_BODY {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("with its payload the request has {size} bytes; DPS takes {LONGEST_BODY}"),
            )
            .with_hint("Have the custom allocation policy look up what is large by a short name.")),
        }
    }

    fn checked_registration_id(&self) -> Result<RegistrationId> {
        let Some(asked_for) = &self.registration_id else {
            return self.identity.registration_id();
        };
        let Some(chain) = self.identity.chain() else {
            let own = self.identity.registration_id()?;
            // To the letter: a key that was derived for another letter case is another key.
            if own.as_str() == asked_for {
                return Ok(own);
            }
            return Err(Error::new(
                ErrorKind::RegistrationIdMismatch,
                format!("the registration ID is {asked_for:?}, but the symmetric key is for {own}"),
            )
            .with_hint("Leave the registration ID out: the symmetric key was given with it."));
        };
        let registration_id = RegistrationId::parse_common_name(asked_for)?;
        let common_name = chain.leaf().common_name().unwrap_or_default();
        if common_name == asked_for {
            return Ok(registration_id);
        }
        // DPS compares registration IDs without regard to case.
        if common_name.eq_ignore_ascii_case(asked_for) {
            tracing::warn!(
                "the registration ID {asked_for:?} and the common name {common_name:?} of the leaf \
                 certificate differ in case"
            );
            return Ok(registration_id);
        }
        Err(Error::new(
            ErrorKind::RegistrationIdMismatch,
            format!(
                "the registration ID is {asked_for:?}, but the common name of the leaf certificate \
                 is {common_name:?}; DPS wants them to be equal"
            ),
        )
        .with_hint(remedy(Check::RegistrationIdDiffers)))
    }
}

impl fmt::Debug for ProvisioningClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProvisioningClient")
            .field("id_scope", &self.id_scope)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long CONNECT and SUBSCRIBE may wait for their answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest body of a request that leaves with the TLS handshake; a longer one takes time of its
/// own.
const MOST_ALONG: usize = 8 * 1024;

/// The longest body that DPS takes (Microsoft, "Quotas and limits": message size 96 KB).
const LONGEST_BODY: usize = 96 * 1024;

/// Where and as whom to register.
struct Target {
    host: Host,
    port: u16,
    tls: TlsClient,
    user_name: String,
    tokens: Option<Tokens>,
    registration_id: RegistrationId,
    /// Whether the server was there when it was last connected to.
    is_open: AtomicBool,
}

impl Target {
    fn was_reached(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Whether the server was there, and then said nothing more.
    fn fell_silent(&self, event: &Event) -> bool {
        use ErrorKind::{ConnectionLost, RequestTimeout};

        self.was_reached()
            && match event {
                Event::Failed(error) => matches!(error.kind(), ConnectionLost | RequestTimeout),
                event => matches!(event, Event::TimeOver),
            }
    }

    /// What of the connection had not come, which the machine takes for one thing.
    fn where_it_ended(&self, error: Error, network: &Network) -> Error {
        match error.missing() {
            Some(Missing::Connection) if self.was_reached() => error.awaiting(Missing::Answer),
            Some(Missing::Connection) if error.hint().is_none() => {
                match network.route(&self.host, self.port) {
                    Ok(route) => error.with_hint(route.remedy()),
                    Err(_) => error,
                }
            }
            _ => error,
        }
    }

    async fn connect(
        &self,
        network: &Network,
        along: Option<Message>,
    ) -> Result<Session<TlsStream>> {
        self.is_open.store(false, Ordering::Relaxed);
        let (early, later) = match along {
            Some(Message { topic, payload }) if payload.len() <= MOST_ALONG => {
                (Some(Early::new(wire::ANSWERS, topic, payload)?), None)
            }
            along => (None, along),
        };
        let (stream, connect) = match &self.tokens {
            None => {
                let connect = self.introduction(None, early.as_ref())?;
                (network.open(&self.host, self.port, &self.tls, &connect).await?, Vec::new().into())
            }
            Some(tokens) => {
                let stream = network.open(&self.host, self.port, &self.tls, &[]).await?;
                let password = tokens.issue(SystemTime::now()).await?;
                (stream, self.introduction(Some(password), early.as_ref())?)
            }
        };
        self.is_open.store(true, Ordering::Relaxed);
        let mut session = Session::connect(stream, &connect, &self.host, PATIENCE).await?;
        session.subscribe(wire::ANSWERS, QoS::AtLeastOnce, early.as_ref()).await?;
        if let Some(Message { topic, payload }) = later {
            session.publish(topic, payload, QoS::AtLeastOnce).await?;
        }
        Ok(session)
    }

    fn introduction(
        &self,
        password: Option<Zeroizing<String>>,
        early: Option<&Early>,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let connect = Connect {
            client_id: self.registration_id.to_string(),
            user_name: self.user_name.clone(),
            password,
            clean_session: true,
            keep_alive: KEEP_ALIVE,
        };
        connect.encode(early)
    }
}

/// A request as it is published.
struct Message {
    topic: String,
    payload: Vec<u8>,
}

/// Sends the request, if there is one, and waits for an answer.
async fn exchange(
    session: &mut Session<TlsStream>,
    request: Option<Message>,
    until: Instant,
) -> Event {
    let answered = async {
        if let Some(Message { topic, payload }) = request {
            session.publish(topic, payload, QoS::AtLeastOnce).await?;
        }
        loop {
            if let Packet::Publish(publish) = session.next().await? {
                match Answer::parse(&publish.topic, &publish.payload) {
                    Some(answer) => return Ok(answer),
                    None => tracing::warn!("a message on {:?} was ignored", publish.topic),
                }
            }
        }
    };
    match before(until, answered).await {
        Some(Ok(answer)) => Event::Answer(answer),
        Some(Err(error)) => Event::Failed(error),
        None => Event::TimeOver,
    }
}

async fn before<T>(until: Instant, future: impl Future<Output = T>) -> Option<T> {
    timeout_at(until, future).await.ok()
}

fn no_session() -> Error {
    Error::new(ErrorKind::Internal, "a request was to be sent without a connection")
}
