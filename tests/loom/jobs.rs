//! Jobs for a pool of threads, and what has become of them.

use std::{sync::Arc, thread};

use loom::sync::{Condvar, Mutex, Notify};

/// Who knows the fates of its jobs.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<(Mutex<Fates>, Condvar)>);

#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Fates {
    pub(crate) ran: usize,
    pub(crate) dropped: usize,
}

pub(crate) struct Job {
    jobs: Jobs,
    work: Option<Box<dyn FnOnce() + Send>>,
}

impl Jobs {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Mutex::new(Fates::default()), Condvar::new())))
    }

    pub(crate) fn job(&self) -> Job {
        self.job_of(|| {})
    }

    fn job_of(&self, work: impl FnOnce() + Send + 'static) -> Job {
        Job { jobs: self.clone(), work: Some(Box::new(work)) }
    }

    /// Two jobs, each of which ends only when the other one has begun.
    pub(crate) fn that_wait_for_each_other(&self) -> [Job; 2] {
        let (one, other) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        [(Arc::clone(&one), Arc::clone(&other)), (other, one)].map(|(here, there)| {
            self.job_of(move || {
                there.notify();
                here.wait();
            })
        })
    }

    pub(crate) fn fates(&self) -> Fates {
        *self.0.0.lock().unwrap()
    }

    /// Waits until so many have run, which needs no time to pass; none may have been dropped.
    pub(crate) fn wait_for(&self, count: usize) {
        assert_eq!(self.fates_after(count), Fates { ran: count, dropped: 0 });
    }

    /// The fates of all, once so many have run.
    pub(crate) fn fates_after(&self, ran: usize) -> Fates {
        let (fates, changed) = &*self.0;
        let mut fates = fates.lock().unwrap();
        while fates.ran < ran {
            fates = changed.wait(fates).unwrap();
        }
        *fates
    }
}

impl Job {
    pub(crate) fn run(mut self) {
        if let Some(work) = self.work.take() {
            work();
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if thread::panicking() {
            // After a run that has failed there are no threads, and no locks.
            return;
        }
        let (fates, changed) = &*self.jobs.0;
        let mut fates = fates.lock().unwrap();
        match self.work {
            Some(_) => fates.dropped += 1,
            None => fates.ran += 1,
        }
        drop(fates);
        changed.notify_all();
    }
}
