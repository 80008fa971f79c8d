//! A million devices that boot, or lose their hub, at the same instant, against a model of the
//! service's published quotas, in virtual time.
//!
//! dps-core's devices are its own state machines, one each, with their own jitter. The devices of
//! other SDKs follow the waits that those SDKs are known to make; since most of these are not
//! random, devices in step stay in step, and are counted in groups. Nobody knows the size of the
//! fleet or the quota. Time is in milliseconds since the instant; a seed decides everything else.

pub mod group;
pub mod hub;
pub mod plot;
pub mod registration;
pub mod report;
pub mod rival;
pub mod scenario;
pub mod service;
pub mod single;
pub mod tally;

/// How long an answer is on its way, in milliseconds.
pub const ANSWER: u64 = 50;

/// How long the service works on an accepted registration, in milliseconds.
pub const ASSIGNING: u64 = 10_000;

/// Between two polls, as the recorded service asks for, in milliseconds.
pub const POLL: u64 = 3000;

/// From an accepted registration to its end: as many polls as it takes, in milliseconds.
pub const ASSIGNMENT: u64 = ANSWER + ASSIGNING.div_ceil(POLL + ANSWER) * (POLL + ANSWER);

/// How long a program waits before it calls again after a failed call, in milliseconds; the same
/// for every SDK.
pub const PROGRAM_PAUSE: u64 = 10_000;

/// How long a connection takes to open: drawn once for each device, or group, in steps of 50 ms.
pub fn latency(random: &mut fastrand::Rng) -> u16 {
    100 + 50 * random.u16(0..10)
}
