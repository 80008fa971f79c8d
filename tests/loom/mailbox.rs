//! What the task of a hub in C reports, and the caller's threads that wait for it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{in_every_order, sync};

#[path = "../../bindings-c/src/mailbox.rs"]
mod inner;

use inner::{Addressee, Fate, Letter, Mailbox, Receipt, Refused};

/// Why there is no hub any more.
type Why = &'static str;
type Slot = Arc<OnceLock<Fate<Why>>>;

/// A hub: its mailbox, what was handed to its task, and how often each callback ran.
#[derive(Default)]
struct Hub {
    mailbox: Mailbox<(), usize, Why>,
    orders: Mutex<Vec<Order>>,
    ordered: Condvar,
    callbacks: [AtomicUsize; 3],
}

enum Order {
    Send(Receipt<usize, Why>),
    Close,
}

impl Hub {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap().push(order);
        self.ordered.notify_one();
    }

    fn submit(&self, addressee: Addressee<usize, Why>) -> Result<(), Refused> {
        self.submit_with_room(addressee, usize::MAX)
    }

    fn submit_with_room(
        &self,
        addressee: Addressee<usize, Why>,
        most: usize,
    ) -> Result<(), Refused> {
        let hand_over = || {
            self.order(Order::Send(Receipt { addressee, room: 1 }));
            true
        };
        self.mailbox.admit(1, most, hand_over)
    }

    fn submit_callbacks(&self, names: impl IntoIterator<Item = usize>) {
        for name in names {
            assert!(self.submit(Addressee::Callback(name)).is_ok());
        }
    }

    /// The task: reports each fate by itself, until it has sent so many or is told to close.
    fn serve(&self, count: usize) {
        let mut sent = 0;
        while sent < count {
            match self.next_order() {
                Order::Send(receipt) => self.mailbox.change(|state| state.take(receipt, Ok(()))),
                Order::Close => {
                    assert!(self.orders.lock().unwrap().is_empty(), "a message after the end");
                    return self.mailbox.change(|state| state.end(Ok(())));
                }
            }
            sent += 1;
        }
    }

    fn next_order(&self) -> Order {
        let mut orders = self.orders.lock().unwrap();
        while orders.is_empty() {
            orders = self.ordered.wait(orders).unwrap();
        }
        orders.remove(0)
    }

    /// The task once the hub has refused the device: so many messages fail, and the hub with them.
    fn refuse(&self, count: usize) {
        for _ in 0..count {
            if let Order::Send(receipt) = self.next_order() {
                self.mailbox.change(|state| {
                    state.take(receipt, Err("refused"));
                    state.refuse(&"refused");
                });
            }
        }
    }

    fn in_background(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) -> Background {
        let hub = Arc::clone(self);
        Background(thread::spawn(move || work(&hub)))
    }

    fn wait_until(&self, done: impl Fn(&Mailbox<(), usize, Why>) -> bool) {
        self.rest_until(done, |seen| self.mailbox.wait(seen, None));
    }

    fn rest_until(&self, done: impl Fn(&Mailbox<(), usize, Why>) -> bool, rest: impl Fn(u64)) {
        assert!(self.mailbox.deliver_until(None, done, |letter| self.run(letter), rest));
    }

    fn run(&self, letter: Letter<usize, Why>) {
        assert_eq!(letter.outcome, Ok(()));
        self.callbacks[letter.callback].fetch_add(1, SeqCst);
    }

    fn flush(&self) {
        self.wait_until(is_flushed);
    }

    /// As a hub does whose task works only while its thread waits.
    fn flush_polled(&self) {
        self.rest_until(is_flushed, |_| sync::block_on(self.mailbox.rung()));
    }

    fn connect(&self) -> Fate<Why> {
        self.wait_until(|mailbox| {
            let state = mailbox.state();
            state.client.is_some() || state.refused.is_some()
        });
        self.mailbox.state().refused.map_or(Ok(()), Err)
    }

    /// Sends and waits for the fate; `None` if the hub ended without one.
    fn send(&self) -> Option<Fate<Why>> {
        let slot = Slot::default();
        if self.submit(Addressee::Call(Arc::clone(&slot))).is_err() {
            return None;
        }
        self.wait_until(|mailbox| slot.get().is_some() || mailbox.state().closed.is_some());
        slot.get().copied()
    }

    fn close(&self) {
        self.mailbox.close(|| self.order(Order::Close));
        self.wait_until(|mailbox| {
            let state = mailbox.state();
            state.closed.is_some() && state.letters.is_empty()
        });
    }

    fn callbacks_run(&self) -> [usize; 3] {
        [0, 1, 2].map(|name| self.callbacks[name].load(SeqCst))
    }
}

