//! From any thread to a JavaScript thread.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{in_every_order, sync};

#[path = "../../bindings-node/src/queue.rs"]
mod inner;

use inner::Queue;

/// A queue, what wakes its thread, and what has become of the jobs.
#[derive(Default)]
struct Stage {
    queue: Queue<Job>,
    wakes: (Mutex<usize>, Condvar),
    ever_woken: AtomicUsize,
    /// The jobs that ran, by whose they are and their number.
    ran: Mutex<Vec<(usize, usize)>>,
    dropped: AtomicUsize,
    closed: AtomicBool,
}

impl Stage {
    fn put(self: &Arc<Self>, name: usize, number: usize) {
        self.put_job(Job { stage: Arc::clone(self), name, number, ran: false, heir: false });
    }

    /// A job that puts another one if it is dropped.
    fn put_with_an_heir(self: &Arc<Self>, name: usize) {
        self.put_job(Job { stage: Arc::clone(self), name, number: 0, ran: false, heir: true });
    }

    /// Two threads, each of which puts two jobs.
    fn put_from_two_threads(self: &Arc<Self>) -> [thread::JoinHandle<()>; 2] {
        [0, 1].map(|name| {
            let stage = Arc::clone(self);
            thread::spawn(move || {
                stage.put(name, 0);
                stage.put(name, 1);
            })
        })
    }

    fn put_job(&self, job: Job) {
        self.queue.put(job, || {
            let (wakes, woken) = &self.wakes;
            *wakes.lock().unwrap() += 1;
            self.ever_woken.fetch_add(1, SeqCst);
            woken.notify_one();
        });
    }

    /// Runs jobs, each time that it is woken, until so many have run.
    fn serve(&self, count: usize) {
        let mut ran = 0;
        while ran < count {
            let (wakes, woken) = &self.wakes;
            let mut wakes = wakes.lock().unwrap();
            while *wakes == 0 {
                wakes = woken.wait(wakes).unwrap();
            }
            *wakes -= 1;
            drop(wakes);
            ran += self.run_what_waits();
        }
    }

    fn run_what_waits(&self) -> usize {
        let jobs = self.queue.take();
        let count = jobs.len();
        jobs.into_iter().for_each(Job::run);
        count
    }

    fn close(&self) {
        self.queue.close();
        self.closed.store(true, SeqCst);
    }

    fn fates(&self) -> (usize, usize) {
        (self.ran.lock().unwrap().len(), self.dropped.load(SeqCst))
    }
}

struct Job {
    stage: Arc<Stage>,
    name: usize,
    number: usize,
    ran: bool,
    heir: bool,
}

impl Job {
    fn run(mut self) {
        assert!(!self.stage.closed.load(SeqCst), "a job of a thread that has ended");
        self.ran = true;
        self.stage.ran.lock().unwrap().push((self.name, self.number));
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // After a run that has failed there are no threads, and no locks.
        if !self.ran && !std::thread::panicking() {
            self.stage.dropped.fetch_add(1, SeqCst);
            if self.heir {
                self.stage.put(self.name, 1);
            }
        }
    }
}

/// None is left waiting without a wake-up, and the jobs of one thread keep their order.
#[test]
fn all_jobs_run_in_order() {
    in_every_order(|| {
        let stage = Arc::new(Stage::default());
        let threads = stage.put_from_two_threads();
        stage.serve(4);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let ran = stage.ran.lock().unwrap().clone();
        for name in [0, 1] {
            let of_one = ran.iter().filter(|(of, _)| *of == name).map(|(_, number)| *number);
            assert_eq!(of_one.collect::<Vec<_>>(), [0, 1]);
        }
    });
}

#[test]
fn one_wake_up_stands_for_all_jobs_since() {
    in_every_order(|| {
        let stage = Arc::new(Stage::default());
        let other = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || stage.put(1, 0))
        };
        stage.put(0, 0);
        stage.put(0, 1);
        other.join().unwrap();
        assert_eq!(stage.ever_woken.load(SeqCst), 1);
        stage.serve(3);
        assert_eq!(stage.fates(), (3, 0));
    });
}

/// Whenever a job comes, before or after: it has run before the end, or it is dropped.
#[test]
fn at_the_end_of_its_thread_each_job_has_one_fate() {
    in_every_order(|| {
        let stage = Arc::new(Stage::default());
        let threads = stage.put_from_two_threads();
        stage.run_what_waits();
        stage.close();
        // Node may still call what was woken.
        assert_eq!(stage.run_what_waits(), 0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(stage.run_what_waits(), 0);
        let (ran, dropped) = stage.fates();
        assert_eq!(ran + dropped, 4);
    });
}

/// As the end of a connection drops a job whose promise wants to be settled.
#[test]
fn a_job_that_puts_another_when_it_is_dropped_is_dropped_as_well() {
    in_every_order(|| {
        let stage = Arc::new(Stage::default());
        stage.put_with_an_heir(0);
        let other = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || stage.put_with_an_heir(1))
        };
        stage.close();
        other.join().unwrap();
        assert_eq!(stage.run_what_waits(), 0);
        assert_eq!(stage.fates(), (0, 4));
    });
}
