//! Keeps one connection to the hub: the only part of the hub client that does input and output.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use tokio::{
    select,
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
    time::{Instant, Sleep, sleep, timeout},
};
use zeroize::Zeroizing;

use super::{
    ConnectionState, Handle, HubClient, ROOM, Shared, Ticket,
    machine::{Machine, Output, Renewal},
    wire::DeviceId,
};
use crate::{
    backoff::{Backoff, is_load},
    error::{Error, ErrorKind, Result},
    pacing::{Pacing, Throttling},
    symmetric_key::Tokens,
    transport::{
        Host,
        mqtt::{Connect, Packet, Publish, Session, Stream, Wire},
    },
};

/// How long the hub may take to answer CONNECT.
const CONNACK_LIMIT: Duration = Duration::from_secs(30);

/// How long a renewal may wait for acknowledgements.
const RENEWAL_LIMIT: Duration = Duration::from_secs(5);

/// How much is encoded before it is written.
const BATCH: usize = 64 * 1024;

/// How many commands are taken at once.
const MAX_COMMANDS: usize = 256;

/// A timer that is not armed: as good as never.
const NEVER: Duration = Duration::from_secs(30 * 24 * 3600);

/// Where connections come from.
pub(super) trait Open: Send + Sync + 'static {
    /// What carries the bytes.
    type Stream: Stream + 'static;

    /// Opens one, whose first bytes are these.
    fn open(&self, first: &[u8]) -> impl Future<Output = Result<Self::Stream>> + Send;
}

/// What the handles ask for.
pub(super) enum Command {
    Send(Publish, Ticket),
    /// Until when to wait, and whom to tell.
    Close(Option<Instant>, oneshot::Sender<Result<()>>),
}

/// Everything that is needed to connect once more.
pub(super) struct Dialer<O> {
    pub(super) opener: O,
    pub(super) host: Host,
    pub(super) device_id: DeviceId,
    /// What the hub is shown in place of a certificate.
    pub(super) tokens: Option<Tokens>,
    pub(super) keep_alive: Duration,
    pub(super) throttled: Throttled,
}

/// What the device remembers of being throttled by this hub.
pub(super) struct Throttled {
    hub: String,
    pacing: Arc<Pacing>,
}

impl Throttled {
    /// For the hub by this name, in this device's memory.
    pub(super) fn new(hub: String, pacing: &Arc<Pacing>) -> Self {
        Self { hub, pacing: Arc::clone(pacing) }
    }

    fn recall(&self) -> Option<Throttling> {
        self.pacing.recall(&self.hub, Instant::now())
    }

    fn note(&self, throttling: Option<Throttling>) {
        self.pacing.note(&self.hub, Instant::now(), throttling);
    }
}

/// What gives a connection.
type Attempt<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// An accepted connection. The wire is in a box, since every future that it passes through would
/// have room for one of its own.
struct Connection<S> {
    wire: Box<Wire<S>>,
    renewal: Option<Renewal>,
}

impl<O: Open> Dialer<O> {
    async fn connect(&self) -> Result<Connection<O::Stream>> {
        let (stream, connect, renewal) = match &self.tokens {
            None => (self.opener.open(&self.introduction(None)?).await?, Vec::new().into(), None),
            Some(tokens) => {
                let stream = self.opener.open(&[]).await?;
                // By the clock that counts waits, which nobody sets.
                let renewal = renewal(now(), tokens.lifetime());
                let password = tokens.issue(SystemTime::now()).await?;
                (stream, self.introduction(Some(password))?, Some(renewal))
            }
        };
        let session = Session::connect(stream, &connect, &self.host, CONNACK_LIMIT).await;
        // With the ID of the doctor's finding, as the errors of a registration.
        let session = session.map_err(|error| match error.kind() {
            ErrorKind::Unauthorized if self.tokens.is_some() => error.with_hint(
                "DPS-S014: The hub does not know this device, has disabled it, or knows it by \
                 another key: register again. Or this machine's clock is wrong.",
            ),
            ErrorKind::Unauthorized => error.with_hint(
                "DPS-S014: The hub does not know this device, has disabled it, or knows it by \
                 another certificate: register again.",
            ),
            _ => error,
        })?;
        self.throttled.note(None);
        Ok(Connection { wire: Box::new(session.into_wire()), renewal })
    }

