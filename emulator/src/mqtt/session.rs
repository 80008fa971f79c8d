//! An accepted MQTT connection: packets in, work taken on at once and answered in order.
//!
//! Many messages may be on their way to the store while more are read; their acknowledgements go
//! out in the order of the messages, each after the commit that keeps it (MQTT 3.1.1, 4.6).
//! Messages that have arrived together go into the store together.

use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::mem::take;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, PubAck, Publish, Subscribe, UnsubAck};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::frames::{Error, Frames};
use crate::listener::{GRACE, Shared};

/// Requests and messages of one connection under work at the same time, and their bytes.
const OUTSTANDING: Load = Load { packets: 1024, bytes: 8 * 1024 * 1024 };
const UNLIMITED: Load = Load { packets: usize::MAX, bytes: usize::MAX };
/// Messages, or bytes of them, that are handed in even while others are on their way.
const TOGETHER: Load = Load { packets: 256, bytes: 256 * 1024 };
/// The longest silence a hub allows, also to a client that asks for none (Microsoft,
/// iot-mqtt-connect-to-iot-hub).
const LONGEST_SILENCE: Duration = Duration::from_secs(1767);

/// How long an acknowledgement may wait for the answer that follows it.
const GATHER: Duration = Duration::from_millis(2);

/// How a connection ended.
pub(super) enum End {
    /// The client closed it.
    Left,
    /// The emulator stops.
    Stopping,
    /// The service ends it, and logs why.
    Over(String),
    /// The emulator closes it, and logs why.
    Refused(String),
    /// The emulator closes it because its work failed, and logs why.
    Failed(String),
    /// A fault cuts it.
    Cut,
    /// A fault ignores it from here on.
    Swallow,
}

/// What one of the two services makes of a client's packets.
pub(super) trait Role: Send {
    fn publish(&mut self, publish: &Publish) -> Handling;
    /// Puts to work what it holds; resolves as soon as the order of what follows is settled.
    fn hand_in(&mut self) -> impl Future<Output = Option<Work>> + Send;
    fn subscribe(&mut self, subscribe: Subscribe) -> Handling;
    fn unsubscribe(&mut self, topics: &[String]);
}

/// What becomes of a packet.
pub(super) enum Handling {
    Work(Task),
    /// The role holds it, with those before, until [`Role::hand_in`].
    Hold {
        /// Bytes it keeps in memory.
        size: usize,
    },
    /// It breaks the rules, and the connection with them.
    Refuse(String),
}

/// A request under work.
pub(super) struct Task {
    /// Goes out at once.
    pub(super) now: Option<Packet>,
    pub(super) work: Work,
    /// Bytes it keeps in memory.
    pub(super) size: usize,
    /// Nothing that follows it may be read before it is done.
    pub(super) alone: bool,
}

pub(super) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What came of it.
pub(super) enum Outcome {
    Send(Packet),
    /// Several at once, in this order.
    SendAll(Vec<Packet>),
    /// A PUBACK for each of these packet identifiers, in this order.
    Acknowledge(Vec<u16>),
    Nothing,
    /// The connection is to be closed; the text says why.
    Fail(String),
    Cut,
}

pub(super) struct Session<'a, R, W> {
    frames: &'a mut Frames<R, W>,
    shared: &'a Shared,
    /// The longest that the client may take between two packets.
    silence: Duration,
    /// When the last packet came.
    heard: Instant,
    pending: VecDeque<Slot>,
    /// All that is pending or held.
    load: Load,
    /// What the role holds.
    held: Load,
    last_packet_id: u16,
}

struct Slot {
    state: State,
    load: Load,
    alone: bool,
}

/// Requests and messages, and their bytes.
#[derive(Clone, Copy, Default)]
struct Load {
    packets: usize,
    bytes: usize,
}

impl Load {
    fn one(bytes: usize) -> Self {
        Self { packets: 1, bytes }
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Self) {
        self.packets -= other.packets;
        self.bytes -= other.bytes;
    }

    /// What of a limit is left.
    fn less(self, other: Self) -> Self {
        let packets = self.packets.saturating_sub(other.packets);
        Self { packets, bytes: self.bytes.saturating_sub(other.bytes) }
    }

    fn is_spent(self) -> bool {
        self.packets == 0 || self.bytes == 0
    }

    fn is_nothing(self) -> bool {
        self.packets == 0 && self.bytes == 0
    }

    fn is_below(self, limit: Self) -> bool {
        self.packets < limit.packets && self.bytes < limit.bytes
    }
}

enum State {
    Running(Work),
    Done(Outcome),
}

