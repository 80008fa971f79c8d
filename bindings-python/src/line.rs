//! A device's line to its hub: connects when something is to be sent, and hangs up when told.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dps_core::{Error, ErrorKind, HubClient, Message, hub::ConnectionState, transport::Network};
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
        oneshot, watch,
    },
    task::unconstrained,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    door::Door,
    message,
    process::Process,
    uses::InUse,
    work::{self, Asker, Event, GiveUp, Outcome, Pending},
};

/// A device's line to its hub, connected or not.
pub(crate) struct Line {
    settings: Settings,
    state: Mutex<State>,
    /// Held by the one who connects.
    turn: tokio::sync::Mutex<()>,
}

pub(crate) struct Settings {
    pub(crate) door: Door,
    pub(crate) host: String,
    pub(crate) device_id: String,
    pub(crate) port: Option<u16>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) token_lifetime: Option<Duration>,
    pub(crate) network: Network,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// The connection that is being closed; it is over once nobody receives this.
    leaving: Option<mpsc::UnboundedSender<Request>>,
    /// What was asked for while there was no connection, in its order.
    waiting: VecDeque<Request>,
    /// Whether there is a task that connects for what waits.
    connecting: bool,
    shut: bool,
    /// How many closes there have been: the number of the last.
    closes: u64,
    /// The number of the last close that nothing waits before any more: who began to connect before
    /// it does so in vain.
    ended: watch::Sender<u64>,
}

/// One attempt to connect.
struct Attempt {
    /// Whether it is for what waits, and not for a call to connect.
    for_what_waits: bool,
    /// The last close before it: a later one ends it.
    since: u64,
    ended: watch::Receiver<u64>,
}

struct Link {
    hub: HubClient,
    requests: mpsc::UnboundedSender<Request>,
    runtime: Handle,
}

enum Request {
    Send { batch: Batch, asker: Pending, abort: AbortRegistration },
    Close { number: u64, until: Option<Instant>, answer: oneshot::Sender<Result<(), Error>> },
}

/// What one call sends.
pub(crate) enum Batch {
    One(Box<Message>),
    Many(Vec<Message>),
}

impl Batch {
    pub(crate) fn one(message: &Bound<'_, PyAny>) -> PyResult<Self> {
        message::to_core(message).map(Box::new).map(Self::One)
    }

    pub(crate) fn many(messages: &Bound<'_, PyAny>) -> PyResult<Self> {
        let messages = messages.try_iter()?.map(|message| message::to_core(&message?));
        messages.collect::<PyResult<_>>().map(Self::Many)
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(messages) => messages.len(),
        }
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
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, state: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    pub(crate) fn is_connected(&self) -> bool {
        let state = self.state();
        state.link.as_ref().is_some_and(|link| link.hub.state() == ConnectionState::Connected)
    }

    /// The runtime of the connection, where there is one.
    pub(crate) fn runtime(&self) -> Option<Handle> {
        self.state().open().map(|link| link.runtime.clone())
    }

    /// Tells a signer where its coroutines may run.
    pub(crate) fn bind(&self, event_loop: &Bound<'_, PyAny>) {
        self.settings.door.bind(event_loop);
    }

    /// Makes the connection if there is none. A close from now on ends this, once nothing waits
    /// before it.
    pub(crate) fn connect(
        self: Arc<Self>,
        process: &'static Process,
        deadline: Option<Duration>,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let attempt = {
            let state = self.state();
            let attempt = || state.attempt(false, state.closes);
            (!state.shut).then(attempt)
        };
        async move {
            match attempt {
                None => Err(shut_down()),
                Some(attempt) => self.link(process, deadline, attempt).await,
            }
        }
    }

    async fn link(
        &self,
        process: &'static Process,
        deadline: Option<Duration>,
        attempt: Attempt,
    ) -> Result<(), Error> {
        let mut ended = attempt.ended.clone();
        let since = attempt.since;
        select! {
            biased;
            _ = ended.wait_for(|ended| *ended > since) => Err(disconnected()),
            linked = self.link_unless_closed(process, deadline, attempt) => linked,
        }
    }

