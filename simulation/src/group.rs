//! Devices that are counted, not kept one by one: those in one group ask at the same instants.

use std::collections::BTreeMap;

use crate::{
    latency,
    rival::Rival,
    service::{Refusal, Service},
    tally::Tally,
};

/// What devices in step have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// How long a connection takes them.
    pub latency: u64,
    /// When the call they are in began.
    pub call: u64,
    /// Failures since then.
    pub failures: u32,
    /// Keeps groups apart that draw waits of their own.
    draw: u64,
}

/// Lets `fleet` devices ask until all are served. `served_after` is what still has to be done
/// once a request was served, in milliseconds.
pub fn run(
    rival: &Rival,
    fleet: u64,
    mut service: Service,
    mut tally: Tally,
    served_after: u64,
    seed: u64,
) -> Tally {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut due = BTreeMap::<(u64, Group), u64>::new();
    let size = fleet.div_ceil(rival.groups).max(1);
    for number in 0..fleet.div_ceil(size) {
        let latency = u64::from(latency(&mut random));
        let draw = if rival.draws { number } else { 0 };
        let group = Group { latency, call: 0, failures: 0, draw };
        let count = size.min(fleet - number * size);
        *due.entry((latency, group)).or_default() += count;
        tally.connections += count;
    }
    while let Some(((at, group), count)) = due.pop_first() {
        let served = service.ask(at, count);
        let mut answered = true;
        service.refuse(at, count - served, |part, refusal| {
            answered = refusal != Refusal::Unreachable;
            let mut next = group;
            let (at, connects) = (rival.next)(&mut next, at, refusal, &mut random);
            if connects {
                tally.connections += part;
            }
            *due.entry((at, next)).or_default() += part;
        });
        if answered {
            tally.arrived(at, count, served);
            tally.done(at + served_after, served);
        } else {
            tally.unanswered += count;
        }
    }
    tally
}
