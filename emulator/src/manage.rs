//! The management surface, in Azure's own shapes: the service API of DPS, its certificate API,
//! and the registry of the hubs. Beside them stands one path of the emulator's own, the feed of
//! received telemetry (see [`devices`]), which Azure offers over AMQP only.

mod answer;
mod bulk;
mod certificates;
mod devices;
mod draft;
mod enrollments;
mod registrations;

use std::collections::HashMap;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, IF_MATCH};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use crate::sas::SasToken;
use crate::service::{Refusal, Service, without_port};
use crate::store::enrollments::Kind;
use answer::{Answer, Shape};

/// Bodies larger than this are refused; the service's own limit for a record is smaller.
const LARGEST_BODY: usize = 1 << 20;

/// Items of a page when the client names no number, and at most.
const PAGE: i64 = 1000;

impl Service {
    /// The management API. Paths are matched in any letter case, as the service does and as
    /// Microsoft's SDKs rely on.
    pub(crate) fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }
}

async fn handle(State(service): State<Service>, request: Request<Body>) -> Response {
    let now = service.now();
    let segments = segments(request.uri().path()).unwrap_or_default();
    let Some(route) = route(request.method(), &segments) else {
        let refusal = Refusal::new(404, 0, "The emulator has no such path.");
        return Answer::refused(Shape::Dps, &refusal, now).into_response();
    };
    let shape = route.shape();
    answer(service, request, &segments, route)
        .await
        .unwrap_or_else(|refusal| Answer::refused(shape, &refusal, now))
        .into_response()
}

async fn answer(
    service: Service,
    request: Request<Body>,
    segments: &[String],
    route: Route,
) -> Result<Answer, Refusal> {
    let (parts, body) = request.into_parts();
    let host = parts
        .headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| parts.uri.host())
        .ok_or_else(|| Refusal::bad_request("The Host header is missing."))?;
    let host = without_port(host).to_owned();
    authorize(&service, &parts.headers, &host, segments, route.policy())?;
    let Query(query) = Query::<HashMap<String, String>>::try_from_uri(&parts.uri)
        .map_err(|_| Refusal::bad_request("The query string cannot be read."))?;
    check_api_version(&query)?;
    let body = axum::body::to_bytes(body, LARGEST_BODY)
        .await
        .map_err(|_| Refusal::new(413, 0, "The body is larger than 1 MB or was cut off."))?;
    let call = Call {
        service,
        method: parts.method,
        path: parts.uri.path().trim_end_matches('/').to_owned(),
        query,
        headers: parts.headers,
        host,
        body,
    };
    match route {
        Route::Enrollment(kind, id) => enrollments::one(call, kind, id).await,
        Route::Bulk(kind) => bulk::run(call, kind).await,
        Route::Attestation(kind, id) => enrollments::attestation(call, kind, id).await,
        Route::EnrollmentQuery(kind) => enrollments::query(call, kind).await,
        Route::Registration(id) => registrations::one(call, id).await,
        Route::RegistrationQuery(group) => registrations::query(call, group).await,
        Route::Certificates { dps } => certificates::list(call, dps).await,
        Route::Certificate { dps, name } => certificates::one(call, dps, name).await,
        Route::VerificationCode { dps, name } => certificates::code(call, dps, name).await,
        Route::Verify { dps, name } => certificates::verify(call, dps, name).await,
        Route::Devices => devices::list(call).await,
        Route::Device(id) => devices::one(call, id).await,
        Route::Twin(id) => devices::twin(call, id).await,
        Route::Feed(id) => devices::feed(call, id).await,
    }
}

enum Route {
    Enrollment(Kind, String),
    Bulk(Kind),
    Attestation(Kind, String),
    EnrollmentQuery(Kind),
    Registration(String),
    RegistrationQuery(String),
    Certificates { dps: String },
    Certificate { dps: String, name: String },
    VerificationCode { dps: String, name: String },
    Verify { dps: String, name: String },
    Devices,
    Device(String),
    Twin(String),
    Feed(String),
}

impl Route {
    fn shape(&self) -> Shape {
        match self {
            Self::Enrollment(..)
            | Self::Bulk(_)
            | Self::Attestation(..)
            | Self::EnrollmentQuery(_)
            | Self::Registration(_)
            | Self::RegistrationQuery(_) => Shape::Dps,
            Self::Certificates { .. }
            | Self::Certificate { .. }
            | Self::VerificationCode { .. }
            | Self::Verify { .. } => Shape::Arm,
            Self::Devices | Self::Device(_) | Self::Twin(_) | Self::Feed(_) => Shape::Hub,
        }
    }

    /// The shared access policy a caller needs. Azure's certificate API is part of its management
    /// plane and takes Entra tokens; here the owner of the instance may call it.
    fn policy(&self) -> &'static str {
        match self.shape() {
            Shape::Dps | Shape::Arm => "provisioningserviceowner",
            Shape::Hub => "iothubowner",
        }
    }
}

/// The decoded segments of a path; `None` if they are not text.
fn segments(path: &str) -> Option<Vec<String>> {
    path.trim_matches('/')
        .split('/')
        .map(|segment| {
            percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
        })
        .collect()
}

