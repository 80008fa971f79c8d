//! Where threads meet, in every order of events. loom fails a run in which threads are left that
//! wait for ever.
//!
//! Each file here compiles one of the product's with a [`sync`] of loom's in place of `std`'s.

mod desk;
mod inbox;
mod interpreter;
mod jobs;
mod mailbox;
mod queue;
mod sync;
mod tls;
mod waits;

// What core calls tokio's is here as well.
extern crate self as tokio;

use loom::model::Builder;

/// How often a thread may be interrupted where it need not be; what depends on more is not seen.
const INTERRUPTIONS: usize = 2;

fn in_every_order(story: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(INTERRUPTIONS);
    builder.check(story);
}

/// As [`in_every_order`], with threads that are started by [`sync`] and end when their time is up,
/// which is at the end of the story.
fn in_every_order_with_a_clock(story: impl Fn() + Sync + Send + 'static) {
    in_every_order(move || {
        story();
        sync::end_time();
        sync::join_threads();
    });
}
