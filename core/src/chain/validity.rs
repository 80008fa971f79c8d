//! From when until when a new certificate is valid.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, macros::datetime};

use crate::error::{Error, ErrorKind, Result};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

/// The last date that a certificate can name, which means for ever (RFC 5280, section 4.1.2.5).
const FOR_EVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

impl Validity {
    /// The validity that the tutorial gives every certificate.
    pub const TUTORIAL_DAYS: u32 = 30;

    /// The most days that [`parse`](Self::parse) takes: a hundred years. More is a slip of the
    /// hand, or meant as a date.
    pub const MOST_DAYS: u32 = 36_500;

    /// What a user said: days from now, or the two moments; as long as the tutorial's where nothing
    /// is said. Fails with [`ErrorKind::InvalidArgument`] for anything else.
    pub fn parse(
        days: Option<i64>,
        not_before: Option<SystemTime>,
        not_after: Option<SystemTime>,
    ) -> Result<Self> {
        match (days, not_before, not_after) {
            (None, None, None) => Ok(Self::days(Self::TUTORIAL_DAYS)),
            (Some(days), None, None) => u32::try_from(days)
                .ok()
                .filter(|days| (1..=Self::MOST_DAYS).contains(days))
                .map(Self::days)
                .ok_or_else(|| {
                    invalid(format!(
                        "a certificate can be valid for 1 to {} days, not for {days} days",
                        Self::MOST_DAYS
                    ))
                }),
            (None, Some(not_before), Some(not_after)) => Self::between(not_before, not_after),
            _ => Err(invalid("a validity is given by days, or by notBefore and notAfter together")),
        }
    }

    /// From five minutes ago, so that a device whose clock runs late accepts the certificate, for
    /// this many days from now, but not beyond the last date that a certificate can name.
    pub fn days(days: u32) -> Self {
        const BACK_DATED: Duration = Duration::from_secs(5 * 60);

        let now = OffsetDateTime::now_utc();
        let end = now.checked_add(time::Duration::days(days.into()));
        Self { not_before: now - BACK_DATED, not_after: end.unwrap_or(FOR_EVER).min(FOR_EVER) }
    }

    /// From one moment to another.
    pub fn between(not_before: SystemTime, not_after: SystemTime) -> Result<Self> {
        if not_after <= not_before {
            return Err(invalid("a certificate cannot end before it begins"));
        }
        Ok(Self {
            not_before: date(not_before, "notBefore")?,
            not_after: date(not_after, "notAfter")?,
        })
    }
}

/// `time` to the second, as a certificate can name it.
fn date(time: SystemTime, name: &str) -> Result<OffsetDateTime> {
    let seconds = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()),
        Err(until) => i64::try_from(until.duration().as_secs()).map(|seconds| -seconds),
    };
    seconds
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .filter(|date| (0..=9999).contains(&date.year()))
        .ok_or_else(|| invalid(format!("{name}: a certificate's dates lie in the years 0 to 9999")))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_beyond_what_a_certificate_can_name_end_with_it_or_are_refused() {
        assert_eq!(Validity::days(u32::MAX).not_after, FOR_EVER);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let last = u64::try_from(FOR_EVER.unix_timestamp()).unwrap();
        assert_eq!(Validity::between(at(0), at(last)).unwrap().not_after, FOR_EVER);
        for (from, to) in [(at(0), at(last + 1)), (at(5), at(5))] {
            let error = Validity::between(from, to).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn a_validity_is_days_or_two_moments_or_the_tutorials() {
        let days = |validity: Validity| (validity.not_after - validity.not_before).whole_days();
        assert_eq!(days(Validity::parse(None, None, None).unwrap()), 30);
        assert_eq!(days(Validity::parse(Some(1), None, None).unwrap()), 1);
        assert_eq!(days(Validity::parse(Some(36_500), None, None).unwrap()), 36_500);
        let [first, last] = [5, 6].map(|day| UNIX_EPOCH + Duration::from_secs(day * 86_400));
        assert_eq!(days(Validity::parse(None, Some(first), Some(last)).unwrap()), 1);

        for wrong in [0, -1, 36_501, i64::MIN, i64::MAX] {
            let error = Validity::parse(Some(wrong), None, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(&format!("not for {wrong} days")), "{error}");
        }
        for (days, from, to) in [
            (None, Some(first), None),
            (None, None, Some(last)),
            (Some(1), Some(first), Some(last)),
            (Some(1), None, Some(last)),
        ] {
            let error = Validity::parse(days, from, to).unwrap_err();
            assert!(error.message().contains("by notBefore and notAfter together"), "{error}");
        }
    }
}