fn route(method: &Method, segments: &[String]) -> Option<Route> {
    let lower: Vec<String> = segments.iter().map(|text| text.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let given = |at: usize| segments[at].clone();
    let queries = method == Method::POST;
    Some(match lower.as_slice() {
        ["enrollmentgroups"] => Route::Bulk(Kind::Group),
        ["enrollments"] => Route::Bulk(Kind::Individual),
        ["enrollmentgroups", "query"] if queries => Route::EnrollmentQuery(Kind::Group),
        ["enrollmentgroups", _] => Route::Enrollment(Kind::Group, given(1)),
        ["enrollmentgroups", _, "attestationmechanism"] => {
            Route::Attestation(Kind::Group, given(1))
        }
        ["enrollments", _, "attestationmechanism"] => {
            Route::Attestation(Kind::Individual, given(1))
        }
        ["enrollments", "query"] if queries => Route::EnrollmentQuery(Kind::Individual),
        ["enrollments", _] => Route::Enrollment(Kind::Individual, given(1)),
        ["registrations", _, "query"] => Route::RegistrationQuery(given(1)),
        ["registrations", _] => Route::Registration(given(1)),
        ["devices"] => Route::Devices,
        ["devices", _] => Route::Device(given(1)),
        ["devices", _, "messages", "events"] => Route::Feed(given(1)),
        ["twins", _] => Route::Twin(given(1)),
        [
            "subscriptions",
            _,
            "resourcegroups",
            _,
            "providers",
            "microsoft.devices",
            "provisioningservices",
            _,
            "certificates",
            rest @ ..,
        ] => {
            let dps = given(7);
            match rest {
                [] => Route::Certificates { dps },
                [_] => Route::Certificate { dps, name: given(9) },
                [_, "generateverificationcode"] => Route::VerificationCode { dps, name: given(9) },
                [_, "verify"] => Route::Verify { dps, name: given(9) },
                _ => return None,
            }
        }
        _ => return None,
    })
}

/// The token must name the host that is called, or a path that this call lies below, by the policy
/// that owns it.
fn authorize(
    service: &Service,
    headers: &HeaderMap,
    host: &str,
    path: &[String],
    policy: &str,
) -> Result<(), Refusal> {
    let token = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(SasToken::parse)
        .ok_or_else(Refusal::unauthorized)?;
    let authentic = token.policy() == Some(policy)
        && token.covers(host, path)
        && token.holds(service.owner_key_bytes(), service.now());
    if authentic { Ok(()) } else { Err(Refusal::unauthorized()) }
}

/// Any version is accepted that looks like one.
fn check_api_version(query: &HashMap<String, String>) -> Result<(), Refusal> {
    let version = query
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("api-version"))
        .map(|(_, version)| version.as_str())
        .ok_or_else(|| Refusal::bad_request("The api-version query parameter is missing."))?;
    let date = version.strip_suffix("-preview").unwrap_or(version);
    let is_date = date.len() == 10
        && date.bytes().enumerate().all(|(at, c)| match at {
            4 | 7 => c == b'-',
            _ => c.is_ascii_digit(),
        });
    if is_date {
        Ok(())
    } else {
        Err(Refusal::bad_request("The api-version is not YYYY-MM-DD or YYYY-MM-DD-preview."))
    }
}

/// An authorized call.
struct Call {
    service: Service,
    method: Method,
    /// As it was asked for, without a slash at the end.
    path: String,
    query: HashMap<String, String>,
    headers: HeaderMap,
    /// Without port.
    host: String,
    body: Bytes,
}

impl Call {
    fn json(&self) -> Result<serde_json::Map<String, serde_json::Value>, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Refusal::bad_request(format!("The body is not a JSON object: {error}."))
        })
    }

    fn wrong_method(&self) -> Refusal {
        Refusal::new(405, 0, format!("{} is not allowed on this path.", self.method))
    }

    fn demand(&self, method: &Method) -> Result<(), Refusal> {
        if self.method == *method { Ok(()) } else { Err(self.wrong_method()) }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn if_match(&self) -> Option<Precondition> {
        let text = self.header(IF_MATCH.as_str())?.trim();
        Some(if text == "*" {
            Precondition::Exists
        } else {
            Precondition::Etag(text.trim_matches('"').to_owned())
        })
    }

    /// A number of the query string, such as `top`.
    fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some((_, text)) =
            self.query.iter().find(|(given, _)| given.trim_start_matches('$') == name)
        else {
            return Ok(None);
        };
        text.parse()
            .ok()
            .filter(|number| *number >= 0)
            .map(Some)
            .ok_or_else(|| Refusal::bad_request(format!("{name} is not a number.")))
    }

    /// Where the asked-for page begins and how long it may be.
    fn page(&self) -> Result<(i64, i64), Refusal> {
        let limit = match self.header("x-ms-max-item-count") {
            None => PAGE,
            Some(text) => text.parse().ok().filter(|count| *count > 0).map_or_else(
                || Err(Refusal::bad_request("x-ms-max-item-count is not a positive number.")),
                |count: i64| Ok(count.min(PAGE)),
            )?,
        };
        let after = match self.header("x-ms-continuation").filter(|token| !token.is_empty()) {
            None => 0,
            Some(token) => STANDARD
                .decode(token)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Refusal::bad_request("x-ms-continuation was not given out here."))?,
        };
        Ok((after, limit))
    }
}

/// The `If-Match` header.
enum Precondition {
    Exists,
    Etag(String),
}

impl Precondition {
    /// Whether `etag` is what the caller last saw; no header asks for nothing.
    fn check(this: Option<&Self>, etag: &str) -> Result<(), Refusal> {
        match this {
            Some(Self::Etag(seen)) if seen != etag.trim_matches('"') => {
                Err(Refusal::precondition_failed())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
