//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The first retry comes almost at once: most cuts are short. The jitter keeps a fleet that
/// lost its hub at the same instant from coming back at the same instant.
const FIRST: Duration = Duration::from_millis(200);

const BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(60);

/// Exponential backoff with full jitter: each wait is uniform between nothing and a ceiling that
/// doubles from one second to a minute.
pub(super) struct Backoff {
    rng: fastrand::Rng,
    attempts: u32,
}

impl Backoff {
    /// Without a seed, every client waits differently.
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self { rng: seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed), attempts: 0 }
    }

    /// How many attempts have been asked for since the last reset.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait; never less than the other side asked for.
    pub(super) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let ceiling = match self.attempts {
            0 => FIRST,
            attempts => BASE.saturating_mul(1 << (attempts - 1).min(6)).min(CAP),
        };
        self.attempts = self.attempts.saturating_add(1);
        let jitter = ceiling.mul_f64(self.rng.f64());
        retry_after.unwrap_or_default().saturating_add(jitter)
    }

    /// Starts over, once the connection has proved its worth.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_from_a_second_to_a_minute() {
        let mut longest = [Duration::ZERO; 10];
        for seed in 0..2000 {
            let mut backoff = Backoff::new(Some(seed));
            for longest in &mut longest {
                *longest = backoff.next(None).max(*longest);
            }
        }
        for (longest, ceiling) in
            longest.into_iter().zip([0.2, 1., 2., 4., 8., 16., 32., 60., 60., 60.])
        {
            let longest = longest.as_secs_f64();
            assert!(longest <= ceiling && longest > 0.95 * ceiling, "{longest} of {ceiling}");
        }
    }

    #[test]
    fn a_reset_starts_over_and_retry_after_is_a_floor() {
        let mut backoff = Backoff::new(Some(1));
        for _ in 0..100 {
            backoff.next(None);
        }
        assert_eq!(backoff.attempts(), 100);
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
        let asked = Duration::from_secs(300);
        assert!((asked..=asked + BASE).contains(&backoff.next(Some(asked))));
        assert_eq!(backoff.next(Some(Duration::MAX)), Duration::MAX);
    }

    #[test]
    fn a_seed_makes_it_repeatable() {
        let waits = |seed| {
            let mut backoff = Backoff::new(Some(seed));
            [(); 8].map(|()| backoff.next(None))
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
