//! The clock that judges certificates, tokens and dates, and the ways the service writes them.

use std::sync::atomic::{AtomicI64, Ordering};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

/// The system's clock, set off by a number of seconds that a test may choose.
#[derive(Default)]
pub(crate) struct Clock {
    skew: AtomicI64,
}

impl Clock {
    pub(crate) fn now(&self) -> OffsetDateTime {
        let skew = Duration::seconds(self.skew.load(Ordering::Relaxed));
        OffsetDateTime::now_utc().saturating_add(skew)
    }

    pub(crate) fn set_skew(&self, seconds: i64) {
        self.skew.store(seconds, Ordering::Relaxed);
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
}
