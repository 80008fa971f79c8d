//! The threads that call blocking signers, in every order of events. loom fails a run in which
//! threads are left that wait for ever.

use std::{sync::Arc, time::Duration};

use loom::{
    model::Builder,
    sync::{Condvar, Mutex, Notify},
    thread,
};

#[path = "../../core/src/tls/pool.rs"]
mod inner;
mod sync;

use inner::Pool;

/// How often a thread may be interrupted where it need not be; what depends on more is not seen.
const INTERRUPTIONS: usize = 2;

fn in_every_order(story: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(INTERRUPTIONS);
    builder.check(move || {
        story();
        sync::end_time();
        sync::join_threads();
    });
}

fn pool(most: usize) -> Arc<Pool> {
    Arc::new(Pool::new(most, Duration::from_secs(10)))
}

/// What has become of the jobs.
#[derive(Clone)]
struct Jobs(Arc<(Mutex<Fates>, Condvar)>);

#[derive(Default)]
struct Fates {
    ran: usize,
    dropped: usize,
}

impl Jobs {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(Fates::default()), Condvar::new())))
    }

    fn give_to(&self, pool: &Arc<Pool>) {
        self.give(pool, || {});
    }

    fn give(&self, pool: &Arc<Pool>, work: impl FnOnce() + Send + 'static) {
        let job = Job { jobs: self.clone(), ran: false };
        pool.execute(Box::new(move || {
            work();
            job.run();
        }));
    }

    /// Waits until so many have run, which needs no time to pass.
    fn wait_for(&self, count: usize) {
        let (fates, changed) = &*self.0;
        let mut fates = fates.lock().unwrap();
        while fates.ran < count {
            fates = changed.wait(fates).unwrap();
        }
        assert_eq!((fates.ran, fates.dropped), (count, 0));
    }
}

struct Job {
    jobs: Jobs,
    ran: bool,
}

impl Job {
    fn run(mut self) {
        self.ran = true;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let (fates, changed) = &*self.jobs.0;
        let mut fates = fates.lock().unwrap();
        match self.ran {
            true => fates.ran += 1,
            false => fates.dropped += 1,
        }
        drop(fates);
        changed.notify_all();
    }
}

/// Nobody is woken too late: the clock stands still until all is done.
#[test]
fn jobs_of_two_threads_run_at_once() {
    in_every_order(|| {
        let (pool, jobs) = (pool(2), Jobs::new());
        let other = {
            let (pool, jobs) = (Arc::clone(&pool), jobs.clone());
            thread::spawn(move || jobs.give_to(&pool))
        };
        jobs.give_to(&pool);
        jobs.wait_for(2);
        other.join().unwrap();
    });
}

/// A signer that takes its time delays nobody while there may be another thread.
#[test]
fn jobs_that_wait_for_each_other_have_a_thread_each() {
    in_every_order(|| {
        let (pool, jobs) = (pool(2), Jobs::new());
        jobs.give_to(&pool);
        jobs.wait_for(1);
        let (one, other) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let both = [(Arc::clone(&one), Arc::clone(&other)), (other, one)];
        for (here, there) in both {
            jobs.give(&pool, move || {
                there.notify();
                here.wait();
            });
        }
        jobs.wait_for(3);
    });
}

/// A thread that has just waited too long, or is about to, takes the job all the same.
#[test]
fn no_thread_ends_while_a_job_waits() {
    for most in [1, 2] {
        in_every_order(move || {
            let (pool, jobs) = (pool(most), Jobs::new());
            jobs.give_to(&pool);
            let clock = thread::spawn(sync::pass_time);
            jobs.give_to(&pool);
            jobs.wait_for(2);
            clock.join().unwrap();
        });
    }
}

/// A job that comes after the threads have ended, or while they do, has one of its own.
#[test]
fn threads_that_have_ended_are_not_counted_on() {
    in_every_order(|| {
        let (pool, jobs) = (pool(1), Jobs::new());
        jobs.give_to(&pool);
        jobs.wait_for(1);
        sync::end_time();
        jobs.give_to(&pool);
        jobs.wait_for(2);
        jobs.give_to(&pool);
        jobs.wait_for(3);
    });
}

#[test]
fn more_jobs_than_threads_all_run() {
    in_every_order(|| {
        let (pool, jobs) = (pool(1), Jobs::new());
        for _ in 0..3 {
            jobs.give_to(&pool);
        }
        jobs.wait_for(3);
    });
}

/// Where no thread can be started, a job is dropped or left to a thread that is there.
#[test]
fn a_job_without_a_thread_is_dropped_and_never_forgotten() {
    in_every_order(|| {
        let (pool, jobs) = (pool(2), Jobs::new());
        sync::refuse_threads(true);
        jobs.give_to(&pool);
        assert_eq!(jobs.0.0.lock().unwrap().dropped, 1);
        sync::refuse_threads(false);

        let jobs = Jobs::new();
        jobs.give_to(&pool);
        sync::refuse_threads(true);
        jobs.give_to(&pool);
        jobs.wait_for(2);
    });
}
