use proptest::prelude::*;

use super::*;

const DEADLINE: Duration = Duration::from_secs(120);
const ASSIGNED: &str = r#"{"operationId":"4.a.b","status":"assigned",
    "registrationState":{"assignedHub":"h","deviceId":"d","new":1}}"#;
const ASSIGNING: &str = r#"{"operationId":"4.a.b","status":"assigning"}"#;

/// A machine in virtual time.
struct Run {
    machine: Machine,
    now: Duration,
    step: Step,
    /// What was sent last.
    sent: Option<Request>,
}

impl Run {
    fn new() -> Self {
        let mut machine = Machine::new(DEADLINE, Backoff::new(Some(7)));
        let step = machine.start();
        Self::at(machine, step)
    }

    fn at(machine: Machine, step: Step) -> Self {
        let sent = sent_by(&step);
        Self { machine, now: Duration::ZERO, step, sent }
    }

    fn connected() -> Self {
        let mut run = Self::new();
        run.event(Event::Connected);
        run
    }

    fn event(&mut self, event: Event) {
        self.step = self.machine.handle(event, self.now);
        self.sent = sent_by(&self.step).or(self.sent.take());
    }

    fn answer(&mut self, status: u16, retry_after: Option<u64>, body: &str) {
        let rid = self.request().rid.to_string();
        let retry_after = retry_after.map(Duration::from_secs);
        self.event(Event::Answer(Answer { rid, status, retry_after, body: body.into() }));
    }

    /// Sleeps through the step and says how long that was.
    fn sleep(&mut self) -> Duration {
        let pause = self.step.until - self.now;
        self.now = self.step.until;
        self.event(Event::TimeOver);
        pause
    }

    /// The request whose answer is awaited.
    fn request(&self) -> &Request {
        assert!(matches!(self.step.action, Action::Send(_) | Action::Listen), "{:?}", self.step);
        self.sent.as_ref().unwrap()
    }

    fn operation(&self) -> &Operation {
        &self.request().operation
    }

