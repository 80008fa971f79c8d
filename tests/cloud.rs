//! An emulator set up over its management REST, as the tutorial sets Azure up.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{
    Assignment, Credential, Error, Identity, ProvisioningClient,
    chain::{Authority, Certificate},
    tls::Roots,
    transport::{Host, Network},
};
use dps_emulator::{Builder, Emulator, Recorded, Role};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{Device, Hierarchy};

const DPS_API: &str = "api-version=2021-10-01";
const CERTIFICATE_API: &str = "api-version=2021-10-15";
const HUB_API: &str = "api-version=2021-04-12";

/// A running emulator and its owner's access.
pub struct Cloud {
    emulator: Emulator,
    network: Network,
}

impl Cloud {
    /// An emulator on a free port that assigns at the first poll, without a pause before it.
    pub async fn start() -> Self {
        Self::start_with(Emulator::builder().retry_after(0)).await
    }

    /// An emulator with settings of its own.
    pub async fn start_with(builder: Builder) -> Self {
        let emulator = builder.start().await.expect("the emulator starts");
        let network = Network::default()
            .connect_to(emulator.connect_to())
            .roots(Roots::pem(emulator.root_pem()));
        Self { emulator, network }
    }

    /// An emulator in which the hierarchy's root is verified and its intermediate has a group.
    pub async fn with_group(hierarchy: &Hierarchy) -> Self {
        let cloud = Self::start().await;
        cloud.enroll(hierarchy, true, "enabled").await;
        cloud
    }

    /// Ends the emulator and waits for its end.
    pub async fn stop(self) {
        self.emulator.stop().await;
    }

    /// The emulator itself.
    pub fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// How clients reach it.
    pub fn network(&self) -> Network {
        self.network.clone()
    }

    /// A client for this DPS instance.
    pub fn client(&self, identity: &Identity) -> ProvisioningClient {
        ProvisioningClient::new(self.emulator.id_scope(), identity).network(self.network())
    }

    /// Opens the device's full chain and registers with it.
    pub async fn register(
        &self,
        hierarchy: &Hierarchy,
        device: &Device,
    ) -> Result<Assignment, Error> {
        let chain = hierarchy.full_chain(device);
        let identity = Credential::pem(chain, device.key_pem()).open()?;
        self.client(&identity).register().await
    }

    /// The tutorial's steps: upload the root, verified or not, and create `my-device-group`, which
    /// lists the intermediate.
    pub async fn enroll(&self, hierarchy: &Hierarchy, verified: bool, provisioning_status: &str) {
        self.put_certificate("my-root-ca", hierarchy.root.certificate(), verified).await;
        self.put_group("my-device-group", &group(&hierarchy.intermediate, provisioning_status))
            .await;
    }

    /// As [`enroll`](Self::enroll), with a group of this name, for several hierarchies.
    pub async fn enroll_as(
        &self,
        name: &str,
        hierarchy: &Hierarchy,
        verified: bool,
        provisioning_status: &str,
    ) {
        let root = format!("{name}-root");
        self.put_certificate(&root, hierarchy.root.certificate(), verified).await;
        self.put_group(name, &group(&hierarchy.intermediate, provisioning_status)).await;
    }

