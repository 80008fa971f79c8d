//! The end of a Python interpreter, amid threads that call into it and a log that is handed on.

use std::{sync::Arc, time::Duration};

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::{in_every_order, sync};

#[path = "../../bindings-python/src/gate.rs"]
mod gate;
#[path = "../../bindings-python/src/records.rs"]
mod records;

use gate::Gate;
use records::Records;

/// Whoever was let in has gone, and all that it did is seen.
#[test]
fn nobody_is_inside_once_it_is_closed_and_empty() {
    in_every_order(|| {
        let gate = Arc::<Gate>::default();
        let visitors = [(); 2].map(|()| {
            let (gate, been_inside) = (Arc::clone(&gate), Arc::new(AtomicBool::new(false)));
            let seen = Arc::clone(&been_inside);
            let visitor = thread::spawn(move || {
                let let_in = gate.enter(|| false);
                if let_in {
                    // Without an order of its own: only the gate's.
                    been_inside.store(true, Relaxed);
                    gate.leave();
                }
                let_in
            });
            (visitor, seen)
        });
        let closes = {
            let gate = Arc::clone(&gate);
            let seen = visitors.each_ref().map(|(_, seen)| Arc::clone(seen));
            // No loop: loom hands a loop only what is new.
            thread::spawn(move || {
                gate.close();
                (!gate.is_occupied()).then(|| seen.map(|seen| seen.load(Relaxed)))
            })
        };
        let let_in = visitors.map(|(visitor, _)| visitor.join().unwrap());
        if let Some(seen) = closes.join().unwrap() {
            assert_eq!(let_in, seen);
        }
        assert!(!gate.enter(|| false));
        assert!(!gate.is_occupied());
        assert!(gate.enter(|| true), "the thread that closed it may go in");
        assert!(gate.is_occupied());
    });
}

/// An interpreter, and what its log has been told.
#[derive(Default)]
struct Interpreter {
    lock: Mutex<()>,
    visits: Gate,
    log: Records<usize>,
    told: Mutex<Vec<usize>>,
}

impl Interpreter {
    fn tell(&self, records: impl IntoIterator<Item = usize>) {
        self.told.lock().unwrap().extend(records);
    }

    /// The thread that hands records on, as Python runs it: with the interpreter's lock but where
    /// it waits. It ends where the real one stops for ever.
    fn serve_log(&self) {
        let mut held = self.lock.lock().unwrap();
        loop {
            self.log.come_back();
            if !self.visits.enter(|| false) {
                return;
            }
            self.visits.leave();
            drop(held);
            self.log.wait();
            if !self.visits.enter(|| false) {
                return;
            }
            held = self.lock.lock().unwrap();
            self.visits.leave();
            let records = self.log.take();
            // A log handler may let other threads run.
            drop(held);
            held = self.lock.lock().unwrap();
            self.tell(records);
        }
    }

    /// The end of the interpreter; `runtime` is what still works until it has begun.
    fn exit(&self, runtime: thread::JoinHandle<()>) {
        let held = self.lock.lock().unwrap();
        self.visits.close();
        drop(held);
        runtime.join().unwrap();
        while self.visits.is_occupied() {
            thread::yield_now();
        }
        let records = self.log.rest(Duration::from_secs(1));
        let _held = self.lock.lock().unwrap();
        self.tell(records);
    }
}

/// In their order; and the end does not wait for its time to be up, since the clock stands still.
#[test]
fn at_the_end_each_record_has_been_told_once() {
    in_every_order(|| {
        let interpreter = Arc::<Interpreter>::default();
        let log = {
            let interpreter = Arc::clone(&interpreter);
            thread::spawn(move || interpreter.serve_log())
        };
        let runtime = {
            let interpreter = Arc::clone(&interpreter);
            thread::spawn(move || {
                interpreter.log.put(0, 10);
                interpreter.log.put(1, 10);
            })
        };
        interpreter.exit(runtime);
        assert_eq!(*interpreter.told.lock().unwrap(), [0, 1]);
        // Lets the thread come to where it stops.
        interpreter.log.put(2, 10);
        log.join().unwrap();
        assert_eq!(*interpreter.told.lock().unwrap(), [0, 1]);
    });
}

#[test]
fn what_is_too_much_is_dropped() {
    in_every_order(|| {
        let log = Arc::<Records<usize>>::default();
        let other = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.put(0, 1))
        };
        log.put(1, 1);
        other.join().unwrap();
        assert_eq!(log.take().len(), 1);
    });
}