    /// The deadline covers the wait for whoever connects or disconnects already, and for a signer's
    /// proof.
    async fn link_unless_closed(
        &self,
        process: &'static Process,
        deadline: Option<Duration>,
        attempt: Attempt,
    ) -> Result<(), Error> {
        let deadline = deadline.unwrap_or(HubClient::CONNECT_WITHIN);
        let start = Instant::now();
        let left = || deadline.saturating_sub(start.elapsed());
        let _turn = timeout(deadline, self.turn.lock()).await.map_err(|_| late("connects"))?;
        loop {
            let leaving = {
                let state = self.state();
                if attempt.is_needless(&state) {
                    return Ok(());
                }
                if state.shut && state.waiting.is_empty() {
                    return Err(shut_down());
                }
                state.leaving.clone()
            };
            // Two connections of one device would evict each other.
            if let Some(leaving) = leaving.filter(|leaving| !leaving.is_closed()) {
                timeout(left(), leaving.closed()).await.map_err(|_| late("disconnects"))?;
                // Whoever waited may have gone meanwhile.
                continue;
            }
            let in_use = self.settings.door.in_use();
            let hub = self.dial(process, left()).await?;
            let (requests, queue) = mpsc::unbounded_channel();
            let mut state = self.state();
            // Under the lock, so that a close that does not end this finds the connection.
            if attempt.is_over() {
                return Err(disconnected());
            }
            // Without tokio's budget, which would begin the 129th of a burst after the later ones.
            tokio::spawn(unconstrained(serve(hub.clone(), queue, in_use)));
            state.begin(Link { hub, requests, runtime: Handle::current() });
            // A close that waited has hung up again: whoever connects after it needs another.
            if attempt.for_what_waits || state.link.is_some() || attempt.is_over() {
                return Ok(());
            }
        }
    }

    async fn dial(
        &self,
        process: &'static Process,
        deadline: Duration,
    ) -> Result<HubClient, Error> {
        let Settings { door, host, device_id, port, keep_alive, token_lifetime, network } =
            &self.settings;
        let start = Instant::now();
        let identity = door.clone().identity(process, deadline).await?;
        let mut builder = HubClient::builder(host, device_id, &identity)
            .network(network.clone())
            .deadline(deadline.saturating_sub(start.elapsed()));
        if let Some(port) = port {
            builder = builder.port(*port);
        }
        if let Some(keep_alive) = keep_alive {
            builder = builder.keep_alive(*keep_alive);
        }
        if let Some(token_lifetime) = token_lifetime {
            builder = builder.token_lifetime(*token_lifetime);
        }
        builder.connect().await
    }

    /// Queues the messages; connects before it where that is needed, as the incumbent does.
    pub(crate) fn send(
        self: &Arc<Self>,
        process: &'static Process,
        runtime: &Handle,
        batch: Batch,
        deadline: Option<Duration>,
        asker: Asker,
    ) -> GiveUp {
        let (abort, registration) = AbortHandle::new_pair();
        let give_up = GiveUp::message(abort, self);
        let mut asker = Pending::new(asker);
        if let Some(deadline) = deadline {
            let message = format!("the hub has not acknowledged it within {deadline:?}");
            let late = Error::new(ErrorKind::DeadlineExceeded, message).during("send");
            asker.end_within(runtime, deadline, give_up.clone(), late);
        }
        let request = Request::Send { batch, asker, abort: registration };
        let mut state = self.state();
        let request = match state.open() {
            Some(link) => match link.requests.send(request) {
                Ok(()) => return give_up,
                Err(SendError(request)) => request,
            },
            None => request,
        };
        if state.shut {
            drop(state);
            refuse([request], shut_down());
            return give_up;
        }
        state.waiting.push_back(request);
        // One task does it for all, so that they keep their order.
        if !mem::replace(&mut state.connecting, true) {
            drop(state);
            let line = Arc::clone(self);
            runtime.spawn(async move { line.connect_for_what_waits(process).await });
        }
        give_up
    }

