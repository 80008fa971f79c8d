//! The tables, and opening a file that holds them.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::StoreError;

/// Marks a file as ours (`dpse`), so that no other program's database is written to.
const APPLICATION: i64 = 0x6470_7365;

/// Raised with every change of the tables below.
const VERSION: i64 = 3;

/// How long a file that another emulator is still closing is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

const TABLES: &str = "
CREATE TABLE blobs (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE certificates (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    der BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    verified INTEGER NOT NULL,
    code TEXT,
    etag TEXT NOT NULL,
    updated INTEGER NOT NULL
);
CREATE INDEX certificates_by_thumbprint ON certificates (sha256);

CREATE TABLE enrollments (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    id TEXT NOT NULL COLLATE NOCASE,
    document TEXT NOT NULL,
    etag TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE TABLE enrollment_certificates (
    enrollment INTEGER NOT NULL,
    sha256 TEXT,
    ca_name TEXT COLLATE NOCASE
);
CREATE INDEX enrollment_certificates_by_enrollment ON enrollment_certificates (enrollment);
CREATE INDEX enrollment_certificates_by_thumbprint ON enrollment_certificates (sha256);
CREATE INDEX enrollment_certificates_by_ca ON enrollment_certificates (ca_name);

CREATE TABLE registrations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE COLLATE NOCASE,
    enrollment_group TEXT COLLATE NOCASE,
    hub TEXT,
    device TEXT,
    record TEXT NOT NULL
);
CREATE INDEX registrations_by_group ON registrations (enrollment_group, sequence);

CREATE TABLE operations (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    registration TEXT NOT NULL COLLATE NOCASE,
    holder TEXT NOT NULL,
    polls_left INTEGER NOT NULL,
    record TEXT NOT NULL
);
CREATE INDEX operations_by_registration ON operations (registration, sequence);

CREATE TABLE devices (
    hub TEXT NOT NULL COLLATE NOCASE,
    id TEXT NOT NULL,
    generation TEXT NOT NULL,
    etag TEXT NOT NULL,
    document TEXT NOT NULL,
    twin TEXT NOT NULL,
    connections INTEGER NOT NULL DEFAULT 0,
    connection_changed TEXT,
    last_activity TEXT,
    PRIMARY KEY (hub, id)
) WITHOUT ROWID;

CREATE TABLE feeds (
    hub TEXT NOT NULL COLLATE NOCASE,
    device TEXT NOT NULL,
    last INTEGER NOT NULL,
    oldest INTEGER NOT NULL,
    PRIMARY KEY (hub, device)
) WITHOUT ROWID;
-- With rowids: to find a place among keys, SQLite would read long rows as a whole.
CREATE TABLE messages (
    hub TEXT NOT NULL COLLATE NOCASE,
    device TEXT NOT NULL,
    last INTEGER NOT NULL,
    enqueued TEXT NOT NULL,
    heads TEXT NOT NULL,
    payloads BLOB NOT NULL,
    PRIMARY KEY (hub, device, last)
);
";

/// Opens the file, or makes it; `None` is a database in memory.
pub(super) fn open(path: Option<&Path>) -> Result<Connection, StoreError> {
    let opened = match path {
        None => Connection::open_in_memory().map_err(StoreError::from),
        Some(path) => private_file(path)
            .map_err(|error| StoreError::Database(error.to_string()))
            .and_then(|()| Ok(Connection::open(path)?)),
    };
    let ready = opened.and_then(|db| {
        set_up(&db)?;
        Ok(db)
    });
    ready.map_err(|error| match path {
        Some(path) => StoreError::Database(format!("{}: {error}", path.display())),
        None => error,
    })
}

/// The file holds the owner's key and the server's: nobody else may read it. SQLite gives its
/// side files the mode of the file itself.
fn private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn set_up(db: &Connection) -> Result<(), StoreError> {
    db.set_prepared_statement_cache_capacity(128);
    db.busy_timeout(PATIENCE)?;
    // One process owns the file: a second emulator on it fails at once instead of mixing in.
    // Set before the journal mode, it also keeps the log's index in memory.
    db.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        return Err(StoreError::Database("the file belongs to another program".to_owned()));
    }
    if tables > 0 && version != VERSION {
        return Err(StoreError::Database(format!(
            "the file has schema {version}, this emulator reads and writes schema {VERSION}"
        )));
    }
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "NORMAL")?;
    if tables == 0 {
        // In one transaction: an emulator killed here leaves an empty file, not half a schema.
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             {TABLES}
             PRAGMA application_id = {APPLICATION};
             PRAGMA user_version = {VERSION};
             COMMIT;"
        ))?;
    }
    // Nobody is connected to an emulator that has just started.
    db.execute("UPDATE devices SET connections = 0", [])?;
    Ok(())
}
