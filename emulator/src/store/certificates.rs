//! Certificate authorities uploaded to the provisioning service.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;

/// One uploaded certificate. Names are compared in any letter case, as ARM does.
pub(crate) struct CaCertificate {
    pub(crate) name: String,
    pub(crate) der: Vec<u8>,
    /// Upper-case hexadecimal.
    pub(crate) sha256: String,
    /// Whether possession of its key has been proved.
    pub(crate) verified: bool,
    /// The verification code that waits for its proof.
    pub(crate) code: Option<String>,
    pub(crate) etag: String,
    /// Unix seconds.
    pub(crate) updated: i64,
}

const COLUMNS: &str = "name, der, sha256, verified, code, etag, updated";

impl CaCertificate {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            name: row.get(0)?,
            der: row.get(1)?,
            sha256: row.get(2)?,
            verified: row.get(3)?,
            code: row.get(4)?,
            etag: row.get(5)?,
            updated: row.get(6)?,
        })
    }
}

pub(crate) fn get(db: &Connection, name: &str) -> Result<Option<CaCertificate>, StoreError> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM certificates WHERE name = ?1"))?
        .query_row([name], CaCertificate::from_row)
        .optional()?)
}

pub(crate) fn list(db: &Connection) -> Result<Vec<CaCertificate>, StoreError> {
    let found = db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM certificates ORDER BY name"))?
        .query_map([], CaCertificate::from_row)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

pub(crate) fn put(db: &Connection, certificate: &CaCertificate) -> Result<(), StoreError> {
    db.prepare_cached(&format!(
        "INSERT INTO certificates ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (name) DO UPDATE SET der = ?2, sha256 = ?3, verified = ?4, code = ?5,
             etag = ?6, updated = ?7"
    ))?
    .execute(params![
        certificate.name,
        certificate.der,
        certificate.sha256,
        certificate.verified,
        certificate.code,
        certificate.etag,
        certificate.updated,
    ])?;
    Ok(())
}

pub(crate) fn delete(db: &Connection, name: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM certificates WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// What the instance thinks of a certificate: `None` if it was never uploaded, else whether it
/// is verified. The same certificate may be there under two names; one proof is enough.
pub(crate) fn standing(db: &Connection, sha256: &str) -> Result<Option<bool>, StoreError> {
    Ok(db
        .prepare_cached("SELECT max(verified) FROM certificates WHERE sha256 = ?1")?
        .query_row([sha256], |row| row.get(0))?)
}
