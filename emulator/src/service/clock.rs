//! The clock that judges certificates, tokens and dates, and the ways the service writes them.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};
use tokio::sync::watch;
use tokio::time::sleep;

/// The longest that is slept at once: beyond it, timers are of no use.
const NAP: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// The system's clock, set off by a number of seconds that a test may choose.
#[derive(Default)]
pub(crate) struct Clock {
    skew: watch::Sender<i64>,
}

impl Clock {
    pub(crate) fn now(&self) -> OffsetDateTime {
        let skew = Duration::seconds(*self.skew.borrow());
        OffsetDateTime::now_utc().saturating_add(skew)
    }

    pub(crate) fn set_skew(&self, seconds: i64) {
        self.skew.send_replace(seconds);
    }

    /// Resolves when this clock shows `time`, be it by waiting or by being set.
    pub(crate) async fn reach(&self, time: OffsetDateTime) {
        let mut skew = self.skew.subscribe();
        loop {
            let left = time - self.now();
            let Ok(left) = std::time::Duration::try_from(left) else { return };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(left.min(NAP)) => {}
                // It never ends before the clock does.
                _ = skew.changed() => {}
            }
        }
    }
}

/// `2023-05-19T23:02:35.1237062Z`: seven digits, as in every recorded answer.
pub(crate) fn stamp(time: OffsetDateTime) -> String {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
    written(time, FORM)
}

/// `2023-05-19T23:02:35Z`, the form of a certificate's dates.
pub(crate) fn seconds_stamp(time: OffsetDateTime) -> String {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    written(time, FORM)
}

/// `Fri, 06 May 2022 17:50:01 GMT`, the form recorded from the certificate API.
pub(crate) fn rfc1123(time: OffsetDateTime) -> String {
    const FORM: &[BorrowedFormatItem<'_>] = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    written(time, FORM)
}

fn written(time: OffsetDateTime, form: &[BorrowedFormatItem<'_>]) -> String {
    // The forms name only parts that every date has.
    time.format(form).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn dates_are_written_as_recorded_from_the_service() {
        let time = datetime!(2022-05-06 17:50:01.1237062 UTC);
        assert_eq!(stamp(time), "2022-05-06T17:50:01.1237062Z");
        assert_eq!(stamp(datetime!(2022-05-06 17:50:01 UTC)), "2022-05-06T17:50:01.0000000Z");
        assert_eq!(seconds_stamp(time), "2022-05-06T17:50:01Z");
        assert_eq!(rfc1123(time), "Fri, 06 May 2022 17:50:01 GMT");
    }

    #[test]
    fn a_skew_beyond_all_dates_is_survived() {
        let clock = Clock::default();
        clock.set_skew(i64::MAX);
        assert!(clock.now() > OffsetDateTime::now_utc());
        clock.set_skew(i64::MIN);
        assert!(clock.now() < OffsetDateTime::now_utc());
    }

    #[tokio::test]
    async fn a_time_is_reached_by_setting_the_clock() {
        let clock = Clock::default();
        let reached = clock.reach(clock.now() + Duration::days(400));
        tokio::pin!(reached);
        for (skew, expected) in [(0, false), (399 * 86_400, false), (400 * 86_400, true)] {
            clock.set_skew(skew);
            let waited = tokio::time::timeout(std::time::Duration::ZERO, reached.as_mut()).await;
            assert_eq!(waited.is_ok(), expected, "{skew}");
        }
        clock.reach(OffsetDateTime::UNIX_EPOCH).await;
    }
}
