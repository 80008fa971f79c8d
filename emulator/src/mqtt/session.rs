//! An accepted MQTT connection: packets in, work taken on at once and answered in order.
//!
//! Many messages may be on their way to the store while more are read; their acknowledgements go
//! out in the order of the messages, each after the commit that keeps it (MQTT 3.1.1, 4.6).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish, Subscribe, UnsubAck};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};

use super::frames::{Error, Frames};
use crate::listener::{GRACE, Shared};

/// Requests and messages of one connection under work at the same time, and their bytes.
const OUTSTANDING: usize = 1024;
const OUTSTANDING_BYTES: usize = 8 * 1024 * 1024;
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
    /// The emulator closes it, and logs why.
    Refused(String),
    /// A fault cuts it.
    Cut,
    /// A fault ignores it from here on.
    Swallow,
}

/// What one of the two services makes of a client's packets.
pub(super) trait Role: Send {
    /// Resolves as soon as the order of what follows is settled.
    fn publish(&mut self, publish: Publish) -> impl Future<Output = Handling> + Send;
    fn subscribe(&mut self, subscribe: Subscribe) -> Handling;
    fn unsubscribe(&mut self, topics: &[String]);
}

/// What becomes of a packet.
pub(super) enum Handling {
    Work(Task),
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
    Nothing,
    /// The connection is to be closed; the text says why.
    Fail(String),
    Cut,
}

pub(super) struct Session<'a, R, W> {
    frames: &'a mut Frames<R, W>,
    shared: &'a Shared,
    silence: Duration,
    pending: VecDeque<Slot>,
    pending_bytes: usize,
    last_packet_id: u16,
}

struct Slot {
    state: State,
    size: usize,
    alone: bool,
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
        let (pending, pending_bytes, last_packet_id) = (VecDeque::new(), 0, 0);
        Self { frames, shared, silence, pending, pending_bytes, last_packet_id }
    }

    /// Runs until either side ends it; `over` resolves, with the reason, when the service does.
    pub(super) async fn run(
        mut self,
        mut role: impl Role,
        over: impl Future<Output = &'static str> + Send,
    ) -> End {
        let end = match self.converse(&mut role, over).await {
            Ok(end) => end,
            Err(Error::Io(error)) => {
                tracing::debug!(%error, "connection lost");
                End::Left
            }
            Err(error) => End::Refused(error.to_string()),
        };
        // What was taken in is finished, whoever has left: a QoS 0 message may stand right
        // before the DISCONNECT.
        let finish = async {
            while !self.pending.is_empty() {
                front(&mut self.pending).await;
                if self.settle().await.is_some() {
                    break;
                }
            }
        };
        if !matches!(end, End::Cut) && timeout(GRACE, finish).await.is_err() {
            tracing::warn!("work was left undone at the end of a connection");
        }
        end
    }

    async fn converse(
        &mut self,
        role: &mut impl Role,
        over: impl Future<Output = &'static str> + Send,
    ) -> Result<End, Error> {
        let mut heard = Instant::now();
        let alarm = sleep(self.silence);
        tokio::pin!(alarm, over);
        loop {
            while self.has_room()
                && let Some(packet) = self.frames.decode()?
            {
                heard = Instant::now();
                if let Some(end) = self.take(packet, role).await {
                    self.frames.flush().await?;
                    return Ok(end);
                }
            }
            let was_full = !self.has_room();
            self.gather().await;
            let end = self.settle().await;
            self.frames.flush().await?;
            if let Some(end) = end {
                return Ok(end);
            }
            let has_room = self.has_room();
            if was_full && has_room {
                // What has been read may hold more packets.
                continue;
            }
            tokio::select! {
                reason = &mut over => return Ok(End::Refused(reason.to_owned())),
                () = self.shared.stop.cancelled() => return Ok(End::Stopping),
                () = front(&mut self.pending), if !self.pending.is_empty() => {}
                more = self.frames.fill(), if has_room => {
                    if !more? {
                        return Ok(End::Left);
                    }
                }
                () = &mut alarm => {
                    // While there is no room the silence is ours, not the client's.
                    if has_room && heard.elapsed() >= self.silence {
                        return Ok(End::Refused("silent beyond its keep-alive".to_owned()));
                    }
                    let since = if has_room { heard } else { Instant::now() };
                    alarm.as_mut().reset(since + self.silence);
                }
            }
        }
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
            Packet::Publish(publish) => role.publish(publish).await,
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
            Handling::Work(Task { now, work, size, alone }) => {
                if let Some(packet) = now {
                    self.frames.send(packet);
                }
                self.pending_bytes += size;
                self.pending.push_back(Slot { state: State::Running(work), size, alone });
                None
            }
        }
    }

    /// Answers whatever is done, up to the first that is not.
    async fn settle(&mut self) -> Option<End> {
        while let Some(slot) = poll_fn(|context| Poll::Ready(self.poll_front(context))).await {
            self.pending_bytes -= slot.size;
            let State::Done(outcome) = slot.state else { continue };
            match outcome {
                Outcome::Send(packet) => self.send(packet),
                Outcome::SendAll(packets) => packets.into_iter().for_each(|p| self.send(p)),
                Outcome::Nothing => {}
                Outcome::Fail(reason) => return Some(End::Refused(reason)),
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
        self.pending.len() < OUTSTANDING
            && self.pending_bytes < OUTSTANDING_BYTES
            && !self.pending.back().is_some_and(|slot| slot.alone)
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
