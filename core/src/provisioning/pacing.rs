//! What a device remembers of being throttled from one registration to the next.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::machine::Throttling;

/// How long after the next attempt was due it still tells of today's load.
const FORGOTTEN: Duration = Duration::from_secs(30 * 60);

/// As good as for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The memory of one identity, shared by its clones.
#[derive(Default)]
pub(crate) struct Pacing(Mutex<Option<Memory>>);

struct Memory {
    /// Which host and ID scope throttled the device: another one has a quota of its own.
    service: String,
    due: Instant,
    throttling: Throttling,
}

impl Pacing {
    /// What a registration that starts now begins with, if `service` throttled an earlier one.
    pub(super) fn recall(&self, service: &str, now: Instant) -> Option<Throttling> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory { due, throttling, .. } =
            memory.as_ref().filter(|memory| memory.service == service)?;
        (now.saturating_duration_since(*due) < FORGOTTEN).then(|| Throttling {
            backoff: throttling.backoff.clone(),
            until: due.saturating_duration_since(now),
            error: throttling.error.replicate(),
        })
    }

    /// Keeps what a registration that started at `start` leaves, or forgets what was kept.
    pub(super) fn note(&self, service: &str, start: Instant, left: Option<Throttling>) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match left {
            Some(throttling) => {
                let due = match &*memory {
                    // Said by an earlier call, and not again: it ages from when it was due.
                    Some(memory) if memory.service == service && throttling.until.is_zero() => {
                        memory.due
                    }
                    // A wait that no clock can count ends in the same refusal as a long one.
                    _ => start.checked_add(throttling.until).unwrap_or(start + LONGEST),
                };
                *memory = Some(Memory { service: service.to_owned(), due, throttling });
            }
            None if memory.as_ref().is_some_and(|memory| memory.service == service) => {
                *memory = None;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        backoff::Backoff,
        error::{Error, ErrorKind},
    };

    fn throttling(until: u64) -> Throttling {
        let error = Error::new(ErrorKind::Throttled, "throttled");
        Throttling { backoff: Backoff::new(Some(1)), until: Duration::from_secs(until), error }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_for_one_service_and_for_a_while() {
        let pacing = Pacing::default();
        let start = Instant::now();
        pacing.note("a", start, Some(throttling(100)));
        assert!(pacing.recall("b", start).is_none());
        let later = |seconds| start + Duration::from_secs(seconds);
        let left =
            |seconds| pacing.recall("a", later(seconds)).map(|memory| memory.until.as_secs());
        assert_eq!(left(0), Some(100));
        assert_eq!(left(40), Some(60));
        assert_eq!(left(1000), Some(0));
        assert_eq!(left(100 + FORGOTTEN.as_secs()), None);
        pacing.note("b", start, None);
        assert_eq!(left(40), Some(60));
        pacing.note("a", start, None);
        assert_eq!(left(40), None);
        pacing.note("a", start, Some(Throttling { until: Duration::MAX, ..throttling(1) }));
        assert_eq!(left(0), Some(LONGEST.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_not_throttled_again_does_not_renew_it() {
        let pacing = Pacing::default();
        let start = Instant::now();
        pacing.note("a", start, Some(throttling(100)));
        for hours in 0..3 {
            let now = start + Duration::from_secs(101 + hours * 1000);
            if let Some(earlier) = pacing.recall("a", now) {
                assert!(earlier.until.is_zero());
                pacing.note("a", now, Some(earlier));
            }
        }
        assert!(pacing.recall("a", start + Duration::from_secs(100) + FORGOTTEN).is_none());
    }
}
