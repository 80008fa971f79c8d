//! Records that one thread takes and hands on, until the end of the interpreter hands on the rest.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use std::{collections::VecDeque, mem, sync::PoisonError, time::Duration};

use super::sync::{Condvar, Mutex, MutexGuard};

/// The records that wait.
pub(crate) struct Records<T> {
    state: Mutex<State<T>>,
    more: Condvar,
    handed_on: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Records have been taken, and their thread has not come back yet.
    on_the_way: bool,
}

impl<T> Default for Records<T> {
    fn default() -> Self {
        let state = State { waiting: VecDeque::new(), on_the_way: false };
        Self { state: Mutex::new(state), more: Condvar::default(), handed_on: Condvar::default() }
    }
}

impl<T> Records<T> {
    /// Adds a record, or drops it if `most` are waiting.
    pub(crate) fn put(&self, record: T, most: usize) {
        let mut state = self.state();
        if state.waiting.len() < most {
            state.waiting.push_back(record);
            drop(state);
            self.more.notify_one();
        }
    }

    /// Waits until there is something to take. It is not taken yet: the thread may have to stop
    /// here, at the end of the interpreter.
    pub(crate) fn wait(&self) {
        drop(self.more.wait_while(self.state(), |state| state.waiting.is_empty()));
    }

    /// Takes what waits, which is on its way until [`come_back`](Self::come_back).
    pub(crate) fn take(&self) -> VecDeque<T> {
        let mut state = self.state();
        state.on_the_way = true;
        mem::take(&mut state.waiting)
    }

    /// What was taken has been handed on.
    pub(crate) fn come_back(&self) {
        self.state().on_the_way = false;
        self.handed_on.notify_all();
    }

    /// What is left, once what is on its way has been handed on, or has not been for so long.
    pub(crate) fn rest(&self, patience: Duration) -> VecDeque<T> {
        let waited =
            self.handed_on.wait_timeout_while(self.state(), patience, |state| state.on_the_way);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut state.waiting)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
