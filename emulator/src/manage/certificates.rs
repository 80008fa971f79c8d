//! The certificate API of the provisioning service's ARM resource.

use axum::http::Method;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::answer::Answer;
use super::{Call, Precondition};
use crate::service::{Refusal, clock, tokens};
use crate::store::StoreError;
use crate::store::certificates::{self, CaCertificate};
use crate::x509::{BadUpload, Certificate};

/// What every recorded answer says.
const CREATED: &str = "Mon, 01 Jan 0001 00:00:00 GMT";

/// `GET` of all.
pub(super) async fn list(call: Call, dps: String) -> Result<Answer, Refusal> {
    check_instance(&call, &dps)?;
    call.demand(&Method::GET)?;
    let found = call.service.store().run(certificates::list).await?;
    let items: Result<Vec<_>, _> = found
        .iter()
        .map(|certificate| shown(&format!("{}/{}", call.path, certificate.name), certificate))
        .collect();
    Ok(Answer::ok(json!({ "value": items? })))
}

/// `GET`, `PUT` and `DELETE` of one.
pub(super) async fn one(call: Call, dps: String, name: String) -> Result<Answer, Refusal> {
    check_instance(&call, &dps)?;
    match call.method {
        Method::GET => {
            let found = call.service.store().run(move |db| stored(db, &name, None)).await?;
            Ok(Answer::ok(shown(&call.path, &found)?))
        }
        Method::PUT => put(call, name).await,
        Method::DELETE => delete(call, name).await,
        _ => Err(call.wrong_method()),
    }
}

/// `POST …/generateVerificationCode`.
pub(super) async fn code(call: Call, dps: String, name: String) -> Result<Answer, Refusal> {
    check_instance(&call, &dps)?;
    call.demand(&Method::POST)?;
    let if_match = demanded(&call)?;
    let now = call.service.now();
    let certificate = call
        .service
        .store()
        .run(move |db| {
            let mut certificate = stored(db, &name, Some(&if_match))?;
            certificate.code = Some(tokens::verification_code()?);
            save(db, &mut certificate, now)?;
            Ok::<_, Refusal>(certificate)
        })
        .await?;
    let mut answer = shown(resource(&call.path), &certificate)?;
    answer["properties"]["verificationCode"] = json!(certificate.code);
    answer["properties"]["certificate"] = json!(STANDARD.encode(&certificate.der));
    Ok(Answer::ok(answer))
}

/// `POST …/verify`: proof of possession by a certificate that names the code and is signed by
/// the key of the one that is to be verified.
pub(super) async fn verify(call: Call, dps: String, name: String) -> Result<Answer, Refusal> {
    check_instance(&call, &dps)?;
    call.demand(&Method::POST)?;
    let if_match = demanded(&call)?;
    let proof = uploaded(&call.json()?)?.0;
    let now = call.service.now();
    let certificate = call
        .service
        .store()
        .run(move |db| {
            let mut certificate = stored(db, &name, Some(&if_match))?;
            check_proof(&certificate, &proof, now)?;
            certificate.verified = true;
            certificate.code = None;
            save(db, &mut certificate, now)?;
            Ok::<_, Refusal>(certificate)
        })
        .await?;
    Ok(Answer::ok(shown(resource(&call.path), &certificate)?))
}

fn check_proof(
    certificate: &CaCertificate,
    proof: &Certificate,
    now: OffsetDateTime,
) -> Result<(), Refusal> {
    let code = certificate.code.as_deref().ok_or_else(|| {
        Refusal::bad_request("No verification code was generated for this certificate.")
    })?;
    if proof.common_name() != Some(code) {
        return Err(Refusal::bad_request(
            "The common name of the verification certificate is not the verification code.",
        ));
    }
    if !proof.signed_by(&readable(certificate)?) {
        return Err(Refusal::bad_request(
            "The verification certificate is not signed by the certificate to be verified.",
        ));
    }
    if !proof.in_date_at(now) {
        return Err(Refusal::bad_request(
            "The verification certificate has expired or is not valid yet.",
        ));
    }
    Ok(())
}