    async fn connect_for_what_waits(&self, process: &'static Process) {
        loop {
            let attempt = {
                let mut state = self.state();
                if state.waiting.is_empty() {
                    state.connecting = false;
                    return;
                }
                let since = *state.ended.borrow();
                state.attempt(true, since)
            };
            let (since, ended) = (attempt.since, attempt.ended.clone());
            let Err(error) = self.link(process, None, attempt).await else { continue };
            let waiting = {
                let mut state = self.state();
                // Nothing of what waited before a close is left; who came later wants a connection
                // still.
                if *ended.borrow() > since {
                    continue;
                }
                mem::take(&mut state.waiting)
            };
            refuse(waiting, error);
        }
    }

    /// Forgets the messages that were given up while they waited for a connection.
    pub(crate) fn forget_what_was_given_up(&self) {
        self.state().forget_what_was_given_up();
    }

    /// Disconnects once all that was sent before is acknowledged, or else at the deadline. What
    /// waits for a connection still gets one; without it, an attempt to connect ends.
    pub(crate) fn close(
        self: Arc<Self>,
        deadline: Option<Duration>,
        for_good: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let until = Instant::now().checked_add(deadline.unwrap_or(HubClient::CLOSE_WITHIN));
        let (answer, mut answered) = oneshot::channel();
        {
            let mut state = self.state();
            state.shut |= for_good;
            state.closes += 1;
            let request = Request::Close { number: state.closes, until, answer };
            state.waiting.push_back(request);
            state.forget_what_was_given_up();
        }
        async move {
            let in_time = match until {
                Some(until) => timeout_at(until, &mut answered).await,
                None => Ok((&mut answered).await),
            };
            let answer = match in_time {
                Ok(answer) => answer,
                Err(_) => {
                    if let Some(left) = self.give_up() {
                        // The client is disconnected then, whatever had become of the messages.
                        let _ = left.await;
                    }
                    answered.await
                }
            };
            // Without an answer there was nothing to close.
            answer.unwrap_or(Ok(()))
        }
    }

    /// Gives up what waits for a connection before a close whose time has come, and the connection
    /// that it waits to see the end of: the answer is how that ended.
    fn give_up(&self) -> Option<oneshot::Receiver<Result<(), Error>>> {
        let now = Instant::now();
        let (answer, left) = oneshot::channel();
        let given_up: Vec<_> = {
            let mut state = self.state();
            let mut waiting = state.waiting.iter().enumerate().rev();
            let (last, number) = waiting.find_map(|(at, request)| match request {
                Request::Close { number, until: Some(until), .. } if *until <= now => {
                    Some((at, *number))
                }
                _ => None,
            })?;
            let given_up = state.waiting.drain(..=last).collect();
            state.hang_up(Request::Close { number, until: Some(now), answer }, number);
            given_up
        };
        let message = "the hub was not connected to before the client disconnected";
        refuse(given_up, Error::new(ErrorKind::NotDelivered, message).during("send"));
        Some(left)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    fn is_over(&self) -> bool {
        *self.ended.borrow() > self.since
    }

    /// Whether there is a connection already, or nobody who waits for one any more.
    fn is_needless(&self, state: &State) -> bool {
        state.open().is_some() || (self.for_what_waits && state.waiting.is_empty())
    }
}

impl State {
    fn attempt(&self, for_what_waits: bool, since: u64) -> Attempt {
        Attempt { for_what_waits, since, ended: self.ended.subscribe() }
    }

    /// The connection, unless there is none or the hub has ended it for good.
    fn open(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| {
            link.hub.state() != ConnectionState::Closed && !link.requests.is_closed()
        })
    }

    /// Hands a new connection what waits for it, up to a close.
    fn begin(&mut self, link: Link) {
        self.leaving = None;
        let requests = link.requests.clone();
        self.link = Some(link);
        while let Some(request) = self.waiting.pop_front() {
            match request {
                Request::Close { number, .. } => self.hang_up(request, number),
                Request::Send { .. } if self.link.is_none() => {
                    self.waiting.push_front(request);
                    return;
                }
                // Its receiver is there still.
                Request::Send { .. } => drop(requests.send(request)),
            }
        }
    }

