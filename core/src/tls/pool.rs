//! Threads for jobs that may block: started when there is more to do than there are idle threads,
//! ended when they have been idle for long.
//!
//! `tests/loom` compiles this very file with a `sync` of its own, in which loom tries every order
//! of events, and time passes whenever it may.

use std::{
    collections::VecDeque,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::sync::{Condvar, Mutex, MutexGuard, thread};

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// At most so many threads, which wait so long for the next job.
pub(super) struct Pool {
    most: usize,
    patience: Duration,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// How many of the threads wait for a job.
    idle: usize,
}

impl Pool {
    pub(super) fn new(most: usize, patience: Duration) -> Self {
        Self { most, patience, state: Mutex::default(), work: Condvar::default() }
    }

    /// Runs `job` as soon as there is a thread for it, or drops it if there can be none.
    pub(super) fn execute(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        state.jobs.push_back(job);
        let mut dropped = VecDeque::new();
        if state.idle < state.jobs.len() && state.threads < self.most {
            match self.start() {
                Ok(()) => state.threads += 1,
                // No thread now, and none later that would look.
                Err(_) if state.threads == 0 => dropped = mem::take(&mut state.jobs),
                Err(_) => {}
            }
        }
        drop(state);
        self.work.notify_one();
        // Not under the lock: what a job holds may have a job of its own when it is dropped.
        drop(dropped);
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        let pool = Arc::clone(self);
        thread::Builder::new().name("dps-signing".into()).spawn(move || pool.serve()).map(drop)
    }

    fn serve(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // A job that panics costs itself, not the thread's place in the pool.
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
                continue;
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.patience);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = next;
            state.idle -= 1;
            if timeout.timed_out() && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