    fn error(self) -> Error {
        match self.step.action {
            Action::Finish(Err(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

fn sent_by(step: &Step) -> Option<Request> {
    match &step.action {
        Action::Connect { along } => along.clone(),
        Action::Send(request) => Some(request.clone()),
        _ => None,
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::ConnectionLost, "lost")
}

#[test]
fn register_poll_assigned() {
    let mut run = Run::connected();
    assert_eq!(run.operation(), &Operation::Register);
    run.answer(202, Some(3), ASSIGNING);
    assert_eq!(run.sleep(), Duration::from_secs(3));
    assert_eq!(run.operation(), &Operation::Poll { operation_id: "4.a.b".into() });
    run.answer(202, None, r#"{"status":"assigning"}"#);
    assert_eq!(run.sleep(), POLL_INTERVAL);
    run.answer(200, None, ASSIGNED);
    let Action::Finish(Ok(registered)) = run.step.action else { panic!() };
    assert_eq!(registered.operation_id, "4.a.b");
    assert_eq!(registered.state["new"], 1);
    assert_eq!(
        run.machine.take_progress(),
        [Progress::Connected, Progress::Registering, Progress::Assigning, Progress::Assigning]
    );
}

#[test]
fn all_is_said_at_once_the_first_time_and_one_by_one_after_a_failure() {
    let mut run = Run::new();
    let Action::Connect { along: Some(request) } = &run.step.action else { panic!() };
    assert_eq!(request, &Request { rid: 1, operation: Operation::Register });
    assert_eq!(run.machine.take_progress(), []);
    run.event(Event::Failed(lost()));
    run.sleep();
    assert!(matches!(run.step.action, Action::Connect { along: None }), "{:?}", run.step);
    run.event(Event::Connected);
    let Action::Send(request) = &run.step.action else { panic!("{:?}", run.step) };
    assert_eq!(request, &Request { rid: 2, operation: Operation::Register });
    assert_eq!(run.machine.take_progress(), [Progress::Connected, Progress::Registering]);
}

#[test]
fn a_request_that_went_along_is_asked_again_where_nobody_answers() {
    let mut run = Run::connected();
    assert_eq!(run.sleep(), REQUEST_TIMEOUT);
    assert!(matches!(run.step.action, Action::Pause), "{:?}", run.step);
    run.sleep();
    assert!(matches!(run.step.action, Action::Connect { along: None }), "{:?}", run.step);
}

#[test]
fn a_connection_lost_while_a_throttled_device_waits_does_not_shorten_the_wait() {
    let mut run = Run::connected();
    run.answer(429, Some(40), r#"{"errorCode":429001}"#);
    assert!(matches!(run.step.action, Action::Pause), "{:?}", run.step);
    run.event(Event::Failed(lost()));
    let pause = run.sleep();
    assert!(pause.as_secs() >= 39, "{pause:?}");
}

#[test]
fn a_throttled_request_waits_as_long_as_it_is_told_and_not_much_longer() {
    let mut run = Run::connected();
    run.answer(429, Some(20), r#"{"errorCode":429001}"#);
    let pause = run.sleep();
    assert!((20..=31).contains(&pause.as_secs()), "{pause:?}");
    assert_eq!(run.operation(), &Operation::Register);
    run.answer(202, Some(1), ASSIGNING);
    run.sleep();
    run.answer(500, None, "");
    run.sleep();
    assert!(matches!(run.operation(), Operation::Poll { .. }), "{:?}", run.step);
}

#[test]
fn throttled_for_ever_ends_at_the_deadline_with_the_services_words() {
    let (run, _) = throttled_until_given_up(Some(7));
    let error = run.error();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.message().contains("given up"), "{error}");
    let service = error.service().unwrap();
    assert_eq!((service.status, service.error_code), (Some(429), Some(429_001)));
    assert_eq!(service.tracking_id.as_deref(), Some("t"));
}

#[test]
fn a_pause_that_cannot_end_in_time_is_not_slept_through() {
    let mut run = Run::connected();
    run.answer(429, Some(86_400), "");
    assert_eq!(run.now, Duration::ZERO);
    let error = run.error();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(error.message().contains("another "), "{error}");
    assert!(error.message().contains("the deadline is 120.0 s"), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(86_400)));
}

#[test]
fn absurd_times_neither_overflow_nor_end_early() {
    for seed in 0..100 {
        let mut machine = Machine::new(Duration::MAX, Backoff::new(Some(seed)));
        machine.start();
        let mut step = machine.handle(Event::Connected, Duration::ZERO);
        for (rid, retry_after) in [("1", None), ("2", Some(Duration::MAX))] {
            let rid = rid.to_owned();
            let answer = Answer { rid, status: 429, retry_after, body: Vec::new() };
            step = machine.handle(Event::Answer(answer), Duration::ZERO);
            if matches!(step.action, Action::Pause) {
                step = machine.handle(Event::TimeOver, step.until);
            }
        }
        assert!(matches!(step.action, Action::Finish(Err(_))), "{step:?}");
    }
}

/// Asks until the deadline is too near, and says when the next attempt is due.
fn throttled_until_given_up(retry_after: Option<u64>) -> (Run, Duration) {
    let mut run = Run::connected();
    while !matches!(run.step.action, Action::Finish(_)) {
        match run.step.action {
            Action::Connect { .. } => run.event(Event::Connected),
            Action::Send(_) | Action::Listen => run.answer(
                429,
                retry_after,
                r#"{"errorCode":429001,"message":"throttled","trackingId":"t"}"#,
            ),
            _ => drop(run.sleep()),
        }
    }
    let due = run.machine.throttling().unwrap().until;
    (run, due)
}

#[test]
fn a_registration_that_follows_a_throttled_one_asks_when_it_is_due_and_not_before() {
    let (run, due) = throttled_until_given_up(None);
    assert!(due >= DEADLINE, "{due:?}");
    let wait = Duration::from_secs(5);
    let earlier = Throttling { until: wait, ..run.machine.throttling().unwrap() };
    let attempts = earlier.backoff.attempts();
    let mut machine = Machine::resume(DEADLINE, earlier);
    let step = machine.start();
    let mut run = Run::at(machine, step);
    assert!(matches!(run.step.action, Action::Pause));
    assert_eq!(run.sleep(), wait);
    assert!(matches!(run.step.action, Action::Connect { .. }));
    run.event(Event::Connected);
    run.answer(429, None, "");
    // It goes on where the first one stopped.
    let after = run.machine.throttling().unwrap();
    assert_eq!(after.backoff.attempts(), attempts + 1);
    assert!(after.until - run.now > Duration::from_secs(30), "{after:?}");
}

#[test]
fn a_registration_that_is_called_again_too_early_asks_nobody_and_repeats_the_services_words() {
    let (run, due) = throttled_until_given_up(None);
    let earlier = Throttling { until: due + DEADLINE, ..run.machine.throttling().unwrap() };
    let mut machine = Machine::resume(DEADLINE, earlier);
    let step = machine.start();
    let left = machine.throttling().unwrap().until;
    assert_eq!(left, due + DEADLINE);
    let error = Run::at(machine, step).error();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.service().unwrap().error_code, Some(429_001));
    assert!(error.message().contains("given up after 0.0 s"), "{error}");
}

#[test]
fn a_throttled_service_is_not_asked_with_no_time_left_to_hear_the_hub() {
    let (run, _) = throttled_until_given_up(None);
    let first = |left: u64| {
        let until = DEADLINE - Duration::from_secs(left);
        let earlier = Throttling { until, ..run.machine.throttling().unwrap() };
        Machine::resume(DEADLINE, earlier).start().action
    };
    assert!(matches!(first(5), Action::Finish(Err(_))));
    assert!(matches!(first(20), Action::Pause));
}

#[test]
fn an_accepted_registration_leaves_nothing_to_remember() {
    let mut run = Run::connected();
    run.answer(429, Some(1), "");
    assert!(run.machine.throttling().is_some());
    run.sleep();
    run.answer(202, Some(1), ASSIGNING);
    assert!(run.machine.throttling().is_none());
}

#[test]
fn a_wrong_rid_is_ignored_and_explains_the_silence() {
    let mut run = Run::connected();
    let answer = |rid: &str| {
        Event::Answer(Answer {
            rid: rid.into(),
            status: 200,
            retry_after: None,
            body: ASSIGNED.into(),
        })
    };
    run.event(answer("77"));
    assert!(matches!(run.step.action, Action::Listen), "{:?}", run.step);
    assert_eq!(run.step.until, REQUEST_TIMEOUT);
    run.event(answer("1"));
    assert!(matches!(run.step.action, Action::Finish(Ok(_))), "{:?}", run.step);

    let mut run = Run::connected();
    while !matches!(run.step.action, Action::Finish(_)) {
        match run.step.action {
            Action::Send(_) | Action::Listen => {
                if run.step.until - run.now == REQUEST_TIMEOUT {
                    run.event(answer("77"));
                }
                run.sleep();
            }
            Action::Connect { .. } => run.event(Event::Connected),
            _ => drop(run.sleep()),
        }
    }
    let error = run.error();
    assert_eq!(error.kind(), ErrorKind::ProtocolViolation);
    assert!(error.message().contains("\"77\""), "{error}");
}

#[test]
fn a_lost_connection_resumes_the_operation() {
    let mut run = Run::connected();
    run.answer(202, Some(3), ASSIGNING);
    run.sleep();
    run.event(Event::Failed(lost()));
    assert!(matches!(run.step.action, Action::Pause));
    run.sleep();
    assert!(matches!(run.step.action, Action::Connect { .. }));
    run.event(Event::Connected);
    assert!(matches!(run.operation(), Operation::Poll { .. }));
}

#[test]
fn each_ending_has_its_kind() {
    for (status, body, kind) in [
        (401, r#"{"errorCode":401002}"#, ErrorKind::Unauthorized),
        (400, "", ErrorKind::BadRequest),
        (404, "{}", ErrorKind::NotFound),
        (302, "", ErrorKind::ServiceRefused),
        (200, "{", ErrorKind::ProtocolViolation),
        (200, "", ErrorKind::ProtocolViolation),
        (202, r#"{"status":"assigning"}"#, ErrorKind::ProtocolViolation),
        (202, r#"{"status":"assigning","operationId":"a/#"}"#, ErrorKind::ProtocolViolation),
        (200, r#"{"operationId":"","status":"disabled"}"#, ErrorKind::EnrollmentDisabled),
        (200, r#"{"operationId":"x","status":"paused"}"#, ErrorKind::UnknownStatus),
        (
            200,
            r#"{"status":"failed","registrationState":{"errorCode":400208,"errorMessage":"no hub"}}"#,
            ErrorKind::AllocationFailed,
        ),
        (
            200,
            r#"{"status":"failed","registrationState":{"errorCode":401002,"errorMessage":"no"}}"#,
            ErrorKind::Unauthorized,
        ),
    ] {
        let mut run = Run::connected();
        run.answer(status, None, body);
        assert_eq!(run.error().kind(), kind, "{status} {body}");
    }
}

#[test]
fn what_no_retry_can_mend_ends_at_once() {
    let mut run = Run::new();
    run.event(Event::Failed(Error::new(ErrorKind::ServerNotTrusted, "untrusted")));
    assert_eq!(run.error().kind(), ErrorKind::ServerNotTrusted);
}

proptest! {
    #[test]
    fn any_sequence_of_events_ends_by_the_deadline(
        seed: u64,
        events in prop::collection::vec(
            (0_u8..7, 0_u16..600, prop_oneof![0_u64..200, Just(u64::MAX)], ".{0,40}"),
            0..200,
        ),
    ) {
        let mut machine = Machine::new(DEADLINE, Backoff::new(Some(seed)));
        let mut step = machine.start();
        let mut now = Duration::ZERO;
        let mut sent = None;
        for (choice, status, seconds, text) in events {
            prop_assert!(step.until <= DEADLINE);
            if let Action::Finish(_) = step.action {
                return Ok(());
            }
            sent = sent_by(&step).or(sent);
            let rid = match (&step.action, &sent) {
                (Action::Send(_) | Action::Listen, Some(request)) => request.rid.to_string(),
                _ => seconds.to_string(),
            };
            let body = match choice {
                0 => ASSIGNING.into(),
                1 => ASSIGNED.into(),
                _ => text.into_bytes(),
            };
            let event = match choice {
                0..=2 => Event::Answer(Answer {
                    rid,
                    status,
                    retry_after: (seconds % 2 == 0).then(|| Duration::from_secs(seconds)),
                    body,
                }),
                3 => Event::Connected,
                4 => Event::Failed(lost()),
                _ => {
                    now = step.until;
                    Event::TimeOver
                }
            };
            step = machine.handle(event, now);
        }
        // Left alone, it always ends.
        for _ in 0..10_000 {
            if let Action::Finish(_) = step.action {
                return Ok(());
            }
            now = step.until;
            step = machine.handle(Event::TimeOver, now);
        }
        prop_assert!(false, "it never ended: {step:?}");
    }
}
