//! One device alone, throttled for a while: what the politeness to fleets costs it.

use crate::{
    group,
    registration::{self, Program},
    rival::Rival,
    service::{RetryAfter, Service},
    tally::Tally,
};

/// How much later than possible a device was assigned, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// In half of the runs it was no more.
    pub median: u64,
    /// It never was more.
    pub worst: u64,
}

const RUNS: u64 = 501;

/// Of dps-core's devices, `throttled` for so many milliseconds without a `retry-after`.
pub fn ours(throttled: u64, seed: u64) -> Delay {
    delay(throttled, seed, |service, tally, seed| {
        registration::run(1, Program::Stays, service, tally, seed)
    })
}

/// Of another SDK's.
pub fn rival(rival: &Rival, throttled: u64, seed: u64) -> Delay {
    delay(throttled, seed, |service, tally, seed| {
        group::run(rival, 1, service, tally, crate::ASSIGNMENT, seed)
    })
}

fn delay(throttled: u64, seed: u64, run: impl Fn(Service, Tally, u64) -> Tally) -> Delay {
    let mut delays: Vec<_> = (0..RUNS)
        .map(|number| {
            let service = Service::throttling_until(throttled, RetryAfter::Absent);
            let tally = Tally::new("", 1, 60_000, 60_000);
            let seed = seed.wrapping_add(number);
            run(service, tally, seed).milestones[3].saturating_sub(throttled)
        })
        .collect();
    delays.sort_unstable();
    Delay { median: delays[delays.len() / 2], worst: delays[delays.len() - 1] }
}
