//! The model of what serves a fleet: a quota, and what is said to those beyond it.

/// What a refusal says about when to come back. The service's own rule is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Nothing.
    Absent,
    /// The same number of seconds to everybody.
    Constant(u32),
    /// Comebacks are spread evenly, in whole minutes, over the time in which the quota could serve
    /// all that were refused in the last minute, an hour at most.
    Backlog,
}

/// What a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody answered.
    Unreachable,
    /// Too many requests, with the seconds to wait if any were named.
    Throttled(Option<u32>),
}

/// Serves so many in each window of time, from an instant on.
#[derive(Clone, Debug)]
pub struct Service {
    quota: u64,
    /// In milliseconds.
    window: u64,
    /// Before this, what is asked is refused.
    opens: u64,
    /// Whether refusals before that are silent.
    away: bool,
    retry_after: RetryAfter,
    current: u64,
    taken: u64,
    refused: u64,
    refused_before: u64,
    cursor: u64,
}

const MINUTE: u64 = 60_000;

/// The polls of one device: 5 in any 10 s (Microsoft, "Azure IoT Hub Device Provisioning Service
/// limits").
#[derive(Clone, Copy, Debug, Default)]
pub struct Polls {
    /// When the last five were answered with more than a refusal.
    last: [Option<u64>; 5],
}

impl Polls {
    const WINDOW: u64 = 10_000;

    /// Whether a poll that arrives at `now` is answered, or refused. Time must not run backwards.
    pub fn ask(&mut self, now: u64) -> bool {
        if self.last[0].is_some_and(|first| now < first + Self::WINDOW) {
            return false;
        }
        self.last.rotate_left(1);
        self.last[4] = Some(now);
        true
    }
}

impl Service {
    /// DPS: 1,000 registrations in each minute (Microsoft, "Azure IoT Hub Device Provisioning
    /// Service limits").
    pub fn dps(retry_after: RetryAfter) -> Self {
        Self::new(1000, MINUTE, retry_after)
    }

    /// A hub that is away until `back`, then takes `per_second` new connections in each second
    /// (Microsoft, "IoT Hub quotas and throttling", new device connections) and refuses the others
    /// with CONNACK 3, which names no time.
    pub fn hub(per_second: u64, back: u64) -> Self {
        Self { opens: back, away: true, ..Self::new(per_second, 1000, RetryAfter::Absent) }
    }

    /// DPS that throttles everybody until `opens`.
    pub fn throttling_until(opens: u64, retry_after: RetryAfter) -> Self {
        Self { opens, ..Self::dps(retry_after) }
    }

    fn new(quota: u64, window: u64, retry_after: RetryAfter) -> Self {
        Self {
            quota,
            window,
            opens: 0,
            away: false,
            retry_after,
            current: 0,
            taken: 0,
            refused: 0,
            refused_before: 0,
            cursor: 0,
        }
    }

    /// How long a fleet takes at least, in milliseconds: every request in its place, and a second
    /// at least, so that it can be compared with.
    pub fn floor(&self, fleet: u64) -> u64 {
        let full = fleet.div_ceil(self.quota).saturating_sub(1);
        (self.opens + full * self.window).max(1000)
    }

    /// How many requests are served in so many milliseconds.
    pub fn in_time(&self, millis: u64) -> f64 {
        self.quota as f64 * millis as f64 / self.window as f64
    }

    /// How many of `count` requests that arrive at `now` are served. Time must not run backwards.
    pub fn ask(&mut self, now: u64, count: u64) -> u64 {
        let window = now / self.window;
        if window != self.current {
            // Only where windows are minutes does anybody ask for the refusals.
            self.refused_before = if window == self.current + 1 { self.refused } else { 0 };
            (self.current, self.taken, self.refused) = (window, 0, 0);
        }
        if now < self.opens {
            self.refused += count;
            return 0;
        }
        let served = count.min(self.quota - self.taken);
        self.taken += served;
        self.refused += count - served;
        served
    }

    /// What the `count` that were just refused are told, as parts of them.
    pub fn refuse(&mut self, now: u64, count: u64, mut tell: impl FnMut(u64, Refusal)) {
        match self.retry_after {
            _ if count == 0 => {}
            _ if self.away && now < self.opens => tell(count, Refusal::Unreachable),
            RetryAfter::Absent => tell(count, Refusal::Throttled(None)),
            RetryAfter::Constant(seconds) => tell(count, Refusal::Throttled(Some(seconds))),
            RetryAfter::Backlog => {
                let backlog = self.refused.max(self.refused_before);
                let minutes = (backlog * self.window / self.quota / MINUTE).clamp(1, 60);
                let parts = count.min(minutes);
                for part in 0..parts {
                    self.cursor = self.cursor % minutes + 1;
                    let share = count / parts + u64::from(part < count % parts);
                    let seconds = u32::try_from(self.cursor * 60).unwrap_or(3600);
                    tell(share, Refusal::Throttled(Some(seconds)));
                }
            }
        }
    }
}
