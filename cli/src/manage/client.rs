//! One call to a service after the other: HTTPS, signed with a shared access policy's key.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use dps_core::{
    Error, ErrorKind, ServiceDetails,
    transport::{Host, Network},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, IF_MATCH, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use super::{login::Login, sas};

/// All but the unreserved characters of RFC 3986, section 2.3.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const HTTPS_PORT: u16 = 443;

/// How long a service may take to answer one call.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// The largest answer that is read: a page of a thousand records is far below it.
const LARGEST_ANSWER: usize = 32 << 20;

/// The emulator says here where it took what Azure would refuse.
const WARNING: HeaderName = HeaderName::from_static("x-dps-emulator-warning");

/// A service (a DPS instance or a hub) and the right to call it.
pub(crate) struct Client {
    login: Login,
    network: Network,
    /// Only the paths of certificates hold it.
    pub(super) resource_group: String,
}

/// What a service answered, when it did not refuse.
pub(crate) struct Response {
    pub(crate) headers: HeaderMap,
    /// `null` where the answer has no body.
    pub(crate) body: Value,
}

impl Client {
    /// Takes a connection string; nothing is sent yet.
    pub(crate) fn login(connection_string: &str, network: Network) -> Result<Self, Error> {
        // Azure's paths need a group; the emulator has none and takes any.
        let resource_group = "default".to_owned();
        Ok(Self { login: Login::parse(connection_string)?, network, resource_group })
    }

    /// The host that is called.
    pub(crate) fn host(&self) -> &Host {
        &self.login.host
    }

    /// Sends one call and reads the answer. A refusal of the service is an error.
    ///
    /// `path` has its parts encoded already (see [`encoded`]); the API version is added to `query`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        if_match: Option<&str>,
    ) -> Result<Response, Error> {
        let mut headers = HeaderMap::new();
        if let Some(etag) = if_match {
            headers.insert(IF_MATCH, header_value("the etag", etag)?);
        }
        self.call(method, path, query, body, headers).await
    }

    /// As [`send`](Self::send), with other headers than `If-Match`.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        let call = format!("{method} {}", short(path));
        let mut target = format!("{path}?api-version={}", api_version(path));
        for (name, value) in query {
            target.push_str(&format!("&{}={}", encoded(name), encoded(value)));
        }
        let payload = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::new(Full::new(payload));
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| {
            Error::new(ErrorKind::InvalidArgument, format!("{path} is too long for a path"))
        })?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, header_value("the host", self.host().as_str())?);
        if body.is_some() {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        let mut token = header_value("the token", &sas::authorization(&self.login))?;
        token.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, token);
        let answer = self.exchange(request, &call).await;
        answer.and_then(|answer| self.read(answer, &call)).map_err(|error| error.during("manage"))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, call: &str) -> Result<Raw, Error> {
        let stream = self.network.open_tls(self.host(), HTTPS_PORT).await?;
        timeout(ANSWER_LIMIT, self.converse(TokioIo::new(stream), request, call))
            .await
            .unwrap_or_else(|_| {
                let limit = ANSWER_LIMIT.as_secs();
                let message = format!("{} did not answer {call} within {limit} s", self.host());
                Err(Error::new(ErrorKind::RequestTimeout, message))
            })
    }

    async fn converse<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
        call: &str,
    ) -> Result<Raw, Error>
    where
        S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let lost = |error: hyper::Error| self.lost(error, call);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(lost)?;
        // Ends with this call: a set aborts its tasks when it is dropped.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let (parts, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        let body =
            Limited::new(body, LARGEST_ANSWER).collect().await.map_err(|error| match error
                .downcast::<hyper::Error>(
            ) {
                Ok(error) => self.lost(*error, call),
                Err(error) if error.is::<LengthLimitError>() => {
                    self.nonsense(call, "more than 32 MB")
                }
                Err(error) => self.nonsense(call, &error.to_string()),
            })?;
        Ok(Raw { status: parts.status, headers: parts.headers, body: body.to_bytes() })
    }

    fn read(&self, answer: Raw, call: &str) -> Result<Response, Error> {
        let Raw { status, headers, body } = answer;
        let parsed = match body.is_empty() {
            true => Ok(Value::Null),
            false => serde_json::from_slice::<Value>(&body),
        };
        if !status.is_success() {
            return Err(self.refused(status, &headers, &parsed.unwrap_or_default(), call));
        }
        let body =
            parsed.map_err(|error| self.nonsense(call, &format!("what is not JSON ({error})")))?;
        Ok(Response { headers, body })
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &Value, call: &str) -> Error {
        let mut details = ServiceDetails::default();
        details.status = Some(status.as_u16());
        // DPS, Azure's management plane in both of its shapes, and a hub.
        let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| body.pointer(pointer));
        details.error_code = first(&["/errorCode", "/code", "/error/code"])
            .and_then(Value::as_u64)
            .and_then(|code| code.try_into().ok());
        details.message =
            first(&["/message", "/error/message", "/Message"]).and_then(Value::as_str).map(shown);
        details.tracking_id = first(&["/trackingId"])
            .and_then(Value::as_str)
            .or_else(|| hub_tracking_id(body))
            .map(shown);
        details.retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse().ok())
            .map(Duration::from_secs);
        let kind = ErrorKind::from_status(status.as_u16());
        let error =
            Error::new(kind, format!("{} refused {call}", self.host())).with_service(details);
        match kind {
            ErrorKind::Unauthorized => error.with_hint(
                "Check the connection string, the rights of its policy, and this machine's clock.",
            ),
            _ => error,
        }
    }

    fn lost(&self, error: hyper::Error, call: &str) -> Error {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let (kind, what) = match error.is_parse() {
            true => (ErrorKind::ProtocolViolation, "answered with what is not HTTP"),
            false => (ErrorKind::ConnectionLost, "dropped the connection"),
        };
        Error::new(kind, format!("{} {what} during {call}: {error}{cause}", self.host()))
            .with_source(error)
    }

    pub(super) fn nonsense(&self, call: &str, what: &str) -> Error {
        let message = format!("{} answered {call} with {what}", self.host());
        Error::new(ErrorKind::ProtocolViolation, message)
    }
}

