//! How long to wait before the next attempt: one policy for registration and hub.
//!
//! Tuned in virtual time for a million devices that come at the same instant and know neither
//! their number nor the quota (`simulation/`, docs/scale.md).

use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// The first retry after silence comes almost at once: most cuts are short.
const FIRST: Duration = Duration::from_millis(200);

/// Where the doubling begins, and where it ends: beyond, the ceiling rises by an eighth each time.
/// Had it gone on doubling, a fleet that is served within minutes would wait almost as long again
/// for its last devices.
const BASE: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The longest wait where nobody answered: such an attempt costs the service nothing, and the
/// device wants to be there soon after the network is.
const UNANSWERED: Duration = MINUTE;

/// The longest wait where a service answered that it cannot: each question adds to its load.
const FAULT: Duration = Duration::from_secs(5 * 60);

/// The longest wait where a service throttles. At 1,000 registrations in a minute, a million
/// devices take 16 hours: the last of them are late by the fiftieth part of that.
const THROTTLED: Duration = Duration::from_secs(30 * 60);

/// Backoff with jitter, by what the last attempt ended in.
///
/// Where nobody answered, each wait is uniform between nothing and a ceiling that doubles from one
/// second to a minute. Where the service answered that it is throttling or failing, the wait is
/// uniform in the upper half below the ceiling, which goes on rising: a device that has been
/// refused for long waits about an eighth as long again, and a fleet of any size thins out until
/// the quota is met. What the service asks for is never undercut, and exceeded by half at most
/// unless the ceiling is higher.
#[derive(Clone, Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    attempts: u32,
    /// The next one, where it is not [`FIRST`].
    ceiling: Duration,
}

impl Backoff {
    /// Without a seed, every client waits differently.
    pub fn new(seed: Option<u64>) -> Self {
        let random = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { random, attempts: 0, ceiling: BASE }
    }

    /// How many attempts have been asked for since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait after an attempt that ended in `error`.
    pub fn next(&mut self, error: &Error) -> Duration {
        let refused = is_load(error);
        let longest = match error.kind() {
            ErrorKind::Throttled => THROTTLED,
            ErrorKind::ServiceFault => FAULT,
            _ => UNANSWERED,
        };
        let ceiling = if self.attempts == 0 && !refused {
            FIRST
        } else {
            // What one kind of failure has raised it to is where the next kind goes on.
            let ceiling = self.ceiling.min(longest);
            if self.ceiling < longest {
                self.ceiling = raised(self.ceiling);
            }
            ceiling
        };
        self.attempts = self.attempts.saturating_add(1);
        let asked = error.retry_after().unwrap_or_default();
        let least = if refused { ceiling / 2 } else { Duration::ZERO }.max(asked);
        // A fleet that was told the same must not come back together.
        let most = ceiling.max(asked.saturating_add(asked / 2));
        least.saturating_add((most - least).mul_f64(self.random.f64()))
    }

    /// Starts over, once the other side has proved to be there again.
    pub fn reset(&mut self) {
        self.attempts = 0;
        self.ceiling = BASE;
    }
}

fn raised(ceiling: Duration) -> Duration {
    if ceiling < MINUTE { (ceiling * 2).min(MINUTE) } else { ceiling + ceiling / 8 }
}

/// Whether the failure tells of a service that has too much to do.
pub(crate) fn is_load(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Throttled | ErrorKind::ServiceFault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ServiceDetails;

    fn failed(kind: ErrorKind, retry_after: Option<Duration>) -> Error {
        let service = ServiceDetails { retry_after, ..ServiceDetails::default() };
        Error::new(kind, "failed").with_service(service)
    }

    /// The shortest and the longest of each of the first waits in a thousand runs, in seconds.
    fn waits<const N: usize>(kind: ErrorKind, retry_after: Option<u64>) -> [(f64, f64); N] {
        let error = failed(kind, retry_after.map(Duration::from_secs));
        let mut bounds = [(f64::MAX, 0.0); N];
        for seed in 0..1000 {
            let mut backoff = Backoff::new(Some(seed));
            for (shortest, longest) in &mut bounds {
                let wait = backoff.next(&error).as_secs_f64();
                (*shortest, *longest) = (wait.min(*shortest), wait.max(*longest));
            }
        }
        bounds
    }

    fn assert_fill(waits: &[(f64, f64)], expected: &[(f64, f64)]) {
        for ((shortest, longest), (least, most)) in waits.iter().zip(expected) {
            let slack = (most - least) / 20.0;
            assert!(*shortest >= *least && *shortest < least + slack, "{shortest} of {least}");
            assert!(*longest <= *most && *longest > most - slack, "{longest} of {most}");
        }
    }

    #[test]
    fn where_nobody_answers_ceilings_double_from_a_second_to_a_minute() {
        assert_fill(
            &waits::<10>(ErrorKind::ConnectionFailed, None),
            &[0.2, 1., 2., 4., 8., 16., 32., 60., 60., 60.].map(|most| (0.0, most)),
        );
    }

    #[test]
    fn a_service_that_refuses_is_asked_ever_more_rarely() {
        let start = [1., 2., 4., 8., 16., 32., 60., 67.5, 75.9375, 85.4296875];
        for kind in [ErrorKind::Throttled, ErrorKind::ServiceFault] {
            assert_fill(&waits::<10>(kind, None), &start.map(|most| (most / 2.0, most)));
        }
        for (kind, longest) in [(ErrorKind::Throttled, 1800.), (ErrorKind::ServiceFault, 300.)] {
            let waits = waits::<40>(kind, None);
            assert_fill(&waits[39..], &[(longest / 2.0, longest)]);
        }
    }

    #[test]
    fn retry_after_is_never_undercut_and_hardly_exceeded_until_it_proves_too_short() {
        assert_fill(
            &waits::<8>(ErrorKind::Throttled, Some(20)),
            &[
                (20., 30.),
                (20., 30.),
                (20., 30.),
                (20., 30.),
                (20., 30.),
                (20., 32.),
                (30., 60.),
                (33.75, 67.5),
            ],
        );
        let asked = Some(Duration::MAX);
        let mut backoff = Backoff::new(Some(1));
        assert_eq!(backoff.next(&failed(ErrorKind::Throttled, asked)), Duration::MAX);
    }

    #[test]
    fn a_refusal_after_silence_goes_on_where_the_silence_has_led_and_no_further() {
        let mut backoff = Backoff::new(Some(1));
        for _ in 0..100 {
            backoff.next(&failed(ErrorKind::ConnectionLost, None));
        }
        let refused = backoff.next(&failed(ErrorKind::ServiceFault, None));
        assert!((30.0..=60.0).contains(&refused.as_secs_f64()), "{refused:?}");
        let silent = backoff.next(&failed(ErrorKind::ConnectionLost, None));
        assert!(silent <= UNANSWERED);
    }

    #[test]
    fn a_reset_starts_over() {
        let mut backoff = Backoff::new(Some(1));
        for _ in 0..100 {
            backoff.next(&failed(ErrorKind::Throttled, None));
        }
        assert_eq!(backoff.attempts(), 100);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert!(backoff.next(&failed(ErrorKind::ConnectionLost, None)) <= FIRST);
    }

    #[test]
    fn a_seed_makes_it_repeatable() {
        let error = failed(ErrorKind::ConnectionLost, None);
        let waits = |seed| {
            let mut backoff = Backoff::new(Some(seed));
            [(); 8].map(|()| backoff.next(&error))
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
