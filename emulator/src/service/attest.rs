//! Which enrollment lets a device in.

use rusqlite::Connection;
use time::OffsetDateTime;

use super::Refusal;
use super::terms::Terms;
use crate::store::StoreError;
use crate::store::certificates;
use crate::store::enrollments::{self, Enrollment, Found, Kind};
use crate::x509::Chain;

/// A device whose certificates hold, and the enrollment that decides about it. Whether that
/// enrollment is enabled is for its terms to say.
pub(super) struct Admitted {
    /// The group, if it is one.
    pub(super) group: Option<String>,
    pub(super) terms: Terms,
}

/// Judges a chain by the enrollments (Microsoft, concepts-x509-attestation): from the leaf
/// upward, the first certificate that any enrollment lists decides, also when that enrollment is
/// disabled.
pub(super) fn admit(
    db: &Connection,
    registration_id: &str,
    chain: &Chain,
    now: OffsetDateTime,
) -> Result<Admitted, Refusal> {
    // The registration ID of an X.509 device is its leaf's common name.
    let common_name = chain.leaf().common_name();
    if !common_name.is_some_and(|name| name.eq_ignore_ascii_case(registration_id)) {
        return Err(Refusal::unauthorized());
    }
    let mut standings = Vec::new();
    for issuer in chain.issuers() {
        standings.push((issuer.sha256(), certificates::standing(db, issuer.sha256())?));
    }
    let uploaded = |sha256: &str| standings.iter().any(|(own, s)| *own == sha256 && s.is_some());
    if !chain.is_sound(now, uploaded) {
        return Err(Refusal::invalid_certificate());
    }
    if let Some(entry) = enrollments::individual_by_leaf(db, chain.leaf().sha256())? {
        // Its thumbprint suffices: a self-signed leaf has no authority to verify, and for a
        // signed one Microsoft's documents disagree.
        if !entry.id.eq_ignore_ascii_case(registration_id) {
            return Err(Refusal::unauthorized());
        }
        return Ok(Admitted { group: None, terms: terms(&entry)? });
    }
    for (at, issuer) in chain.issuers().iter().enumerate() {
        let Some((entry, found)) = enrollments::group_by_issuer(db, issuer.sha256())? else {
            continue;
        };
        check_trust(&found, standings[at..].iter().filter_map(|(_, standing)| *standing))?;
        return match blocked(db, registration_id)? {
            Some(terms) => Ok(Admitted { group: None, terms }),
            None => Ok(Admitted { terms: terms(&entry)?, group: Some(entry.id) }),
        };
    }
    if standings.iter().any(|(_, standing)| standing.is_some()) {
        Err(Refusal::no_match_in_chain())
    } else {
        Err(Refusal::ca_not_found())
    }
}

/// The presented chain must reach an uploaded and verified certificate, from the group's own one
/// upward; a group that names an uploaded certificate stands and falls with that one.
fn check_trust(found: &Found, above: impl Iterator<Item = bool>) -> Result<(), Refusal> {
    match found {
        Found::Ca { verified: true } => Ok(()),
        Found::Ca { verified: false } => Err(Refusal::invalid_certificate()),
        Found::Own => match above.max() {
            Some(true) => Ok(()),
            Some(false) => Err(Refusal::invalid_certificate()),
            None => Err(Refusal::ca_not_found()),
        },
    }
}

/// A disabled individual enrollment of the same registration ID keeps a device out of its group,
/// even if it lists no certificate or another one (Microsoft, how-to-revoke-device-access).
fn blocked(db: &Connection, registration_id: &str) -> Result<Option<Terms>, StoreError> {
    let Some(entry) = enrollments::get(db, Kind::Individual, registration_id)? else {
        return Ok(None);
    };
    let terms = terms(&entry)?;
    Ok((!terms.enabled()).then_some(terms))
}

fn terms(entry: &Enrollment) -> Result<Terms, StoreError> {
    Terms::read(&entry.document).map_err(|error| {
        StoreError::Database(format!("enrollment {} cannot be read: {error}", entry.id))
    })
}