impl Response {
    /// What the emulator took although Azure would not have.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.headers
            .get_all(WARNING)
            .iter()
            .map(|text| shown(&String::from_utf8_lossy(text.as_bytes())))
    }
}

/// One part of a path or of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

struct Raw {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The versions that `az` sends to the management plane, to hubs and to DPS.
fn api_version(path: &str) -> &'static str {
    if path.starts_with("/subscriptions/") {
        "2021-10-15"
    } else if path.starts_with("/devices") {
        "2021-04-12"
    } else {
        "2021-10-01"
    }
}

/// The part of a path that tells one call from another: that of the management plane begins with
/// the subscription and where in it the instance is.
fn short(path: &str) -> &str {
    match path.starts_with("/subscriptions/") {
        true => path.find("/certificates").map_or(path, |at| &path[at..]),
        false => path,
    }
}

pub(super) fn header_value(what: &str, text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| {
        let message = format!("{what} holds characters that no HTTP header can");
        Error::new(ErrorKind::InvalidArgument, message)
    })
}

/// `{"ExceptionMessage":"Tracking ID:…-TimeStamp:…"}`, a hub's way.
fn hub_tracking_id(body: &Value) -> Option<&str> {
    let text = body.get("ExceptionMessage")?.as_str()?.strip_prefix("Tracking ID:")?;
    Some(text.split("-TimeStamp").next().unwrap_or(text))
}

/// A text of the other side, fit for a terminal.
fn shown(text: &str) -> String {
    const LIMIT: usize = 2000;
    text.chars().take(LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What becomes of an answer; after it the other side closes the connection.
    async fn answered(answer: &[u8]) -> Result<Response, Error> {
        let login = "HostName=dps.example.net;SharedAccessKeyName=p;SharedAccessKey=a2V5";
        let client = Client::login(login, Network::default()).unwrap();
        let (near, mut far) = duplex(1 << 16);
        let answer = answer.to_vec();
        let service = tokio::spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(far.read_u8().await.unwrap());
            }
            // The client may hang up on what it does not like.
            let _ = far.write_all(&answer).await;
        });
        let request = Request::get("/x").header(HOST, "dps.example.net");
        let request = request.body(Full::default()).unwrap();
        let answer = client.converse(TokioIo::new(near), request, "GET /x").await;
        service.await.unwrap();
        answer.and_then(|answer| client.read(answer, "GET /x"))
    }

    async fn refused(status: &str, headers: &str, body: &str) -> Error {
        let answer =
            format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
        answered(answer.as_bytes()).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_whichever_service_it_was() {
        let error = refused(
            "409 Conflict",
            "",
            r#"{"errorCode":409201,"trackingId":"t-1","message":"Enrollment already exists."}"#,
        )
        .await;
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let service = error.service().unwrap();
        assert_eq!((service.status, service.error_code), (Some(409), Some(409_201)));
        assert_eq!(service.tracking_id.as_deref(), Some("t-1"));
        assert!(error.to_string().contains("dps.example.net refused GET /x"), "{error}");

        let nested = r#"{"error":{"code":"Gone","message":"No such\u001b[31m group."}}"#;
        let error = refused("404 Not Found", "", nested).await;
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.service().unwrap().message.as_deref(), Some("No such [31m group."));

        let hub = r#"{"Message":"ErrorCode:DeviceNotFound;d","ExceptionMessage":"Tracking ID:7f-TimeStamp:1"}"#;
        let service = refused("404 Not Found", "", hub).await.service().cloned().unwrap();
        assert_eq!(service.message.as_deref(), Some("ErrorCode:DeviceNotFound;d"));
        assert_eq!(service.tracking_id.as_deref(), Some("7f"));

        let error = refused("429 Too Many Requests", "retry-after: 7\r\n", "").await;
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

        let error = refused("502 Bad Gateway", "", "<html>").await;
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::ServiceFault, true));
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_a_typed_error() {
        let mut flood = "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n".to_owned();
        flood.push_str(&" ".repeat(LARGEST_ANSWER + 1));
        for (answer, kind) in [
            ("", ErrorKind::ConnectionLost),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", ErrorKind::ConnectionLost),
            (" \u{2}\0 not HTTP\r\n\r\n", ErrorKind::ProtocolViolation),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<html", ErrorKind::ProtocolViolation),
            (&flood, ErrorKind::ProtocolViolation),
        ] {
            let error = answered(answer.as_bytes()).await.err().unwrap();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains("dps.example.net"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_empty_answer_and_one_of_json_are_understood() {
        let empty = answered(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        assert_eq!(empty.body, Value::Null);
        let warned = b"HTTP/1.1 200 OK\r\nx-dps-emulator-warning: one\r\n\
                       x-dps-emulator-warning: two\r\ncontent-length: 2\r\n\r\n[]";
        let warned = answered(warned).await.unwrap();
        assert_eq!(warned.body, serde_json::json!([]));
        assert_eq!(warned.warnings().collect::<Vec<_>>(), ["one", "two"]);
    }
}
