//! A service without sockets, managed through its REST API, for the tests of this crate.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::sas::testing::token;
use crate::service::{DeviceCall, Peer, Reply, Service};
use crate::settings::Settings;
use crate::x509::testing::{Family, Made};

pub(crate) const DPS_HOST: &str = "my-dps-x509.azure-devices-provisioning.net";
pub(crate) const HUB: &str = "contoso-hub-2.azure-devices.net";
pub(crate) const CERTIFICATES: &str = "/subscriptions/s/resourceGroups/rg/providers/\
     Microsoft.Devices/provisioningServices/my-dps-x509/certificates";

pub(crate) struct Bench {
    pub(crate) service: Service,
}

pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(crate) fn settings() -> Settings {
    // Base64 of 32 bytes.
    Settings {
        owner_key: "b3duZXIga2V5IG9mIHRoZSBlbXVsYXRvcidzIHRlc3Q=".to_owned(),
        ..Settings::default()
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(&settings())
    }

    pub(crate) fn with(settings: &Settings) -> Self {
        Self { service: Service::open(settings).expect("service") }
    }

    /// A call as a client of `host` makes it, signed by the policy the path asks for.
    pub(crate) async fn call_at(
        &self,
        host: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Told {
        let hub_path = ["/devices", "/twins"].iter().any(|start| path.starts_with(start));
        let policy = if hub_path { "iothubowner" } else { "provisioningserviceowner" };
        let expiry = self.service.now().unix_timestamp() + 3600;
        let sas = token(host, self.service.owner_key_bytes(), expiry, policy);
        let joined = if path.contains('?') { '&' } else { '?' };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{joined}api-version=2021-10-01"))
            .header("host", format!("{host}:8883"))
            .header("authorization", sas);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(request.body(body.into()).expect("request")).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> Told {
        let hub_path = ["/devices", "/twins"].iter().any(|start| path.starts_with(start));
        let host = if hub_path { HUB } else { DPS_HOST };
        self.call_at(host, method, path, &[], body).await
    }

    pub(crate) async fn call_if(&self, etag: &str, method: &str, path: &str, body: Value) -> Told {
        self.call_at(DPS_HOST, method, path, &[("if-match", etag)], body).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Told {
        let response = super::handle(State(self.service.clone()), request).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("body");
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).expect("JSON")
        };
        Told { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn upload(&self, name: &str, certificate: &Made, verified: bool) {
        let body = json!({ "certificate": certificate.pem, "isVerified": verified });
        let told = self.call("PUT", &format!("{CERTIFICATES}/{name}"), body).await;
        assert_eq!(told.status, 200, "{}", told.body);
    }

    /// Creates or replaces a group that lists a certificate.
    pub(crate) async fn group(&self, id: &str, certificate: &Made, more: Value) -> Told {
        let signing = json!({ "primary": { "certificate": certificate.pem } });
        let x509 = json!({ "signingCertificates": signing });
        self.enroll("enrollmentGroups", id, x509, more).await
    }

    /// Creates or replaces an individual enrollment that lists a certificate.
    pub(crate) async fn individual(&self, id: &str, leaf: &Made, more: Value) -> Told {
        let x509 = json!({ "clientCertificates": { "primary": { "certificate": leaf.pem } } });
        self.enroll("enrollments", id, x509, more).await
    }

    pub(crate) async fn enroll(&self, kind: &str, id: &str, x509: Value, more: Value) -> Told {
        let path = format!("/{kind}/{id}");
        let mut body = json!({ "attestation": { "type": "x509", "x509": x509 } });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let present = self.call("GET", &path, Value::Null).await.status == 200;
        let headers: &[_] = if present { &[("if-match", "*")] } else { &[] };
        let told = self.call_at(DPS_HOST, "PUT", &path, headers, body).await;
        assert_eq!(told.status, 200, "{}", told.body);
        told
    }

    /// The tutorial's layout: the root verified, the intermediate in a group.
    pub(crate) async fn tutorial(&self, family: &Family, more: Value) {
        self.upload("root", &family.root, true).await;
        self.group("my-device-group", &family.intermediate, more).await;
    }

    pub(crate) async fn register(&self, id: &str, presented: Vec<Vec<u8>>) -> Reply {
        self.service.register(device_call(id, presented, "")).await
    }

    /// Registers, polls as often as it takes, and gives the last answer.
    pub(crate) async fn finish(&self, id: &str, presented: Vec<Vec<u8>>) -> Reply {
        let mut reply = self.register(id, presented.clone()).await;
        while reply.status == 202 {
            let operation = reply.body["operationId"].as_str().expect("operation").to_owned();
            reply = self.poll(id, presented.clone(), &operation).await;
        }
        reply
    }

    pub(crate) async fn poll(&self, id: &str, presented: Vec<Vec<u8>>, operation: &str) -> Reply {
        self.service.operation_status(device_call(id, presented, " "), operation).await
    }
}

pub(crate) fn peer(certificates: Vec<Vec<u8>>) -> Peer {
    Peer { certificates }
}

pub(crate) fn device_call(id: &str, presented: Vec<Vec<u8>>, body: &'static str) -> DeviceCall {
    DeviceCall {
        id_scope: "0ne00000A0A".to_owned(),
        registration_id: id.to_owned(),
        peer: Arc::new(peer(presented)),
        sas: None,
        body: Bytes::from_static(body.as_bytes()),
    }
}
