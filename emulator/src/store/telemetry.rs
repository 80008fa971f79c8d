//! Messages received from devices, the newest of each device.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::StoreError;

/// One message on its way into the store.
pub(crate) struct Arrival<'a> {
    pub(crate) hub: &'a str,
    pub(crate) device: &'a str,
    pub(crate) properties: &'a [(String, String)],
    pub(crate) payload: &'a [u8],
    /// Whether the device marked it as sent before.
    pub(crate) dup: bool,
    pub(crate) now: &'a str,
}

/// One stored message.
pub(crate) struct Message {
    /// Counts from 1 for each device, over all it ever sent to this hub.
    pub(crate) sequence: i64,
    pub(crate) enqueued: String,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) dup: bool,
    pub(crate) payload: Vec<u8>,
}

/// What is left of a device's messages.
pub(crate) struct Feed {
    pub(crate) retained: i64,
    /// Messages that were acknowledged and have made room for newer ones since.
    pub(crate) dropped: i64,
    pub(crate) messages: Vec<Message>,
}

/// Stores one message; the oldest make room for it where more than `retention` are there.
pub(crate) fn append(
    db: &Connection,
    arrival: &Arrival<'_>,
    retention: u32,
) -> Result<(), StoreError> {
    let (hub, device) = (arrival.hub, arrival.device);
    let sequence: i64 = db
        .prepare_cached(
            "INSERT INTO feeds (hub, device, sequence, dropped)
             SELECT hub, id, 1, 0 FROM devices WHERE hub = ?1 AND id = ?2
             ON CONFLICT (hub, device) DO UPDATE SET sequence = sequence + 1
             RETURNING sequence",
        )?
        .query_row([hub, device], |row| row.get(0))
        .optional()?
        .ok_or(StoreError::NoSuchDevice)?;
    db.prepare_cached(
        "INSERT INTO messages (hub, device, sequence, enqueued, properties, dup, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        hub,
        device,
        sequence,
        arrival.now,
        super::json(&arrival.properties)?,
        arrival.dup,
        arrival.payload,
    ])?;
    let oldest_kept = sequence - i64::from(retention) + 1;
    if oldest_kept > 1 {
        let dropped = db
            .prepare_cached(
                "DELETE FROM messages WHERE hub = ?1 AND device = ?2 AND sequence < ?3",
            )?
            .execute(params![hub, device, oldest_kept])?;
        db.prepare_cached(
            "UPDATE feeds SET dropped = dropped + ?3 WHERE hub = ?1 AND device = ?2",
        )?
        .execute(params![hub, device, i64::try_from(dropped).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

/// Messages behind the sequence number `after`, at most `limit`; `None` for a device that never
/// sent any.
pub(crate) fn feed(
    db: &Connection,
    hub: &str,
    device: &str,
    after: i64,
    limit: i64,
) -> Result<Option<Feed>, StoreError> {
    let dropped: Option<i64> = db
        .prepare_cached("SELECT dropped FROM feeds WHERE hub = ?1 AND device = ?2")?
        .query_row([hub, device], |row| row.get(0))
        .optional()?;
    let Some(dropped) = dropped else { return Ok(None) };
    let retained = db
        .prepare_cached("SELECT count(*) FROM messages WHERE hub = ?1 AND device = ?2")?
        .query_row([hub, device], |row| row.get(0))?;
    let messages = db
        .prepare_cached(
            "SELECT sequence, enqueued, properties, dup, payload FROM messages
             WHERE hub = ?1 AND device = ?2 AND sequence > ?3 ORDER BY sequence LIMIT ?4",
        )?
        .query_map(params![hub, device, after, limit], |row| {
            let properties: String = row.get(2)?;
            Ok(Message {
                sequence: row.get(0)?,
                enqueued: row.get(1)?,
                properties: serde_json::from_str(&properties)
                    .map_err(|error| super::unreadable(2, error))?,
                dup: row.get(3)?,
                payload: row.get(4)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Feed { retained, dropped, messages }))
}

/// Forgets all that a device ever sent.
pub(crate) fn delete(db: &Connection, hub: &str, device: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM messages WHERE hub = ?1 AND device = ?2")?
        .execute([hub, device])?;
    db.prepare_cached("DELETE FROM feeds WHERE hub = ?1 AND device = ?2")?
        .execute([hub, device])?;
    Ok(())
}