impl<'a, R: AsyncRead + Send + Unpin, W: AsyncWrite + Send + Unpin> Session<'a, R, W> {
    pub(super) fn new(
        frames: &'a mut Frames<R, W>,
        keep_alive: u16,
        shared: &'a Arc<Shared>,
    ) -> Self {
        // MQTT 3.1.1, 3.1.2.10: one and a half times the keep-alive; 0 turns it off.
        let silence = match keep_alive {
            0 => LONGEST_SILENCE,
            seconds => Duration::from_millis(u64::from(seconds) * 1500).min(LONGEST_SILENCE),
        };
        let (pending, load, held) = (VecDeque::new(), Load::default(), Load::default());
        let heard = Instant::now();
        Self { frames, shared, silence, heard, pending, load, held, last_packet_id: 0 }
    }

    /// Runs until either side ends it; `over` resolves, with the reason, when the service does.
    pub(super) async fn run(
        mut self,
        mut role: impl Role,
        over: impl Future<Output = &'static str> + Send,
    ) -> End {
        let mut end = match self.converse(&mut role, over).await {
            Ok(end) => end,
            Err(Error::Io(error)) => {
                tracing::debug!(%error, "connection lost");
                End::Left
            }
            Err(error) => End::Refused(error.to_string()),
        };
        let finish = self.finish(&mut role, &mut end);
        if timeout(GRACE, finish).await.is_err() {
            tracing::warn!("work was left undone at the end of a connection");
        }
        end
    }

    /// Finishes what was taken in, whoever has left: a QoS 0 message may stand right before the
    /// DISCONNECT. Behind a failure nothing more is acknowledged, so that there are no gaps.
    async fn finish(&mut self, role: &mut impl Role, end: &mut End) {
        // The client did not know yet that it is over: what has arrived belongs to it too, as far
        // as it is no more than a connection may have under work. A client that goes on sending
        // would never end.
        let mut left = if matches!(end, End::Over(_)) { OUTSTANDING } else { Load::default() };
        while !matches!(end, End::Cut | End::Failed(_)) {
            while self.has_room() && !left.is_spent() {
                // The runtime lets a task read only so much at a time. Only when its turn has just
                // begun does an empty socket mean that all was read.
                yield_now().await;
                left = match self.take_in(role, left).await {
                    Ok(ControlFlow::Continue(taken)) if !taken.is_nothing() => left.less(taken),
                    _ => Load::default(),
                };
            }
            if left.is_spent() {
                self.hand_in(role).await;
            }
            if self.pending.is_empty() {
                return;
            }
            front(&mut self.pending).await;
            if let Some(other) = self.settle().await {
                *end = other;
            }
        }
    }

    async fn converse(
        &mut self,
        role: &mut impl Role,
        over: impl Future<Output = &'static str> + Send,
    ) -> Result<End, Error> {
        let alarm = sleep(self.silence);
        tokio::pin!(alarm, over);
        loop {
            if let ControlFlow::Break(end) = self.take_in(role, UNLIMITED).await? {
                self.frames.flush().await?;
                return Ok(end);
            }
            let was_full = !self.has_room();
            self.gather().await;
            let end = self.settle().await;
            // While messages are on their way to the store, those that arrive gather.
            if self.pending.is_empty() {
                self.hand_in(role).await;
            }
            self.frames.flush().await?;
            if let Some(end) = end {
                return Ok(end);
            }
            let has_room = self.has_room();
            tokio::select! {
                biased;
                reason = &mut over => return Ok(End::Over(reason.to_owned())),
                () = self.shared.stop.cancelled() => return Ok(End::Stopping),
                // What has been read may hold more packets.
                () = ready(()), if was_full && has_room => {}
                () = front(&mut self.pending), if !self.pending.is_empty() => {}
                more = self.frames.fill(), if has_room => {
                    if more? == 0 {
                        return Ok(End::Left);
                    }
                }
                () = &mut alarm => {
                    // While there is no room the silence is ours, not the client's.
                    if has_room && self.heard.elapsed() >= self.silence {
                        return Ok(End::Refused("silent beyond its keep-alive".to_owned()));
                    }
                    let since = if has_room { self.heard } else { Instant::now() };
                    alarm.as_mut().reset(since + self.silence);
                }
            }
        }
    }

    /// Takes in what has arrived, as far as there is room for it and up to a limit. Says how many
    /// packets that were, and how many bytes came in.
    async fn take_in(
        &mut self,
        role: &mut impl Role,
        limit: Load,
    ) -> Result<ControlFlow<End, Load>, Error> {
        let mut taken = Load::default();
        while self.has_room() && taken.is_below(limit) {
            if let Some(packet) = self.frames.decode()? {
                taken.packets += 1;
                if let Some(end) = self.take(packet, role).await {
                    return Ok(ControlFlow::Break(end));
                }
                continue;
            }
            match self.frames.fill().now_or_never().transpose()? {
                Some(0) => return Ok(ControlFlow::Break(End::Left)),
                Some(bytes) => taken.bytes += bytes,
                None => break,
            }
        }
        if taken.packets > 0 {
            self.heard = Instant::now();
        }
        Ok(ControlFlow::Continue(taken))
    }