async fn put(call: Call, name: String) -> Result<Answer, Refusal> {
    check_name(&name)?;
    let (certificate, verified) = uploaded(&call.json()?)?;
    if !certificate.may_be_authority() {
        return Err(Refusal::bad_request("The certificate is not that of an authority."));
    }
    let if_match = call.if_match();
    let now = call.service.now();
    let certificate = call
        .service
        .store()
        .run(move |db| {
            // A header is needed to replace one, and ignored where there is none.
            let stored = certificates::get(db, &name)?;
            if let Some(stored) = &stored {
                if if_match.is_none() {
                    return Err(Refusal::precondition_failed());
                }
                Precondition::check(if_match.as_ref(), &stored.etag)?;
            }
            let mut certificate = CaCertificate {
                name: stored.map_or(name, |stored| stored.name),
                der: certificate.der().to_vec(),
                sha256: certificate.sha256().to_owned(),
                // Possession is proved anew for what is uploaded anew.
                verified,
                code: None,
                etag: String::new(),
                updated: 0,
            };
            save(db, &mut certificate, now)?;
            Ok(certificate)
        })
        .await?;
    Ok(Answer::ok(shown(&call.path, &certificate)?))
}

async fn delete(call: Call, name: String) -> Result<Answer, Refusal> {
    let if_match = demanded(&call)?;
    call.service
        .store()
        .run(move |db| {
            if let Some(stored) = certificates::get(db, &name)? {
                Precondition::check(Some(&if_match), &stored.etag)?;
                certificates::delete(db, &name)?;
            }
            Ok::<_, Refusal>(())
        })
        .await?;
    Ok(Answer::no_content())
}

fn save(
    db: &Connection,
    certificate: &mut CaCertificate,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    certificate.etag = tokens::short_etag()?;
    certificate.updated = now.unix_timestamp();
    certificates::put(db, certificate)
}

fn stored(
    db: &Connection,
    name: &str,
    if_match: Option<&Precondition>,
) -> Result<CaCertificate, Refusal> {
    let found = certificates::get(db, name)?
        .ok_or_else(|| Refusal::new(404, 0, format!("Certificate '{name}' not found.")))?;
    Precondition::check(if_match, &found.etag)?;
    Ok(found)
}

/// ARM demands the header for everything that changes a certificate.
fn demanded(call: &Call) -> Result<Precondition, Refusal> {
    call.if_match().ok_or_else(|| Refusal::bad_request("The If-Match header is missing."))
}

fn check_instance(call: &Call, dps: &str) -> Result<(), Refusal> {
    if dps.eq_ignore_ascii_case(call.service.dps_name()) {
        return Ok(());
    }
    Err(Refusal::new(
        404,
        0,
        format!("The provisioning service is called '{}'.", call.service.dps_name()),
    ))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
    if (1..=256).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "A certificate name has 1 to 256 of the characters A-Z a-z 0-9 - . _.",
    ))
}

/// The certificate of a body, and whether it is to be verified as it is: flat, or nested under
/// `properties` as newer API versions have it.
fn uploaded(body: &Map<String, Value>) -> Result<(Certificate, bool), Refusal> {
    let fields = match body.get("properties") {
        Some(Value::Object(nested)) => nested,
        _ => body,
    };
    let text = fields
        .get("certificate")
        .and_then(Value::as_str)
        .ok_or_else(|| Refusal::bad_request("certificate is missing."))?;
    let certificate = Certificate::from_upload(text)
        .map_err(|fault: BadUpload| Refusal::bad_request(format!("certificate: {fault}.")))?;
    let verified = match fields.get("isVerified") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(verified)) => *verified,
        Some(_) => return Err(Refusal::bad_request("isVerified is not true or false.")),
    };
    Ok((certificate, verified))
}

fn readable(certificate: &CaCertificate) -> Result<Certificate, StoreError> {
    Certificate::from_der(&certificate.der)
        .map_err(|fault| StoreError::Database(format!("certificate {}: {fault}", certificate.name)))
}

/// The path of a certificate out of the path of an action on it.
fn resource(action: &str) -> &str {
    action.rsplit_once('/').map_or(action, |(resource, _)| resource)
}

/// `CertificateResponse`, its dates in the form that was recorded.
fn shown(path: &str, certificate: &CaCertificate) -> Result<Value, StoreError> {
    let read = readable(certificate)?;
    let updated = OffsetDateTime::from_unix_timestamp(certificate.updated)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Ok(json!({
        "properties": {
            "subject": read.common_name().unwrap_or_default(),
            "expiry": clock::rfc1123(read.not_after()),
            "thumbprint": read.sha1(),
            "isVerified": certificate.verified,
            "created": CREATED,
            "updated": clock::rfc1123(updated),
            "certificate": null,
        },
        "id": path,
        "name": certificate.name,
        "type": "Microsoft.Devices/provisioningServices/Certificates",
        "etag": certificate.etag,
    }))
}