fn is_flushed(mailbox: &Mailbox<(), usize, Why>) -> bool {
    let state = mailbox.state();
    state.pending == 0 || state.closed.is_some() && state.letters.is_empty()
}

/// Joined at the end of the story.
#[must_use]
struct Background(thread::JoinHandle<()>);

impl Background {
    fn end(self) {
        self.0.join().unwrap();
    }
}

/// Whoever of the threads runs it; and each flush ends, though another thread took the last letter.
#[test]
fn each_callback_runs_once_and_each_flush_ends() {
    in_every_order(|| {
        let hub = Hub::new();
        hub.submit_callbacks([0, 1]);
        let task = hub.in_background(|hub| hub.serve(2));
        let other = hub.in_background(Hub::flush);
        hub.flush();
        other.end();
        task.end();
        assert_eq!(hub.callbacks_run(), [1, 1, 0]);
        assert_eq!(hub.mailbox.state().pending, 0);
    });
}

/// A thread that only delivers may take the letter that a flush waits for.
#[test]
fn a_flush_ends_though_another_thread_delivers() {
    for flush in [Hub::flush, Hub::flush_polled] {
        in_every_order(move || {
            let hub = Hub::new();
            hub.submit_callbacks([0]);
            let task = hub.in_background(|hub| hub.serve(1));
            let other = hub.in_background(|hub| _ = hub.mailbox.deliver(|letter| hub.run(letter)));
            flush(&hub);
            other.end();
            task.end();
            assert_eq!(hub.callbacks_run(), [1, 0, 0]);
        });
    }
}

#[test]
fn a_connect_ends_with_what_became_of_it() {
    for outcome in [Ok(()), Err("refused")] {
        in_every_order(move || {
            let hub = Hub::new();
            let task = hub.in_background(move |hub| {
                hub.mailbox.change(|state| match outcome {
                    Ok(()) => state.client = Some(()),
                    Err(why) => state.refuse(&why),
                });
            });
            assert_eq!(hub.connect(), outcome);
            task.end();
        });
    }
}

#[test]
fn whoever_learns_of_a_refusal_has_heard_from_each_message() {
    in_every_order(|| {
        let hub = Hub::new();
        hub.submit_callbacks([0, 1]);
        let task = hub.in_background(|hub| hub.refuse(2));
        let count = |letter: Letter<usize, Why>| {
            hub.callbacks[letter.callback].fetch_add(1, SeqCst);
        };
        if hub.mailbox.deliver_or_refuse(count).is_err() {
            assert_eq!(hub.callbacks_run(), [1, 1, 0]);
        }
        task.end();
        assert_eq!(hub.mailbox.deliver_or_refuse(count), Err("refused"));
    });
}

/// Once, by whoever closes; who has a callback has heard of it there.
#[test]
fn a_loss_that_nobody_was_told_of_is_told_by_the_close() {
    for (addressee, told) in [(None, Err("refused")), (Some(0), Ok(()))] {
        in_every_order(move || {
            let hub = Hub::new();
            let addressee = addressee.map_or(Addressee::Nobody, Addressee::Callback);
            assert!(hub.submit(addressee).is_ok());
            let task = hub.in_background(|hub| {
                hub.refuse(1);
                hub.serve(1);
            });
            hub.mailbox.close(|| hub.order(Order::Close));
            let (is_over, rest) = (
                |mailbox: &Mailbox<(), usize, Why>| mailbox.state().closed.is_some(),
                |seen| hub.mailbox.wait(seen, None),
            );
            assert!(hub.mailbox.deliver_until(None, is_over, |_| {}, rest));
            assert_eq!(hub.mailbox.state().closed, Some(told));
            task.end();
        });
    }
}

