//! What a client does when it is connected, hears something, hears nothing, or is cut off.
//! No clock, no input, no output: whoever drives it says what time it is.

use std::time::{Duration, Instant};

use super::window::{MAX_STRIKES, Window};
use crate::{
    backoff::Backoff,
    error::{Error, ErrorKind, Result},
    transport::{
        Host,
        mqtt::{Packet, Publish, name_of},
    },
};

/// How long a connection must live to have proved its worth without an acknowledgement.
const PROVED: Duration = Duration::from_secs(60);

/// How long the oldest message may stay unacknowledged before the connection is given up and all
/// is sent again on the next one; the time after which Microsoft's C SDK sends again.
const ACKNOWLEDGEMENT_LIMIT: Duration = Duration::from_secs(60);

/// Whoever waits for a message to be acknowledged.
pub trait Waiter {
    /// Whether nobody waits any more.
    fn gave_up(&self) -> bool;
    /// Ends the wait.
    fn resolve(self, outcome: Result<()>);
}

/// The state of one client of one hub.
pub struct Machine<W> {
    host: Host,
    keep_alive: Duration,
    window: Window<W>,
    backoff: Backoff,
    connection: Option<Connection>,
}

struct Connection {
    since: Instant,
    /// When something was last written; what is written is answered or missed.
    sent: Instant,
    /// Whether a PINGREQ is to be written.
    ping: bool,
    /// When a PINGREQ was asked for, until anything is heard.
    pinged: Option<Instant>,
    /// The packet ID at the head of the window, and since when it has been there.
    head: Option<(u16, Instant)>,
    renewal: Option<Renewal>,
    /// Whether it is about to make room for its successor: nothing more is written.
    renewing: bool,
}

/// When a connection makes room for one with a fresh token.
#[derive(Clone, Copy)]
pub struct Renewal {
    /// From here on nothing more is written, so that all that was may still be acknowledged.
    pub due: Instant,
    /// Whatever is not acknowledged by then is left to the next connection.
    pub latest: Instant,
}

/// What is to be written.
pub enum Output<'a> {
    /// A message.
    Publish(&'a Publish),
    /// A PINGREQ.
    Ping,
}

impl<W: Waiter> Machine<W> {
    /// A client of `host` that has never been connected. Time is in [`Instant`]s of the caller.
    pub fn new(host: Host, keep_alive: Duration, backoff: Backoff) -> Self {
        Self { host, keep_alive, window: Window::new(), backoff, connection: None }
    }

    /// Takes a message in.
    pub fn admit(&mut self, publish: Publish, waiter: W) {
        self.window.push(publish, waiter);
    }

    /// The hub has accepted the connection.
    pub fn connected(&mut self, now: Instant, renewal: Option<Renewal>) {
        self.connection = Some(Connection {
            since: now,
            sent: now,
            ping: false,
            pinged: None,
            head: None,
            renewal,
            renewing: false,
        });
    }

