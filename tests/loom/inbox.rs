//! From the threads of Python's runtime to an event loop.

use std::{convert::Infallible, sync::Arc};

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{in_every_order, sync};

#[path = "../../bindings-python/src/inbox.rs"]
mod inner;

use inner::{Bell, Inbox};

/// A socket that an event loop watches: readable until what was written has been read.
#[derive(Clone)]
struct Doorbell(Arc<(Mutex<Rings>, Condvar)>);

#[derive(Default)]
struct Rings {
    unheard: usize,
    ever: usize,
}

impl Doorbell {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(Rings::default()), Condvar::new())))
    }

    fn wait(&self) {
        let (rings, rung) = &*self.0;
        let mut rings = rings.lock().unwrap();
        while rings.unheard == 0 {
            rings = rung.wait(rings).unwrap();
        }
    }

    fn hear(&self) -> Result<(), Infallible> {
        self.0.0.lock().unwrap().unheard = 0;
        Ok(())
    }

    fn ever_rung(&self) -> usize {
        self.0.0.lock().unwrap().ever
    }
}

impl Bell for Doorbell {
    fn ring(&self) {
        let (rings, rung) = &*self.0;
        let mut rings = rings.lock().unwrap();
        rings.unheard += 1;
        rings.ever += 1;
        drop(rings);
        rung.notify_one();
    }
}

/// An inbox for what a thread of this name has put, numbered.
type Numbers = Inbox<(usize, usize), Doorbell>;

fn inbox() -> (Arc<Numbers>, Doorbell) {
    let bell = Doorbell::new();
    (Arc::new(Inbox::new(bell.clone())), bell)
}

/// What the event loop gets, which looks only when it is rung for.
fn receive(count: usize, inbox: &Numbers, bell: &Doorbell) -> Vec<(usize, usize)> {
    let mut received = Vec::new();
    while received.len() < count {
        bell.wait();
        let Ok(new) = inbox.take(|| bell.hear());
        received.extend(new);
    }
    received
}

/// None is lost, none waits without a ring, and what one thread has put keeps its order.
#[test]
fn all_that_is_put_arrives_in_order() {
    in_every_order(|| {
        let (inbox, bell) = inbox();
        let threads = [0, 1].map(|name| {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || {
                inbox.put([(name, 0)]);
                inbox.put([(name, 1), (name, 2)]);
            })
        });
        let received = receive(6, &inbox, &bell);
        assert_eq!(received.len(), 6);
        for name in [0, 1] {
            let of_one = received.iter().filter(|(of, _)| *of == name).map(|(_, number)| *number);
            assert_eq!(of_one.collect::<Vec<_>>(), [0, 1, 2]);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn one_ring_stands_for_all_that_has_come_since() {
    in_every_order(|| {
        let (inbox, bell) = inbox();
        let other = {
            let inbox = Arc::clone(&inbox);
            thread::spawn(move || inbox.put([(1, 0), (1, 1)]))
        };
        inbox.put([]);
        inbox.put([(0, 0)]);
        inbox.put([(0, 1)]);
        other.join().unwrap();
        assert_eq!(bell.ever_rung(), 1);
        assert_eq!(receive(4, &inbox, &bell).len(), 4);
        inbox.put([]);
        assert_eq!(bell.ever_rung(), 1);
    });
}
