//! Where a hub's task reports what became of the messages, and the caller's threads look.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, PoisonError},
    time::Instant,
};

use super::sync::{Condvar, Mutex, MutexGuard, Notify};

/// What became of a message, or of the hub.
pub(crate) type Fate<E> = Result<(), E>;

/// Who waits for one message.
pub(crate) struct Receipt<B, E> {
    pub(crate) addressee: Addressee<B, E>,
    /// The room that the message takes until its fate was told.
    pub(crate) room: usize,
}

pub(crate) enum Addressee<B, E> {
    /// A callback, run in the next call that delivers.
    Callback(B),
    /// Nobody, as far as C is concerned.
    Nobody,
    /// The call that sent it, which waits.
    Call(Arc<OnceLock<Fate<E>>>),
}

/// The fate of a message whose callback has not run yet.
pub(crate) struct Letter<B, E> {
    pub(crate) callback: B,
    pub(crate) outcome: Fate<E>,
    room: usize,
}

/// Why a message is not taken.
pub(crate) enum Refused {
    Closed,
    /// So many messages take all the room.
    Full(usize),
}

/// What the task and the threads share: the client `C`, callbacks `B`, errors `E`.
pub(crate) struct Mailbox<C, B, E> {
    state: Mutex<State<C, B, E>>,
    /// For a thread that waits while the shared runtime works.
    arrived: Condvar,
    /// For a polled runtime that works while its thread waits.
    rung: Notify,
}

pub(crate) struct State<C, B, E> {
    /// Counts the changes.
    version: u64,
    pub(crate) letters: VecDeque<Letter<B, E>>,
    /// Messages whose fate has not been told.
    pub(crate) pending: usize,
    /// The room that they take, in KiB.
    room: usize,
    pub(crate) client: Option<C>,
    /// Why the hub could not be connected to, or is connected to no more.
    pub(crate) refused: Option<E>,
    /// Why a message was lost of which nobody was told.
    unheard: Option<E>,
    pub(crate) closing: bool,
    pub(crate) closed: Option<Fate<E>>,
}

impl<C, B, E> Default for State<C, B, E> {
    fn default() -> Self {
        Self {
            version: 0,
            letters: VecDeque::new(),
            pending: 0,
            room: 0,
            client: None,
            refused: None,
            unheard: None,
            closing: false,
            closed: None,
        }
    }
}

impl<C, B, E> Default for Mailbox<C, B, E> {
    fn default() -> Self {
        Self { state: Mutex::default(), arrived: Condvar::default(), rung: Notify::default() }
    }
}

impl<C, B, E> Mailbox<C, B, E> {
    pub(crate) fn state(&self) -> MutexGuard<'_, State<C, B, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message in, if it finds room among `most`; `hand_over` is `false` if nobody is
    /// left who could take it.
    pub(crate) fn admit(
        &self,
        room: usize,
        most: usize,
        hand_over: impl FnOnce() -> bool,
    ) -> Result<(), Refused> {
        let mut state = self.state();
        if state.closing {
            return Err(Refused::Closed);
        }
        // A message that is too large for any queue gets the core's own words for it.
        if state.pending > 0 && state.room + room > most {
            return Err(Refused::Full(state.pending));
        }
        // With the lock held, so that two threads' messages keep the order of their admission.
        if !hand_over() {
            return Err(Refused::Closed);
        }
        state.pending += 1;
        state.room += room;
        Ok(())
    }

    /// Takes no more messages; `say_so` tells the task, after every message that was taken.
    pub(crate) fn close(&self, say_so: impl FnOnce()) {
        self.state().closing = true;
        say_so();
    }

    /// Hands each fate that is due to `tell`, with no lock held; how many there were. Each counts
    /// as told before `tell`, which may want to wait for all the others.
    pub(crate) fn deliver(&self, tell: impl Fn(Letter<B, E>)) -> usize {
        let mut delivered = 0;
        while let Some(letter) = self.next_letter() {
            tell(letter);
            delivered += 1;
        }
        delivered
    }

    /// As `deliver`; fails once there is no connection and will be none.
    pub(crate) fn deliver_or_refuse(&self, tell: impl Fn(Letter<B, E>)) -> Result<usize, E>
    where
        E: Clone,
    {
        // First: what was due when it became known is delivered then.
        let refused = self.state().refused.clone();
        let delivered = self.deliver(tell);
        refused.map_or(Ok(delivered), Err)
    }

    /// Calls `deliver` and then `rest`, by turns, until it is `done`; `false` if the time came
    /// first. `rest` is to wait for a change since what it is given, or until the time comes.
    pub(crate) fn deliver_until(
        &self,
        until: Option<Instant>,
        done: impl Fn(&Self) -> bool,
        tell: impl Fn(Letter<B, E>),
        rest: impl Fn(u64),
    ) -> bool {
        loop {
            // First: what changes from here on is not waited for.
            let seen = self.state().version;
            self.deliver(&tell);
            if done(self) {
                return true;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            rest(seen);
        }
    }

    /// Waits until something has changed since `seen`, or until the time comes.
    pub(crate) fn wait(&self, seen: u64, until: Option<Instant>) {
        let unchanged = |state: &mut State<C, B, E>| state.version == seen;
        let state = self.state();
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(left) => drop(self.arrived.wait_timeout_while(state, left, unchanged)),
            None => drop(self.arrived.wait_while(state, unchanged)),
        }
    }

    /// Resolves when some mail has come since the last time.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }

    /// Changes what the threads look at, and wakes those that wait.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State<C, B, E>)) {
        let mut state = self.state();
        change(&mut state);
        state.version = state.version.wrapping_add(1);
        drop(state);
        self.arrived.notify_all();
        self.rung.notify_one();
    }

    fn next_letter(&self) -> Option<Letter<B, E>> {
        let mut state = self.state();
        let letter = state.letters.pop_front()?;
        // Nobody waits for just that: whoever waits has looked for letters after the last change.
        state.settle(letter.room);
        Some(letter)
    }
}

impl<C, B, E> State<C, B, E> {
    /// Takes the fate of one message.
    pub(crate) fn take(&mut self, receipt: Receipt<B, E>, outcome: Fate<E>) {
        let Receipt { addressee, room } = receipt;
        match addressee {
            Addressee::Callback(callback) => {
                self.letters.push_back(Letter { callback, outcome, room });
            }
            Addressee::Nobody => {
                self.unheard = self.unheard.take().or(outcome.err());
                self.settle(room);
            }
            Addressee::Call(slot) => {
                // There is one fate.
                let _ = slot.set(outcome);
                self.settle(room);
            }
        }
    }

    /// Takes why there is no connection and will be none. Whoever learns it has heard from each
    /// message before, so it is kept for later while the fate of one is not known.
    pub(crate) fn refuse(&mut self, why: &E)
    where
        E: Clone,
    {
        if self.pending == self.letters.len() {
            self.refused.get_or_insert_with(|| why.clone());
        }
    }

    /// Takes the end of the hub, as whoever closes it learns it: he learns too what nobody else did.
    pub(crate) fn end(&mut self, goodbye: Fate<E>) {
        let unheard = self.unheard.take();
        self.closed.get_or_insert_with(|| goodbye.and(unheard.map_or(Ok(()), Err)));
    }

    fn settle(&mut self, room: usize) {
        self.pending = self.pending.saturating_sub(1);
        self.room = self.room.saturating_sub(room);
    }
}