    /// How long to wait after an attempt that failed, or nothing if there is no point in another.
    /// Noted now, since whoever waits may stop waiting.
    fn retry(&self, machine: &mut Machine<Ticket>, error: &Error) -> Option<Duration> {
        let wait = machine.retry(error)?;
        if is_load(error) {
            let (backoff, error) = (machine.backoff().clone(), error.replicate());
            self.throttled.note(Some(Throttling { backoff, until: wait, error }));
        }
        Some(wait)
    }

    fn introduction(&self, password: Option<Zeroizing<String>>) -> Result<Zeroizing<Vec<u8>>> {
        let connect = Connect {
            client_id: self.device_id.as_str().to_owned(),
            user_name: self.device_id.user_name(&self.host),
            password,
            clean_session: false,
            keep_alive: self.keep_alive,
        };
        connect.encode(None)
    }
}

/// When a connection makes room for one with a fresh token: at four fifths of the token's life, as
/// Microsoft's C SDK does.
fn renewal(issued: std::time::Instant, lifetime: Duration) -> Renewal {
    let due = issued + lifetime.mul_f64(0.8);
    Renewal { due, latest: due + (lifetime / 10).min(RENEWAL_LIMIT) }
}

/// Connects for the first time and leaves a driver behind that keeps the connection.
pub(super) async fn start<O: Open>(
    dialer: Dialer<O>,
    deadline: Duration,
    jitter_seed: Option<u64>,
) -> Result<HubClient> {
    let (backoff, earlier) = match dialer.throttled.recall() {
        None => (Backoff::new(jitter_seed), None),
        Some(Throttling { backoff, until, error }) => {
            (backoff, (!until.is_zero()).then_some((until, error)))
        }
    };
    let mut machine = Machine::new(dialer.host.clone(), dialer.keep_alive, backoff);
    let mut last_error = None;
    let first = async {
        if let Some((wait, error)) = earlier {
            if wait > deadline {
                return Err(error.in_context(format!(
                    "not asked again, since the next attempt is due in another {:.1} s and the \
                     deadline is {:.1} s",
                    wait.as_secs_f64(),
                    deadline.as_secs_f64()
                )));
            }
            last_error = Some(error);
            sleep(wait).await;
        }
        loop {
            let error = match dialer.connect().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            let Some(delay) = dialer.retry(&mut machine, &error) else { return Err(error) };
            tracing::debug!(host = %dialer.host, %error, ?delay, "not connected yet");
            last_error = Some(error);
            sleep(delay).await;
        }
    };
    let connection = match timeout(deadline, first).await {
        Ok(connected) => connected?,
        // The last failure says more than that time is up, and is as retryable.
        Err(_) => {
            let limit = format!("not connected within {:.1} s", deadline.as_secs_f64());
            return Err(match last_error {
                Some(error) => error.in_context(limit),
                None => {
                    Error::new(ErrorKind::DeadlineExceeded, format!("{}: {limit}", dialer.host))
                }
            });
        }
    };
    let (sender, commands) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        host: dialer.host.clone(),
        state: watch::Sender::new(ConnectionState::Connected),
        room: Arc::new(Semaphore::new(ROOM)),
        stopped: OnceLock::new(),
        gave_up: Notify::new(),
    });
    let handle = Handle {
        telemetry_topic: dialer.device_id.telemetry_topic(),
        commands: sender,
        shared: Arc::clone(&shared),
    };
    let driver = Driver {
        dialer: Arc::new(dialer),
        machine,
        commands,
        taken: Vec::new(),
        shared,
        closing: None,
        timer: Box::pin(sleep(NEVER)),
    };
    tokio::spawn(driver.run(connection));
    Ok(HubClient(Arc::new(handle)))
}

struct Driver<O> {
    dialer: Arc<Dialer<O>>,
    machine: Machine<Ticket>,
    commands: mpsc::UnboundedReceiver<Command>,
    /// A buffer for commands, empty between turns.
    taken: Vec<Command>,
    shared: Arc<Shared>,
    closing: Option<Closing>,
    timer: Pin<Box<Sleep>>,
}

