//! The threads of core that call blocking signers, and the handshakes that go on there.

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use loom::{sync::Mutex, thread};

use crate::{
    in_every_order_with_a_clock as in_every_order,
    jobs::{Fates, Job, Jobs},
    sync,
};

#[path = "../../core/src/tls/pool.rs"]
mod pool;
#[path = "../../core/src/tls/stepped.rs"]
#[expect(dead_code, reason = "the threads that a process shares")]
mod stepped;

use pool::Pool;
use stepped::{SigningExecutor, SigningThreads};

fn pool(most: usize) -> Arc<Pool> {
    Arc::new(Pool::new(most, Duration::from_secs(10)))
}

fn give(pool: &Arc<Pool>, job: Job) {
    pool.execute(Box::new(move || job.run()));
}

/// Nobody is woken too late: the clock stands still until all is done.
#[test]
fn jobs_of_two_threads_run_at_once() {
    in_every_order(|| {
        let (pool, jobs) = (pool(2), Jobs::new());
        let other = {
            let (pool, jobs) = (Arc::clone(&pool), jobs.clone());
            thread::spawn(move || give(&pool, jobs.job()))
        };
        give(&pool, jobs.job());
        jobs.wait_for(2);
        other.join().unwrap();
    });
}

/// A signer that takes its time delays nobody while there may be another thread.
#[test]
fn jobs_that_wait_for_each_other_have_a_thread_each() {
    in_every_order(|| {
        let (pool, jobs) = (pool(2), Jobs::new());
        give(&pool, jobs.job());
        jobs.wait_for(1);
        jobs.that_wait_for_each_other().into_iter().for_each(|job| give(&pool, job));
        jobs.wait_for(3);
    });
}

/// A thread that has just waited too long, or is about to, takes the job all the same.
#[test]
fn no_thread_ends_while_a_job_waits() {
    for most in [1, 2] {
        in_every_order(move || {
            let (pool, jobs) = (pool(most), Jobs::new());
            give(&pool, jobs.job());
            let clock = thread::spawn(sync::pass_time);
            give(&pool, jobs.job());
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
        give(&pool, jobs.job());
        jobs.wait_for(1);
        sync::end_time();
        give(&pool, jobs.job());
        jobs.wait_for(2);
        give(&pool, jobs.job());
        jobs.wait_for(3);
    });
}

#[test]
fn more_jobs_than_threads_all_run() {
    in_every_order(|| {
        let (pool, jobs) = (pool(1), Jobs::new());
        for _ in 0..3 {
            give(&pool, jobs.job());
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
        give(&pool, jobs.job());
        assert_eq!(jobs.fates(), Fates { ran: 0, dropped: 1 });
        sync::refuse_threads(false);

        let jobs = Jobs::new();
        give(&pool, jobs.job());
        sync::refuse_threads(true);
        give(&pool, jobs.job());
        jobs.wait_for(2);
    });
}

/// What a handshake waits for, and how to wake it.
#[derive(Clone, Default)]
struct Peer(Arc<Mutex<(usize, Option<Waker>)>>);

impl Peer {
    /// As a socket does when something has arrived.
    fn says_something(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 += 1;
        let waiting = state.1.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Ends once the peer has said so much.
    fn handshake(&self, length: usize) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let peer = self.clone();
        poll_fn(move |context| {
            let mut state = peer.0.lock().unwrap();
            if state.0 == length {
                return Poll::Ready(Ok(()));
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

/// Whether it comes while the handshake is polled, or before or after that.
#[test]
fn what_a_handshake_waits_for_wakes_it() {
    in_every_order(|| {
        let (peer, threads) = (Peer::default(), SigningThreads::default());
        let speaks = {
            let peer = peer.clone();
            thread::spawn(move || {
                peer.says_something();
                peer.says_something();
            })
        };
        sync::block_on(stepped::run(peer.handshake(2), &threads)).unwrap();
        speaks.join().unwrap();
    });
}

#[test]
fn a_handshake_without_a_thread_fails() {
    in_every_order(|| {
        sync::refuse_threads(true);
        let threads = SigningThreads::default();
        let handshake = Peer::default().handshake(1);
        sync::block_on(stepped::run(handshake, &threads)).unwrap_err();
        sync::refuse_threads(false);
        let jobs = Jobs::new();
        let job = jobs.job();
        threads.execute(Box::new(move || job.run()));
        jobs.wait_for(1);
    });
}
