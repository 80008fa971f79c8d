//! The messages that the hub has not acknowledged yet, in send order. No clock, no input, no
//! output.
//!
//! A message waits in `queue` until it is written for the first time; then it gets a packet ID
//! and moves to `slots`, where it stays, under the same packet ID, until it is acknowledged.
//! Packet IDs are given out one after the other, so the slot of a packet ID is found by
//! subtraction, and no two can ever be the same: a slot that is acknowledged out of turn stays as
//! a gap until all before it are acknowledged too.

use std::{collections::VecDeque, mem};

use crate::transport::mqtt::Publish;

/// How many slots there may be: messages written and not acknowledged, and gaps between them.
/// More than the queue admits, far less than there are packet IDs.
const MAX_SLOTS: usize = 16_384;

/// How many packet IDs there are: 1 to 65,535 (MQTT 3.1.1, section 2.3.1).
const PACKET_IDS: u32 = 65_535;

/// After how many lost connections without an acknowledgement the message at the head is taken
/// for the cause.
pub(super) const MAX_STRIKES: u8 = 3;

/// A first-in, first-out window of messages, each with whoever waits for it.
pub(super) struct Window<W> {
    slots: VecDeque<Slot<W>>,
    queue: VecDeque<Entry<W>>,
    /// The packet ID of the first slot, or of the next one to be made.
    first_id: u16,
    /// How many slots, from the first, have been written on this connection.
    written: usize,
    strikes: u8,
    unknown: u64,
}

enum Slot<W> {
    Gap,
    Subscribe,
    Message(Entry<W>),
}

struct Entry<W> {
    publish: Publish,
    waiter: W,
}

impl<W> Window<W> {
    /// An empty window.
    pub(super) fn new() -> Self {
        Self {
            slots: VecDeque::new(),
            queue: VecDeque::new(),
            first_id: 1,
            written: 0,
            strikes: 0,
            unknown: 0,
        }
    }

    /// Takes a message in, behind all others.
    pub(super) fn push(&mut self, publish: Publish, waiter: W) {
        self.queue.push_back(Entry { publish, waiter });
    }

    /// The next message to be written on this connection: first those that had been written on
    /// an earlier one, as duplicates, then those that nobody has given up meanwhile.
    pub(super) fn next(&mut self, gave_up: impl Fn(&W) -> bool) -> Option<&Publish> {
        while let Some(slot) = self.slots.get_mut(self.written) {
            if let Slot::Message(entry) = slot {
                entry.publish.dup = true;
                break;
            }
            self.written += 1;
        }
        if self.written == self.slots.len() {
            if self.slots.len() >= MAX_SLOTS {
                return None;
            }
            let mut entry = loop {
                let entry = self.queue.pop_front()?;
                if !gave_up(&entry.waiter) {
                    break entry;
                }
            };
            entry.publish.pkid = self.id_at(self.slots.len());
            self.slots.push_back(Slot::Message(entry));
        }
        self.written += 1;
        match &self.slots[self.written - 1] {
            Slot::Message(entry) => Some(&entry.publish),
            Slot::Gap | Slot::Subscribe => None,
        }
    }

    /// Takes a PUBACK, and hands out whoever waits for that message. One that fits no message
    /// written on this connection is counted and changes nothing.
    pub(super) fn acknowledge(&mut self, id: u16) -> Option<W> {
        if let Some(index) = self.index_of(id).filter(|index| *index < self.written) {
            match mem::replace(&mut self.slots[index], Slot::Gap) {
                Slot::Message(entry) => {
                    self.strikes = 0;
                    self.close_gaps();
                    return Some(entry.waiter);
                }
                other => self.slots[index] = other,
            }
        }
        self.unknown += 1;
        None
    }

    /// Gives out a packet ID for a SUBSCRIBE, unless too many are in use.
    #[cfg_attr(not(test), expect(dead_code, reason = "nothing is subscribed to before C2D"))]
    pub(super) fn subscribe(&mut self) -> Option<u16> {
        if self.slots.len() >= MAX_SLOTS {
            return None;
        }
        let id = self.id_at(self.slots.len());
        self.slots.push_back(Slot::Subscribe);
        Some(id)
    }

    /// Takes a SUBACK; says whether it answers one of our own SUBSCRIBEs.
    pub(super) fn subscribed(&mut self, id: u16) -> bool {
        if let Some(index) = self.index_of(id)
            && matches!(self.slots[index], Slot::Subscribe)
        {
            self.slots[index] = Slot::Gap;
            self.close_gaps();
            return true;
        }
        self.unknown += 1;
        false
    }

