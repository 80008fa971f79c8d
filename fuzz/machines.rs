//! The machines of core under any events, and the parsers whose results they are fed.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use dps_core::{
    Error, ErrorKind, Result, ServiceDetails,
    sans_io::{
        Backoff,
        hub::{self, Output, Packet, Publish, QoS, Renewal, Waiter},
        registration::{Action, Answer, Event, Machine, Step},
    },
    transport::Host,
};

const SECOND: Duration = Duration::from_secs(1);

/// No deadline is longer, whatever is asked for.
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The shortest pause between two questions to a service that has answered.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// The largest packet that the client takes.
const LARGEST_PACKET: usize = 1024 * 1024;

/// How many decisions are read from one input.
const MOST_DECISIONS: usize = 200;

/// Decisions, read from bytes one after the other. An input that is used up decides for 0.
struct Input<'a> {
    bytes: &'a [u8],
    decisions: usize,
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, decisions: 0 }
    }

    /// What to do next; nothing once the input is used up.
    fn decision(&mut self) -> Option<u8> {
        self.decisions += 1;
        (self.decisions <= MOST_DECISIONS && !self.bytes.is_empty()).then(|| self.byte())
    }

    fn byte(&mut self) -> u8 {
        let (first, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        self.bytes = rest;
        *first
    }

    fn id(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    fn slice(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.bytes.len());
        let (slice, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        slice
    }

    fn error(&mut self) -> Error {
        let mut service = ServiceDetails::default();
        service.retry_after = self.one_of(&[None, Some(Duration::ZERO), Some(Duration::MAX)]);
        Error::new(self.one_of(ErrorKind::ALL), "it failed").with_service(service)
    }
}

/// A registration that anything happens to at any time, and the next one after it.
pub(crate) fn registration(data: &[u8]) {
    let mut input = Input::new(data);
    let deadline =
        input.one_of(&[Duration::ZERO, SECOND, 60 * SECOND, 600 * SECOND, Duration::MAX]);
    let backoff = Backoff::new(Some(input.byte().into()));
    let machine = play(Machine::new(deadline, backoff), deadline, &mut input);
    if let Some(throttling) = machine.throttling() {
        play(Machine::resume(deadline, throttling), deadline, &mut input);
    }
}

fn play(mut machine: Machine, deadline: Duration, input: &mut Input<'_>) -> Machine {
    let deadline = deadline.min(YEAR);
    let mut now = Duration::ZERO;
    let mut asked = 0;
    let mut step = machine.start();
    while let Some(decision) = input.decision() {
        match &step.action {
            Action::Finish(result) => {
                assert!(result.is_err() || asked > 0, "assigned without a question");
                return machine;
            }
            Action::Send(request) | Action::Connect { along: Some(request) } => {
                assert_eq!(request.rid, asked + 1, "each question has a number of its own");
                asked += 1;
            }
            Action::Connect { along: None } | Action::Listen | Action::Pause => {}
        }
        now = match decision / 8 % 4 {
            0 => now,
            1 => now + SHORTEST_PAUSE,
            2 => now.max(step.until),
            _ => now + Duration::from_millis(1 << (input.byte() % 45)),
        };
        let event = match decision % 8 {
            0 => Event::Connected,
            1 => {
                now = now.max(step.until);
                Event::TimeOver
            }
            2 => Event::TimeOver,
            3 => Event::Failed(input.error()),
            _ => answer_to(asked, input).map_or(Event::TimeOver, Event::Answer),
        };
        let in_time = now <= step.until;
        step = handle(&mut machine, event, now, deadline, in_time);
    }
    // Nobody says anything any more.
    for _ in 0..6 {
        if let Action::Finish(_) = step.action {
            return machine;
        }
        now = now.max(step.until);
        step = handle(&mut machine, Event::TimeOver, now, deadline, true);
    }
    panic!("it goes on in silence: {step:?}");
}

/// What holds of every step.
fn handle(
    machine: &mut Machine,
    event: Event,
    now: Duration,
    deadline: Duration,
    in_time: bool,
) -> Step {
    let asked_for = match &event {
        Event::Answer(answer) => Some(answer.retry_after.unwrap_or_default()),
        _ => None,
    };
    let step = machine.handle(event, now);
    match &step.action {
        Action::Finish(Err(error)) => assert!(!error.to_string().is_empty()),
        Action::Finish(Ok(_)) => {}
        action => {
            assert!(step.until <= deadline, "{step:?} is after the deadline {deadline:?}");
            assert!(now < deadline || asked_for.is_some(), "{step:?} at {now:?}");
            assert!(!in_time || now >= deadline || step.until >= now, "{step:?} at {now:?}");
            if let (Action::Pause, Some(asked_for)) = (action, asked_for) {
                assert!(
                    step.until >= now.saturating_add(asked_for),
                    "sooner than the service asks for"
                );
            }
        }
    }
    step
}

fn answer_to(rid: u32, input: &mut Input<'_>) -> Option<Answer> {
    let rid = match input.byte() % 8 {
        0 => (rid + 1).to_string(),
        1 => String::from_utf8_lossy(input.slice()).into_owned(),
        _ => rid.to_string(),
    };
    let status = input.one_of(&[200_u16, 202, 204, 301, 400, 401, 404, 408, 412, 429, 500, 503, 0]);
    let retry_after = input.one_of(&["", "&retry-after=0", "&retry-after=3", "&retry-after=-1"]);
    let far = input.one_of(&["", "", "", "&retry-after=18446744073709551615"]);
    let body: &[u8] = match input.byte() % 8 {
        0 => br#"{"operationId":"4.a","status":"assigning"}"#,
        1 => br#"{"operationId":"4.a","status":"assigned","registrationState":{"deviceId":"d"}}"#,
        2 => br#"{"status":"assigning"}"#,
        3 => br#"{"operationId":"4/#","status":"unassigned"}"#,
        4 => br#"{"operationId":"","status":"failed","registrationState":{"errorCode":401002}}"#,
        5 => br#"{"status":"disabled"}"#,
        6 => br#"{"errorCode":429001,"trackingId":"t","message":"m"}"#,
        _ => input.slice(),
    };
    let topic = format!("$dps/registrations/res/{status}/?$rid={rid}{far}{retry_after}");
    Answer::parse(&topic, body)
}

/// A topic, and behind the first line end a body, as the first answer of a service.
pub(crate) fn answer(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (topic, body) = data.split_at(end);
    let topic = String::from_utf8_lossy(topic);
    let Some(answer) = Answer::parse(&topic, body.get(1..).unwrap_or_default()) else { return };
    assert!(topic.contains(&answer.rid));
    let deadline = 600 * SECOND;
    let mut machine = Machine::new(deadline, Backoff::new(Some(1)));
    machine.start();
    machine.handle(Event::Connected, SECOND);
    let is_answer = answer.rid == "1";
    let step = handle(&mut machine, Event::Answer(answer), 2 * SECOND, deadline, true);
    assert!(is_answer || matches!(step.action, Action::Listen), "{step:?}");
    if let Action::Pause = step.action {
        assert!(step.until >= 2 * SECOND + SHORTEST_PAUSE, "a hot loop");
        let next = handle(&mut machine, Event::TimeOver, step.until, deadline, true);
        if let Action::Send(request) = next.action {
            let topic = request.topic();
            assert!(topic.len() < 2000 && !topic.contains(['#', '+', '\0']), "{topic}");
        }
    }
}

/// MQTT packets as the client reads them. Only what is not whole yet stays unread.
pub(crate) fn packet(data: &[u8]) {
    let mut scene = Scene::new(60 * SECOND);
    scene.connect(None);
    scene.admit();
    let mut buffer = data.into();
    loop {
        scene.write(usize::MAX);
        let before = data_length(&buffer);
        match Packet::read(&mut buffer, LARGEST_PACKET) {
            Ok(packet) => {
                assert!(data_length(&buffer) < before, "a packet of no bytes");
                if scene.hear(packet).is_err() {
                    return;
                }
            }
            Err(error) => {
                let incomplete = format!("{error:?}").starts_with("InsufficientBytes");
                assert!(!incomplete || data_length(&buffer) == before, "a part is lost");
                return;
            }
        }
    }
}

fn data_length(buffer: &impl AsRef<[u8]>) -> usize {
    buffer.as_ref().len()
}

/// A hub's client that anything happens to at any time.
pub(crate) fn hub(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(SECOND * input.one_of(&[2, 60, 1177]));
    while let Some(decision) = input.decision() {
        let heard = match decision % 10 {
            0 | 1 => {
                scene.admit();
                Ok(())
            }
            2 => {
                let due = scene.now + SECOND * input.byte().into();
                let latest = due + SECOND * (input.byte() % 16).into();
                let renewal = input.one_of(&[None, Some(Renewal { due, latest })]);
                if !scene.connected {
                    scene.connect(renewal);
                }
                Ok(())
            }
            3 => {
                scene.write(usize::from(input.byte() % 4));
                Ok(())
            }
            4 => {
                scene.write(usize::MAX);
                Ok(())
            }
            5 => {
                let written = scene.on_wire.keys().nth(usize::from(input.byte() % 4)).copied();
                let [high, low] = written.unwrap_or_else(|| input.id()).to_be_bytes();
                scene.bytes(&[0x40, 2, high, low])
            }
            6 => scene.bytes(input.slice()),
            7 => {
                let passed = SECOND * input.byte().into();
                let due = scene.machine.wake_at().map_or(scene.now, |due| due.max(scene.now));
                scene.now = input.one_of(&[scene.now + passed, due]);
                scene.tick()
            }
            8 => {
                scene.give_up(input.byte().into());
                Ok(())
            }
            _ if input.byte().is_multiple_of(4) => {
                scene.leave();
                Ok(())
            }
            _ => Err(input.error()),
        };
        if let Err(error) = heard {
            scene.lose(&error);
        }
    }
    scene.end();
}

#[derive(Default)]
struct Message {
    gave_up: bool,
    outcome: Option<bool>,
    /// The packet ID that it was first written under.
    id: Option<u16>,
}

type Messages = Rc<RefCell<Vec<Message>>>;

struct Noted(usize, Messages);

impl Waiter for Noted {
    fn gave_up(&self) -> bool {
        self.1.borrow()[self.0].gave_up
    }

    fn resolve(self, outcome: Result<()>) {
        let before = self.1.borrow_mut()[self.0].outcome.replace(outcome.is_ok());
        assert!(before.is_none(), "message {} is resolved twice", self.0);
    }
}

/// The machine beside what is known of it from the outside.
struct Scene {
    machine: hub::Machine<Noted>,
    now: Instant,
    connected: bool,
    messages: Messages,
    /// What is written on this connection and not acknowledged, by packet ID.
    on_wire: BTreeMap<u16, usize>,
}

impl Scene {
    fn new(keep_alive: Duration) -> Self {
        let host = Host::parse("hub.example.net").unwrap();
        Self {
            machine: hub::Machine::new(host, keep_alive, Backoff::new(Some(1))),
            now: Instant::now(),
            connected: false,
            messages: Messages::default(),
            on_wire: BTreeMap::new(),
        }
    }

    fn admit(&mut self) {
        let number = self.messages.borrow().len();
        self.messages.borrow_mut().push(Message::default());
        let publish = Publish::new("t", QoS::AtLeastOnce, number.to_be_bytes());
        self.machine.admit(publish, Noted(number, Rc::clone(&self.messages)));
    }

    fn connect(&mut self, renewal: Option<Renewal>) {
        self.machine.connected(self.now, renewal);
        self.connected = true;
    }

    fn write(&mut self, most: usize) {
        for _ in 0..most {
            let publish = match self.machine.next(self.now) {
                None => return,
                Some(Output::Ping) => continue,
                Some(Output::Publish(publish)) => publish,
            };
            let number = usize::from_be_bytes(publish.payload.as_ref().try_into().unwrap());
            let message = &mut self.messages.borrow_mut()[number];
            assert!(message.outcome.is_none(), "message {number} is over and written again");
            assert!(publish.pkid != 0 && publish.qos == QoS::AtLeastOnce);
            assert_eq!(publish.dup, message.id.is_some(), "DUP of message {number}");
            assert!(message.id.is_some() || !message.gave_up, "nobody waits for {number}");
            assert_eq!(*message.id.get_or_insert(publish.pkid), publish.pkid);
            assert_eq!(self.on_wire.insert(publish.pkid, number), None, "a packet ID twice");
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match Packet::read(&mut bytes.into(), LARGEST_PACKET) {
            Ok(packet) => self.hear(packet),
            Err(_) => Ok(()),
        }
    }

    fn hear(&mut self, packet: Packet) -> Result<()> {
        let acknowledged = match &packet {
            Packet::PubAck(acknowledgement) => self.on_wire.remove(&acknowledgement.pkid),
            _ => None,
        };
        let before = self.resolved();
        let heard = self.machine.received(self.now, packet);
        let outcome = acknowledged.map(|number| self.messages.borrow()[number].outcome);
        assert!(matches!(outcome, None | Some(Some(true))), "{acknowledged:?} is not resolved");
        assert_eq!(self.resolved(), before + usize::from(acknowledged.is_some()));
        heard
    }

    fn tick(&mut self) -> Result<()> {
        self.machine.tick(self.now)?;
        self.write(usize::MAX);
        let due = self.machine.wake_at();
        assert!(
            due.is_none_or(|due| due > self.now) || self.machine.is_to_renew(self.now),
            "a hot loop"
        );
        Ok(())
    }

    fn give_up(&mut self, number: usize) {
        if let Some(message) = self.messages.borrow_mut().get_mut(number) {
            message.gave_up = true;
        }
        self.machine.forget();
    }

    fn leave(&mut self) {
        let before = self.resolved();
        self.machine.left(self.now);
        assert_eq!(self.resolved(), before, "a connection that is left costs no message");
        self.disconnected();
    }

    fn lose(&mut self, error: &Error) {
        let before = self.resolved();
        let again = self.machine.lost(self.now, error);
        assert_eq!(again.is_some(), error.retryable());
        assert!(self.resolved() <= before + 1, "one loss costs more than one message");
        self.disconnected();
    }

    fn disconnected(&mut self) {
        self.connected = false;
        self.on_wire.clear();
        assert!(self.machine.next(self.now).is_none(), "written to nobody");
    }

    fn resolved(&self) -> usize {
        self.messages.borrow().iter().filter(|message| message.outcome.is_some()).count()
    }

    /// Everyone who still waits is told.
    fn end(mut self) {
        let waits = |message: &&Message| {
            message.outcome.is_none() && (message.id.is_some() || !message.gave_up)
        };
        let waiting = self.messages.borrow().iter().filter(waits).count();
        assert_eq!(self.machine.unacknowledged(), waiting);
        self.machine.fail(&Error::new(ErrorKind::Closed, "closed"));
        assert!(self.machine.is_idle());
        assert_eq!(self.messages.borrow().iter().filter(waits).count(), 0);
    }
}
