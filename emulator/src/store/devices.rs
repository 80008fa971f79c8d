//! The device registries of the hubs.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::StoreError;

/// One device of one hub. It has no `Debug`: its authentication may hold keys.
pub(crate) struct Device {
    pub(crate) hub: String,
    /// Device IDs of a hub differ by letter case.
    pub(crate) id: String,
    pub(crate) generation: String,
    pub(crate) etag: String,
    pub(crate) document: DeviceDocument,
    pub(crate) twin: Twin,
    pub(crate) connected: bool,
    pub(crate) connection_changed: Option<String>,
    pub(crate) last_activity: Option<String>,
}

/// The part of a device that its owner writes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DeviceDocument {
    pub(crate) status: DeviceStatus,
    pub(crate) status_reason: Option<String>,
    pub(crate) status_changed: Option<String>,
    pub(crate) authentication: Authentication,
    pub(crate) iot_edge: bool,
}

/// Whether the device may connect.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DeviceStatus {
    Enabled,
    Disabled,
}

/// How the hub knows the device.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Authentication {
    /// Thumbprints of its leaf, SHA-1 or SHA-256.
    SelfSigned { primary: String, secondary: String },
    /// Symmetric keys in base64.
    Sas { primary: String, secondary: String },
}

/// Its twin, without the metadata that the service adds on reading.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Twin {
    pub(crate) tags: Map<String, Value>,
    pub(crate) desired: Map<String, Value>,
    pub(crate) reported: Map<String, Value>,
    pub(crate) desired_version: u64,
    pub(crate) reported_version: u64,
    pub(crate) version: u64,
    pub(crate) updated: String,
}

const COLUMNS: &str = "hub, id, generation, etag, document, twin, connections, \
                       connection_changed, last_activity";

impl Device {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let document: String = row.get(4)?;
        let twin: String = row.get(5)?;
        Ok(Self {
            hub: row.get(0)?,
            id: row.get(1)?,
            generation: row.get(2)?,
            etag: row.get(3)?,
            document: serde_json::from_str(&document)
                .map_err(|error| super::unreadable(4, error))?,
            twin: serde_json::from_str(&twin).map_err(|error| super::unreadable(5, error))?,
            connected: row.get::<_, i64>(6)? > 0,
            connection_changed: row.get(7)?,
            last_activity: row.get(8)?,
        })
    }
}

pub(crate) fn get(db: &Connection, hub: &str, id: &str) -> Result<Option<Device>, StoreError> {
    Ok(db
        .prepare_cached(&format!("SELECT {COLUMNS} FROM devices WHERE hub = ?1 AND id = ?2"))?
        .query_row([hub, id], Device::from_row)
        .optional()?)
}

/// Devices of a hub by ID.
pub(crate) fn list(db: &Connection, hub: &str, limit: i64) -> Result<Vec<Device>, StoreError> {
    let found = db
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM devices WHERE hub = ?1 ORDER BY id LIMIT ?2"
        ))?
        .query_map(params![hub, limit], Device::from_row)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

/// Creates or replaces a device; its connection is left as it is.
pub(crate) fn put(db: &Connection, device: &Device) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO devices (hub, id, generation, etag, document, twin)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (hub, id) DO UPDATE SET generation = ?3, etag = ?4, document = ?5, twin = ?6",
    )?
    .execute(params![
        device.hub,
        device.id,
        device.generation,
        device.etag,
        super::json(&device.document)?,
        super::json(&device.twin)?,
    ])?;
    Ok(())
}

pub(crate) fn put_twin(
    db: &Connection,
    hub: &str,
    id: &str,
    twin: &Twin,
) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE devices SET twin = ?3 WHERE hub = ?1 AND id = ?2")?
        .execute(params![hub, id, super::json(twin)?])?;
    Ok(())
}

/// Whether there was one.
pub(crate) fn delete(db: &Connection, hub: &str, id: &str) -> Result<bool, StoreError> {
    let deleted =
        db.prepare_cached("DELETE FROM devices WHERE hub = ?1 AND id = ?2")?.execute([hub, id])?;
    Ok(deleted > 0)
}

/// Counts connections, because a newer one of the same device is there before the older, evicted
/// one is gone.
pub(crate) fn count_connection(
    db: &Connection,
    hub: &str,
    id: &str,
    change: i64,
    now: &str,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE devices SET connections = max(0, connections + ?3), connection_changed = ?4,
             last_activity = ?4
         WHERE hub = ?1 AND id = ?2",
    )?
    .execute(params![hub, id, change, now])?;
    Ok(())
}