    /// Closes the connection, and ends the attempts to connect that began before this close. Where
    /// no connection is left, the close is dropped, which ends it.
    fn hang_up(&mut self, close: Request, number: u64) {
        self.ended.send_modify(|ended| *ended = number.max(*ended));
        if let Some(link) = self.link.take() {
            self.leaving = Some(link.requests);
        }
        if let Some(leaving) = &self.leaving {
            drop(leaving.send(close));
        }
    }

    /// Forgets messages that nobody waits for any more. A close before which nothing waits hangs up.
    fn forget_what_was_given_up(&mut self) {
        while let Some(request) = self.waiting.pop_front() {
            match request {
                Request::Send { ref abort, .. } if abort.handle().is_aborted() => {}
                Request::Close { number, .. } => self.hang_up(request, number),
                Request::Send { .. } => {
                    self.waiting.push_front(request);
                    return;
                }
            }
        }
    }
}

/// Tells whoever asked for something that waits why it does not come about.
fn refuse(waiting: impl IntoIterator<Item = Request>, why: Error) {
    let why = Arc::new(why);
    let mut left = 0;
    for request in waiting {
        match request {
            Request::Send { batch, asker, abort } => {
                left += if abort.handle().is_aborted() { 0 } else { batch.len() };
                if let Some(asker) = asker.take() {
                    asker.tell(Event::Done(Err(Arc::clone(&why))));
                }
            }
            Request::Close { answer, .. } => {
                let undelivered = || {
                    let message =
                        format!("{left} messages were not acknowledged: {}", why.message());
                    Err(Error::new(ErrorKind::NotDelivered, message).during("close"))
                };
                // Whoever stopped waiting does not want to know.
                let _ = answer.send(if left == 0 { Ok(()) } else { undelivered() });
            }
        }
    }
}

/// Serves one connection until it is closed, or forgotten: one task for all its messages keeps their
/// order, and tells of many acknowledgements at once.
async fn serve(
    hub: HubClient,
    mut requests: mpsc::UnboundedReceiver<Request>,
    _in_use: Option<InUse>,
) {
    const MOST: usize = 512;

    let hub = &hub;
    let (mut sending, mut closing) = (FuturesUnordered::new(), FuturesUnordered::new());
    let mut taken = Vec::new();
    let mut forgotten = false;
    let mut closed = loop {
        select! {
            count = requests.recv_many(&mut taken, MOST), if !forgotten => {
                forgotten = count == 0;
                if forgotten && closing.is_empty() {
                    return;
                }
                for request in taken.drain(..) {
                    match request {
                        Request::Send { batch, asker, abort } => {
                            let work = Abortable::new(batch.deliver(hub), abort);
                            sending.push(work.map(|result| (asker, result)));
                        }
                        Request::Close { until, answer, .. } => {
                            // What was queued before is begun before.
                            if let Some(Some(done)) = sending.next().now_or_never() {
                                report(done, &mut sending);
                            }
                            let left = until.map_or(Duration::MAX, |until| {
                                until.saturating_duration_since(Instant::now())
                            });
                            closing.push(hub.close(left).map(|closed| (answer, closed)));
                        }
                    }
                }
            }
            Some(done) = sending.next() => report(done, &mut sending),
            Some(closed) = closing.next() => break vec![closed],
        }
    };
    // Of several, the one with the least patience has decided for all.
    closed.extend(closing.collect::<Vec<_>>().await);
    while let Some(done) = sending.next().await {
        report_one(done);
    }
    for (answer, closed) in closed {
        // Whoever stopped waiting does not want to know.
        let _ = answer.send(closed);
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

fn shut_down() -> Error {
    Error::new(ErrorKind::Closed, "the client was shut down")
}

fn disconnected() -> Error {
    let message = "the client was disconnected while it connected";
    Error::new(ErrorKind::Closed, message).during("connect to hub")
}

fn late(does: &str) -> Error {
    let message = format!("another call that {does} this client did not end in time");
    Error::new(ErrorKind::DeadlineExceeded, message).during("connect to hub")
}