    /// Waits a moment for an answer that nothing can overtake, so that it goes out in one write
    /// with the acknowledgement of its request.
    async fn gather(&mut self) {
        if self.frames.has_queued() && self.pending.front().is_some_and(|slot| slot.alone) {
            // Late or not, the answer stays where it is.
            let _ = timeout(GATHER, front(&mut self.pending)).await;
        }
    }

    async fn take(&mut self, packet: Packet, role: &mut impl Role) -> Option<End> {
        let handling = match packet {
            // Neither service takes QoS 2 (Microsoft, iot-mqtt-connect-to-iot-hub).
            Packet::Publish(publish) if publish.qos == QoS::ExactlyOnce => {
                Handling::Refuse("a message with QoS 2".to_owned())
            }
            Packet::Publish(publish) => role.publish(&publish),
            Packet::Subscribe(subscribe) => role.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => {
                role.unsubscribe(&unsubscribe.topics);
                self.frames.send(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)));
                return None;
            }
            Packet::PingReq => {
                self.frames.send(Packet::PingResp);
                return None;
            }
            // The answers' acknowledgements. Nothing is repeated within a connection (MQTT
            // 3.1.1, 4.4), so there is nothing to tick off.
            Packet::PubAck(_) => return None,
            Packet::Disconnect => return Some(End::Left),
            _ => Handling::Refuse("a packet that has no place here".to_owned()),
        };
        match handling {
            Handling::Refuse(reason) => Some(End::Refused(reason)),
            Handling::Hold { size } => {
                self.load.add(Load::one(size));
                self.held.add(Load::one(size));
                if !self.held.is_below(TOGETHER) {
                    self.hand_in(role).await;
                }
                None
            }
            Handling::Work(Task { now, work, size, alone }) => {
                if let Some(packet) = now {
                    self.frames.send(packet);
                }
                self.hand_in(role).await;
                self.load.add(Load::one(size));
                let (state, load) = (State::Running(work), Load::one(size));
                self.pending.push_back(Slot { state, load, alone });
                None
            }
        }
    }

    /// Puts to work what the role holds.
    async fn hand_in(&mut self, role: &mut impl Role) {
        if let Some(work) = role.hand_in().await {
            let (state, load) = (State::Running(work), take(&mut self.held));
            self.pending.push_back(Slot { state, load, alone: false });
        }
    }

    /// Answers whatever is done, up to the first that is not.
    async fn settle(&mut self) -> Option<End> {
        while let Some(slot) = poll_fn(|context| Poll::Ready(self.poll_front(context))).await {
            self.load.remove(slot.load);
            let State::Done(outcome) = slot.state else { continue };
            match outcome {
                Outcome::Send(packet) => self.send(packet),
                Outcome::SendAll(packets) => packets.into_iter().for_each(|p| self.send(p)),
                Outcome::Acknowledge(packet_ids) => {
                    let acknowledgement = |id| Packet::PubAck(PubAck::new(id));
                    self.frames.send_all(packet_ids.into_iter().map(acknowledgement));
                }
                Outcome::Nothing => {}
                Outcome::Fail(reason) => return Some(End::Failed(reason)),
                Outcome::Cut => return Some(End::Cut),
            }
        }
        None
    }

    fn send(&mut self, mut packet: Packet) {
        if let Packet::Publish(publish) = &mut packet
            && publish.qos != QoS::AtMostOnce
        {
            publish.pkid = self.next_packet_id();
        }
        self.frames.send(packet);
    }

    fn poll_front(&mut self, context: &mut Context<'_>) -> Option<Slot> {
        let slot = self.pending.front_mut()?;
        if let State::Running(work) = &mut slot.state {
            match work.as_mut().poll(context) {
                Poll::Ready(outcome) => slot.state = State::Done(outcome),
                Poll::Pending => return None,
            }
        }
        self.pending.pop_front()
    }

    fn has_room(&self) -> bool {
        self.load.is_below(OUTSTANDING) && !self.pending.back().is_some_and(|slot| slot.alone)
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }
}

/// Waits until the oldest work is done. Safe to cancel.
async fn front(pending: &mut VecDeque<Slot>) {
    if let Some(slot) = pending.front_mut()
        && let State::Running(work) = &mut slot.state
    {
        slot.state = State::Done(work.await);
    }
}