#[test]
fn each_send_returns_with_its_own_fate() {
    in_every_order(|| {
        let hub = Hub::new();
        let task = hub.in_background(|hub| hub.serve(3));
        let other = hub.in_background(|hub| assert_eq!(hub.send(), Some(Ok(()))));
        hub.submit_callbacks([0]);
        assert_eq!(hub.send(), Some(Ok(())));
        other.end();
        hub.flush();
        task.end();
        assert_eq!(hub.callbacks_run(), [1, 0, 0]);
        assert_eq!(hub.mailbox.state().pending, 0);
    });
}

/// A message is taken before the goodbye, and has its fate, or it is refused.
#[test]
fn a_close_ends_after_every_message_that_was_taken() {
    in_every_order(|| {
        let hub = Hub::new();
        hub.submit_callbacks([0]);
        let task = hub.in_background(|hub| hub.serve(usize::MAX));
        let taken = Arc::new(AtomicUsize::new(0));
        let submits = {
            let taken = Arc::clone(&taken);
            hub.in_background(move |hub| match hub.submit(Addressee::Callback(1)) {
                Ok(()) => taken.store(1, SeqCst),
                Err(Refused::Closed) => {}
                Err(Refused::Full(_)) => panic!("there is room"),
            })
        };
        hub.close();
        submits.end();
        task.end();
        assert_eq!(hub.callbacks_run(), [1, taken.load(SeqCst), 0]);
        assert!(matches!(hub.submit(Addressee::Nobody), Err(Refused::Closed)));
    });
}

/// The handle was freed, or the task panicked: whatever its messages' fate, nobody waits for it.
#[test]
fn the_end_of_the_task_wakes_every_thread_that_waits() {
    in_every_order(|| {
        let hub = Hub::new();
        let task = hub.in_background(|hub| {
            hub.mailbox.change(|state| state.closed = Some(Err("the task has ended")));
        });
        let sends = hub.in_background(|hub| assert_eq!(hub.send(), None));
        hub.submit_callbacks([0]);
        hub.flush();
        sends.end();
        task.end();
        assert_eq!(hub.callbacks_run(), [0; 3]);
    });
}

/// Each callback's message counts as told before, so that it may wait for all the others.
#[test]
fn a_callback_may_flush() {
    in_every_order(|| {
        let hub = Hub::new();
        hub.submit_callbacks([0, 1]);
        let task = hub.in_background(|hub| hub.serve(2));
        let other = hub.in_background(Hub::flush);
        hub.mailbox.deliver(|letter| {
            hub.run(letter);
            hub.flush();
        });
        hub.flush();
        other.end();
        task.end();
        assert_eq!(hub.callbacks_run(), [1, 1, 0]);
    });
}

/// What waits never takes more room than there is, and what was told makes room again.
#[test]
fn two_threads_share_the_room() {
    in_every_order(|| {
        let hub = Hub::new();
        let task = hub.in_background(|hub| hub.serve(2));
        let submit = |hub: &Hub, name| {
            while let Err(refused) = hub.submit_with_room(Addressee::Callback(name), 1) {
                assert!(matches!(refused, Refused::Full(1)));
                hub.flush();
            }
            assert!(hub.mailbox.state().pending <= 1);
        };
        let other = hub.in_background(move |hub| submit(hub, 0));
        submit(&hub, 1);
        other.end();
        hub.flush();
        task.end();
        assert_eq!(hub.callbacks_run(), [1, 1, 0]);
        let fits = |()| hub.submit_with_room(Addressee::Nobody, 2).is_ok();
        assert_eq!([(); 3].map(fits), [true, true, false]);
    });
}
