//! The answers that are waited for on other threads, and how many calls want them.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::sync::{Mutex, MutexGuard, mpsc};

/// With the last of the calls go all waits, and until the next one there are no new ones: a
/// function that never answers would otherwise hold one of the few threads that sign for ever.
pub(crate) struct Waits<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    users: usize,
    last: u64,
    answers: BTreeMap<u64, mpsc::SyncSender<T>>,
}

impl<T> Default for Waits<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { users: 0, last: 0, answers: BTreeMap::new() }) }
    }
}

/// One call's wish for answers, as long as it lives.
pub(crate) struct InUse<T>(Arc<Waits<T>>);

/// One answer that is waited for.
pub(crate) struct Wait<T>(mpsc::Receiver<T>);

impl<T> Waits<T> {
    /// A call begins that wants answers.
    pub(crate) fn in_use(self: &Arc<Self>) -> InUse<T> {
        self.state().users += 1;
        InUse(Arc::clone(self))
    }

    /// A wait, and the number by which it is answered; `None` if no call wants an answer.
    pub(crate) fn begin(&self) -> Option<(u64, Wait<T>)> {
        let mut state = self.state();
        if state.users == 0 {
            return None;
        }
        state.last += 1;
        let (sender, receiver) = mpsc::sync_channel(1);
        let number = state.last;
        state.answers.insert(number, sender);
        Some((number, Wait(receiver)))
    }

    /// Answers a wait, unless it has been answered or given up.
    pub(crate) fn end(&self, number: u64, answer: T) {
        let sender = self.state().answers.remove(&number);
        if let Some(sender) = sender {
            // Nobody waits where the thread has gone.
            let _ = sender.send(answer);
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Wait<T> {
    /// Waits on this thread, for so long; `None` once no call wants the answer any more.
    pub(crate) fn answer(self, limit: Duration) -> Option<T> {
        self.0.recv_timeout(limit).ok()
    }
}

impl<T> Drop for InUse<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.users -= 1;
        if state.users == 0 {
            state.answers.clear();
        }
    }
}
