//! When the devices of other SDKs ask again, as far as their source and runs have shown it.

use crate::{ANSWER, PROGRAM_PAUSE, group::Group, service::Refusal};

/// One SDK's way of asking again, with a program around it that calls again after
/// [`PROGRAM_PAUSE`] where a call fails.
pub struct Rival {
    /// Whose it is.
    pub name: &'static str,
    /// In how many groups a fleet is simulated.
    pub groups: u64,
    /// Whether each group draws its own waits; if not, only the latency tells them apart.
    pub draws: bool,
    /// When the group asks next, and whether a connection is opened for it.
    pub next: Next,
}

/// A client whose waits are the same for everybody.
const fn in_step(name: &'static str, next: Next) -> Rival {
    Rival { name, groups: 1000, draws: false, next }
}

/// A client whose waits are random: a group of a fleet of a million is a hundred devices.
const fn drawing(name: &'static str, next: Next) -> Rival {
    Rival { name, groups: 10_000, draws: true, next }
}

/// Sees the group, the time and the refusal.
type Next = fn(&mut Group, u64, Refusal, &mut fastrand::Rng) -> (u64, bool);

/// Registrations with DPS.
pub const REGISTRATION: [Rival; 4] = [
    in_step("C SDK", c_registration),
    in_step("Python SDK", patient_registration),
    in_step("Node SDK", patient_registration),
    drawing("full jitter to 60 s", textbook),
];

/// Connections to a hub.
pub const HUB: [Rival; 4] = [
    drawing("C SDK", c_hub),
    in_step("Python SDK", python_hub),
    drawing("Node SDK", node_hub),
    drawing("full jitter to 60 s", textbook),
];

fn seconds(refusal: Refusal) -> Option<u64> {
    match refusal {
        Refusal::Throttled(seconds) => seconds.map(u64::from),
        Refusal::Unreachable => None,
    }
}

/// A call has failed; the program waits and calls again, on a connection of its own.
fn call_again(group: &mut Group, failed: u64) -> (u64, bool) {
    group.call = failed + PROGRAM_PAUSE;
    group.failures = 0;
    (group.call + group.latency, true)
}

/// The same request after `retry-after` where that is 1 to 300 s, else after 1 s, on the same
/// connection (`prov_transport.h`); the call fails after 60 s, the default.
fn c_registration(
    group: &mut Group,
    now: u64,
    refusal: Refusal,
    _: &mut fastrand::Rng,
) -> (u64, bool) {
    let wait = seconds(refusal).filter(|seconds| (1..=300).contains(seconds)).unwrap_or(1);
    let at = now + ANSWER + wait * 1000;
    let timeout = group.call + 60_000;
    if at < timeout { (at, false) } else { call_again(group, timeout) }
}

/// The same request after `retry-after`, else after 2 s, for ever: the Python SDK, and the Node SDK,
/// which takes every status from 429 on as "registering" (`mqtt.js` of its MQTT transport).
fn patient_registration(
    _: &mut Group,
    now: u64,
    refusal: Refusal,
    _: &mut fastrand::Rng,
) -> (u64, bool) {
    let wait = seconds(refusal).unwrap_or(2);
    (now + ANSWER + wait * 1000, false)
}

/// What textbooks recommend: uniform between nothing and a ceiling that doubles from 1 s to 60 s,
/// never before `retry-after`, and without end.
fn textbook(
    group: &mut Group,
    now: u64,
    refusal: Refusal,
    random: &mut fastrand::Rng,
) -> (u64, bool) {
    let ceiling = (1000 << group.failures.min(6)).min(60_000);
    group.failures += 1;
    let wait = seconds(refusal).unwrap_or(0) * 1000 + random.u64(0..=ceiling);
    (now + ANSWER + wait + group.latency, true)
}

/// At once, then after 1 s, doubling to 30 s, with up to a twentieth more
/// (`IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF_WITH_JITTER`, the default), for ever.
fn c_hub(group: &mut Group, now: u64, _: Refusal, random: &mut fastrand::Rng) -> (u64, bool) {
    let wait = match group.failures {
        0 => 0,
        failures => (1000 << (failures - 1).min(5)).min(30_000),
    };
    group.failures += 1;
    let wait = wait + random.u64(0..=wait / 20);
    (now + ANSWER + wait + group.latency, true)
}

/// Almost at once, then every 10 s (`connection_retry_interval`), for ever.
fn python_hub(group: &mut Group, now: u64, _: Refusal, _: &mut fastrand::Rng) -> (u64, bool) {
    let wait = if group.failures == 0 { 20 } else { 10_000 };
    group.failures += 1;
    (now + ANSWER + wait + group.latency, true)
}

/// From 100 ms, doubling with jitter to 10 s (`ExponentialBackOffWithJitter`); the call fails
/// after 240 s.
fn node_hub(group: &mut Group, now: u64, _: Refusal, random: &mut fastrand::Rng) -> (u64, bool) {
    let factor = (1 << group.failures.min(10)) - 1;
    group.failures += 1;
    let wait = (100 + factor * random.u64(50..=125)).min(10_000);
    let at = now + ANSWER + wait + group.latency;
    if at < group.call + 240_000 { (at, true) } else { call_again(group, now + ANSWER) }
}
