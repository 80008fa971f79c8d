//! Enrollment groups and individual enrollments.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};

use super::StoreError;

/// Which of the two kinds of entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Individual,
    Group,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Self::Individual => "individual",
            Self::Group => "group",
        }
    }
}

/// One stored entry. IDs are compared in any letter case and shown as first given.
pub(crate) struct Enrollment {
    /// Order of creation; kept by updates.
    pub(crate) sequence: i64,
    pub(crate) id: String,
    /// As the service API shows it, without etag and dates, with symmetric keys.
    pub(crate) document: Map<String, Value>,
    pub(crate) etag: String,
    pub(crate) created: String,
    pub(crate) updated: String,
}

/// A certificate an entry goes by.
pub(crate) enum Listed {
    /// Of its own: the SHA-256 thumbprint in upper-case hexadecimal.
    Own(String),
    /// By the name it was uploaded under.
    Ca(String),
}

/// How a group came to be found by a certificate.
pub(crate) enum Found {
    /// It lists the certificate itself, which proves nothing about its key.
    Own,
    /// It names an uploaded certificate, which is verified or not.
    Ca { verified: bool },
}

const COLUMNS: &str = "e.sequence, e.id, e.document, e.etag, e.created, e.updated";

impl Enrollment {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            sequence: row.get(0)?,
            id: row.get(1)?,
            document: json_object(row, 2)?,
            etag: row.get(3)?,
            created: row.get(4)?,
            updated: row.get(5)?,
        })
    }
}

fn json_object(row: &Row<'_>, column: usize) -> rusqlite::Result<Map<String, Value>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| super::unreadable(column, error))
}

pub(crate) fn get(db: &Connection, kind: Kind, id: &str) -> Result<Option<Enrollment>, StoreError> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM enrollments e WHERE e.kind = ?1 AND e.id = ?2"
        ))?
        .query_row([kind.text(), id], Enrollment::from_row)
        .optional()?)
}

/// Creates or replaces the entry of this kind and ID, together with the certificates it goes by.
/// `sequence` is given by the store.
pub(crate) fn put(
    db: &Connection,
    kind: Kind,
    entry: &Enrollment,
    listed: &[Listed],
) -> Result<(), StoreError> {
    let document = Value::Object(entry.document.clone()).to_string();
    let sequence: i64 = db
        .prepare_cached(
            "INSERT INTO enrollments (kind, id, document, etag, created, updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (kind, id) DO UPDATE SET document = ?3, etag = ?4, updated = ?6
             RETURNING sequence",
        )?
        .query_row(
            params![kind.text(), entry.id, document, entry.etag, entry.created, entry.updated],
            |row| row.get(0),
        )?;
    unlist(db, sequence)?;
    let mut insert = db.prepare_cached(
        "INSERT INTO enrollment_certificates (enrollment, sha256, ca_name) VALUES (?1, ?2, ?3)",
    )?;
    for certificate in listed {
        match certificate {
            Listed::Own(sha256) => insert.execute(params![sequence, sha256, None::<&str>])?,
            Listed::Ca(name) => insert.execute(params![sequence, None::<&str>, name])?,
        };
    }
    Ok(())
}

pub(crate) fn delete(db: &Connection, entry: &Enrollment) -> Result<(), StoreError> {
    unlist(db, entry.sequence)?;
    db.prepare_cached("DELETE FROM enrollments WHERE sequence = ?1")?.execute([entry.sequence])?;
    Ok(())
}

fn unlist(db: &Connection, sequence: i64) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM enrollment_certificates WHERE enrollment = ?1")?
        .execute([sequence])?;
    Ok(())
}

/// Entries in order of creation, from behind `after`.
pub(crate) fn page(
    db: &Connection,
    kind: Kind,
    after: i64,
    limit: i64,
) -> Result<Vec<Enrollment>, StoreError> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM enrollments e WHERE e.kind = ?1 AND e.sequence > ?2
             ORDER BY e.sequence LIMIT ?3"
        ))?
        .query_map(params![kind.text(), after, limit], Enrollment::from_row)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// The individual enrollment that lists a leaf; of several, the first created.
pub(crate) fn individual_by_leaf(
    db: &Connection,
    sha256: &str,
) -> Result<Option<Enrollment>, StoreError> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM enrollments e
             JOIN enrollment_certificates l ON l.enrollment = e.sequence
             WHERE e.kind = 'individual' AND l.sha256 = ?1 ORDER BY e.sequence LIMIT 1"
        ))?
        .query_row([sha256], Enrollment::from_row)
        .optional()?)
}

/// The group that goes by an issuer; of several, the first created.
pub(crate) fn group_by_issuer(
    db: &Connection,
    sha256: &str,
) -> Result<Option<(Enrollment, Found)>, StoreError> {
    Ok(db
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, NULL AS verified FROM enrollments e
             JOIN enrollment_certificates l ON l.enrollment = e.sequence
             WHERE e.kind = 'group' AND l.sha256 = ?1
             UNION ALL
             SELECT {COLUMNS}, c.verified AS verified FROM certificates c
             JOIN enrollment_certificates l ON l.ca_name = c.name
             JOIN enrollments e ON l.enrollment = e.sequence
             WHERE e.kind = 'group' AND c.sha256 = ?1
             ORDER BY 1, verified DESC LIMIT 1"
        ))?
        .query_row([sha256], |row| {
            let found = match row.get::<_, Option<bool>>(6)? {
                None => Found::Own,
                Some(verified) => Found::Ca { verified },
            };
            Ok((Enrollment::from_row(row)?, found))
        })
        .optional()?)
}

/// The groups that attest by symmetric keys, in order of creation.
pub(crate) fn keyed_groups(db: &Connection) -> Result<Vec<Enrollment>, StoreError> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM enrollments e
             WHERE e.kind = 'group' AND e.document ->> '$.attestation.type' = 'symmetricKey'
             ORDER BY e.sequence"
        ))?
        .query_map([], Enrollment::from_row)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// Other entries of the kind that go by one of the same certificates, by name or by thumbprint.
pub(crate) fn sharing(db: &Connection, kind: Kind, id: &str) -> Result<Vec<String>, StoreError> {
    let found = db
        .prepare_cached(
            "WITH thumbprints AS (
                 SELECT e.kind AS kind, e.id AS id, coalesce(l.sha256, c.sha256) AS sha256
                 FROM enrollments e
                 JOIN enrollment_certificates l ON l.enrollment = e.sequence
                 LEFT JOIN certificates c ON c.name = l.ca_name
                 WHERE e.kind = ?1
             )
             SELECT DISTINCT other.id FROM thumbprints mine
             JOIN thumbprints other ON other.sha256 = mine.sha256
             WHERE mine.id = ?2 AND other.id <> ?2 ORDER BY other.id",
        )?
        .query_map([kind.text(), id], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}
