//! The states of a connection, one after the other.

use std::sync::{Arc, Mutex, PoisonError};

use dps_core::hub::ConnectionState as CoreState;
use napi::{
    Env,
    bindgen_prelude::{Object, PromiseRaw, This},
};
use napi_derive::napi;

use crate::{
    environment::{KeptSignal, promise},
    hub::Connection,
    js::{Late, Next},
};

/// Whether a client is connected.
#[napi(object, object_from_js = false)]
pub struct ConnectionState {
    /// `closed` is for good: the client was closed, or the hub refused the device.
    #[napi(ts_type = "'connected' | 'reconnecting' | 'closed'")]
    pub state: &'static str,
    /// While reconnecting: which attempt comes next.
    pub attempt: Option<u32>,
    /// While reconnecting: why the last connection or the last attempt failed.
    pub last_error: Option<String>,
}

/// The states of a connection, from the present one to `closed`.
#[napi]
pub struct ConnectionStates {
    connection: Arc<Connection>,
    known: Arc<Mutex<Option<CoreState>>>,
    signal: KeptSignal,
}

impl ConnectionStates {
    pub(crate) fn new(connection: Arc<Connection>, signal: KeptSignal) -> Self {
        Self { connection, known: Arc::default(), signal }
    }
}

#[napi]
impl ConnectionStates {
    /// The states themselves, for `for await`.
    #[napi(
        catch_unwind,
        well_known_symbol = "asyncIterator",
        ts_return_type = "AsyncIterableIterator<ConnectionState>"
    )]
    pub fn iterator<'env>(&self, this: This<'env>) -> Object<'env> {
        this.object
    }

    /// Waits for the next state.
    #[napi(catch_unwind, ts_return_type = "Promise<IteratorResult<ConnectionState, void>>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, ()>> {
        let (connection, known) = (Arc::clone(&self.connection), Arc::clone(&self.known));
        let started = self.signal.start(env).map(|start| {
            (start, async move {
                let before = known.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let now = match before {
                    None => connection.hub.state(),
                    Some(CoreState::Closed) => return Ok(Late(Next(None))),
                    Some(before) => connection.hub.state_changed(&before).await,
                };
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(now.clone());
                Ok(Late(Next(Some(ConnectionState::from(now)))))
            })
        });
        promise(env, started)
    }
}

impl From<CoreState> for ConnectionState {
    fn from(state: CoreState) -> Self {
        let named = |state| Self { state, attempt: None, last_error: None };
        match state {
            CoreState::Connected => named("connected"),
            CoreState::Reconnecting { attempt, last_error } => Self {
                attempt: Some(attempt),
                last_error: Some(last_error),
                ..named("reconnecting")
            },
            _ => named("closed"),
        }
    }
}
