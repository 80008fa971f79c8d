//! Messages received from devices, the newest of each device.
//!
//! What arrives together is one row, so that a message costs little beside its own bytes; the
//! sequence numbers of a row's messages end with the row's `last`.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use super::{StoreError, unreadable};

/// Messages of one device that arrived together, in order.
#[derive(Default)]
pub(crate) struct Batch {
    heads: Vec<Head>,
    /// One behind the other.
    payloads: Vec<u8>,
}

/// What is kept of a message beside its payload.
#[derive(Serialize, Deserialize)]
struct Head {
    /// Of the payload, in bytes.
    size: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    properties: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dup: bool,
}

impl Batch {
    /// Adds a message; `dup` is whether the device marked it as sent before.
    pub(crate) fn push(&mut self, properties: Vec<(String, String)>, dup: bool, payload: &[u8]) {
        self.heads.push(Head { size: payload.len(), properties, dup });
        self.payloads.extend_from_slice(payload);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
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

/// Stores messages; the oldest make room for them where more than `retention` are there.
pub(crate) fn append(
    db: &Connection,
    hub: &str,
    device: &str,
    messages: &Batch,
    now: &str,
    retention: u32,
) -> Result<(), StoreError> {
    let count = i64::try_from(messages.heads.len()).unwrap_or(i64::MAX);
    let (last, oldest): (i64, i64) = db
        .prepare_cached(
            "SELECT coalesce(last, 0), coalesce(oldest, 1)
             FROM devices LEFT JOIN feeds ON feeds.hub = devices.hub AND device = id
             WHERE devices.hub = ?1 AND id = ?2",
        )?
        .query_row([hub, device], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or(StoreError::NoSuchDevice)?;
    let last = last.saturating_add(count);
    let oldest = oldest.max(last - i64::from(retention) + 1);
    db.prepare_cached(
        "INSERT INTO feeds (hub, device, last, oldest) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (hub, device) DO UPDATE SET last = ?3, oldest = ?4",
    )?
    .execute(params![hub, device, last, oldest])?;
    db.prepare_cached(
        "INSERT INTO messages (hub, device, last, enqueued, heads, payloads)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        hub,
        device,
        last,
        now,
        super::json(&messages.heads)?,
        messages.payloads
    ])?;
    if oldest > 1 {
        db.prepare_cached("DELETE FROM messages WHERE hub = ?1 AND device = ?2 AND last < ?3")?
            .execute(params![hub, device, oldest])?;
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
    limit: usize,
) -> Result<Option<Feed>, StoreError> {
    let bounds: Option<(i64, i64)> = db
        .prepare_cached("SELECT last, oldest FROM feeds WHERE hub = ?1 AND device = ?2")?
        .query_row([hub, device], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((last, oldest)) = bounds else { return Ok(None) };
    let mut statement = db.prepare_cached(
        "SELECT last, enqueued, heads, payloads FROM messages
         WHERE hub = ?1 AND device = ?2 AND last > ?3 ORDER BY last",
    )?;
    // A row whose oldest messages have made room is there as long as its newest are.
    let after = after.max(oldest - 1);
    let mut rows = statement.query(params![hub, device, after])?;
    let mut messages = Vec::new();
    while messages.len() < limit
        && let Some(row) = rows.next()?
    {
        let (last, enqueued): (i64, String) = (row.get(0)?, row.get(1)?);
        let (heads, payloads): (String, Vec<u8>) = (row.get(2)?, row.get(3)?);
        let heads: Vec<Head> =
            serde_json::from_str(&heads).map_err(|error| unreadable(2, error))?;
        let mut sequence = last - i64::try_from(heads.len()).unwrap_or(i64::MAX);
        let mut rest = payloads.as_slice();
        for Head { size, properties, dup } in heads {
            let payload = rest.split_off(..size).ok_or_else(|| {
                unreadable(3, serde_json::Error::custom("shorter than its messages"))
            })?;
            sequence += 1;
            if sequence > after && messages.len() < limit {
                let (enqueued, payload) = (enqueued.clone(), payload.to_vec());
                messages.push(Message { sequence, enqueued, properties, dup, payload });
            }
        }
    }
    Ok(Some(Feed { retained: last - oldest + 1, dropped: oldest - 1, messages }))
}

/// Forgets all that a device ever sent.
pub(crate) fn delete(db: &Connection, hub: &str, device: &str) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM messages WHERE hub = ?1 AND device = ?2")?
        .execute([hub, device])?;
    db.prepare_cached("DELETE FROM feeds WHERE hub = ?1 AND device = ?2")?
        .execute([hub, device])?;
    Ok(())
}
