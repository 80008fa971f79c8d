//! Jobs for one thread, which is woken up once for however many have come since.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use std::{mem, sync::PoisonError};

use super::sync::{Mutex, MutexGuard};

/// The jobs that wait for the thread.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    jobs: Vec<T>,
    closed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { jobs: Vec::new(), closed: false }) }
    }
}

impl<T> Queue<T> {
    /// Adds a job, or drops it if the thread takes none any more. Calls `wake` if it is the first;
    /// else the thread has been woken already.
    pub(crate) fn put(&self, job: T, wake: impl FnOnce()) {
        let mut state = self.state();
        if state.closed {
            // Without the lock: a job may hold what puts another one when it is dropped.
            drop(state);
            drop(job);
            return;
        }
        let first = state.jobs.is_empty();
        state.jobs.push(job);
        drop(state);
        if first {
            wake();
        }
    }

    /// All that wait, in the order of the calls. The thread has to run or drop each.
    pub(crate) fn take(&self) -> Vec<T> {
        mem::take(&mut self.state().jobs)
    }

    /// From here on there are no more jobs, and those that wait are dropped.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let left = mem::take(&mut state.jobs);
        // Without the lock, as above.
        drop(state);
        drop(left);
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
