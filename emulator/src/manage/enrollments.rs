//! `/enrollmentGroups` and `/enrollments` of the service API.

use axum::http::Method;
use rusqlite::Connection;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::answer::Answer;
use super::draft::{Draft, id_field};
use super::{Call, Precondition};
use crate::service::{Refusal, clock, tokens};
use crate::store::enrollments::{self, Enrollment, Kind};
use crate::store::{StoreError, certificates, registrations};

/// `GET`, `PUT` and `DELETE` of one entry.
pub(super) async fn one(call: Call, kind: Kind, id: String) -> Result<Answer, Refusal> {
    match call.method {
        Method::GET => get(call, kind, id).await,
        Method::PUT => put(call, kind, id).await,
        Method::DELETE => delete(call, kind, id).await,
        _ => Err(call.wrong_method()),
    }
}

/// `POST …/query`. The API promises no grammar; every query text selects all.
pub(super) async fn query(call: Call, kind: Kind) -> Result<Answer, Refusal> {
    if !call.json()?.get("query").is_some_and(Value::is_string) {
        return Err(Refusal::bad_request("query is missing."));
    }
    let (after, limit) = call.page()?;
    let (items, next) = call
        .service
        .store()
        .run(move |db| {
            let mut page = enrollments::page(db, kind, after, limit + 1)?;
            let more = page.len() as i64 > limit;
            page.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            let next = page.last().filter(|_| more).map(|last| last.sequence);
            let items: Result<Vec<_>, _> =
                page.into_iter().map(|entry| shown(db, kind, entry)).collect();
            Ok::<_, StoreError>((items?, next))
        })
        .await?;
    let item_type = match kind {
        Kind::Individual => "Enrollment",
        Kind::Group => "EnrollmentGroup",
    };
    Ok(Answer::page(item_type, items, next))
}

/// `POST …/attestationmechanism`: the attestation with its symmetric keys, which `GET` hides.
pub(super) async fn attestation(call: Call, kind: Kind, id: String) -> Result<Answer, Refusal> {
    call.demand(&Method::POST)?;
    let attestation = call
        .service
        .store()
        .run(move |db| {
            let entry = enrollments::get(db, kind, &id)?;
            let mut entry = entry.ok_or_else(Refusal::enrollment_not_found)?;
            Ok::<_, Refusal>(entry.document.remove("attestation"))
        })
        .await?;
    Ok(Answer::ok(attestation.unwrap_or_default()))
}

async fn get(call: Call, kind: Kind, id: String) -> Result<Answer, Refusal> {
    let entry = call
        .service
        .store()
        .run(move |db| {
            let entry = enrollments::get(db, kind, &id)?;
            let entry = entry.ok_or_else(Refusal::enrollment_not_found)?;
            Ok::<_, Refusal>(shown(db, kind, entry)?)
        })
        .await?;
    Ok(Answer::ok(entry))
}

async fn put(call: Call, kind: Kind, id: String) -> Result<Answer, Refusal> {
    let draft = Draft::read(kind, &id, &call.json()?)?;
    let mut warnings = draft.warnings(&call.service);
    let if_match = call.if_match();
    let now = call.service.now();
    let (entry, shared) = call
        .service
        .store()
        .run(move |db| {
            let entry = write(db, kind, draft, if_match.as_ref(), now)?;
            let shared = sharing(db, kind, &entry)?;
            Ok::<_, Refusal>((entry, shared))
        })
        .await?;
    warnings.extend(shared);
    let answer = Answer::ok(Value::Object(dated(entry)));
    Ok(warnings.into_iter().fold(answer, Answer::warning))
}

/// What is to be said of an entry whose certificate others list too.
pub(super) fn sharing(
    db: &Connection,
    kind: Kind,
    entry: &Enrollment,
) -> Result<Option<String>, StoreError> {
    let others = enrollments::sharing(db, kind, &entry.id)?;
    Ok((!others.is_empty()).then(|| {
        format!(
            "{} goes by a certificate that {} lists too; Azure allows a certificate in one \
             enrollment entry only, and here the entry that was created first decides",
            entry.id,
            others.join(", ")
        )
    }))
}

/// Creates an entry without `If-Match`, replaces one with it.
pub(super) fn write(
    db: &Connection,
    kind: Kind,
    draft: Draft,
    if_match: Option<&Precondition>,
    now: OffsetDateTime,
) -> Result<Enrollment, Refusal> {
    let stored = enrollments::get(db, kind, &draft.id)?;
    match (&stored, if_match) {
        (Some(_), None) => return Err(Refusal::new(409, 201, "Enrollment already exists.")),
        (None, Some(_)) => return Err(Refusal::precondition_failed()),
        (Some(stored), Some(_)) => Precondition::check(if_match, &stored.etag)?,
        (None, None) => {}
    }
    for name in draft.ca_names() {
        // Whether it is verified is asked when a device registers, not here.
        if certificates::get(db, name)?.is_none() {
            return Err(Refusal::bad_request(format!("CA certificate '{name}' not found.")));
        }
    }
    let given = draft.id.clone();
    let (mut document, listed) = draft.settle(stored.as_ref())?;
    let stamp = clock::stamp(now);
    let (id, created) = match stored {
        Some(stored) => (stored.id, stored.created),
        None => (given, stamp.clone()),
    };
    document.insert(id_field(kind).to_owned(), json!(id));
    let etag = tokens::etag(now)?;
    let entry = Enrollment { sequence: 0, id, document, etag, created, updated: stamp };
    enrollments::put(db, kind, &entry, &listed)?;
    Ok(entry)
}

async fn delete(call: Call, kind: Kind, id: String) -> Result<Answer, Refusal> {
    let if_match = call.if_match();
    call.service.store().run(move |db| remove(db, kind, &id, if_match.as_ref())).await?;
    Ok(Answer::no_content())
}

/// Deletes an entry. Registration records and hub devices stay (Microsoft,
/// how-to-unprovision-devices).
pub(super) fn remove(
    db: &Connection,
    kind: Kind,
    id: &str,
    if_match: Option<&Precondition>,
) -> Result<(), Refusal> {
    let entry = enrollments::get(db, kind, id)?;
    let entry = entry.ok_or_else(Refusal::enrollment_not_found)?;
    Precondition::check(if_match, &entry.etag)?;
    Ok(enrollments::delete(db, &entry)?)
}

/// As `GET` and queries show it: keys hidden, an individual one with its registration.
fn shown(db: &Connection, kind: Kind, entry: Enrollment) -> Result<Value, StoreError> {
    let state = match kind {
        Kind::Group => None,
        Kind::Individual => Some(match registrations::get(db, &entry.id)? {
            Some(registration) => json!(registration.record),
            None => json!({ "registrationId": entry.id, "status": "unassigned" }),
        }),
    };
    let mut shown = dated(entry);
    if let Some(Value::Object(attestation)) = shown.get_mut("attestation") {
        attestation.remove("symmetricKey");
    }
    if let Some(state) = state {
        shown.insert("registrationState".to_owned(), state);
    }
    Ok(Value::Object(shown))
}

fn dated(entry: Enrollment) -> Map<String, Value> {
    let mut shown = entry.document;
    shown.insert("etag".to_owned(), json!(entry.etag));
    shown.insert("createdDateTimeUtc".to_owned(), json!(entry.created));
    shown.insert("lastUpdatedDateTimeUtc".to_owned(), json!(entry.updated));
    shown
}
