//! What can be said about a chain before dialling.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Certificate, CertificateChain, Issues};
use crate::error::{Error, ErrorKind, Result};

pub(super) fn validity(certificate: &Certificate, now: SystemTime) -> Result<()> {
    let now = moment(now);
    let span = |certificate: &Certificate| {
        format!(
            "it is valid from {} to {}; this clock says {}",
            text(certificate.not_before()),
            text(certificate.not_after()),
            text(now)
        )
    };
    if now < certificate.not_before() {
        return Err(Error::new(
            ErrorKind::CertificateNotYetValid,
            format!(
                "the certificate {:?} is not valid yet: {}",
                certificate.subject(),
                span(certificate)
            ),
        )
        .with_hint(
            "Set this device's clock; if the clock is right, issue the certificate again.",
        ));
    }
    if now > certificate.not_after() {
        return Err(Error::new(
            ErrorKind::CertificateExpired,
            format!(
                "the certificate {:?} has expired: {}",
                certificate.subject(),
                span(certificate)
            ),
        )
        .with_hint(format!(
            "{}. If it should still be valid, set this device's clock.",
            issue_again(certificate)
        )));
    }
    Ok(())
}

pub(super) fn reaches(chain: &CertificateChain, authorities: &[Certificate]) -> Result<()> {
    let known = |certificate: &Certificate| {
        authorities.iter().any(|authority| {
            authority.public_key_info() == certificate.public_key_info()
                && authority.subject() == certificate.subject()
        })
    };
    let signed_by_known = |certificate: &Certificate| {
        authorities.iter().any(|authority| authority.issues(certificate) == Issues::Yes)
    };
    if chain.certificates().iter().any(known) || signed_by_known(chain.top()) {
        return Ok(());
    }
    let top = chain.top();
    let names =
        authorities.iter().map(|a| format!("{:?}", a.subject())).collect::<Vec<_>>().join(", ");
    if authorities.iter().any(|authority| authority.issues(top) == Issues::NameOnly)
        || authorities.iter().any(|authority| authority.subject() == top.subject())
    {
        return Err(Error::new(
            ErrorKind::ChainBroken,
            format!(
                "the chain ends with {:?}, whose key is not that of the CA known as {names}: the \
                 name matches and the key does not",
                top.subject()
            ),
        )
        .with_hint("The CA was made anew under the same name: issue the chain again from the CA that DPS knows."));
    }
    let message = if top.is_self_signed() {
        format!(
            "the chain ends with the root {:?}, which is none of the known CAs: {names}",
            top.subject()
        )
    } else {
        format!(
            "the chain ends with {:?}; the certificate of its issuer {:?} is missing, so the chain \
             does not reach {names}",
            top.subject(),
            top.issuer()
        )
    };
    let kind = if top.is_self_signed() { ErrorKind::ChainBroken } else { ErrorKind::IssuerMissing };
    Err(Error::new(kind, message).with_hint(
        "Append the missing CA certificates to the chain file, leaf first, up to one that DPS knows.",
    ))
}

/// How to get another certificate for the same key, of a device or of a CA.
pub(super) fn issue_again(certificate: &Certificate) -> &'static str {
    match (certificate.is_ca(), certificate.is_self_issued()) {
        (false, _) => "Issue it again: dps chain renew REGISTRATION_ID",
        (true, true) => {
            "Issue it again with the same key: dps chain root --keep-key; upload and verify it in \
             DPS, and issue each device's chain again: dps chain renew REGISTRATION_ID"
        }
        (true, false) => {
            "Issue it again with the same key: dps chain intermediate --keep-key; list it in the \
             enrollment group, and issue each device's chain again: dps chain renew REGISTRATION_ID"
        }
    }
}

/// `time` as a date; the first or the last one where it lies beyond, as any clock may be set.
pub(crate) fn moment(time: SystemTime) -> OffsetDateTime {
    let span = |span: Duration| time::Duration::try_from(span).unwrap_or(time::Duration::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => OffsetDateTime::UNIX_EPOCH.saturating_add(span(since)),
        Err(until) => OffsetDateTime::UNIX_EPOCH.saturating_sub(span(until.duration())),
    }
}

/// A moment in UTC, to the second.
pub(crate) fn text(moment: OffsetDateTime) -> String {
    moment
        .replace_nanosecond(0)
        .unwrap_or(moment)
        .format(&Rfc3339)
        .unwrap_or_else(|_| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chain::{Authority, Inspection, Validity, verify},
        key::{KeyType, PrivateKey},
    };

    /// A clock may show anything: the last date of another language is later than ours.
    #[test]
    fn a_clock_beyond_the_last_date_is_judged_by_and_nothing_breaks() {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let root =
            Authority::create_root("Root", std::sync::Arc::new(key), Validity::days(1)).unwrap();
        let (root, pem) = (root.certificate(), root.certificate().to_pem());
        let centuries = Duration::from_secs(100_000 * 366 * 86_400);
        let [early, late] = [UNIX_EPOCH - centuries, UNIX_EPOCH + centuries];
        let kind = |now| validity(root, now).unwrap_err().kind();
        assert_eq!(kind(late), ErrorKind::CertificateExpired);
        assert_eq!(kind(early), ErrorKind::CertificateNotYetValid);
        for now in [early, late] {
            assert!(!verify(std::slice::from_ref(root), &[], now).holds());
            let shown = Inspection::new(pem.as_bytes(), None, now).unwrap().to_string();
            assert!(shown.contains("NOT VALID YET") || shown.contains("EXPIRED"), "{shown}");
        }
    }
}
