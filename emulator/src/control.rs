//! The emulator's own control path, for tests in any language, from this machine only:
//! `POST` and `DELETE /emulator/faults`, `GET` and `DELETE /emulator/packets`,
//! `POST /emulator/clock`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::faults::Faults;
use crate::listener::{Connection, Shared};

/// Where all of it lies.
pub(crate) const PREFIX: &str = "/emulator/";

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/emulator/faults", post(add_faults).delete(clear_faults))
        .route("/emulator/packets", get(packets).delete(clear_packets))
        .route("/emulator/clock", post(skew_clock))
        .route_layer(from_fn(loopback_only))
}

async fn loopback_only(
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    next: Next,
) -> Response {
    if connection.remote.ip().to_canonical().is_loopback() {
        next.run(request).await
    } else {
        tracing::warn!(remote = %connection.remote, "the control path is for this machine only");
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn add_faults(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let faults = std::str::from_utf8(&body)
        .map_err(|error| error.to_string())
        .and_then(|text| Faults::from_json(text).map_err(|error| error.to_string()));
    match faults {
        Ok(faults) => {
            shared.faults.add(faults);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(reason) => bad_request(&reason),
    }
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn packets(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let (packets, dropped) = shared.recorder.list();
    Json(json!({ "packets": packets, "dropped": dropped }))
}

async fn clear_packets(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.recorder.clear();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Clock {
    skew_seconds: i64,
}

async fn skew_clock(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(Clock { skew_seconds }) => {
            shared.service.set_clock_skew(skew_seconds);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => bad_request(&error.to_string()),
    }
}

fn bad_request(reason: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "message": reason }))).into_response()
}
