//! `/registrations` of the service API.

use axum::http::Method;
use serde_json::json;

use super::answer::Answer;
use super::{Call, Precondition};
use crate::service::Refusal;
use crate::store::StoreError;
use crate::store::registrations;

/// `GET` and `DELETE` of one record. Deleting it forgets the assignment and leaves the hub's
/// device.
pub(super) async fn one(call: Call, id: String) -> Result<Answer, Refusal> {
    let deletes = match call.method {
        Method::GET => false,
        Method::DELETE => true,
        _ => return Err(call.wrong_method()),
    };
    let if_match = call.if_match();
    let record = call
        .service
        .store()
        .run(move |db| {
            let record = registrations::get(db, &id)?
                .ok_or_else(|| Refusal::new(404, 0, "Registration not found."))?
                .record;
            if deletes {
                Precondition::check(if_match.as_ref(), &record.etag)?;
                registrations::delete(db, &id)?;
            }
            Ok::<_, Refusal>(record)
        })
        .await?;
    Ok(if deletes { Answer::no_content() } else { Answer::ok(json!(record)) })
}

/// `POST …/{group}/query`: the records of a group, also of one that was deleted since.
pub(super) async fn query(call: Call, group: String) -> Result<Answer, Refusal> {
    call.demand(&Method::POST)?;
    let (after, limit) = call.page()?;
    let (items, next) = call
        .service
        .store()
        .run(move |db| {
            let mut page = registrations::page(db, &group, after, limit + 1)?;
            let more = page.len() as i64 > limit;
            page.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            let next = page.last().filter(|_| more).map(|last| last.sequence);
            let items: Vec<_> = page.into_iter().map(|item| json!(item.record)).collect();
            Ok::<_, StoreError>((items, next))
        })
        .await?;
    Ok(Answer::page("DeviceRegistration", items, next))
}
