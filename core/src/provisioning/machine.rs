//! The registration dialogue as a state machine without sockets and clocks.
//!
//! ```text
//! Connecting --connected--> Asking --202--> Waiting --> Asking --200--> done
//!      ^                      |  |             ^
//!      |                      |  +--429, 5xx---+
//!      +------- Waiting <-----+ lost, silent
//! ```
//!
//! Time is a [`Duration`] since the start, handed in with every event, so that the machine runs in
//! virtual time as well.

use std::{mem, time::Duration};

use serde_json::{Map, Value};

use super::wire::{Answer, Operation, Request, service_details};
use crate::{
    backoff::{Backoff, is_load},
    error::{Error, ErrorKind, Missing, Result, ServiceDetails},
    pacing::Throttling,
};

/// How long one request waits for its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause between polls where the service names none; DPS allows 5 polls in 10 s per device
/// (Microsoft, "Quotas and limits").
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The shortest pause, so that `retry-after=0` does not become a hot loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause on an open connection: nobody pings meanwhile, and its keep-alive is 60 s.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);

/// What is left of a deadline when a throttled service is asked again, where the deadline is long:
/// a device that is accepted with no time to hear its hub has wasted its turn and the quota's.
const RESERVE: Duration = Duration::from_secs(15);

/// As good as for ever, and far from what clocks cannot count.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// The connection is open and subscribed to the answers, and what went along is sent.
    Connected,
    /// An answer has arrived.
    Answer(Answer),
    /// The connection could not be opened, or was lost.
    Failed(Error),
    /// The time of the last [`Step`] is over.
    TimeOver,
}

/// What to do next.
#[derive(Debug)]
pub enum Action {
    /// Open a connection, in place of any old one, and subscribe. A request may be sent along,
    /// without waiting to be accepted.
    Connect {
        /// What to send along.
        along: Option<Request>,
    },
    /// Send the request and wait for an answer.
    Send(Request),
    /// Wait for an answer to what was sent before.
    Listen,
    /// Do nothing until the step's time is over; keep the connection.
    Pause,
    /// The dialogue is over.
    Finish(Result<Registered>),
}

/// One action and until when it may take.
#[derive(Debug)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// When to stop, since the start.
    pub until: Duration,
}

/// A registration that ended in `assigned`.
#[derive(Debug)]
pub struct Registered {
    /// The ID of the operation that assigned the device.
    pub operation_id: String,
    /// The `registrationState` of the last answer.
    pub state: Map<String, Value>,
}

/// How far the registration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// DPS has accepted the connection. What the device asks for may have gone out with it.
    Connected,
    /// The device asks to be registered.
    Registering,
    /// The service has accepted the device and looks for a hub.
    Assigning,
    /// The service has assigned a hub.
    Assigned,
}

impl Progress {
    /// The stage in a word, such as `assigning`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Registering => "registering",
            Self::Assigning => "assigning",
            Self::Assigned => "assigned",
        }
    }
}

/// The dialogue's state.
#[derive(Debug)]
pub struct Machine {
    state: State,
    deadline: Duration,
    backoff: Backoff,
    operation_id: Option<String>,
    last_rid: u32,
    /// Whether the next connection takes a request along.
    takes_along: bool,
    /// When the service wants to be asked again, and what it said, as long as it has not accepted.
    throttled: Option<(Duration, Error)>,
    /// What to say if the deadline passes.
    last_failure: Option<Error>,
    progress: Vec<Progress>,
}

#[derive(Debug)]
enum State {
    Connecting { along: Option<u32> },
    Asking { rid: u32, since: Duration },
    WaitingToAsk,
    WaitingToConnect,
}

impl Machine {
    /// `deadline` bounds the whole dialogue; `backoff` decides the waits after failures.
    pub fn new(deadline: Duration, backoff: Backoff) -> Self {
        Self {
            state: State::WaitingToConnect,
            deadline: deadline.min(LONGEST_DEADLINE),
            backoff,
            operation_id: None,
            last_rid: 0,
            takes_along: true,
            throttled: None,
            last_failure: None,
            progress: Vec::new(),
        }
    }

    /// Waits for each answer from the first connection on.
    pub fn one_by_one(mut self) -> Self {
        self.takes_along = false;
        self
    }

    /// The next registration of a device that was throttled: it asks when it is due, or says at
    /// once that this is after the deadline.
    pub fn resume(deadline: Duration, earlier: Throttling) -> Self {
        let Throttling { backoff, until, error } = earlier;
        let mut machine = Self::new(deadline, backoff);
        // One whose wait is over already is not refused by what was said then.
        machine.last_failure = (!until.is_zero()).then(|| error.replicate());
        machine.throttled = Some((until, error));
        machine
    }

    /// The first step.
    pub fn start(&mut self) -> Step {
        match self.throttled {
            Some((until, _)) if until > Duration::ZERO => {
                self.pause(State::WaitingToConnect, until, Duration::ZERO)
            }
            _ => self.connect(),
        }
    }

