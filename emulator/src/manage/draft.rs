//! An enrollment as a client sends it: read, checked, and turned into what is stored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::service::terms::{AllocationPolicy, Terms};
use crate::service::{Refusal, Service, names, tokens};
use crate::store::enrollments::{Enrollment, Kind, Listed};
use crate::x509::Certificate;

/// Fields of both kinds that are kept as they were sent, explicit nulls included.
const KEPT: [&str; 8] = [
    "capabilities",
    "customAllocationDefinition",
    "initialTwin",
    "iotHubHostName",
    "iotHubs",
    "optionalDeviceInformation",
    "provisioningStatus",
    "reprovisionPolicy",
];

/// The two places of a certificate, a certificate name or a key.
const PLACES: [&str; 2] = ["primary", "secondary"];

/// The most characters of a host name (RFC 1035, 2.3.4).
const LONGEST_HOST: usize = 253;

/// A checked enrollment whose certificates may still refer to the stored one it replaces.
pub(super) struct Draft {
    pub(super) id: String,
    document: Map<String, Value>,
    attestation: Attestation,
    geo_latency: bool,
    hubs: Vec<String>,
}

enum Attestation {
    Certificates(Vec<(&'static str, Source)>),
    CaReferences(Vec<(&'static str, String)>),
    SymmetricKey { given: Map<String, Value> },
}

enum Source {
    New(Box<Certificate>),
    /// Told by its SHA-256 thumbprint, as a client does that sends back what it was shown:
    /// answers hold only the `info` of a certificate.
    Stored(String),
}

impl Draft {
    pub(super) fn read(kind: Kind, id: &str, body: &Map<String, Value>) -> Result<Self, Refusal> {
        let id_field = id_field(kind);
        names::checked(id_field, id)?;
        match body.get(id_field) {
            None | Some(Value::Null) => {}
            Some(Value::String(given)) if given.eq_ignore_ascii_case(id) => {}
            Some(_) => {
                return Err(Refusal::bad_request(format!(
                    "{id_field} of the body is not that of the path."
                )));
            }
        }
        let terms = Terms::read(body)
            .map_err(|error| Refusal::bad_request(format!("The enrollment is wrong: {error}.")))?;
        if terms.allocation_policy == Some(AllocationPolicy::Custom) {
            return Err(Refusal::bad_request("Custom allocation is not emulated."));
        }
        let mut document = Map::new();
        for field in KEPT {
            if let Some(value) = body.get(field) {
                document.insert(field.to_owned(), value.clone());
            }
        }
        if kind == Kind::Individual
            && let Some(device) = body.get("deviceId")
        {
            if let Some(id) = terms.device_id.as_deref().filter(|id| !id.is_empty()) {
                names::checked_device(id)?;
            }
            document.insert("deviceId".to_owned(), device.clone());
        }
        if body.contains_key("allocationPolicy") {
            let policy = terms.allocation_policy.map(AllocationPolicy::text);
            document.insert("allocationPolicy".to_owned(), json!(policy));
        }
        document.insert(id_field.to_owned(), json!(id));
        let attestation = Attestation::read(kind, body, terms.enabled())?;
        Ok(Self {
            id: id.to_owned(),
            document,
            attestation,
            geo_latency: terms.allocation_policy == Some(AllocationPolicy::GeoLatency),
            hubs: terms.named_hubs().into_iter().cloned().collect(),
        })
    }

    /// Where the emulator takes more than Azure, or does less with it, or what can only fail at a
    /// registration.
    pub(super) fn warnings(&self, service: &Service) -> Vec<String> {
        let mut warnings = Vec::new();
        // One of them will do: a header is no place for a long list, nor for a long name.
        if let Some(hub) = self.hubs.iter().find(|hub| service.hub_named(hub).is_none()) {
            let hub: String = hub.escape_default().take(LONGEST_HOST).collect();
            warnings.push(format!(
                "enrollment {} names the hub {hub}, which is not linked here: no device will be \
                 assigned to it",
                self.id
            ));
        }
        if self.geo_latency {
            warnings.push(
                "allocationPolicy geoLatency is stored, but this emulator assigns as hashed"
                    .to_owned(),
            );
        }
        if matches!(&self.attestation, Attestation::Certificates(none) if none.is_empty()) {
            warnings.push(format!(
                "enrollment {} has no certificate and only blocks its registration ID; Azure \
                 demands at least one certificate",
                self.id
            ));
        }
        warnings
    }

    /// Names of uploaded certificates that it goes by.
    pub(super) fn ca_names(&self) -> impl Iterator<Item = &str> {
        let named: &[(_, String)] = match &self.attestation {
            Attestation::CaReferences(names) => names,
            _ => &[],
        };
        named.iter().map(|(_, name)| name.as_str())
    }

    /// What is stored, given what is stored now.
    pub(super) fn settle(
        self,
        stored: Option<&Enrollment>,
    ) -> Result<(Map<String, Value>, Vec<Listed>), Refusal> {
        let Self { mut document, attestation, .. } = self;
        let kind_field = if document.contains_key("enrollmentGroupId") {
            "signingCertificates"
        } else {
            "clientCertificates"
        };
        let before = stored.and_then(|stored| stored.document.get("attestation"));
        let mut listed = Vec::new();
        let attestation = match attestation {
            Attestation::Certificates(places) => {
                let mut shown = Map::new();
                for (place, source) in places {
                    let (sha256, info) = match source {
                        Source::New(certificate) => {
                            (certificate.sha256().to_owned(), certificate.info())
                        }
                        Source::Stored(sha256) => {
                            let info = stored_info(before, kind_field, &sha256)
                                .ok_or_else(|| certificate_missing(kind_field, place))?;
                            (sha256, info)
                        }
                    };
                    shown.insert(place.to_owned(), json!({ "info": info }));
                    listed.push(Listed::Own(sha256));
                }
                let x509 = if shown.is_empty() { json!({}) } else { json!({ kind_field: shown }) };
                json!({ "type": "x509", "x509": x509 })
            }
            Attestation::CaReferences(names) => {
                let mut shown = Map::new();
                for (place, name) in names {
                    shown.insert(place.to_owned(), json!(name));
                    listed.push(Listed::Ca(name));
                }
                json!({ "type": "x509", "x509": { "caReferences": shown } })
            }
            Attestation::SymmetricKey { mut given } => {
                for place in PLACES {
                    let field = key_field(place);
                    if !given.contains_key(field) {
                        let kept = before.and_then(|before| before.get("symmetricKey"));
                        let kept = kept.and_then(|keys| keys.get(field)).cloned();
                        let key = match kept {
                            Some(key) => key,
                            None => json!(tokens::symmetric_key()?),
                        };
                        given.insert(field.to_owned(), key);
                    }
                }
                json!({ "type": "symmetricKey", "symmetricKey": given })
            }
        };
        document.insert("attestation".to_owned(), attestation);
        Ok((document, listed))
    }
}

pub(super) fn id_field(kind: Kind) -> &'static str {
    match kind {
        Kind::Individual => "registrationId",
        Kind::Group => "enrollmentGroupId",
    }
}

impl Attestation {
    fn read(kind: Kind, body: &Map<String, Value>, enabled: bool) -> Result<Self, Refusal> {
        let attestation = object(body, "attestation")?
            .ok_or_else(|| Refusal::bad_request("attestation is missing."))?;
        match attestation.get("type").and_then(Value::as_str) {
            Some("x509") => Self::read_x509(kind, attestation, enabled),
            Some("symmetricKey") => Self::read_symmetric(attestation),
            Some("tpm") => Err(Refusal::bad_request("TPM attestation is not emulated.")),
            _ => Err(Refusal::bad_request("attestation.type is not x509, symmetricKey or tpm.")),
        }
    }

    fn read_x509(
        kind: Kind,
        attestation: &Map<String, Value>,
        enabled: bool,
    ) -> Result<Self, Refusal> {
        let none = Map::new();
        let x509 = object(attestation, "x509")?.unwrap_or(&none);
        let (own, foreign) = match kind {
            Kind::Individual => ("clientCertificates", "signingCertificates"),
            Kind::Group => ("signingCertificates", "clientCertificates"),
        };
        if object(x509, foreign)?.is_some() {
            return Err(Refusal::bad_request(format!("x509.{foreign} is for the other kind.")));
        }
        let own_places = read_certificates(x509, own)?;
        let references = read_names(x509)?;
        match (own_places.is_empty(), references.is_empty(), kind) {
            (false, true, _) => Ok(Self::Certificates(own_places)),
            (true, false, Kind::Group) => Ok(Self::CaReferences(references)),
            (_, false, Kind::Individual) => {
                Err(Refusal::bad_request("x509.caReferences is for enrollment groups."))
            }
            (false, false, Kind::Group) => Err(Refusal::bad_request(
                "Give x509.signingCertificates or x509.caReferences, not both.",
            )),
            // Blocks its registration ID, as Microsoft's how-to-revoke page means it.
            (true, true, Kind::Individual) if !enabled => Ok(Self::Certificates(Vec::new())),
            (true, true, _) => Err(Refusal::bad_request(format!(
                "x509.{own} holds no certificate: at least one is needed."
            ))),
        }
    }

    fn read_symmetric(attestation: &Map<String, Value>) -> Result<Self, Refusal> {
        let mut given = Map::new();
        for place in PLACES {
            let field = key_field(place);
            let Some(value) = object(attestation, "symmetricKey")?
                .and_then(|keys| keys.get(field))
                .filter(|value| !value.is_null() && value.as_str() != Some(""))
            else {
                continue;
            };
            let length =
                value.as_str().and_then(|text| STANDARD.decode(text).ok()).map(|k| k.len());
            if !length.is_some_and(|length| (16..=64).contains(&length)) {
                return Err(Refusal::bad_request(format!(
                    "symmetricKey.{field} is not the base64 of 16 to 64 bytes."
                )));
            }
            given.insert(field.to_owned(), value.clone());
        }
        Ok(Self::SymmetricKey { given })
    }
}

fn read_certificates(
    x509: &Map<String, Value>,
    field: &str,
) -> Result<Vec<(&'static str, Source)>, Refusal> {
    let Some(places) = object(x509, field)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for place in PLACES {
        let Some(entry) = object(places, place)? else { continue };
        let text = entry.get("certificate").filter(|value| !value.is_null());
        let source = match text {
            Some(text) => {
                let text = text.as_str().unwrap_or_default();
                let certificate = Certificate::from_upload(text).map_err(|fault| {
                    Refusal::bad_request(format!("x509.{field}.{place}: {fault}."))
                })?;
                Source::New(Box::new(certificate))
            }
            None => {
                let sha256 = entry
                    .get("info")
                    .and_then(|info| info.get("sha256Thumbprint"))
                    .and_then(Value::as_str)
                    .ok_or_else(|| certificate_missing(field, place))?;
                Source::Stored(sha256.to_ascii_uppercase())
            }
        };
        found.push((place, source));
    }
    Ok(found)
}

fn read_names(x509: &Map<String, Value>) -> Result<Vec<(&'static str, String)>, Refusal> {
    let Some(places) = object(x509, "caReferences")? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for place in PLACES {
        match places.get(place) {
            None | Some(Value::Null) => {}
            Some(Value::String(name)) => found.push((place, name.clone())),
            Some(_) => {
                return Err(Refusal::bad_request(format!(
                    "x509.caReferences.{place} is not the name of a certificate."
                )));
            }
        }
    }
    Ok(found)
}

fn certificate_missing(field: &str, place: &str) -> Refusal {
    Refusal::bad_request(format!("x509.{field}.{place}.certificate is missing."))
}

/// The info of a certificate that the stored attestation lists.
fn stored_info(before: Option<&Value>, field: &str, sha256: &str) -> Option<Value> {
    let places = before?.get("x509")?.get(field)?.as_object()?;
    places
        .values()
        .filter_map(|place| place.get("info"))
        .find(|info| info.get("sha256Thumbprint").and_then(Value::as_str) == Some(sha256))
        .cloned()
}

fn key_field(place: &str) -> &'static str {
    if place == "primary" { "primaryKey" } else { "secondaryKey" }
}

/// A field that is an object, or null or absent.
fn object<'a>(
    from: &'a Map<String, Value>,
    field: &str,
) -> Result<Option<&'a Map<String, Value>>, Refusal> {
    match from.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(Refusal::bad_request(format!("{field} is not a JSON object."))),
    }
}
