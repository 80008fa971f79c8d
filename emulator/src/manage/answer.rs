//! Answers, and refusals in the three shapes of Azure's interfaces.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::service::{Refusal, clock};

const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");
const WARNING: HeaderName = HeaderName::from_static("x-dps-emulator-warning");
const HUB_ERROR: HeaderName = HeaderName::from_static("iothub-errorcode");

/// Whose interface a path belongs to.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Dps,
    Arm,
    Hub,
}

/// What a client is told.
pub(super) struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, String)>,
    body: Option<Value>,
}

impl Answer {
    pub(super) fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: Some(body) }
    }

    pub(super) fn no_content() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: Vec::new(), body: None }
    }

    /// A page of a query; `next` is where another one begins.
    pub(super) fn page(item_type: &str, items: Vec<Value>, next: Option<i64>) -> Self {
        let mut answer = Self::ok(Value::Array(items));
        answer.headers.push((ITEM_TYPE, item_type.to_owned()));
        if let Some(next) = next {
            answer.headers.push((CONTINUATION, STANDARD.encode(next.to_string())));
        }
        answer
    }

    /// Says where the emulator was more lenient than Azure is.
    pub(super) fn warning(mut self, text: String) -> Self {
        tracing::warn!("{text}");
        self.headers.push((WARNING, text));
        self
    }

    pub(super) fn refused(shape: Shape, refusal: &Refusal, now: OffsetDateTime) -> Self {
        let status =
            StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = Vec::new();
        let body = match shape {
            Shape::Dps => refusal.body(now),
            Shape::Arm => json!({
                "code": refusal.code,
                "httpStatusCode": reason(status),
                "message": refusal.message,
                "details": null,
            }),
            Shape::Hub => {
                let name = hub_error(refusal, status);
                headers.push((HUB_ERROR, name.clone()));
                json!({
                    "Message": format!("ErrorCode:{name};{}", refusal.message),
                    "ExceptionMessage": format!(
                        "Tracking ID:{}-TimeStamp:{}",
                        Uuid::new_v4().simple(),
                        clock::stamp(now)
                    ),
                })
            }
        };
        Self { status, headers, body: Some(body) }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        for (name, text) in self.headers {
            // Names and texts are ASCII; a value that is not would be left out.
            if let Ok(value) = HeaderValue::from_str(&text) {
                response.headers_mut().append(name, value);
            }
        }
        if let Some(body) = self.body {
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, json);
            *response.body_mut() = body.to_string().into();
        }
        response
    }
}

/// `NotFound`: the reason phrase as one word.
fn reason(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or("Error").replace(' ', "")
}

/// The hub's own name for a fault (the codes of service SDKs).
fn hub_error(refusal: &Refusal, status: StatusCode) -> String {
    match refusal.code {
        400_000 => "ArgumentInvalid",
        401_002 => "IotHubUnauthorizedAccess",
        404_001 => "DeviceNotFound",
        409_001 => "DeviceAlreadyExists",
        412_000 => "PreconditionFailed",
        _ => return reason(status),
    }
    .to_owned()
}
