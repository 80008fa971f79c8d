//! Registration records, and the operations that devices poll.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Operations kept per registration ID, so that a device that registers for ever does not fill
/// the file, and several that share an ID by mistake can each finish.
const OPERATIONS_KEPT: i64 = 8;

/// Where a registration stands, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Status {
    Assigning,
    Assigned,
    Failed,
    Disabled,
}

/// What kind of assignment it was, in the words of the API.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Substatus {
    InitialAssignment,
    DeviceDataMigrated,
    DeviceDataReset,
    ReprovisionedToInitialAssignment,
}

/// `DeviceRegistrationResult` of both APIs, its absent fields left out as the service does.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) registration_id: String,
    pub(crate) created_date_time_utc: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assigned_hub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_id: Option<String>,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) substatus: Option<Substatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_code: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_message: Option<String>,
    pub(crate) last_updated_date_time_utc: String,
    pub(crate) etag: String,
}

/// A device of a hub.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) hub: String,
    pub(crate) device: String,
}

/// One registration record and what the service remembers beside it.
pub(crate) struct Registration {
    pub(crate) sequence: i64,
    /// `None` for a device of an individual enrollment.
    pub(crate) group: Option<String>,
    /// The last assignment, also while the record says that the device is disabled.
    pub(crate) assignment: Option<Assignment>,
    pub(crate) record: Record,
}

const COLUMNS: &str = "sequence, enrollment_group, hub, device, record";

impl Registration {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let hub: Option<String> = row.get(2)?;
        let device: Option<String> = row.get(3)?;
        Ok(Self {
            sequence: row.get(0)?,
            group: row.get(1)?,
            assignment: hub.zip(device).map(|(hub, device)| Assignment { hub, device }),
            record: record(row, 4)?,
        })
    }
}

fn record(row: &Row<'_>, column: usize) -> rusqlite::Result<Record> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| super::unreadable(column, error))
}

pub(crate) fn get(db: &Connection, id: &str) -> Result<Option<Registration>, StoreError> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM registrations WHERE id = ?1"))?
        .query_row([id], Registration::from_row)
        .optional()?)
}

/// Creates or replaces the record of its registration ID. `sequence` is given by the store.
pub(crate) fn put(db: &Connection, registration: &Registration) -> Result<(), StoreError> {
    let assignment = registration.assignment.as_ref();
    db.prepare_cached(
        "INSERT INTO registrations (id, enrollment_group, hub, device, record)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET enrollment_group = ?2, hub = ?3, device = ?4, record = ?5",
    )?
    .execute(params![
        registration.record.registration_id,
        registration.group,
        assignment.map(|assignment| &assignment.hub),
        assignment.map(|assignment| &assignment.device),
        super::json(&registration.record)?,
    ])?;
    Ok(())
}

pub(crate) fn delete(db: &Connection, id: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM registrations WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Records of one group in order of first registration, from behind `after`.
pub(crate) fn page(
    db: &Connection,
    group: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<Registration>, StoreError> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM registrations WHERE enrollment_group = ?1 AND sequence > ?2
             ORDER BY sequence LIMIT ?3"
        ))?
        .query_map(params![group, after, limit], Registration::from_row)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// A registration in flight, or one whose answer may be asked for again.
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) registration: String,
    /// Who started it, who alone may ask.
    pub(crate) holder: Holder,
    /// Polls that are still to be answered, the one that tells the result included.
    pub(crate) polls_left: u32,
    pub(crate) record: Record,
}

/// Whom an operation belongs to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// By the SHA-256 thumbprint of its leaf.
    Leaf(String),
    /// Whoever holds the symmetric key of the registration ID.
    SymmetricKey,
}

/// Stored where a thumbprint is, which it cannot be taken for.
const SYMMETRIC_KEY: &str = "symmetricKey";

impl Holder {
    fn text(&self) -> &str {
        match self {
            Self::Leaf(sha256) => sha256,
            Self::SymmetricKey => SYMMETRIC_KEY,
        }
    }
}

impl From<String> for Holder {
    fn from(text: String) -> Self {
        if text == SYMMETRIC_KEY { Self::SymmetricKey } else { Self::Leaf(text) }
    }
}

pub(crate) fn put_operation(db: &Connection, operation: &Operation) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO operations (id, registration, holder, polls_left, record)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        operation.id,
        operation.registration,
        operation.holder.text(),
        operation.polls_left,
        super::json(&operation.record)?,
    ])?;
    db.prepare_cached(
        "DELETE FROM operations WHERE registration = ?1 AND sequence NOT IN
             (SELECT sequence FROM operations WHERE registration = ?1
              ORDER BY sequence DESC LIMIT ?2)",
    )?
    .execute(params![operation.registration, OPERATIONS_KEPT])?;
    Ok(())
}

pub(crate) fn operation(db: &Connection, id: &str) -> Result<Option<Operation>, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT id, registration, holder, polls_left, record FROM operations WHERE id = ?1",
        )?
        .query_row([id], |row| {
            Ok(Operation {
                id: row.get(0)?,
                registration: row.get(1)?,
                holder: Holder::from(row.get::<_, String>(2)?),
                polls_left: row.get(3)?,
                record: record(row, 4)?,
            })
        })
        .optional()?)
}

pub(crate) fn count_poll(db: &Connection, operation: &Operation) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE operations SET polls_left = polls_left - 1 WHERE id = ?1")?
        .execute([&operation.id])?;
    Ok(())
}
