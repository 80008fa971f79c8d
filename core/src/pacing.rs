//! What a device remembers of a service from one registration to the next, and from one connection
//! to a hub to the next: that it was throttled, and how it likes to be spoken to.

use std::{
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{backoff::Backoff, error::Error};

/// How long after the next attempt was due it still tells of today's load.
const FORGOTTEN: Duration = Duration::from_secs(30 * 60);

/// As good as for ever.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What an attempt that was throttled leaves to the next one of the same device.
///
/// Without it, a program that calls again after each deadline would begin each time with the
/// quickest retries, and a fleet of such programs would never thin out.
#[derive(Debug)]
pub struct Throttling {
    /// How long the waits have become.
    pub backoff: Backoff,
    /// When the service is to be asked again, since the start of the attempt.
    pub until: Duration,
    /// What the service said.
    pub error: Error,
}

/// The memory of one identity, shared by its clones.
#[derive(Default)]
pub(crate) struct Pacing {
    /// One entry for each service.
    throttled: Mutex<Vec<Memory>>,
    /// The services that were told all at once, in vain, and when that was.
    one_by_one: Mutex<Vec<(String, Instant)>>,
}

struct Memory {
    /// Which DPS host and ID scope, or which hub, throttled the device: another one has a quota of
    /// its own.
    service: String,
    due: Instant,
    throttling: Throttling,
}

impl Pacing {
    /// What an attempt that starts now begins with, if `service` throttled an earlier one.
    pub(crate) fn recall(&self, service: &str, now: Instant) -> Option<Throttling> {
        let memories = self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        let known = memories.iter().find(|memory| memory.service == service)?;
        let Memory { due, throttling, .. } = known;
        known.is_of_today(now).then(|| Throttling {
            backoff: throttling.backoff.clone(),
            until: due.saturating_duration_since(now),
            error: throttling.error.replicate(),
        })
    }

    /// Keeps what an attempt that started at `start` leaves, or forgets what was kept.
    pub(crate) fn note(&self, service: &str, start: Instant, left: Option<Throttling>) {
        let mut memories = self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        let (earlier, others): (Vec<_>, _) =
            mem::take(&mut *memories).into_iter().partition(|memory| memory.service == service);
        *memories = others;
        memories.retain(|memory| memory.is_of_today(start));
        let Some(throttling) = left else { return };
        let due = match earlier.first() {
            // Said by an earlier call, and not again: it ages from when it was due.
            Some(earlier) if throttling.until.is_zero() => earlier.due,
            // A wait that no clock can count ends in the same refusal as a long one.
            _ => start.checked_add(throttling.until).unwrap_or(start + LONGEST),
        };
        memories.push(Memory { service: service.to_owned(), due, throttling });
    }

    /// Whether `service` is told one thing at a time.
    pub(crate) fn is_one_by_one(&self, service: &str, now: Instant) -> bool {
        let services = self.one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
        services.iter().any(|(known, since)| {
            known == service && now.saturating_duration_since(*since) < FORGOTTEN
        })
    }

    /// Tells `service` one thing at a time for a while: it was told all at once, in vain.
    pub(crate) fn one_by_one(&self, service: &str, now: Instant) {
        let mut services = self.one_by_one.lock().unwrap_or_else(PoisonError::into_inner);
        services.retain(|(known, _)| known != service);
        services.push((service.to_owned(), now));
    }
}

impl Memory {
    fn is_of_today(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.due) < FORGOTTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
        pacing.note("b", start, Some(throttling(1)));
        assert_eq!(left(40), Some(60), "another service has another quota");
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