    /// Uploads a CA certificate.
    pub async fn put_certificate(&self, name: &str, certificate: &Certificate, verified: bool) {
        let path = format!(
            "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Devices\
             /provisioningServices/my-dps-x509/certificates/{name}?{CERTIFICATE_API}"
        );
        let encoded = BASE64_STANDARD.encode(certificate.to_pem());
        let body = json!({ "certificate": encoded, "isVerified": verified });
        let (status, answer) = self.dps(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Creates an enrollment group.
    pub async fn put_group(&self, name: &str, group: &Value) {
        let mut group = group.clone();
        group["enrollmentGroupId"] = json!(name);
        let path = format!("/enrollmentGroups/{name}?{DPS_API}");
        let (status, answer) = self.dps(Method::PUT, &path, Some(group)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Creates an individual enrollment for the device's certificate.
    pub async fn put_individual(&self, id: &str, certificate: &Certificate, status: &str) {
        let primary = json!({ "certificate": certificate.to_pem() });
        let x509 = json!({ "clientCertificates": { "primary": primary } });
        let attestation = json!({ "type": "x509", "x509": x509 });
        let body = json!({ "attestation": attestation, "provisioningStatus": status });
        self.put_enrollment(id, &body).await;
    }

    /// Creates an individual enrollment.
    pub async fn put_enrollment(&self, id: &str, enrollment: &Value) {
        let mut body = enrollment.clone();
        body["registrationId"] = json!(id);
        let path = format!("/enrollments/{id}?{DPS_API}");
        let (status, answer) = self.dps(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// The registration record, and the status it came with.
    pub async fn registration(&self, id: &str) -> (u16, Value) {
        self.dps(Method::GET, &format!("/registrations/{id}?{DPS_API}"), None).await
    }

    /// The device in the registry of a hub, and the status it came with.
    pub async fn hub_device(&self, hub: &str, id: &str) -> (u16, Value) {
        self.hub(hub, &format!("/devices/{id}?{HUB_API}")).await
    }

    /// The messages that a hub holds of a device, in the order of arrival.
    pub async fn feed(&self, hub: &str, id: &str) -> Vec<Value> {
        self.feed_after(hub, id, 0).await
    }

    /// As [`feed`](Self::feed), without what came up to this sequence number.
    pub async fn feed_after(&self, hub: &str, id: &str, sequence: i64) -> Vec<Value> {
        let path = format!("/devices/{id}/messages/events?{HUB_API}&after={sequence}");
        let (status, mut feed) = self.hub(hub, &path).await;
        assert_eq!(status, 200, "{feed}");
        match feed["messages"].take() {
            Value::Array(messages) => messages,
            other => panic!("not a list of messages: {other}"),
        }
    }

    /// The packets of one device to and from one service.
    pub fn recorded(&self, role: Role, id: &str) -> Vec<Recorded> {
        let of_device =
            |packet: &Recorded| packet.role == Some(role) && packet.device.as_deref() == Some(id);
        self.emulator.recorded().into_iter().filter(of_device).collect()
    }

    async fn dps(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call(&self.emulator.connection_string(), method, path, body).await
    }

    async fn hub(&self, hub: &str, path: &str) -> (u16, Value) {
        self.call(&self.emulator.hub_connection_string(hub), Method::GET, path, None).await
    }

    async fn call(
        &self,
        connection_string: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let (host, token) = access(connection_string);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &host)
            .header(AUTHORIZATION, token)
            .body(Full::new(Bytes::from(body.map_or_else(String::new, |body| body.to_string()))))
            .expect("a request");
        let host = Host::parse(&host).expect("a host");
        let stream = self.network.open_tls(&host, 443).await.expect("a TLS connection");
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.expect("an HTTP connection");
        let answered = async move {
            let answer = sender.send_request(request).await.expect("an answer");
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
            (status, body)
        };
        // The connection ends when its sender is dropped.
        let ((status, body), _) = tokio::join!(answered, connection);
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

/// The body of an enrollment group that lists this CA's certificate.
pub fn group(authority: &Authority, provisioning_status: &str) -> Value {
    let primary = json!({ "certificate": authority.certificate().to_pem() });
    json!({
        "attestation": {
            "type": "x509",
            "x509": { "signingCertificates": { "primary": primary } },
        },
        "provisioningStatus": provisioning_status,
    })
}

/// The host of a connection string, and a token for it (Microsoft, "Control access to Azure IoT
/// Hub Device Provisioning Service", security token structure).
fn access(connection_string: &str) -> (String, String) {
    let part = |name: &str| {
        connection_string
            .split(';')
            .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
            .expect("a connection string")
    };
    let host = part("HostName");
    let key = BASE64_STANDARD.decode(part("SharedAccessKey")).expect("a key in base64");
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    let expiry = since_1970.as_secs() + 600;
    let resource = utf8_percent_encode(host, NON_ALPHANUMERIC);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signature = hmac::sign(&key, format!("{resource}\n{expiry}").as_bytes());
    let signature = BASE64_STANDARD.encode(signature);
    let token = format!(
        "SharedAccessSignature sr={resource}&sig={}&se={expiry}&skn={}",
        utf8_percent_encode(&signature, NON_ALPHANUMERIC),
        part("SharedAccessKeyName")
    );
    (host.to_owned(), token)
}