/// Somebody has asked for the end.
struct Closing {
    deadline: Option<Instant>,
    answers: Vec<oneshot::Sender<Result<()>>>,
}

/// What a turn of the driver has brought.
enum Turn<T> {
    /// The work is done.
    Done(T),
    /// The handles want something.
    Asked,
    /// The timer has rung.
    Rang,
}

/// Why a connection is left that is not lost.
enum Leave {
    /// For good.
    End(End),
    /// For one with a fresh token.
    Renew,
}

/// Why the driver ends.
enum End {
    /// Nothing is left to be acknowledged.
    Drained,
    /// Time is up.
    Expired,
    /// No handle is left.
    Abandoned,
    /// The hub will not have this device.
    Refused(Error),
}

impl<O: Open> Driver<O> {
    async fn run(mut self, mut connection: Connection<O::Stream>) {
        let (end, wire) = loop {
            self.shared.state.send_replace(ConnectionState::Connected);
            tracing::debug!(host = %self.shared.host, "connected");
            let next = match self.converse(&mut connection).await {
                Ok(Leave::End(end)) => break (end, Some(connection.wire)),
                Ok(Leave::Renew) => self.renew(connection.wire).await,
                Err(error) => {
                    drop(connection);
                    let delay = self.machine.lost(now(), &error);
                    self.come_back(error, delay).await
                }
            };
            connection = match next {
                Ok(next) => next,
                Err(end) => break (end, None),
            };
        };
        // In a box, since no driver needs its room before its end.
        Box::pin(self.finish(end, wire)).await;
    }

    /// Uses one connection until it is lost, which is the error, or no longer needed.
    async fn converse(&mut self, connection: &mut Connection<O::Stream>) -> Result<Leave> {
        let Connection { wire, renewal } = connection;
        self.machine.connected(now(), *renewal);
        loop {
            self.fill(wire)?;
            if let Some(end) = self.end() {
                return Ok(Leave::End(end));
            }
            if self.machine.is_to_renew(now()) {
                return Ok(Leave::Renew);
            }
            let due = self.machine.wake_at().map(Instant::from_std);
            match self.turn(wire.progress(), due).await {
                Turn::Done(moved) => {
                    let heard = now();
                    // A peer's last words come before the error that follows them.
                    while let Some(packet) = wire.take()? {
                        self.machine.received(heard, packet)?;
                    }
                    moved?;
                }
                Turn::Asked => {}
                Turn::Rang => self.machine.tick(now())?,
            }
        }
    }

    /// Encodes what is to be written, up to a batch.
    fn fill(&mut self, wire: &mut Wire<O::Stream>) -> Result<()> {
        let now = now();
        while wire.backlog() < BATCH {
            match self.machine.next(now) {
                Some(Output::Publish(publish)) => wire.put_publish(publish)?,
                Some(Output::Ping) => {
                    // Nothing has happened for a while.
                    wire.shrink();
                    wire.put(&Packet::PingReq)?;
                }
                None => break,
            }
        }
        Ok(())
    }

    /// Leaves a connection for one with a fresh token. A state is told only if that fails.
    async fn renew(&mut self, old: Box<Wire<O::Stream>>) -> Result<Connection<O::Stream>, End> {
        tracing::debug!(host = %self.shared.host, "connecting anew with a fresh token");
        self.machine.left(now());
        let dialer = Arc::clone(&self.dialer);
        let renewed = self.attempt(Box::pin(async move {
            old.disconnect().await;
            dialer.connect().await
        }));
        match renewed.await? {
            Ok(connection) => Ok(connection),
            Err(error) => {
                let delay = self.dialer.retry(&mut self.machine, &error);
                self.come_back(error, delay).await
            }
        }
    }

