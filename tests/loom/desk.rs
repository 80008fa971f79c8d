//! The threads of Python's own that call its signers.

use std::{io, sync::Arc, time::Duration};

use loom::thread;

use crate::{
    in_every_order_with_a_clock as in_every_order,
    jobs::{Fates, Job, Jobs},
    sync,
};

#[path = "../../bindings-python/src/desk.rs"]
mod inner;

use inner::Desk;

fn desk() -> Arc<Desk<Job>> {
    Arc::default()
}

fn add(desk: &Arc<Desk<Job>>, job: Job) -> io::Result<()> {
    desk.add(job, || {
        let desk = Arc::clone(desk);
        sync::thread::Builder::new().spawn(move || {
            while let Some(job) = desk.next(Duration::from_secs(10)) {
                job.run();
            }
        })
    })
}

/// Nobody is woken too late: the clock stands still until all is done.
#[test]
fn jobs_of_two_threads_are_done_at_once() {
    in_every_order(|| {
        let (desk, jobs) = (desk(), Jobs::new());
        let other = {
            let (desk, jobs) = (Arc::clone(&desk), jobs.clone());
            thread::spawn(move || add(&desk, jobs.job()).unwrap())
        };
        add(&desk, jobs.job()).unwrap();
        jobs.wait_for(2);
        other.join().unwrap();
        add(&desk, jobs.job()).unwrap();
        jobs.wait_for(3);
    });
}

/// A signer that takes its time delays nobody.
#[test]
fn jobs_that_wait_for_each_other_have_a_thread_each() {
    in_every_order(|| {
        let (desk, jobs) = (desk(), Jobs::new());
        add(&desk, jobs.job()).unwrap();
        jobs.wait_for(1);
        jobs.that_wait_for_each_other().into_iter().for_each(|job| add(&desk, job).unwrap());
        jobs.wait_for(3);
    });
}

/// A thread that has just waited too long, or is about to, does the job all the same, or another
/// one does.
#[test]
fn no_job_waits_for_a_thread_that_has_ended() {
    in_every_order(|| {
        let (desk, jobs) = (desk(), Jobs::new());
        add(&desk, jobs.job()).unwrap();
        let clock = thread::spawn(sync::pass_time);
        add(&desk, jobs.job()).unwrap();
        jobs.wait_for(2);
        clock.join().unwrap();
        sync::end_time();
        add(&desk, jobs.job()).unwrap();
        jobs.wait_for(3);
    });
}

/// Whoever is told that there is no thread is told the truth: the job is not done later. A job that
/// was taken all the same is done.
#[test]
fn a_job_without_a_thread_is_dropped_and_no_other_one_with_it() {
    in_every_order(|| {
        let (desk, jobs) = (desk(), Jobs::new());
        add(&desk, jobs.job()).unwrap();
        sync::refuse_threads(true);
        let other = {
            let (desk, jobs) = (Arc::clone(&desk), jobs.clone());
            thread::spawn(move || add(&desk, jobs.job()).is_ok())
        };
        let taken = [add(&desk, jobs.job()).is_ok(), other.join().unwrap()];
        let ran = 1 + taken.into_iter().map(usize::from).sum::<usize>();
        assert_eq!(jobs.fates_after(ran), Fates { ran, dropped: 3 - ran });
    });
}
