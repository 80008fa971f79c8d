//! Threads that wait for what a JavaScript function signs.

use std::{sync::Arc, time::Duration};

use loom::thread;

use crate::{in_every_order, sync};

#[path = "../../bindings-node/src/waits.rs"]
mod inner;

use inner::Waits;

const FOREVER: Duration = Duration::MAX;

/// An answer, and what shows that nobody has kept it.
type Answer = Arc<&'static str>;

fn waits() -> Arc<Waits<Answer>> {
    Arc::default()
}

#[test]
fn an_answer_reaches_who_waits_for_it_and_nobody_else() {
    in_every_order(|| {
        let waits = waits();
        let _in_use = waits.in_use();
        let (first, one) = waits.begin().unwrap();
        let (second, other) = waits.begin().unwrap();
        let other = thread::spawn(move || assert_eq!(*other.answer(FOREVER).unwrap(), "second"));
        let answers = {
            let waits = Arc::clone(&waits);
            thread::spawn(move || {
                waits.end(second, Arc::new("second"));
                waits.end(first, Arc::new("first"));
                waits.end(first, Arc::new("again"));
            })
        };
        assert_eq!(*one.answer(FOREVER).unwrap(), "first");
        other.join().unwrap();
        answers.join().unwrap();
    });
}

/// As long as one is left that wants the answer, it comes.
#[test]
fn one_use_that_ends_does_not_give_up_for_the_others() {
    in_every_order(|| {
        let waits = waits();
        let (one, _other) = (waits.in_use(), waits.in_use());
        let leaves = thread::spawn(move || drop(one));
        let (number, wait) = waits.begin().unwrap();
        let answers = {
            let waits = Arc::clone(&waits);
            thread::spawn(move || waits.end(number, Arc::new("signature")))
        };
        assert_eq!(*wait.answer(FOREVER).unwrap(), "signature");
        leaves.join().unwrap();
        answers.join().unwrap();
    });
}

/// However late a wait begins: it has been given up before, or it is woken.
#[test]
fn with_the_last_use_every_wait_ends() {
    in_every_order(|| {
        let waits = waits();
        let uses = [waits.in_use(), waits.in_use()];
        let waiters = [(); 2].map(|()| {
            let waits = Arc::clone(&waits);
            thread::spawn(move || {
                if let Some((_, wait)) = waits.begin() {
                    assert!(wait.answer(FOREVER).is_none());
                }
            })
        });
        let [one, other] = uses;
        let leaves = thread::spawn(move || drop(one));
        drop(other);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        leaves.join().unwrap();
        assert!(waits.begin().is_none());
    });
}

/// What is answered too late is dropped, and is nobody else's answer.
#[test]
fn an_answer_that_comes_too_late_is_dropped() {
    in_every_order(|| {
        let waits = waits();
        let answer = Arc::new("late");
        let in_use = waits.in_use();
        let (number, wait) = waits.begin().unwrap();
        let answers = {
            let (waits, answer) = (Arc::clone(&waits), Arc::clone(&answer));
            thread::spawn(move || waits.end(number, answer))
        };
        let waiter = thread::spawn(move || drop(wait.answer(FOREVER)));
        drop(in_use);
        let _next_use = waits.in_use();
        let (next, wait) = waits.begin().unwrap();
        waits.end(next, Arc::new("in time"));
        assert_eq!(*wait.answer(FOREVER).unwrap(), "in time");
        answers.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(Arc::strong_count(&answer), 1);
    });
}