    /// What is to be written next, if anything.
    pub fn next(&mut self, now: Instant) -> Option<Output<'_>> {
        let connection = self.connection.as_mut()?;
        if connection.ping {
            connection.ping = false;
            connection.sent = now;
            return Some(Output::Ping);
        }
        if connection.renewing {
            return None;
        }
        let publish = self.window.next(W::gave_up)?;
        connection.sent = now;
        if connection.head.is_none() {
            connection.head = Some((publish.pkid, now));
        }
        Some(Output::Publish(publish))
    }

    /// A packet has arrived. An error means that the connection is of no more use.
    pub fn received(&mut self, now: Instant, packet: Packet) -> Result<()> {
        if let Some(connection) = &mut self.connection {
            connection.pinged = None;
        }
        match packet {
            Packet::PubAck(acknowledgement) => {
                if let Some(waiter) = self.window.acknowledge(acknowledgement.pkid) {
                    self.backoff.reset();
                    self.head_may_have_moved(now);
                    waiter.resolve(Ok(()));
                } else {
                    let unknown = self.window.unknown();
                    tracing::debug!(host = %self.host, unknown, "a PUBACK fits no message");
                }
            }
            Packet::SubAck(answer) => {
                if self.window.subscribed(answer.pkid) {
                    self.head_may_have_moved(now);
                }
            }
            Packet::PingResp => {}
            // The session outlives the client, so the hub may deliver what an earlier client of
            // this device subscribed to. Left unacknowledged, it stays with the hub.
            Packet::Publish(publish) => {
                tracing::debug!(host = %self.host, topic = publish.topic, "nobody listens");
            }
            other => {
                return Err(Error::new(
                    ErrorKind::ProtocolViolation,
                    format!("{} sent {}", self.host, name_of(&other)),
                ));
            }
        }
        Ok(())
    }

    /// When [`Self::tick`] is due.
    pub fn wake_at(&self) -> Option<Instant> {
        let connection = self.connection.as_ref()?;
        let moving = connection.head.map(|(_, since)| since + ACKNOWLEDGEMENT_LIMIT);
        let next = match connection.renewal {
            Some(renewal) if connection.renewing => renewal.latest,
            renewal => {
                let alive = match connection.pinged {
                    Some(pinged) => pinged + self.ping_limit(),
                    None => connection.sent + self.keep_alive,
                };
                renewal.map_or(alive, |renewal| renewal.due.min(alive))
            }
        };
        Some(moving.map_or(next, |moving| moving.min(next)))
    }

    /// Time has passed. An error means that the connection is of no more use.
    pub fn tick(&mut self, now: Instant) -> Result<()> {
        let ping_limit = self.ping_limit();
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if connection.renewal.is_some_and(|renewal| now >= renewal.due) {
            connection.renewing = true;
        }
        let lost = |what: &str, limit: Duration| {
            let message = format!("{} {what} for {} s", self.host, limit.as_secs_f64());
            Err(Error::new(ErrorKind::ConnectionLost, message))
        };
        match connection.pinged {
            // Whether it still lives is soon of no interest.
            _ if connection.renewing => {}
            Some(pinged) if now >= pinged + ping_limit => {
                return lost("has not answered a ping", ping_limit);
            }
            None if now >= connection.sent + self.keep_alive => {
                connection.ping = true;
                connection.pinged = Some(now);
                self.window.shrink();
            }
            _ => {}
        }
        match connection.head {
            Some((_, since)) if now >= since + ACKNOWLEDGEMENT_LIMIT => {
                lost("has not acknowledged the oldest message", ACKNOWLEDGEMENT_LIMIT)
            }
            _ => Ok(()),
        }
    }

    /// Whether it is time to leave this connection for one with a fresh token.
    pub fn is_to_renew(&self, now: Instant) -> bool {
        self.connection.as_ref().is_some_and(|connection| {
            let latest = connection.renewal.map(|renewal| renewal.latest);
            connection.renewing
                && (self.window.awaited().is_none() || latest.is_some_and(|latest| now >= latest))
        })
    }

    /// The connection is left on purpose, which is nobody's fault.
    pub fn left(&mut self, now: Instant) {
        self.disconnected(now);
        self.window.rewind();
    }

    /// The connection is lost. Says how long to wait before the next attempt, or nothing if
    /// there is no point in one.
    pub fn lost(&mut self, now: Instant, error: &Error) -> Option<Duration> {
        self.disconnected(now);
        if let Some(waiter) = self.window.lost() {
            waiter.resolve(Err(Error::new(
                ErrorKind::MessageRejected,
                format!(
                    "{} dropped {MAX_STRIKES} connections in a row after this message was sent",
                    self.host
                ),
            )
            .during("send")
            .with_hint("Check the size, the properties and the content type of the message.")));
        }
        self.retry(error)
    }

    /// How long to wait before the next attempt, or nothing if there is no point in one.
    pub fn retry(&mut self, error: &Error) -> Option<Duration> {
        error.retryable().then(|| self.backoff.next(error))
    }

    /// How long the waits have become.
    pub(crate) fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// How many attempts there have been since a connection proved its worth.
    pub fn attempts(&self) -> u32 {
        self.backoff.attempts()
    }

    /// Some of those who waited have given up.
    pub fn forget(&mut self) {
        self.window.forget(W::gave_up);
    }

    /// How many messages are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.window.unacknowledged(W::gave_up)
    }

    /// Whether nothing waits for an acknowledgement.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// There will be no more connections: everyone who waits is told why.
    pub fn fail(&mut self, error: &Error) {
        self.window.drain().for_each(|waiter| waiter.resolve(Err(error.replicate())));
    }

    /// A ping must be answered before the hub would give the client up: at one and a half times
    /// the keep-alive (MQTT 3.1.1, section 3.1.2.10).
    fn ping_limit(&self) -> Duration {
        self.keep_alive / 2
    }

    fn disconnected(&mut self, now: Instant) {
        if let Some(connection) = self.connection.take()
            && now >= connection.since + PROVED
        {
            self.backoff.reset();
        }
    }

    fn head_may_have_moved(&mut self, now: Instant) {
        if let Some(connection) = &mut self.connection {
            let before = connection.head.map(|(id, _)| id);
            let awaited = self.window.awaited();
            if awaited != before {
                connection.head = awaited.map(|id| (id, now));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use rumqttc::mqttbytes::v4::{PubAck, PubRec};

    use super::*;
    use crate::transport::mqtt::QoS;

    const KEEP_ALIVE: Duration = Duration::from_secs(60);

    type Outcomes = Rc<RefCell<Vec<(u8, Result<()>)>>>;

    struct Noted(u8, Outcomes);

    impl Waiter for Noted {
        fn gave_up(&self) -> bool {
            false
        }

        fn resolve(self, outcome: Result<()>) {
            self.1.borrow_mut().push((self.0, outcome));
        }
    }

    struct Scene {
        machine: Machine<Noted>,
        now: Instant,
        outcomes: Outcomes,
    }

    impl Scene {
        fn new() -> Self {
            let host = Host::parse("hub.example.net").unwrap();
            let machine = Machine::new(host, KEEP_ALIVE, Backoff::new(Some(1)));
            let mut scene = Self { machine, now: Instant::now(), outcomes: Outcomes::default() };
            scene.machine.connected(scene.now, None);
            scene
        }

        fn send(&mut self, number: u8) {
            let publish = Publish::new("t", QoS::AtLeastOnce, [number]);
            self.machine.admit(publish, Noted(number, Rc::clone(&self.outcomes)));
        }

        /// Packet IDs of what is written now, 0 for a PINGREQ.
        fn written(&mut self) -> Vec<u16> {
            let mut written = Vec::new();
            while let Some(output) = self.machine.next(self.now) {
                written.push(match output {
                    Output::Publish(publish) => publish.pkid,
                    Output::Ping => 0,
                });
            }
            written
        }

        fn acknowledge(&mut self, id: u16) {
            let packet = Packet::PubAck(PubAck::new(id));
            self.machine.received(self.now, packet).unwrap();
        }

        /// Lets time pass until something is due, at most `limit`; says how much has passed.
        fn sleep(&mut self, limit: Duration) -> Duration {
            let slept = match self.machine.wake_at() {
                Some(due) => due.saturating_duration_since(self.now).min(limit),
                None => limit,
            };
            self.now += slept;
            slept
        }

        fn cut(&mut self) -> Duration {
            let error = Error::new(ErrorKind::ConnectionLost, "cut");
            self.machine.lost(self.now, &error).unwrap()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_idle_connection_is_pinged_and_given_up_without_an_answer() {
        let mut scene = Scene::new();
        for _ in 0..3 {
            assert_eq!(scene.sleep(HOUR), KEEP_ALIVE);
            scene.machine.tick(scene.now).unwrap();
            assert_eq!(scene.written(), [0]);
            scene.machine.received(scene.now, Packet::PingResp).unwrap();
        }
        scene.sleep(HOUR);
        scene.machine.tick(scene.now).unwrap();
        assert_eq!(scene.written(), [0]);
        assert_eq!(scene.sleep(HOUR), KEEP_ALIVE / 2);
        let error = scene.machine.tick(scene.now).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert!(error.to_string().contains("hub.example.net"), "{error}");
    }

    #[test]
    fn sending_alone_does_not_keep_a_deaf_connection_alive() {
        let mut scene = Scene::new();
        let start = scene.now;
        let error = loop {
            scene.send(1);
            scene.written();
            scene.sleep(Duration::from_secs(5));
            match scene.machine.tick(scene.now) {
                Ok(()) => assert!(scene.now - start < HOUR, "still waiting"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert_eq!(scene.now - start, ACKNOWLEDGEMENT_LIMIT);
    }

    #[test]
    fn a_message_that_is_never_acknowledged_ends_the_connection_though_others_are() {
        let mut scene = Scene::new();
        scene.send(0);
        let start = scene.now;
        let error = loop {
            scene.send(1);
            for id in scene.written() {
                if id > 1 {
                    scene.acknowledge(id);
                }
            }
            scene.sleep(Duration::from_secs(5));
            match scene.machine.tick(scene.now) {
                Ok(()) => assert!(scene.now - start < HOUR, "still waiting"),
                Err(error) => break error,
            }
        };
        assert!(error.message().contains("oldest message"), "{error}");
        assert_eq!(scene.now - start, ACKNOWLEDGEMENT_LIMIT);
    }

    #[test]
    fn a_slow_hub_that_moves_on_is_not_given_up() {
        let mut scene = Scene::new();
        (0..100).for_each(|number| scene.send(number));
        for id in scene.written() {
            scene.sleep(ACKNOWLEDGEMENT_LIMIT - Duration::from_secs(1));
            scene.machine.tick(scene.now).unwrap();
            scene.acknowledge(id);
        }
        assert!(scene.machine.is_idle());
    }

    #[test]
    fn connack_alone_does_not_reset_the_backoff_but_an_acknowledgement_or_a_minute_does() {
        let mut scene = Scene::new();
        for attempt in 1..=5 {
            scene.cut();
            assert_eq!(scene.machine.attempts(), attempt);
            scene.machine.connected(scene.now, None);
        }
        scene.send(1);
        let id = scene.written()[0];
        scene.acknowledge(id);
        scene.cut();
        assert_eq!(scene.machine.attempts(), 1);

        scene.machine.connected(scene.now, None);
        scene.cut();
        scene.machine.connected(scene.now, None);
        scene.now += Duration::from_secs(60);
        scene.cut();
        assert_eq!(scene.machine.attempts(), 1);
    }

    impl Scene {
        fn renew_in(&mut self, due: Duration, latest: Duration) {
            let renewal = Renewal { due: self.now + due, latest: self.now + latest };
            self.machine.connected(self.now, Some(renewal));
        }
    }

    #[test]
    fn before_a_renewal_what_was_written_is_acknowledged_and_nothing_more_written() {
        let mut scene = Scene::new();
        let (due, latest) = (Duration::from_secs(40), Duration::from_secs(45));
        scene.renew_in(due, latest);
        scene.send(0);
        assert_eq!(scene.written(), [1]);
        assert_eq!(scene.sleep(HOUR), due);
        assert!(!scene.machine.is_to_renew(scene.now));
        scene.machine.tick(scene.now).unwrap();
        scene.send(1);
        assert!(scene.written().is_empty());
        assert!(!scene.machine.is_to_renew(scene.now));
        scene.acknowledge(1);
        assert!(scene.machine.is_to_renew(scene.now));

        scene.machine.left(scene.now);
        assert_eq!(scene.machine.attempts(), 0);
        scene.renew_in(due, latest);
        assert_eq!(scene.written(), [2]);
        assert!(!scene.machine.is_to_renew(scene.now));
    }

    #[test]
    fn a_renewal_does_not_wait_for_an_acknowledgement_for_ever_nor_blame_the_message() {
        let mut scene = Scene::new();
        scene.send(0);
        for _ in 0..10 {
            scene.renew_in(Duration::from_secs(40), Duration::from_secs(45));
            assert_eq!(scene.written(), [1]);
            scene.sleep(HOUR);
            scene.machine.tick(scene.now).unwrap();
            assert_eq!(scene.sleep(HOUR), Duration::from_secs(5));
            assert!(scene.machine.is_to_renew(scene.now));
            scene.machine.left(scene.now);
        }
        assert!(scene.outcomes.borrow().is_empty());
    }

    #[test]
    fn a_head_that_kills_three_connections_is_rejected_and_the_rest_is_delivered() {
        let mut scene = Scene::new();
        (0..3).for_each(|number| scene.send(number));
        for _ in 0..3 {
            assert_eq!(scene.written()[0], 1);
            scene.cut();
            scene.machine.connected(scene.now, None);
        }
        {
            let outcomes = scene.outcomes.borrow();
            let [(0, Err(error))] = outcomes.as_slice() else { panic!("{outcomes:?}") };
            assert_eq!(error.kind(), ErrorKind::MessageRejected);
        }
        for id in scene.written() {
            scene.acknowledge(id);
        }
        let outcomes = scene.outcomes.borrow();
        assert!(matches!(outcomes[1..], [(1, Ok(())), (2, Ok(()))]), "{outcomes:?}");
    }

    #[test]
    fn a_refusal_that_will_not_change_ends_it_for_everyone() {
        let mut scene = Scene::new();
        (0..2).for_each(|number| scene.send(number));
        scene.cut();
        let refusal = Error::new(ErrorKind::Unauthorized, "hub.example.net refused");
        assert_eq!(scene.machine.retry(&refusal), None);
        scene.machine.fail(&refusal);
        for (_, outcome) in scene.outcomes.borrow().iter() {
            assert_eq!(outcome.as_ref().unwrap_err().kind(), ErrorKind::Unauthorized);
        }
        assert_eq!(scene.outcomes.borrow().len(), 2);
    }

    #[test]
    fn acknowledgements_that_fit_nothing_are_ignored_and_pubrec_is_not_mqtt_at_qos_1() {
        let mut scene = Scene::new();
        scene.send(1);
        scene.written();
        for id in [0, 2, 65_535] {
            scene.acknowledge(id);
        }
        scene.acknowledge(1);
        scene.acknowledge(1);
        assert_eq!(scene.outcomes.borrow().len(), 1);
        let packet = Packet::PubRec(PubRec::new(1));
        let error = scene.machine.received(scene.now, packet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProtocolViolation);
        assert!(error.message().contains("PUBREC"), "{error}");
    }
}
