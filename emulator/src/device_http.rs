//! What is served over HTTP: the device API of the provisioning service, MQTT over WebSocket, the
//! control path, and behind them the management that the service itself answers.

use std::future::pending;
use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Router};
use futures_util::{SinkExt as _, StreamExt as _, future};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use uuid::Uuid;

use crate::control;
use crate::faults::{Answer, Step};
use crate::listener::{Connection, Shared};
use crate::mqtt;
use crate::record::{Direction, Transport, What};
use crate::service::{DeviceCall, Refusal};

/// Largest message the service takes (Microsoft, iot-dps-limits).
const LARGEST_REQUEST: usize = 96 * 1024;
/// Room for a hub's largest message with its topic, as over plain MQTT.
const LARGEST_FRAME: usize = 512 * 1024;

/// Everything that is served over HTTP.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/{id_scope}/registrations/{registration_id}/register", put(register))
        .route(
            "/{id_scope}/registrations/{registration_id}/operations/{operation_id}",
            get(operation_status),
        )
        .route("/{id_scope}/registrations/{registration_id}", post(lookup))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .route("/$iothub/websocket", get(websocket))
        .merge(control::router())
        .fallback_service(shared.service.router())
        .layer(from_fn_with_state(shared.clone(), record))
        .with_state(shared.clone())
}

type Identity = Path<(String, String)>;
type Body = Result<Bytes, BytesRejection>;

async fn register(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    Path(identity): Identity,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let call = match call(&connection, identity, &uri, &headers, body) {
        Ok(call) => call,
        Err(refusal) => return refused(&shared, &refusal),
    };
    let firing = shared.faults.at(Step::Register, Some(&call.registration_id));
    let answer = firing.answer(&shared.service, shared.service.register(call)).await;
    respond(answer, &connection, &shared, &uri, &headers).await
}

async fn operation_status(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    Path((id_scope, registration_id, operation)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let call = match call(&connection, (id_scope, registration_id), &uri, &headers, body) {
        Ok(call) => call,
        Err(refusal) => return refused(&shared, &refusal),
    };
    let firing = shared.faults.at(Step::Poll, Some(&call.registration_id));
    let handle = shared.service.operation_status(call, &operation);
    let answer = firing.answer(&shared.service, handle).await;
    respond(answer, &connection, &shared, &uri, &headers).await
}

async fn lookup(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    Path(identity): Identity,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let call = match call(&connection, identity, &uri, &headers, body) {
        Ok(call) => call,
        Err(refusal) => return refused(&shared, &refusal),
    };
    let reply = shared.service.registration_lookup(call).await;
    json(reply.status, reply.body.to_string().into())
}

fn call(
    connection: &Connection,
    (id_scope, registration_id): (String, String),
    uri: &Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<DeviceCall, Refusal> {
    let mut pairs = uri.query().unwrap_or_default().split('&').filter_map(|p| p.split_once('='));
    if !pairs.any(|(key, value)| key.eq_ignore_ascii_case("api-version") && !value.is_empty()) {
        return Err(Refusal::bad_request("The query parameter api-version is missing."));
    }
    let body = body.map_err(|error| {
        let status = error.status().as_u16();
        Refusal::new(status, 0, error.body_text())
    })?;
    let sas = match headers.get(AUTHORIZATION).map(HeaderValue::to_str) {
        None => None,
        Some(Ok(text)) => Some(text.to_owned()),
        Some(Err(_)) => return Err(Refusal::unauthorized()),
    };
    let peer = connection.peer.clone();
    Ok(DeviceCall { id_scope, registration_id, peer, sas, body })
}

async fn respond(
    answer: Answer,
    connection: &Connection,
    shared: &Shared,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    match answer {
        Answer::Reply { status, retry_after, body, .. } => {
            let mut response = json(status, body);
            let fields = response.headers_mut();
            if let Some(wait) = retry_after.and_then(|text| text.try_into().ok()) {
                fields.insert(RETRY_AFTER, wait);
            }
            // A 202 says where the registration was asked for (Microsoft, iot-dps-https-x509-support).
            if status == 202
                && let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok())
            {
                let path = uri.path();
                let base = path.split_once("/operations/").map_or(path, |(base, _)| base);
                let base = base.strip_suffix("/register").unwrap_or(base);
                let location = HeaderValue::try_from(format!("https://{host}{base}/register"));
                if let Ok(location) = location {
                    fields.insert(LOCATION, location);
                }
            }
            response
        }
        Answer::Cut => {
            connection.cut.cancel();
            pending().await
        }
        Answer::Silence => {
            shared.stop.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn refused(shared: &Shared, refusal: &Refusal) -> Response {
    json(refusal.status, refusal.body(shared.service.now()).to_string().into())
}

fn json(status: u16, body: Bytes) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = [
        (CONTENT_TYPE.as_str(), "application/json; charset=utf-8".to_owned()),
        ("x-ms-request-id", Uuid::new_v4().to_string()),
    ];
    (status, fields, body).into_response()
}

/// MQTT over WebSocket (Microsoft, iot-dps-mqtt-support). Clients write the subprotocol in either
/// case, the C SDK as `MQTT`, and may insist on their own spelling in the answer (RFC 6455, 4.1).
async fn websocket(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    mut upgrade: WebSocketUpgrade,
) -> Response {
    let is_mqtt = |name: &&HeaderValue| name.as_bytes().eq_ignore_ascii_case(b"mqtt");
    let Some(protocol) = upgrade.requested_protocols().find(is_mqtt).cloned() else {
        tracing::warn!(connection = connection.number, "a WebSocket without the subprotocol mqtt");
        let text = "The only WebSocket subprotocol spoken here is mqtt.";
        return refused(&shared, &Refusal::bad_request(text));
    };
    upgrade.set_selected_protocol(protocol);
    // The upgraded connection outlives its HTTP task; the token keeps it counted.
    let counted = shared.tasks.token();
    upgrade
        .read_buffer_size(4096)
        .max_message_size(LARGEST_FRAME)
        .max_frame_size(LARGEST_FRAME)
        .on_upgrade(async move |socket| {
            serve_websocket(socket, &connection, &shared).await;
            drop(counted);
        })
}

/// The MQTT packets run through the binary messages as through a stream: neither side may rely
/// on how they are cut (MQTT 3.1.1, 6).
async fn serve_websocket(socket: WebSocket, connection: &Arc<Connection>, shared: &Arc<Shared>) {
    let (sink, stream) = socket.split();
    let reader = StreamReader::new(stream.map(|message| match message {
        Ok(Message::Binary(bytes)) => Ok(bytes),
        Ok(Message::Text(_)) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "MQTT in a text message"))
        }
        Ok(_) => Ok(Bytes::new()),
        Err(error) => Err(io::Error::other(error)),
    }));
    let sink = sink
        .with(|bytes: Bytes| future::ready(Ok::<_, axum::Error>(Message::Binary(bytes))))
        .sink_map_err(io::Error::other);
    let writer = SinkWriter::new(CopyToBytes::new(sink));
    mqtt::serve(reader, writer, Transport::WebSocket, connection, shared).await;
}

async fn record(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path().starts_with(control::PREFIX) {
        return next.run(request).await;
    }
    let source = Arc::new(connection.source(Transport::Http));
    let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
    tracing::debug!(connection = connection.number, line, "request");
    shared.recorder.push(&source, Direction::In, [What::request(line)]);
    let response = next.run(request).await;
    shared.recorder.push(&source, Direction::Out, [What::response(response.status().as_u16())]);
    response
}
