//! Deliberate faults: what the emulator does wrong, at which step of which device.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::{Refusal, Reply, Service};

/// Rules, as the library, a file and the control path give them.
///
/// A rule is small JSON, so that tests in every language share one form. Only `step` and `action`
/// are required; without `device` it holds for every device, and `nth` and `times` are 1:
///
/// ```
/// # fn main() -> Result<(), dps_emulator::FaultError> {
/// let faults = dps_emulator::Faults::from_json(r#"[
///     {"device": "device-01", "step": "register", "nth": 2, "times": 1,
///      "action": {"status": {"code": 429, "retryAfter": 2, "errorCode": 429001, "message": "…"}}},
///     {"step": "tls",         "action": {"delay": {"ms": 500}}},
///     {"step": "telemetry",   "action": {"cut": "after"}},
///     {"step": "register",    "action": {"body": "{"}},
///     {"step": "poll",        "action": {"oversize": 300000}},
///     {"step": "poll",        "action": {"wrongRid": true}},
///     {"step": "poll",        "action": {"stray": true}},
///     {"step": "register",    "action": {"duplicate": true}},
///     {"step": "register",    "action": {"retryAfter": "soon"}},
///     {"step": "poll",        "action": {"registrationStatus": "pondering"}},
///     {"step": "connect",     "action": {"clockSkew": -3600}},
///     {"step": "subscribe",   "action": {"drop": true}},
///     {"step": "hub-connect", "times": 0, "action": {"refuse": 3}}
/// ]"#)?;
/// # let _ = dps_emulator::Emulator::builder().faults(faults);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Reads one rule, or an array of rules.
    pub fn from_json(text: &str) -> Result<Self, FaultError> {
        let value = serde_json::from_str(text).map_err(|error| FaultError(error.to_string()))?;
        let rules = match value {
            Value::Array(rules) => rules,
            rule => vec![rule],
        };
        let read = |(index, rule)| {
            serde_json::from_value(rule)
                .map_err(|error| FaultError(format!("rule {}: {error}", index + 1)))
        };
        rules.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Vec<Fault>> for Faults {
    fn from(rules: Vec<Fault>) -> Self {
        Self(rules)
    }
}

impl From<Fault> for Faults {
    fn from(rule: Fault) -> Self {
        Self(vec![rule])
    }
}

/// A rule that cannot be followed; the text says which and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FaultError(String);

/// One rule: at this step of this device, do this.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Rule")]
pub struct Fault {
    device: Option<String>,
    step: Step,
    nth: u32,
    times: u32,
    action: Action,
}

impl Fault {
    /// A rule for every device that fires once, at the first occurrence of the step.
    pub fn new(step: Step, action: Action) -> Result<Self, FaultError> {
        action.check(step)?;
        Ok(Self { device: None, step, nth: 1, times: 1, action })
    }

    /// Limits the rule to one device, named by its registration ID or device ID.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Fires first at the `nth` occurrence of the step, counted from 1 for each device alone.
    pub fn nth(mut self, nth: u32) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// Fires so many times in a row; 0 is for ever.
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The TLS handshake. A rule without a device strikes before it; a rule with one strikes
    /// after it, since only then is the name in the client's certificate known.
    Tls,
    /// The MQTT CONNECT of the provisioning service.
    Connect,
    /// The SUBSCRIBE of the provisioning dialogue.
    Subscribe,
    /// A registration request, over MQTT or HTTPS.
    Register,
    /// An operation status request, over MQTT or HTTPS.
    Poll,
    /// The MQTT CONNECT of a hub.
    HubConnect,
    /// A telemetry message.
    Telemetry,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// The service answers with this status instead of doing what it was asked.
    #[serde(rename_all = "camelCase")]
    Status {
        /// HTTP-like status, 200 to 599.
        code: u16,
        /// Seconds.
        retry_after: Option<u32>,
        /// `errorCode` of the body; the status times 1000 where absent.
        error_code: Option<u32>,
        /// `message` of the body.
        message: Option<String>,
    },
    /// Waits before the step is handled.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Cuts the connection without a TLS farewell. Nothing of the answer is sent, no
    /// acknowledgement either.
    Cut(Cut),
    /// Puts this text in place of the answer's body.
    Body(String),
    /// Grows the answer's body by so many bytes.
    Oversize(usize),
    /// Answers with another request's `$rid` (MQTT).
    WrongRid(bool),
    /// Sends, before the answer, the answer to a request that nobody has made: its `$rid` is
    /// another, and it says that the registration has failed (MQTT).
    Stray(bool),
    /// Sends the answer twice; of a telemetry message, the acknowledgement (MQTT).
    Duplicate(bool),
    /// Puts this text in place of the answer's `retry-after`.
    RetryAfter(String),
    /// Refuses the CONNECT with this CONNACK return code, 1 to 5.
    Refuse(u8),
    /// Puts this text in place of the answer's registration status.
    RegistrationStatus(String),
    /// Swallows the request: nothing is done and nothing is answered.
    Drop(bool),
    /// Sets the service's clock so many seconds ahead, or behind; it stays so.
    ClockSkew(i64),
}

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Before the step is handled.
    Before,
    /// After it was handled, before its answer.
    After,
}