    /// What the next registration must know, if the service throttled this one.
    pub fn throttling(&self) -> Option<Throttling> {
        self.throttled.as_ref().map(|(until, error)| Throttling {
            backoff: self.backoff.clone(),
            until: *until,
            error: error.replicate(),
        })
    }

    /// What became known since the last call.
    pub fn take_progress(&mut self) -> Vec<Progress> {
        mem::take(&mut self.progress)
    }

    /// What to do next, now that `event` has happened.
    pub fn handle(&mut self, event: Event, now: Duration) -> Step {
        if now >= self.deadline && !matches!(event, Event::Answer(_)) {
            if let Event::Failed(error) = event {
                self.last_failure = Some(error);
            }
            return self.out_of_time(now, None);
        }
        match (event, &self.state) {
            (Event::Connected, State::Connecting { along }) => {
                let along = *along;
                self.progress.push(Progress::Connected);
                match along {
                    None => self.ask(now),
                    Some(rid) => {
                        self.asked(rid, now);
                        self.step(Action::Listen, now + REQUEST_TIMEOUT)
                    }
                }
            }
            (Event::Answer(answer), State::Asking { rid, since }) => {
                if answer.rid != rid.to_string() {
                    tracing::warn!(
                        "an answer with $rid {:?} was ignored; {rid} is awaited",
                        answer.rid
                    );
                    let until = *since + REQUEST_TIMEOUT;
                    self.last_failure = Some(Error::new(
                        ErrorKind::ProtocolViolation,
                        format!("the service answered with $rid {:?} instead of {rid}", answer.rid),
                    ));
                    return self.step(Action::Listen, until);
                }
                self.answered(&answer, now)
            }
            (Event::Failed(error), _) if !error.retryable() => self.finish(Err(error), now),
            (Event::Failed(error), _) => self.retry_later(error, State::WaitingToConnect, now),
            (Event::TimeOver, State::Asking { .. }) => {
                let silent = Error::new(
                    ErrorKind::RequestTimeout,
                    format!("the service did not answer within {} s", REQUEST_TIMEOUT.as_secs()),
                );
                // A wrong answer explains the silence better than the silence itself.
                let error = self.last_failure.take().unwrap_or(silent);
                self.retry_later(error, State::WaitingToConnect, now)
            }
            (Event::TimeOver, State::WaitingToAsk) => self.ask(now),
            (Event::TimeOver, State::WaitingToConnect | State::Connecting { .. }) => self.connect(),
            // Late news of a connection that has been given up.
            (Event::Connected | Event::Answer(_), _) => self.connect(),
        }
    }

    fn answered(&mut self, answer: &Answer, now: Duration) -> Step {
        self.throttled = None;
        if answer.status >= 300 {
            let error = self.refusal(answer.refusal());
            if !error.retryable() {
                return self.finish(Err(error), now);
            }
            return self.retry_later(error, State::WaitingToAsk, now);
        }
        let status = match answer.operation_status() {
            Ok(status) => status,
            Err(error) => return self.finish(Err(error), now),
        };
        self.backoff.reset();
        self.last_failure = None;
        // An answer to a poll may lack the operation ID; the old one stays.
        if let Some(id) = status.operation_id.filter(|id| !id.is_empty()) {
            if !is_topic_safe(&id) {
                let error = Error::new(
                    ErrorKind::ProtocolViolation,
                    format!("the service named an operation ID that fits no topic: {id:?}"),
                );
                return self.finish(Err(error), now);
            }
            self.operation_id = Some(id);
        }
        let state = status.registration_state.unwrap_or_default();
        match status.status.as_str() {
            "assigning" | "unassigned" => {
                if self.operation_id.is_none() {
                    let error = Error::new(
                        ErrorKind::ProtocolViolation,
                        "the service accepted the registration without an operation ID",
                    );
                    return self.finish(Err(error), now);
                }
                self.progress.push(Progress::Assigning);
                let pause = answer.retry_after.unwrap_or(POLL_INTERVAL).max(SHORTEST_PAUSE);
                self.pause(State::WaitingToAsk, pause, now)
            }
            "assigned" => {
                let operation_id = self.operation_id.clone().unwrap_or_default();
                self.finish(Ok(Registered { operation_id, state }), now)
            }
            "failed" => self.finish(Err(allocation_failure(state)), now),
            // "blacklisted" is the old name, which some clients still know.
            "disabled" | "blacklisted" => {
                let error = Error::new(
                    ErrorKind::EnrollmentDisabled,
                    "the service knows the device, and its enrollment is disabled",
                );
                self.finish(Err(error), now)
            }
            unknown => {
                let error = Error::new(
                    ErrorKind::UnknownStatus,
                    format!("the service answered with the registration status {unknown:?}"),
                );
                self.finish(Err(error), now)
            }
        }
    }