    /// Connects again, for as long as there is a point in it.
    async fn come_back(
        &mut self,
        mut error: Error,
        mut delay: Option<Duration>,
    ) -> Result<Connection<O::Stream>, End> {
        loop {
            let Some(wait) = delay else { return Err(End::Refused(error)) };
            tracing::warn!(host = %self.shared.host, %error, ?wait, "reconnecting");
            self.shared.state.send_replace(ConnectionState::Reconnecting {
                attempt: self.machine.attempts(),
                last_error: error.to_string(),
            });
            let dialer = Arc::clone(&self.dialer);
            let attempt = self.attempt(Box::pin(async move {
                sleep(wait).await;
                dialer.connect().await
            }));
            error = match attempt.await? {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            delay = self.dialer.retry(&mut self.machine, &error);
        }
    }

    /// Waits for an attempt to connect, and serves the handles meanwhile. The attempt is in a box
    /// from its beginning: a handshake takes more memory than a connection does later.
    async fn attempt(
        &mut self,
        mut attempt: Attempt<Connection<O::Stream>>,
    ) -> Result<Result<Connection<O::Stream>>, End> {
        loop {
            if let Some(end) = self.end() {
                return Err(end);
            }
            match self.turn(attempt.as_mut(), None).await {
                Turn::Done(outcome) => return Ok(outcome),
                Turn::Asked | Turn::Rang => {}
            }
        }
    }

    /// Works until the work is done, the handles want something, or it is time to look again.
    async fn turn<F: Future>(&mut self, work: F, due: Option<Instant>) -> Turn<F::Output> {
        let closing = self.closing.as_ref().and_then(|closing| closing.deadline);
        let due = due.into_iter().chain(closing).min();
        // Due times mostly move away: a timer that rings early is armed again then.
        if due.is_some_and(|due| due < self.timer.deadline()) || self.timer.is_elapsed() {
            let due = due.unwrap_or_else(|| Instant::now() + NEVER);
            self.timer.as_mut().reset(due);
        }
        select! {
            done = work => Turn::Done(done),
            _ = self.commands.recv_many(&mut self.taken, MAX_COMMANDS) => {
                let mut taken = mem::take(&mut self.taken);
                taken.drain(..).for_each(|command| self.obey(command));
                self.taken = taken;
                Turn::Asked
            }
            () = self.shared.gave_up.notified() => {
                self.machine.forget();
                Turn::Asked
            }
            () = &mut self.timer => Turn::Rang,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Send(publish, ticket) => self.machine.admit(publish, ticket),
            Command::Close(deadline, answer) => {
                let closing = self.closing.get_or_insert(Closing { deadline, answers: Vec::new() });
                // Whoever has the least patience decides.
                closing.deadline = closing.deadline.into_iter().chain(deadline).min();
                closing.answers.push(answer);
            }
        }
    }

    /// Whether it is time to end.
    fn end(&self) -> Option<End> {
        if self.commands.is_closed() {
            return Some(End::Abandoned);
        }
        let closing = self.closing.as_ref()?;
        if self.machine.is_idle() {
            return Some(End::Drained);
        }
        closing.deadline.is_some_and(|deadline| Instant::now() >= deadline).then_some(End::Expired)
    }

    /// Says goodbye to the hub and tells everyone who still waits why there is no more.
    async fn finish(mut self, end: End, wire: Option<Box<Wire<O::Stream>>>) {
        if let End::Refused(error) = &end {
            tracing::warn!(host = %self.shared.host, %error, "the hub client has stopped");
            // Nobody else sets it.
            let _ = self.shared.stopped.set(error.replicate());
        }
        self.shared.room.close();
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            self.obey(command);
        }
        if let Some(wire) = wire {
            match end {
                // Time is up: what cannot be said at once is not said.
                End::Expired => drop(timeout(Duration::ZERO, wire.disconnect()).await),
                _ => wire.disconnect().await,
            }
        }
        let left = self.machine.unacknowledged();
        let host = &self.shared.host;
        let undelivered = || {
            let message = format!("{left} messages were not acknowledged by {host}");
            Error::new(ErrorKind::NotDelivered, message)
        };
        self.machine.fail(&match end {
            End::Expired => undelivered().during("send"),
            _ => self.shared.closed().during("send"),
        });
        self.shared.state.send_replace(ConnectionState::Closed);
        for answer in self.closing.into_iter().flat_map(|closing| closing.answers) {
            let outcome = match &end {
                _ if left == 0 => Ok(()),
                End::Refused(error) => Err(undelivered().with_source(error.replicate())),
                _ => Err(undelivered()),
            };
            // Whoever stopped waiting does not want to know.
            let _ = answer.send(outcome);
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
