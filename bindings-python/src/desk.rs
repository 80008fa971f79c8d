//! Jobs for threads that somebody else starts, one for each job that finds no thread waiting.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events.

use std::{collections::VecDeque, sync::PoisonError, time::Duration};

use super::sync::{Condvar, Mutex, MutexGuard};

/// The jobs that no thread has taken yet.
pub(crate) struct Desk<T> {
    state: Mutex<State<T>>,
    work: Condvar,
}

struct State<T> {
    jobs: VecDeque<(u64, T)>,
    last: u64,
    /// How many threads wait for a job, those included that have just been woken.
    idle: usize,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        let state = State { jobs: VecDeque::new(), last: 0, idle: 0 };
        Self { state: Mutex::new(state), work: Condvar::default() }
    }
}

impl<T> Desk<T> {
    /// Hands in a job, in whose place another one may be done first. Where threads are short,
    /// `start` is to start one that calls [`next`](Self::next); no lock is held meanwhile. If it
    /// cannot, and no thread has taken the job, the job is dropped.
    pub(crate) fn add<E>(&self, job: T, start: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.state();
        state.last += 1;
        let number = state.last;
        state.jobs.push_back((number, job));
        let short = state.jobs.len() > state.idle;
        drop(state);
        if short && let Err(error) = start() {
            return match self.withdraw(number) {
                Some(_) => Err(error),
                None => Ok(()),
            };
        }
        self.work.notify_one();
        Ok(())
    }

    /// The next job; `None` if none has come for so long.
    pub(crate) fn next(&self, patience: Duration) -> Option<T> {
        let mut state = self.state();
        state.idle += 1;
        let (mut state, _) = self
            .work
            .wait_timeout_while(state, patience, |state| state.jobs.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        state.jobs.pop_front().map(|(_, job)| job)
    }

    fn withdraw(&self, number: u64) -> Option<T> {
        let mut state = self.state();
        let place = state.jobs.iter().position(|(other, _)| *other == number)?;
        state.jobs.remove(place).map(|(_, job)| job)
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