    /// The connection is over: all that is not acknowledged is to be written again, whatever the
    /// next CONNACK says about the session. Says how many slots, from the first message on, had
    /// been written.
    pub(super) fn rewind(&mut self) -> usize {
        for slot in &mut self.slots {
            if let Slot::Subscribe = slot {
                *slot = Slot::Gap;
            }
        }
        self.close_gaps();
        mem::take(&mut self.written)
    }

    /// As [`rewind`](Self::rewind), after a loss. Hands out whoever waits for the message at the
    /// head if that has now seen too many connections lost.
    pub(super) fn lost(&mut self) -> Option<W> {
        if self.rewind() == 0 {
            return None;
        }
        self.strikes += 1;
        if self.strikes < MAX_STRIKES {
            return None;
        }
        self.strikes = 0;
        let head = self.slots.front_mut().map(|head| mem::replace(head, Slot::Gap));
        self.close_gaps();
        match head {
            Some(Slot::Message(entry)) => Some(entry.waiter),
            _ => None,
        }
    }

    /// Drops the messages that were given up before they were ever written.
    pub(super) fn forget(&mut self, gave_up: impl Fn(&W) -> bool) {
        self.queue.retain(|entry| !gave_up(&entry.waiter));
    }

    /// Takes out everyone who still waits, in send order.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = W> + use<W> {
        let slots = mem::take(&mut self.slots).into_iter().filter_map(|slot| match slot {
            Slot::Message(entry) => Some(entry.waiter),
            Slot::Gap | Slot::Subscribe => None,
        });
        let queue = mem::take(&mut self.queue).into_iter().map(|entry| entry.waiter);
        self.written = 0;
        slots.chain(queue)
    }

    /// How many messages are not acknowledged, not counting those given up before they were
    /// written.
    pub(super) fn unacknowledged(&self, gave_up: impl Fn(&W) -> bool) -> usize {
        let slots = self.slots.iter().filter(|slot| matches!(slot, Slot::Message(_)));
        slots.count() + self.queue.iter().filter(|entry| !gave_up(&entry.waiter)).count()
    }

    /// Whether nothing at all waits.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.queue.is_empty()
    }

    /// The packet ID that must be acknowledged before the window can move on.
    pub(super) fn awaited(&self) -> Option<u16> {
        (self.written > 0).then_some(self.first_id)
    }

    /// How many acknowledgements fitted nothing.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Gives back memory that a burst has left behind.
    pub(super) fn shrink(&mut self) {
        self.slots.shrink_to_fit();
        self.queue.shrink_to_fit();
    }

    fn id_at(&self, index: usize) -> u16 {
        // Never truncates: an index is below MAX_SLOTS, and the result below PACKET_IDS + 1.
        ((u32::from(self.first_id) - 1 + index as u32) % PACKET_IDS + 1) as u16
    }

    fn index_of(&self, id: u16) -> Option<usize> {
        let id = u32::from(id).checked_sub(1)?;
        let index = (id + PACKET_IDS - (u32::from(self.first_id) - 1)) % PACKET_IDS;
        Some(index as usize).filter(|index| *index < self.slots.len())
    }

    fn close_gaps(&mut self) {
        while let Some(Slot::Gap) = self.slots.front() {
            self.first_id = self.id_at(1);
            self.slots.pop_front();
            self.written = self.written.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashSet};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::transport::mqtt::QoS;

    fn publish(number: usize) -> Publish {
        Publish::new("t", QoS::AtLeastOnce, number.to_be_bytes())
    }

    fn number_of(publish: &Publish) -> usize {
        usize::from_be_bytes(publish.payload.as_ref().try_into().unwrap())
    }

    fn kept(_: &usize) -> bool {
        false
    }

    /// The packet IDs and DUP flags of all that is written now.
    fn write_all(window: &mut Window<usize>) -> Vec<(usize, u16, bool)> {
        let mut written = Vec::new();
        while let Some(publish) = window.next(kept) {
            written.push((number_of(publish), publish.pkid, publish.dup));
        }
        written
    }

    fn window_of(messages: usize) -> Window<usize> {
        let mut window = Window::new();
        (0..messages).for_each(|number| window.push(publish(number), number));
        window
    }

    #[test]
    fn a_cut_replays_in_order_under_the_same_packet_ids_with_dup_on_what_was_written() {
        let mut window = window_of(4);
        for expected in [1, 2, 3] {
            assert_eq!(window.next(kept).unwrap().pkid, expected);
        }
        assert_eq!(window.acknowledge(2), Some(1));
        assert_eq!(window.lost(), None);
        assert_eq!(window.acknowledge(1), None, "not written on this connection yet");
        assert_eq!(write_all(&mut window), [(0, 1, true), (2, 3, true), (3, 4, false)]);
        assert_eq!(window.unknown(), 1);
    }

    #[test]
    fn a_head_that_saw_three_connections_lost_is_handed_out_and_the_rest_lives() {
        let mut window = window_of(2);
        for _ in 0..2 {
            write_all(&mut window);
            assert_eq!(window.lost(), None);
        }
        // A connection on which it was not written is not its fault.
        assert_eq!(window.lost(), None);
        write_all(&mut window);
        assert_eq!(window.lost(), Some(0));
        assert_eq!(write_all(&mut window), [(1, 2, true)]);
        assert_eq!(window.lost(), None, "the strikes were those of the first message");
    }

    #[test]
    fn any_acknowledgement_clears_the_strikes() {
        let mut window = window_of(4);
        for id in [4, 3, 2] {
            for _ in 0..2 {
                write_all(&mut window);
                assert_eq!(window.lost(), None);
            }
            write_all(&mut window);
            assert!(window.acknowledge(id).is_some());
        }
    }

    #[test]
    fn packet_ids_wrap_past_zero() {
        let mut window = Window { first_id: 65_534, ..window_of(4) };
        let ids: Vec<_> = write_all(&mut window).iter().map(|(_, id, _)| *id).collect();
        assert_eq!(ids, [65_534, 65_535, 1, 2]);
        for (number, id) in ids.into_iter().enumerate().rev() {
            assert_eq!(window.acknowledge(id), Some(number));
        }
        assert!(window.is_empty());
        assert_eq!(window.subscribe(), Some(3));
    }

    #[test]
    fn no_more_than_the_limit_is_in_flight() {
        let mut window = window_of(MAX_SLOTS + 1);
        assert_eq!(write_all(&mut window).len(), MAX_SLOTS);
        assert_eq!(window.subscribe(), None);
        // A gap behind the head makes no room; the head does.
        assert!(window.acknowledge(2).is_some());
        assert!(window.next(kept).is_none());
        assert!(window.acknowledge(1).is_some());
        assert_eq!(number_of(window.next(kept).unwrap()), MAX_SLOTS);
    }

    #[test]
    fn drain_hands_out_everyone_in_send_order() {
        let mut window = window_of(5);
        for _ in 0..3 {
            window.next(kept);
        }
        window.acknowledge(2);
        assert_eq!(window.unacknowledged(|number| *number == 4), 3);
        assert_eq!(window.drain().collect::<Vec<_>>(), [0, 2, 3, 4]);
        assert!(window.is_empty() && window.awaited().is_none());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Write(u8),
        /// Of what this connection has written, the one at this share of its length.
        Acknowledge(prop::sample::Index),
        Bogus(u16),
        GiveUp(prop::sample::Index),
        Forget,
        Subscribe,
        Subscribed(prop::sample::Index),
        Cut,
        Renew,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..20u8).prop_map(Step::Push),
            4 => (0..20u8).prop_map(Step::Write),
            8 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
            2 => any::<u16>().prop_map(Step::Bogus),
            1 => any::<prop::sample::Index>().prop_map(Step::GiveUp),
            1 => Just(Step::Forget),
            1 => Just(Step::Subscribe),
            1 => any::<prop::sample::Index>().prop_map(Step::Subscribed),
            1 => Just(Step::Cut),
            1 => Just(Step::Renew),
        ]
    }

    /// What an observer who sees both ends knows.
    #[derive(Default)]
    struct Observer {
        sent: usize,
        given_up: HashSet<usize>,
        resolved: BTreeSet<usize>,
        /// Every message ever written, with its packet ID.
        ever_written: BTreeMap<usize, u16>,
        /// Written on this connection and not acknowledged.
        in_flight: BTreeMap<usize, u16>,
        subscriptions: Vec<u16>,
        last_on_this_connection: Option<usize>,
        cuts_since_acknowledgement: usize,
    }

    impl Observer {
        fn wrote(&mut self, publish: &Publish) {
            let number = number_of(publish);
            assert!(!self.resolved.contains(&number), "{number} written after it was resolved");
            assert!(self.last_on_this_connection < Some(number), "{number} out of order");
            self.last_on_this_connection = Some(number);
            match self.ever_written.insert(number, publish.pkid) {
                Some(id) => assert!(publish.dup && publish.pkid == id, "{number} written again"),
                None => {
                    assert!(!publish.dup, "{number} written for the first time");
                    assert!(!self.given_up.contains(&number), "{number} written after all");
                    let later = self.ever_written.range(number + 1..).next();
                    assert_eq!(later, None, "{number} was overtaken");
                }
            }
            self.in_flight.insert(number, publish.pkid);
            let live = self.in_flight.values().chain(&self.subscriptions);
            let unique: HashSet<_> = live.clone().collect();
            assert_eq!(unique.len(), live.count(), "packet IDs collide");
            assert!(publish.pkid != 0);
        }

        fn resolve(&mut self, number: usize) {
            assert!(self.resolved.insert(number), "{number} resolved twice");
            self.in_flight.remove(&number);
        }

        fn acknowledge(&mut self, window: &mut Window<usize>, number: usize) {
            assert_eq!(window.acknowledge(self.in_flight[&number]), Some(number));
            self.resolve(number);
            self.cuts_since_acknowledgement = 0;
        }

        fn cut(&mut self, window: &mut Window<usize>) {
            self.cuts_since_acknowledgement += 1;
            let head = self.ever_written.keys().find(|number| !self.resolved.contains(number));
            let head = head.copied();
            if let Some(rejected) = window.lost() {
                assert_eq!(Some(rejected), head, "only the head is ever rejected");
                assert!(self.cuts_since_acknowledgement >= usize::from(MAX_STRIKES));
                self.cuts_since_acknowledgement = 0;
                self.resolve(rejected);
            }
            self.disconnected();
        }

        fn disconnected(&mut self) {
            self.in_flight.clear();
            self.subscriptions.clear();
            self.last_on_this_connection = None;
        }

        fn take(&mut self, window: &mut Window<usize>, step: Step) {
            match step {
                Step::Push(count) => {
                    for _ in 0..count {
                        window.push(publish(self.sent), self.sent);
                        self.sent += 1;
                    }
                }
                Step::Write(count) => {
                    for _ in 0..count {
                        let given_up = self.given_up.clone();
                        match window.next(|number| given_up.contains(number)) {
                            Some(publish) => self.wrote(publish),
                            None => break,
                        }
                    }
                }
                Step::Acknowledge(at) if !self.in_flight.is_empty() => {
                    let at = at.index(self.in_flight.len());
                    let number = *self.in_flight.keys().nth(at).unwrap();
                    self.acknowledge(window, number);
                }
                Step::Bogus(id) if !self.in_flight.values().any(|live| *live == id) => {
                    let unknown = window.unknown();
                    assert_eq!(window.acknowledge(id), None);
                    assert_eq!(window.unknown(), unknown + 1);
                }
                Step::GiveUp(at) if self.sent > 0 => {
                    let number = at.index(self.sent);
                    if !self.resolved.contains(&number) {
                        self.given_up.insert(number);
                    }
                }
                Step::Forget => window.forget(|number| self.given_up.contains(number)),
                Step::Subscribe => self.subscriptions.extend(window.subscribe()),
                Step::Subscribed(at) if !self.subscriptions.is_empty() => {
                    let id = self.subscriptions.remove(at.index(self.subscriptions.len()));
                    assert!(window.subscribed(id));
                    assert!(!window.subscribed(id));
                }
                Step::Cut => self.cut(window),
                Step::Renew => {
                    window.rewind();
                    self.disconnected();
                }
                _ => {}
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_reordered_or_resolved_twice(
            steps in vec(step(), 0..200),
            first_id in prop_oneof![Just(1), 65_500..=65_535u16, 1..=65_535u16],
        ) {
            let mut window = Window { first_id, ..Window::new() };
            let mut observer = Observer::default();
            for step in steps {
                observer.take(&mut window, step);
            }
            observer.cut(&mut window);
            observer.take(&mut window, Step::Write(u8::MAX));
            loop {
                while let Some((number, _)) = observer.in_flight.first_key_value() {
                    let number = *number;
                    observer.acknowledge(&mut window, number);
                }
                observer.take(&mut window, Step::Write(u8::MAX));
                if observer.in_flight.is_empty() {
                    break;
                }
            }
            window.forget(|number| observer.given_up.contains(number));
            for number in 0..observer.sent {
                let gone = observer.resolved.contains(&number) || observer.given_up.contains(&number);
                prop_assert!(gone, "{number} was lost");
            }
            prop_assert!(window.is_empty());
        }
    }
}