/// The rules of a running emulator.
#[derive(Debug, Clone, Default)]
pub struct FaultControl(Arc<Armoury>);

impl FaultControl {
    /// Adds rules behind those already there.
    pub fn add(&self, faults: impl Into<Faults>) {
        let mut rules = self.rules();
        let armed = faults.into().0.into_iter().map(|fault| Armed { fault, seen: HashMap::new() });
        rules.extend(armed);
        self.0.any.store(!rules.is_empty(), Ordering::Release);
    }

    /// Removes every rule. A skewed clock stays as it is.
    pub fn clear(&self) {
        self.rules().clear();
        self.0.any.store(false, Ordering::Release);
    }

    /// Counts one occurrence of `step` and returns what the rules make of it.
    pub(crate) fn at(&self, step: Step, device: Option<&str>) -> Firing {
        let mut firing = Firing::default();
        if !self.0.any.load(Ordering::Acquire) {
            return firing;
        }
        for rule in self.rules().iter_mut().filter(|rule| rule.concerns(step, device)) {
            if rule.fires(device) {
                tracing::info!(?step, device, action = ?rule.fault.action, "fault");
                firing.take(&rule.fault.action);
            }
        }
        firing
    }

    fn rules(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the rules make of one occurrence of a step.
#[derive(Debug, Default)]
pub(crate) struct Firing {
    fired: bool,
    delay: Duration,
    clock_skew: Option<i64>,
    pub(crate) cut: Option<Cut>,
    pub(crate) refuse: Option<u8>,
    pub(crate) silent: bool,
    status: Option<(Refusal, Option<u32>)>,
    body: Option<String>,
    oversize: usize,
    wrong_rid: bool,
    stray: bool,
    pub(crate) duplicate: bool,
    retry_after: Option<String>,
    registration_status: Option<String>,
}

impl Firing {
    /// Nothing at all is to be sent for this occurrence.
    pub(crate) fn mutes(&self) -> bool {
        self.silent || self.cut.is_some()
    }

    /// No rule concerns this occurrence.
    pub(crate) fn is_nothing(&self) -> bool {
        !self.fired
    }

    /// Whatever happens before the step is handled.
    pub(crate) async fn begin(&self, service: &Service) {
        if let Some(seconds) = self.clock_skew {
            service.set_clock_skew(seconds);
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
    }

    /// Handles a request of the provisioning dialogue under these faults.
    pub(crate) async fn answer(
        self,
        service: &Service,
        handle: impl Future<Output = Reply>,
    ) -> Answer {
        self.begin(service).await;
        if self.cut == Some(Cut::Before) {
            return Answer::Cut;
        }
        if self.silent {
            return Answer::Silence;
        }
        let mut reply = match self.status {
            Some((refusal, retry_after)) => Reply { retry_after, ..refusal.reply(service.now()) },
            None => handle.await,
        };
        if self.cut == Some(Cut::After) {
            return Answer::Cut;
        }
        if let Some(status) = self.registration_status {
            if let Some(state) = reply.body.get_mut("registrationState") {
                state["status"] = json!(status);
            }
            reply.body["status"] = json!(status);
        }
        if self.oversize > 0 {
            reply.body["padding"] = json!("x".repeat(self.oversize));
        }
        let body = self.body.unwrap_or_else(|| reply.body.to_string());
        Answer::Reply {
            status: reply.status,
            retry_after: self
                .retry_after
                .or_else(|| reply.retry_after.map(|seconds| seconds.to_string())),
            body: body.into(),
            wrong_rid: self.wrong_rid,
            stray: self.stray,
            copies: if self.duplicate { 2 } else { 1 },
        }
    }

    fn take(&mut self, action: &Action) {
        self.fired = true;
        match action {
            Action::Status { code, retry_after, error_code, message } => {
                let message =
                    message.as_deref().unwrap_or("A fault the emulator was told to make.");
                let mut refusal = Refusal::new(*code, 0, message);
                refusal.code = error_code.unwrap_or(refusal.code);
                self.status = Some((refusal, *retry_after));
            }
            Action::Delay { ms } => self.delay += Duration::from_millis(*ms),
            Action::Cut(cut) => self.cut = Some(*cut),
            Action::Body(text) => self.body = Some(text.clone()),
            Action::Oversize(bytes) => self.oversize = *bytes,
            Action::WrongRid(on) => self.wrong_rid = *on,
            Action::Stray(on) => self.stray = *on,
            Action::Duplicate(on) => self.duplicate = *on,
            Action::RetryAfter(text) => self.retry_after = Some(text.clone()),
            Action::Refuse(code) => self.refuse = Some(*code),
            Action::RegistrationStatus(text) => self.registration_status = Some(text.clone()),
            Action::Drop(on) => self.silent = *on,
            Action::ClockSkew(seconds) => self.clock_skew = Some(*seconds),
        }
    }
}

/// The answer to a request of the provisioning dialogue, after its faults.
pub(crate) enum Answer {
    Reply {
        status: u16,
        /// Seconds, unless a fault says otherwise.
        retry_after: Option<String>,
        body: Bytes,
        wrong_rid: bool,
        /// Another answer is to come before this one.
        stray: bool,
        copies: usize,
    },
    Cut,
    Silence,
}

#[derive(Debug, Default)]
struct Armoury {
    rules: Mutex<Vec<Armed>>,
    /// Keeps a lock off the path of telemetry while there is no rule.
    any: AtomicBool,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    seen: HashMap<String, u32>,
}

impl Armed {
    fn concerns(&self, step: Step, device: Option<&str>) -> bool {
        if self.fault.step != step {
            return false;
        }
        match (&self.fault.device, device) {
            // Registration IDs are case-insensitive (Microsoft, concepts-service).
            (Some(wanted), Some(device)) => wanted.eq_ignore_ascii_case(device),
            (Some(_), None) => false,
            (None, Some(_)) => step != Step::Tls,
            (None, None) => true,
        }
    }

    fn fires(&mut self, device: Option<&str>) -> bool {
        let seen = self.seen.entry(device.unwrap_or_default().to_ascii_lowercase()).or_insert(0);
        *seen = seen.saturating_add(1);
        let Fault { nth, times, .. } = self.fault;
        *seen >= nth && (times == 0 || *seen - nth < times)
    }
}

/// A rule as it is written, before its parts are found to fit together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    device: Option<String>,
    step: Step,
    #[serde(default = "one")]
    nth: u32,
    #[serde(default = "one")]
    times: u32,
    action: Action,
}

fn one() -> u32 {
    1
}

impl TryFrom<Rule> for Fault {
    type Error = FaultError;

    fn try_from(rule: Rule) -> Result<Self, FaultError> {
        if rule.nth == 0 {
            return Err(FaultError("nth counts from 1".to_owned()));
        }
        let fault = Self::new(rule.step, rule.action)?.nth(rule.nth).times(rule.times);
        Ok(Self { device: rule.device, ..fault })
    }
}

impl Action {
    fn check(&self, step: Step) -> Result<(), FaultError> {
        let fits = match self {
            Self::Delay { .. } | Self::Cut(_) | Self::Drop(_) | Self::ClockSkew(_) => true,
            Self::Refuse(_) => matches!(step, Step::Connect | Step::HubConnect),
            Self::Status { .. }
            | Self::Body(_)
            | Self::Oversize(_)
            | Self::WrongRid(_)
            | Self::Stray(_)
            | Self::RetryAfter(_)
            | Self::RegistrationStatus(_) => matches!(step, Step::Register | Step::Poll),
            Self::Duplicate(_) => matches!(step, Step::Register | Step::Poll | Step::Telemetry),
        };
        if !fits {
            return Err(FaultError(format!("{self:?} has no meaning at the step {step:?}")));
        }
        match self {
            Self::Status { code, .. } if !(200..=599).contains(code) => {
                Err(FaultError(format!("a status is 200 to 599, not {code}")))
            }
            Self::Refuse(code) if !(1..=5).contains(code) => {
                Err(FaultError(format!("a CONNACK refuses with 1 to 5, not {code}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurrences_are_counted_for_each_device_alone() {
        let control = FaultControl::default();
        control.add(Fault::new(Step::Poll, Action::Drop(true)).unwrap().nth(2).times(2));
        let fired = |device| control.at(Step::Poll, Some(device)).silent;
        assert_eq!([fired("a"), fired("a"), fired("b")], [false, true, false]);
        assert_eq!([fired("A"), fired("a"), fired("b")], [true, false, true]);
        assert!(!control.at(Step::Register, Some("b")).silent);
        control.clear();
        assert!(!fired("b"));
    }

    #[test]
    fn rules_are_read_from_json() {
        let text = r#"[
            {"device": "device-01", "step": "register", "times": 0,
             "action": {"status": {"code": 429, "retryAfter": 2, "errorCode": 429001, "message": "m"}}},
            {"step": "hub-connect", "action": {"refuse": 3}},
            {"step": "telemetry", "nth": 5, "action": {"cut": "after"}}
        ]"#;
        let control = FaultControl::default();
        control.add(Faults::from_json(text).unwrap());
        assert!(control.at(Step::Register, Some("device-02")).status.is_none());
        let status = control.at(Step::Register, Some("device-01")).status.unwrap();
        let refusal = Refusal::new(429, 1, "m");
        assert_eq!(status, (refusal, Some(2)));
        assert_eq!(control.at(Step::HubConnect, Some("x")).refuse, Some(3));
        let cuts: Vec<_> = (0..5).map(|_| control.at(Step::Telemetry, Some("x")).cut).collect();
        assert_eq!(cuts, [None, None, None, None, Some(Cut::After)]);
    }

    #[test]
    fn a_rule_that_cannot_be_followed_is_refused_by_its_place() {
        for (text, words) in [
            (
                r#"[{"step":"poll","action":{"drop":true}},{"step":"nap","action":{"drop":true}}]"#,
                "rule 2",
            ),
            (r#"{"step":"telemetry","action":{"wrongRid":true}}"#, "no meaning"),
            (r#"{"step":"subscribe","action":{"duplicate":true}}"#, "no meaning"),
            (r#"{"step":"connect","action":{"refuse":9}}"#, "1 to 5"),
            (r#"{"step":"poll","nth":0,"action":{"drop":true}}"#, "from 1"),
            (r#"{"step":"poll","acton":{"drop":true}}"#, "acton"),
            ("{", "EOF"),
        ] {
            let error = Faults::from_json(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