    fn refusal(&self, details: ServiceDetails) -> Error {
        let kind = ErrorKind::from_status(details.status.unwrap_or_default());
        let what = match self.operation_id {
            None => "the service refused the registration",
            Some(_) => "the service refused to tell the registration's status",
        };
        Error::new(kind, what).with_service(details)
    }

    fn ask(&mut self, now: Duration) -> Step {
        let request = self.request();
        self.asked(request.rid, now);
        self.step(Action::Send(request), now + REQUEST_TIMEOUT)
    }

    fn request(&mut self) -> Request {
        self.last_rid += 1;
        let operation = match &self.operation_id {
            None => Operation::Register,
            Some(operation_id) => Operation::Poll { operation_id: operation_id.clone() },
        };
        Request { rid: self.last_rid, operation }
    }

    fn asked(&mut self, rid: u32, now: Duration) {
        if self.operation_id.is_none() {
            self.progress.push(Progress::Registering);
        }
        self.state = State::Asking { rid, since: now };
    }

    /// The first time all is said at once, which saves two round trips. Every later connection says
    /// it one by one: for a service that minds, and so that its failure tells the cause.
    fn connect(&mut self) -> Step {
        let along = mem::take(&mut self.takes_along).then(|| self.request());
        self.state = State::Connecting { along: along.as_ref().map(|request| request.rid) };
        self.step(Action::Connect { along }, self.deadline)
    }

    fn retry_later(&mut self, error: Error, state: State, now: Duration) -> Step {
        // A connection that is lost meanwhile does not shorten what the service asked for.
        let due =
            self.throttled.as_ref().map_or(Duration::ZERO, |(due, _)| due.saturating_sub(now));
        let pause = self.backoff.next(&error).max(due);
        if is_load(&error) {
            self.throttled = Some((now.saturating_add(pause), error.replicate()));
        }
        let said = error.service().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            "{}{said} [{}]; trying again in {:.1} s",
            error.message(),
            error.kind(),
            pause.as_secs_f64()
        );
        self.last_failure = Some(error);
        self.pause(state, pause, now)
    }

    fn pause(&mut self, state: State, pause: Duration, now: Duration) -> Step {
        self.state = if pause > LONGEST_SILENCE { State::WaitingToConnect } else { state };
        let reserve = match self.throttled {
            Some(_) => RESERVE.min(self.deadline / 8),
            None => Duration::ZERO,
        };
        let latest = self.deadline - reserve;
        // Sleeping until a deadline that cannot be met would only delay the bad news.
        let Some(until) = now.checked_add(pause).filter(|until| *until < latest) else {
            return self.out_of_time(now, Some(pause));
        };
        self.step(Action::Pause, until)
    }

    /// What failed last says more than that time ran out, so its kind, its hint and the service's
    /// words are kept.
    fn out_of_time(&mut self, now: Duration, wait: Option<Duration>) -> Step {
        let spent = now.as_secs_f64();
        let error = match (self.last_failure.take(), wait) {
            (Some(last), None) => last.in_context(format!("given up after {spent:.1} s")),
            (Some(last), Some(wait)) => last.in_context(format!(
                "given up after {spent:.1} s, since the next attempt is due in another {:.1} s and \
                 the deadline is {:.1} s",
                wait.as_secs_f64(),
                self.deadline.as_secs_f64()
            )),
            (None, _) => {
                let (missing, what) = match self.state {
                    State::Asking { .. } => (Missing::Answer, "an answer was awaited"),
                    _ if self.operation_id.is_some() => {
                        (Missing::Hub, "the service was still assigning a hub")
                    }
                    _ => (Missing::Connection, "the service had not accepted the connection"),
                };
                let limit = self.deadline.as_secs_f64();
                Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("the registration was not done within {limit:.1} s: {what}"),
                )
                .awaiting(missing)
            }
        };
        self.finish(Err(error), now)
    }

    fn finish(&self, result: Result<Registered>, now: Duration) -> Step {
        Step { action: Action::Finish(result), until: now }
    }

    fn step(&self, action: Action, until: Duration) -> Step {
        Step { action, until: until.min(self.deadline) }
    }
}

/// The service took the device's word and could not place it.
fn allocation_failure(state: Map<String, Value>) -> Error {
    let details = service_details(&Value::Object(state), "errorMessage");
    // Some answers carry a bad certificate here instead of as a status 401.
    let kind = match details.error_code {
        Some(401_002) => ErrorKind::Unauthorized,
        _ => ErrorKind::AllocationFailed,
    };
    Error::new(kind, "the registration ended in the status \"failed\"").with_service(details)
}

fn is_topic_safe(id: &str) -> bool {
    id.len() <= 1024 && !id.contains(['/', '?', '&', '#', '+', '$', '\0'])
}

#[cfg(test)]
mod tests;
