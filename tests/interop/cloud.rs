//! The emulator as those SDKs need it, set up over its management REST as the tutorial sets Azure
//! up.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{
    chain::Authority,
    tls::Roots,
    transport::{Host, Network},
};
use dps_emulator::{Emulator, Recorded, Role};
use dps_tests::Hierarchy;
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

/// The hub's name: the SDKs can be aimed at another machine only by the names they are given.
pub(crate) const HUB: &str = "localhost";
/// The port that both SDKs have built in.
pub(crate) const ADDRESS: &str = "127.0.0.1:8883";

const DPS_API: &str = "api-version=2021-10-01";
const CERTIFICATE_API: &str = "api-version=2021-10-15";
const HUB_API: &str = "api-version=2021-04-12";

/// An emulator on the SDKs' port with one hub, and its owner's access.
pub(crate) struct Cloud {
    emulator: Emulator,
    network: Network,
}

impl Cloud {
    pub(crate) async fn start() -> Self {
        let started = Emulator::builder().listen(ADDRESS).hub(HUB).start().await;
        let emulator = started.unwrap_or_else(|error| {
            panic!("{error}; the port of Microsoft's SDKs is fixed, so it must be free")
        });
        let network = Network::default().connect_to(ADDRESS).roots(Roots::pem(emulator.root_pem()));
        Self { emulator, network }
    }

    /// Frees the port.
    pub(crate) async fn stop(self) {
        self.emulator.stop().await;
    }

    pub(crate) fn emulator(&self) -> &Emulator {
        &self.emulator
    }

    /// The tutorial's steps: upload the root, verified or not, and create a group that lists the
    /// intermediate.
    pub(crate) async fn enroll(
        &self,
        name: &str,
        hierarchy: &Hierarchy,
        verified: bool,
        provisioning_status: &str,
    ) {
        let path = format!(
            "/subscriptions/sub/resourceGroups/group/providers/Microsoft.Devices\
             /provisioningServices/my-dps-x509/certificates/{name}-root?{CERTIFICATE_API}"
        );
        let root = BASE64_STANDARD.encode(pem(&hierarchy.root));
        let body = json!({ "certificate": root, "isVerified": verified });
        let (status, answer) = self.dps(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");

        let primary = json!({ "certificate": pem(&hierarchy.intermediate) });
        let body = json!({
            "enrollmentGroupId": name,
            "attestation": {
                "type": "x509",
                "x509": { "signingCertificates": { "primary": primary } },
            },
            "provisioningStatus": provisioning_status,
        });
        let path = format!("/enrollmentGroups/{name}?{DPS_API}");
        let (status, answer) = self.dps(Method::PUT, &path, Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// The registration record, and the status it came with.
    pub(crate) async fn registration(&self, id: &str) -> (u16, Value) {
        self.dps(Method::GET, &format!("/registrations/{id}?{DPS_API}"), None).await
    }

    /// The device in the hub's registry, and the status it came with.
    pub(crate) async fn hub_device(&self, id: &str) -> (u16, Value) {
        self.hub(&format!("/devices/{id}?{HUB_API}")).await
    }

    /// The messages that the hub holds of a device, in the order of arrival.
    pub(crate) async fn feed(&self, id: &str) -> Vec<Value> {
        let (status, mut feed) =
            self.hub(&format!("/devices/{id}/messages/events?{HUB_API}")).await;
        assert_eq!(status, 200, "{feed}");
        match feed["messages"].take() {
            Value::Array(messages) => messages,
            other => panic!("not a list of messages: {other}"),
        }
    }

    /// The packets of one device to and from one service.
    pub(crate) fn recorded(&self, role: Role, id: &str) -> Vec<Recorded> {
        let of_device =
            |packet: &Recorded| packet.role == Some(role) && packet.device.as_deref() == Some(id);
        self.emulator.recorded().into_iter().filter(of_device).collect()
    }

    async fn dps(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call(&self.emulator.connection_string(), method, path, body).await
    }

    async fn hub(&self, path: &str) -> (u16, Value) {
        self.call(&self.emulator.hub_connection_string(HUB), Method::GET, path, None).await
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

fn pem(authority: &Authority) -> String {
    authority.certificate().to_pem()
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
