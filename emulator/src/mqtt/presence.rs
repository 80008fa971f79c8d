//! Who is connected to which hub: one connection per identity, of which the newest stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::listener::GRACE;

/// The connections of all hubs.
#[derive(Default)]
pub(crate) struct Presence(Arc<Mutex<HashMap<Key, Entry>>>);

type Key = (String, String);

struct Entry {
    connection: u64,
    evicted: CancellationToken,
    gone: CancellationToken,
}

impl Presence {
    /// Takes the place of an identity, after whoever held it has left, or has not within [`GRACE`].
    pub(super) async fn take(&self, hub: &str, device_id: &str, connection: u64) -> Seat {
        let key = (hub.to_ascii_lowercase(), device_id.to_owned());
        let (evicted, gone) = (CancellationToken::new(), CancellationToken::new());
        let entry = Entry { connection, evicted: evicted.clone(), gone: gone.clone() };
        let older = lock(&self.0).insert(key.clone(), entry);
        let seats = self.0.clone();
        let seat = Seat { seats, key, connection, evicted, _gone: gone.drop_guard() };
        if let Some(older) = older {
            older.evicted.cancel();
            if timeout(GRACE, older.gone.cancelled()).await.is_err() {
                tracing::warn!(older = older.connection, "an evicted connection is slow to leave");
            }
        }
        seat
    }
}

/// The place of one connection.
pub(super) struct Seat {
    seats: Arc<Mutex<HashMap<Key, Entry>>>,
    key: Key,
    connection: u64,
    evicted: CancellationToken,
    _gone: DropGuard,
}

impl Seat {
    /// Cancelled when a newer connection wants the place.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.evicted.clone()
    }

    pub(super) fn leave(self) {
        let mut seats = lock(&self.seats);
        if seats.get(&self.key).is_some_and(|entry| entry.connection == self.connection) {
            seats.remove(&self.key);
        }
    }
}

fn lock(seats: &Mutex<HashMap<Key, Entry>>) -> MutexGuard<'_, HashMap<Key, Entry>> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}
