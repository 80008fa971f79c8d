//! The provisioning service and its hubs: rules and state, without sockets.

mod attest;
pub(crate) mod clock;
mod device_api;
mod hub;
pub(crate) mod names;
mod provision;
mod refusal;
pub(crate) mod terms;
pub(crate) mod tokens;
mod twin;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;

use crate::EmulatorError;
use crate::settings::Settings;
use crate::store::telemetry::Batch;
use crate::store::{self, Store, StoreError};

pub(crate) use refusal::Refusal;

/// What a client presented in its TLS handshake, as DER, the leaf first; empty if nothing.
pub(crate) struct Peer {
    pub(crate) certificates: Vec<Vec<u8>>,
}

/// A call of the device API, over whichever protocol.
pub(crate) struct DeviceCall {
    pub(crate) id_scope: String,
    pub(crate) registration_id: String,
    pub(crate) peer: Arc<Peer>,
    pub(crate) sas: Option<String>,
    pub(crate) body: Bytes,
}

/// Its answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Value,
}

/// Messages that a hub received from a device.
pub(crate) struct Telemetry {
    pub(crate) hub: String,
    pub(crate) device_id: String,
    pub(crate) messages: Batch,
}

/// One instance of the service, shared by all who call it.
#[derive(Clone)]
pub(crate) struct Service(Arc<Shared>);

struct Shared {
    store: Store,
    clock: clock::Clock,
    id_scope: String,
    dps_name: String,
    hubs: Vec<String>,
    retry_after: u32,
    polls: u32,
    retention: u32,
    /// Base64, as it stands in a connection string.
    owner_key: String,
    owner_key_bytes: Vec<u8>,
}

/// Names under which the instance's own settings lie beside the blobs of others.
const ID_SCOPE: &str = "settings/id-scope";
const OWNER_KEY: &str = "settings/owner-key";

/// The ID scope of a new instance that is given none.
const DEFAULT_ID_SCOPE: &str = "0ne00000A0A";

impl Service {
    /// Opens the state and starts its writer thread. A file keeps its ID scope, which may not be
    /// changed, and its owner key, which takes the place of the one in `settings`.
    pub(crate) fn open(settings: &Settings) -> Result<Self, EmulatorError> {
        let (store, (id_scope, owner_key)) = Store::open(settings.data.as_deref(), |db| {
            let asked_for = settings.id_scope.as_deref();
            let stored = keep(db, ID_SCOPE, asked_for.unwrap_or(DEFAULT_ID_SCOPE))?;
            if let Some(other) = asked_for.filter(|asked_for| *asked_for != stored) {
                return Err(EmulatorError::InvalidSetting(format!(
                    "the data file belongs to ID scope {stored}, not to {other}"
                )));
            }
            Ok((stored, keep(db, OWNER_KEY, &settings.owner_key)?))
        })?;
        let owner_key_bytes = STANDARD
            .decode(&owner_key)
            .map_err(|_| EmulatorError::InvalidSetting("the owner key is not base64".to_owned()))?;
        Ok(Self(Arc::new(Shared {
            store,
            clock: clock::Clock::default(),
            id_scope,
            dps_name: settings.dps_name.clone(),
            hubs: settings.hubs.clone(),
            retry_after: settings.retry_after,
            polls: settings.polls,
            retention: settings.retention,
            owner_key,
            owner_key_bytes,
        })))
    }

    /// Commits what is under way and closes the file; later calls are refused.
    pub(crate) async fn close(&self) {
        self.0.store.close().await;
    }

    /// Sets the clock that judges certificates, tokens and dates off by some seconds.
    pub(crate) fn set_clock_skew(&self, seconds: i64) {
        self.0.clock.set_skew(seconds);
    }

    pub(crate) fn id_scope(&self) -> &str {
        &self.0.id_scope
    }

    pub(crate) fn hub_names(&self) -> Vec<String> {
        self.0.hubs.clone()
    }

    /// The base64 key of the policies `provisioningserviceowner` and `iothubowner`.
    pub(crate) fn owner_key(&self) -> &str {
        &self.0.owner_key
    }

    /// A small named value that lives as long as the state, such as a TLS key.
    pub(crate) async fn blob(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.store.run(move |db| store::blob(db, name)).await
    }

    pub(crate) async fn put_blob(
        &self,
        name: &'static str,
        value: Vec<u8>,
    ) -> Result<(), StoreError> {
        self.0.store.run(move |db| store::put_blob(db, name, &value)).await
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.0.clock.now()
    }

    /// Resolves when the clock shows `time`, be it by waiting or by being set.
    pub(crate) async fn reach(&self, time: OffsetDateTime) {
        self.0.clock.reach(time).await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn dps_name(&self) -> &str {
        &self.0.dps_name
    }

    pub(crate) fn owner_key_bytes(&self) -> &[u8] {
        &self.0.owner_key_bytes
    }

    /// The linked hub of a name as clients write it: any letter case, maybe with a port.
    pub(crate) fn hub_named(&self, name: &str) -> Option<&str> {
        let name = without_port(name);
        self.0.hubs.iter().find(|hub| hub.eq_ignore_ascii_case(name)).map(String::as_str)
    }
}

/// The stored text of that name, which is `value` from the first time on.
fn keep(db: &rusqlite::Connection, name: &str, value: &str) -> Result<String, StoreError> {
    if let Some(stored) = store::blob(db, name)? {
        return String::from_utf8(stored)
            .map_err(|_| StoreError::Database(format!("{name} is not text")));
    }
    store::put_blob(db, name, value.as_bytes())?;
    Ok(value.to_owned())
}

/// A host without the port that may follow it.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    }
}

impl From<StoreError> for EmulatorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Database(text) => Self::Store(text),
            other => Self::Store(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
