//! `POST /enrollments` and `POST /enrollmentGroups`: several entries in one call, each by itself.

use axum::http::Method;
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::draft::{Draft, id_field};
use super::{Call, Precondition, enrollments};
use crate::service::{Refusal, Service};
use crate::store::enrollments::Kind;

/// The most entries of one call (the API specification).
const MOST: usize = 10;

/// What is done with each entry, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Create,
    Update,
    UpdateIfMatchEtag,
    Delete,
}

/// One entry of a call.
struct Item {
    id: String,
    etag: Option<String>,
    record: Map<String, Value>,
}

/// Answers 200 whatever becomes of the entries: which of them were refused is in the body.
pub(super) async fn run(call: Call, kind: Kind) -> Result<Answer, Refusal> {
    call.demand(&Method::POST)?;
    let body = call.json()?;
    let mode = Mode::read(body.get("mode"))?;
    let items = items(&body, kind)?;
    let service = call.service.clone();
    let (errors, warnings) = call
        .service
        .store()
        .run(move |db| {
            let (mut errors, mut warnings) = (Vec::new(), Vec::new());
            for item in items {
                let id = item.id.clone();
                match item.apply(db, &service, kind, mode) {
                    Ok(said) => warnings.extend(said),
                    // What is wrong with the store is nothing that one entry is at fault of.
                    Err(refusal) if refusal.status >= 500 => return Err(refusal),
                    Err(refusal) => errors.push(json!({
                        id_field(kind): id,
                        "errorCode": refusal.code,
                        "errorStatus": refusal.message,
                    })),
                }
            }
            Ok((errors, warnings))
        })
        .await?;
    let answer = Answer::ok(json!({ "isSuccessful": errors.is_empty(), "errors": errors }));
    Ok(warnings.into_iter().fold(answer, Answer::warning))
}

impl Mode {
    fn read(text: Option<&Value>) -> Result<Self, Refusal> {
        let text = text.and_then(Value::as_str).unwrap_or_default();
        [
            ("create", Self::Create),
            ("update", Self::Update),
            ("updateIfMatchETag", Self::UpdateIfMatchEtag),
            ("delete", Self::Delete),
        ]
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, mode)| mode)
        .ok_or_else(|| {
            Refusal::bad_request("mode is none of create, update, updateIfMatchETag, delete.")
        })
    }
}

fn items(body: &Map<String, Value>, kind: Kind) -> Result<Vec<Item>, Refusal> {
    let field = match kind {
        Kind::Individual => "enrollments",
        Kind::Group => "enrollmentGroups",
    };
    let found = body.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !(1..=MOST).contains(&found.len()) {
        return Err(Refusal::bad_request(format!("{field} is not a list of 1 to {MOST} entries.")));
    }
    found
        .iter()
        .map(|item| {
            let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
            let id = text(id_field(kind));
            match (item, id) {
                (Value::Object(record), Some(id)) => {
                    Ok(Item { id, etag: text("etag"), record: record.clone() })
                }
                // Errors are told by the ID.
                _ => Err(Refusal::bad_request(format!("{} is missing.", id_field(kind)))),
            }
        })
        .collect()
}

impl Item {
    /// Does it, and gives what the emulator took more leniently than Azure.
    fn apply(
        self,
        db: &Connection,
        service: &Service,
        kind: Kind,
        mode: Mode,
    ) -> Result<Vec<String>, Refusal> {
        let now = service.now();
        let if_match = self.precondition(mode)?;
        if mode == Mode::Delete {
            enrollments::remove(db, kind, &self.id, if_match.as_ref())?;
            return Ok(Vec::new());
        }
        let draft = Draft::read(kind, &self.id, &self.record)?;
        let mut warnings = draft.warnings(service);
        let entry = enrollments::write(db, kind, draft, if_match.as_ref(), now)?;
        warnings.extend(enrollments::sharing(db, kind, &entry)?);
        Ok(warnings)
    }

    /// The `If-Match` that a call for this entry alone would have. An `update` whose entry has no
    /// etag is refused as a creation is where the entry exists (recorded: 409201); that one with
    /// an etag is written whatever the stored one is, and that a deletion asks for none, follows
    /// from there being a mode that compares them.
    fn precondition(&self, mode: Mode) -> Result<Option<Precondition>, Refusal> {
        let etag = self.etag.as_ref().filter(|etag| !etag.is_empty());
        Ok(match (mode, etag) {
            (Mode::Create | Mode::Delete, _) | (Mode::Update, None) => None,
            (Mode::Update, Some(_)) => Some(Precondition::Exists),
            (Mode::UpdateIfMatchEtag, Some(etag)) => {
                Some(Precondition::Etag(etag.trim_matches('"').to_owned()))
            }
            (Mode::UpdateIfMatchEtag, None) => {
                return Err(Refusal::bad_request("etag is missing."));
            }
        })
    }
}
