//! Real clients over loopback: rustls, the MQTT codec, hyper.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::{Bytes, BytesMut};
use dps_emulator::{Builder, Emulator};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use serde_json::{Value, json};
use time::{Duration as Days, OffsetDateTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const SCOPE: &str = "0ne00000A0A";
pub(crate) const HUB: &str = "contoso-hub-2.azure-devices.net";
pub(crate) const GLOBAL: &str = "global.azure-devices-provisioning.net";
pub(crate) const ANSWERS: &str = "$dps/registrations/res/#";

/// Whatever is awaited happens within this, or the test fails.
pub(crate) async fn soon<T>(awaited: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), awaited).await.expect("nothing happened for 20 s")
}

/// The tutorial's chain: a root, an intermediate, devices.
pub(crate) struct Pki {
    pub(crate) root: CertificateDer<'static>,
    pub(crate) intermediate: CertificateDer<'static>,
    pub(crate) intermediate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let (root_params, root_key) = (authority("Azure IoT Root Test Only"), key());
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let (params, key) = (authority("Azure IoT Intermediate Test Only"), key());
        let intermediate = params.signed_by(&key, &root_issuer).unwrap();
        Self {
            root: root.der().clone(),
            intermediate: intermediate.der().clone(),
            intermediate_pem: intermediate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Leaf, intermediate and root, with the leaf's key.
    pub(crate) fn device(&self, name: &str) -> Identity {
        self.device_with(name, KeyPair::generate().unwrap(), Vec::new())
    }

    pub(crate) fn device_with(
        &self,
        name: &str,
        key: KeyPair,
        extensions: Vec<CustomExtension>,
    ) -> Identity {
        let mut params = params(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.custom_extensions = extensions;
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Identity {
            chain: vec![leaf, self.intermediate.clone(), self.root.clone()],
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn leaf_only(mut self) -> Self {
        self.chain.truncate(1);
        self
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// An emulator on which the tutorial's group exists: root uploaded and verified, enrollment
/// group on the intermediate.
pub(crate) async fn prepared(builder: Builder) -> (Emulator, Pki) {
    let emulator = builder.start().await.unwrap();
    let pki = Pki::new();
    enroll(&emulator, &pki, json!({})).await;
    (emulator, pki)
}

pub(crate) async fn enroll(emulator: &Emulator, pki: &Pki, initial_twin: Value) {
    let certificate = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Devices\
        /provisioningServices/my-dps-x509/certificates/root?api-version=2022-12-12";
    let body = json!({
        "properties": { "certificate": BASE64_STANDARD.encode(&pki.root), "isVerified": true }
    });
    let dps = emulator.dps_host();
    let answer = manage(emulator, &dps, Method::PUT, certificate, Some(body)).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let group = json!({
        "enrollmentGroupId": "x509-test-devices",
        "attestation": { "type": "x509", "x509": {
            "signingCertificates": { "primary": { "certificate": pki.intermediate_pem } }
        } },
        "provisioningStatus": "enabled",
        "initialTwin": initial_twin,
    });
    let path = "/enrollmentGroups/x509-test-devices?api-version=2021-10-01";
    let answer = manage(emulator, &dps, Method::PUT, path, Some(group)).await;
    assert!(answer.status.is_success(), "{answer:?}");
}

/// What a hub has received from a device: `messages` of the emulator's feed.
pub(crate) async fn feed(emulator: &Emulator, device: &str) -> Vec<Value> {
    let path = format!("/devices/{device}/messages/events?api-version=2021-04-12&top=10000");
    let answer = manage(emulator, HUB, Method::GET, &path, None).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.body["messages"].as_array().unwrap().clone()
}

pub(crate) fn texts(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) text: String,
    /// Null where the text is no JSON.
    pub(crate) body: Value,
}

/// A management call with the owner's token.
pub(crate) async fn manage(
    emulator: &Emulator,
    host: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Answer {
    let (policy, connection) = if host == emulator.dps_host() {
        ("provisioningserviceowner", emulator.connection_string())
    } else {
        ("iothubowner", emulator.hub_connection_string(host))
    };
    let key = connection.rsplit_once("SharedAccessKey=").unwrap().1;
    let expiry = (OffsetDateTime::now_utc() + Days::hours(1)).unix_timestamp();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64_STANDARD.decode(key).unwrap());
    let signature = hmac::sign(&key, format!("{host}\n{expiry}").as_bytes());
    let signature = BASE64_STANDARD.encode(signature);
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    let token = format!("SharedAccessSignature sr={host}&sig={signature}&se={expiry}&skn={policy}");
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::AUTHORIZATION, token)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.map(|body| body.to_string()).unwrap_or_default()))
        .unwrap();
    http(emulator, None, request).await.unwrap()
}

/// One HTTP exchange over a connection of its own.
pub(crate) async fn http(
    emulator: &Emulator,
    identity: Option<&Identity>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    soon(async {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
        exchange(tls(emulator, &host, identity).await, request).await
    })
    .await
}

/// One HTTP exchange over this connection.
pub(crate) async fn exchange(
    stream: TlsStream<TcpStream>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, hyper::Error> {
    soon(async {
        let stream = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes();
        connection.abort();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { status: parts.status, headers: parts.headers, text, body })
    })
    .await
}

/// A device API request.
pub(crate) fn device_request(method: Method, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, GLOBAL)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .body(Full::from(body.to_owned()))
        .unwrap()
}

pub(crate) fn config(
    emulator: &Emulator,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(emulator.root_pem().as_bytes()).unwrap()).unwrap();
    let key = identity.map(|identity| {
        let key = provider.key_provider.load_private_key(identity.key.clone_key()).unwrap();
        Arc::new(CertifiedKey::new(identity.chain.clone(), key))
    });
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Unchecked(key)))
}

