//! Which enrollment lets a device in.

use rusqlite::Connection;
use time::OffsetDateTime;

use serde_json::Value;

use super::Refusal;
use super::terms::Terms;
use crate::sas::{SasToken, derived_key};
use crate::store::StoreError;
use crate::store::certificates;
use crate::store::devices::Authentication;
use crate::store::enrollments::{self, Enrollment, Found, Kind};
use crate::store::registrations::Holder;
use crate::x509::Chain;

/// What a device proves itself by.
pub(super) enum Proof {
    Chain(Chain),
    Token(SasToken),
}

impl Proof {
    /// Who may ask after an operation that was started with it.
    pub(super) fn holder(&self) -> Holder {
        match self {
            Self::Chain(chain) => Holder::Leaf(chain.leaf().sha256().to_owned()),
            // Each token is another one; that it is good is all that can be asked for.
            Self::Token(_) => Holder::SymmetricKey,
        }
    }
}

/// A device whose proof holds, and the enrollment that decides about it. Whether that enrollment
/// is enabled is for its terms to say.
pub(super) struct Admitted {
    /// The group, if it is one.
    pub(super) group: Option<String>,
    pub(super) terms: Terms,
    /// How the hub is to know the device.
    pub(super) authentication: Authentication,
}

/// Judges a device by the enrollments.
pub(super) fn admit(
    db: &Connection,
    id_scope: &str,
    registration_id: &str,
    proof: &Proof,
    now: OffsetDateTime,
) -> Result<Admitted, Refusal> {
    match proof {
        Proof::Chain(chain) => admit_chain(db, registration_id, chain, now),
        Proof::Token(token) => admit_token(db, id_scope, registration_id, token, now),
    }
}

/// Judges a token by the enrollments. Of the two kinds, the individual one of this registration ID
/// comes first, also when it is disabled; that order is inferred from Microsoft's
/// how-to-revoke-device-access, which has a disabled one bar a device from its group.
fn admit_token(
    db: &Connection,
    id_scope: &str,
    registration_id: &str,
    token: &SasToken,
    now: OffsetDateTime,
) -> Result<Admitted, Refusal> {
    // Some SDKs name the policy and some do not.
    let is_for_registration = token.policy().is_none_or(|policy| policy == "registration");
    if !is_for_registration || !token.is_for(&format!("{id_scope}/registrations/{registration_id}"))
    {
        return Err(Refusal::unauthorized());
    }
    let individual = enrollments::get(db, Kind::Individual, registration_id)?;
    let barred = match individual {
        Some(entry) => {
            let terms = terms(&entry)?;
            if let Some(keys) = Keys::of(&entry).filter(|keys| keys.signed(token, now)) {
                return Ok(Admitted { group: None, terms, authentication: keys.into() });
            }
            if terms.enabled() {
                return Err(Refusal::unauthorized());
            }
            Some(terms)
        }
        None => None,
    };
    let mut disabled = None;
    for entry in enrollments::keyed_groups(db)? {
        let derived = Keys::of(&entry).and_then(|keys| keys.derived(registration_id));
        let Some(keys) = derived.filter(|keys| keys.signed(token, now)) else { continue };
        let terms = terms(&entry)?;
        let enabled = terms.enabled();
        let admitted = Admitted { group: Some(entry.id), terms, authentication: keys.into() };
        if enabled {
            return Ok(match barred {
                Some(terms) => Admitted { group: None, terms, ..admitted },
                None => admitted,
            });
        }
        disabled.get_or_insert(admitted);
    }
    // Only one who holds its key is told that a group is disabled (recorded: status `disabled`).
    disabled.ok_or_else(Refusal::unauthorized)
}

/// The symmetric keys of an enrollment or of a device, in base64.
struct Keys {
    primary: String,
    secondary: String,
}

impl Keys {
    fn of(entry: &Enrollment) -> Option<Self> {
        let keys = entry.document.get("attestation")?.get("symmetricKey")?;
        let key = |name: &str| keys.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self { primary: key("primaryKey")?, secondary: key("secondaryKey")? })
    }

    /// What a group's device has in place of them.
    fn derived(&self, registration_id: &str) -> Option<Self> {
        Some(Self {
            primary: derived_key(&self.primary, registration_id)?,
            secondary: derived_key(&self.secondary, registration_id)?,
        })
    }

    fn signed(&self, token: &SasToken, now: OffsetDateTime) -> bool {
        token.holds_base64(&self.primary, now) || token.holds_base64(&self.secondary, now)
    }
}

impl From<Keys> for Authentication {
    fn from(Keys { primary, secondary }: Keys) -> Self {
        Self::Sas { primary, secondary }
    }
}

/// Judges a chain by the enrollments (Microsoft, concepts-x509-attestation): from the leaf
/// upward, the first certificate that any enrollment lists decides, also when that enrollment is
/// disabled.
fn admit_chain(
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
    // Group and individual alike are known to the hub by their leaf's thumbprint, which each
    // registration refreshes (recorded; azure-iot-cli-extension's own checks).
    let thumbprint = chain.leaf().sha256().to_owned();
    let authentication =
        Authentication::SelfSigned { primary: thumbprint.clone(), secondary: thumbprint };
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
        return Ok(Admitted { group: None, terms: terms(&entry)?, authentication });
    }
    for (at, issuer) in chain.issuers().iter().enumerate() {
        let Some((entry, found)) = enrollments::group_by_issuer(db, issuer.sha256())? else {
            continue;
        };
        check_trust(&found, standings[at..].iter().filter_map(|(_, standing)| *standing))?;
        return match blocked(db, registration_id)? {
            Some(terms) => Ok(Admitted { group: None, terms, authentication }),
            None => Ok(Admitted { terms: terms(&entry)?, group: Some(entry.id), authentication }),
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
