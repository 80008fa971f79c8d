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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::body::Body;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;
    use time::{Duration, OffsetDateTime};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::faults::FaultControl;
    use crate::manage::testing::{peer, settings};
    use crate::service::Service;

    #[tokio::test]
    async fn whoever_is_not_on_this_machine_finds_nothing_and_changes_nothing() {
        for (remote, served) in [
            ("192.0.2.7", false),
            ("10.0.0.1", false),
            ("2001:db8::7", false),
            ("::ffff:192.0.2.7", false),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", true),
            ("::1", true),
        ] {
            let service = Service::open(&settings()).expect("service");
            let shared = Arc::new(Shared::new(service, FaultControl::default()));
            let router = TowerToHyperService::new(router().with_state(shared.clone()));
            let ip: IpAddr = remote.parse().expect("address");
            let connection = Arc::new(Connection {
                number: 1,
                remote: (ip, 50_000).into(),
                peer: Arc::new(peer(Vec::new())),
                tls: None,
                server_name: None,
                cut: CancellationToken::new(),
            });
            let skew = r#"{ "skewSeconds": 86400 }"#;
            for (method, path, body) in [
                ("POST", "/emulator/clock", skew),
                ("POST", "/emulator/faults", "[]"),
                ("DELETE", "/emulator/faults", ""),
                ("GET", "/emulator/packets", ""),
                ("DELETE", "/emulator/packets", ""),
            ] {
                let request = Request::builder().method(method).uri(path);
                let request = request.extension(connection.clone()).body(Body::from(body));
                let response = router.call(request.expect("request")).await.expect("response");
                let refused = response.status() == StatusCode::NOT_FOUND;
                assert!(refused != served, "{remote}: {method} {path}: {}", response.status());
            }
            let ahead = shared.service.now() - OffsetDateTime::now_utc();
            assert_eq!(ahead > Duration::hours(1), served, "{remote}");
        }
    }
}