/// Presents the identity as it is: whether key and certificate match, and whether webpki can read
/// the certificate, is for the server to find out.
#[derive(Debug)]
struct Unchecked(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Unchecked {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

pub(crate) async fn tls(
    emulator: &Emulator,
    name: &str,
    identity: Option<&Identity>,
) -> TlsStream<TcpStream> {
    let config = config(emulator, identity, rustls::ALL_VERSIONS);
    tls_with(emulator, name, config).await.unwrap()
}

pub(crate) async fn tls_with(
    emulator: &Emulator,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(emulator.connect_to()).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, tcp)).await
}

/// An MQTT client that says what it is told and hides nothing.
pub(crate) struct Mqtt<S> {
    pub(crate) stream: S,
    buffer: BytesMut,
}

pub(crate) type Client = Mqtt<TlsStream<TcpStream>>;

impl<S: AsyncRead + AsyncWrite + Unpin> Mqtt<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, usize::MAX).unwrap();
        }
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next packet, or `None` where the connection has ended, however it did.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        soon(async {
            loop {
                match Packet::read(&mut self.buffer, usize::MAX) {
                    Ok(packet) => return Some(packet),
                    Err(CodecError::InsufficientBytes(_)) => {}
                    Err(error) => panic!("not MQTT: {error}"),
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    pub(crate) async fn connect(
        &mut self,
        client_id: &str,
        user_name: &str,
        password: &str,
    ) -> Option<ConnectReturnCode> {
        let mut connect = Connect::new(client_id);
        connect.keep_alive = 60;
        if !user_name.is_empty() {
            connect.set_login(user_name, password);
        }
        self.send([Packet::Connect(connect)]).await;
        match self.next().await? {
            Packet::ConnAck(ConnAck { session_present, code }) => {
                assert!(!session_present);
                Some(code)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) -> SubscribeReasonCode {
        let mut subscribe = Subscribe::new(filter, qos);
        subscribe.pkid = 1;
        self.send([Packet::Subscribe(subscribe)]).await;
        match self.next().await {
            Some(Packet::SubAck(ack)) if ack.pkid == 1 => ack.return_codes[0],
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request and returns the answer, whose PUBLISH must come after the PUBACK.
    pub(crate) async fn ask(&mut self, topic: &str, body: &str) -> Option<Publish> {
        self.send([message(topic, QoS::AtLeastOnce, 2, body)]).await;
        match self.next().await? {
            Packet::PubAck(ack) => assert_eq!(ack.pkid, 2),
            other => panic!("{other:?}"),
        }
        match self.next().await? {
            Packet::Publish(publish) => Some(publish),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn message(topic: &str, qos: QoS, pkid: u16, body: impl Into<Vec<u8>>) -> Packet {
    let mut publish = Publish::new(topic, qos, body);
    publish.pkid = pkid;
    Packet::Publish(publish)
}

pub(crate) fn dps_user(device: &str) -> String {
    format!("{SCOPE}/registrations/{device}/api-version=2021-06-01")
}

pub(crate) fn hub_user(device: &str) -> String {
    format!("{HUB}/{device}/?api-version=2021-04-12")
}

pub(crate) fn register_topic(rid: &str) -> String {
    format!("$dps/registrations/PUT/iotdps-register/?$rid={rid}")
}

pub(crate) fn poll_topic(rid: &str, operation: &str) -> String {
    let get = "$dps/registrations/GET/iotdps-get-operationstatus";
    format!("{get}/?$rid={rid}&operationId={operation}")
}

pub(crate) fn events_topic(device: &str) -> String {
    format!("devices/{device}/messages/events/")
}

/// A device connected to the provisioning service and subscribed to its answers.
pub(crate) async fn dps_client(emulator: &Emulator, device: &str, identity: &Identity) -> Client {
    let mut mqtt = Mqtt::new(tls(emulator, GLOBAL, Some(identity)).await);
    let code = mqtt.connect(device, &dps_user(device), "").await;
    assert_eq!(code, Some(ConnectReturnCode::Success));
    let granted = mqtt.subscribe(ANSWERS, QoS::AtLeastOnce).await;
    assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));
    mqtt
}

/// Registers and polls once; returns the registrationState.
pub(crate) async fn register(emulator: &Emulator, device: &str, identity: &Identity) -> Value {
    let mut mqtt = dps_client(emulator, device, identity).await;
    let answer = mqtt.ask(&register_topic("1"), "").await.unwrap();
    let body = parsed(&answer);
    assert!(answer.topic.starts_with("$dps/registrations/res/202/"), "{} {body}", answer.topic);
    let operation = body["operationId"].as_str().unwrap().to_owned();
    let answer = mqtt.ask(&poll_topic("2", &operation), " ").await.unwrap();
    assert_eq!(answer.topic, "$dps/registrations/res/200/?$rid=2");
    mqtt.send([Packet::Disconnect]).await;
    parsed(&answer)["registrationState"].clone()
}

/// A device that has registered and is connected to its hub.
pub(crate) async fn hub_client(emulator: &Emulator, device: &str, identity: &Identity) -> Client {
    let mut mqtt = Mqtt::new(tls(emulator, HUB, Some(identity)).await);
    let code = mqtt.connect(device, &hub_user(device), "").await;
    assert_eq!(code, Some(ConnectReturnCode::Success));
    mqtt
}

pub(crate) fn parsed(publish: &Publish) -> Value {
    serde_json::from_slice(&publish.payload).unwrap()
}

/// Asks until it holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    soon(async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Days::minutes(5);
    params.not_after = OffsetDateTime::now_utc() + Days::days(30);
    let mut serial = [1; 16];
    aws_lc_rs::rand::fill(&mut serial[1..]).unwrap();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params
}
