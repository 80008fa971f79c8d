//! `DPS-N…` and the server's clock: what the network tells.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use dps_core::{
    doctor::{Check, Doctor},
    key::KeyType,
};
use dps_tests::{Device, Hierarchy, cloud::Cloud};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use crate::{assert_nothing, assert_offline, assert_only};

const HOST: &str = "global.azure-devices-provisioning.net";

struct World {
    hierarchy: Hierarchy,
    device: Device,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let hierarchy = Hierarchy::new(KeyType::EcP256);
        let device = hierarchy.device("device-01");
        Self { hierarchy, device, folder: tempfile::tempdir().unwrap() }
    }

    fn roots(&self, pem: &str) -> PathBuf {
        let path = self.folder.path().join("roots.pem");
        std::fs::write(&path, pem).unwrap();
        path
    }

    fn doctor(&self, connect_to: impl Into<String>, roots: &str) -> Doctor {
        Doctor::new()
            .certificate(self.hierarchy.full_chain(&self.device))
            .key(self.device.key_pem())
            .connect_to(connect_to)
            .roots_file(self.roots(roots))
    }

    fn doctor_of(&self, cloud: &Cloud) -> Doctor {
        self.doctor(cloud.emulator().connect_to(), cloud.emulator().root_pem())
    }
}

#[tokio::test]
async fn names_ports_and_clocks() {
    let world = World::new();
    let cloud = Cloud::start().await;
    assert_nothing(&world.doctor_of(&cloud).wire().await.unwrap());

    // Everything else that is examined needs a name, so that nothing is dialled here.
    let url = Doctor::new()
        .certificate(world.hierarchy.full_chain(&world.device))
        .host(format!("https://{HOST}"));
    let name = Doctor::new().certificate(world.hierarchy.full_chain(&world.device)).host(HOST);
    assert_offline(url, name, Check::HostInvalid, &["is a URL", HOST]);

    let unknown = world.doctor("nowhere.invalid:8883", cloud.emulator().root_pem());
    let words = ["nowhere.invalid", "could not be resolved"];
    assert_only(&unknown.wire().await.unwrap(), Check::HostNotFound, &words);

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = world.doctor(free.to_string(), cloud.emulator().root_pem());
    let words = ["8883", "refused", "443 cannot be reached either"];
    assert_only(&closed.wire().await.unwrap(), Check::MqttPortClosed, &words);

    let hour = Duration::from_secs(3600);
    let skewed = world.doctor_of(&cloud).clock(SystemTime::now() + hour);
    assert_only(&skewed.wire().await.unwrap(), Check::ClockSkew, &["timedatectl"]);

    let misnamed = world.doctor_of(&cloud).host("dps.example.com");
    let words = ["dps.example.com", "another name"];
    assert_only(&misnamed.wire().await.unwrap(), Check::ServerCertificateInvalid, &words);
    cloud.stop().await;
}

#[tokio::test]
async fn a_port_443_that_is_closed_while_8883_is_open() {
    let world = World::new();
    let cloud = Cloud::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = cloud.emulator().connect_to();
    // The first connection is that to 8883; after it nobody listens any more.
    let relay = tokio::spawn(async move {
        let (mut device, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut server = TcpStream::connect(target).await.unwrap();
        let _ = copy_bidirectional(&mut device, &mut server).await;
    });
    let doctor = world.doctor(address.to_string(), cloud.emulator().root_pem());
    let report = doctor.wire().await.unwrap();
    assert_only(&report, Check::HttpsPortClosed, &["443", "refused"]);
    relay.await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn a_port_8883_that_never_answers_while_443_is_open() {
    let world = World::new();
    let cloud = Cloud::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = cloud.emulator().connect_to();
    let relay = tokio::spawn(async move {
        // The first connection is that to 8883, and is held in silence.
        let (_silent, _) = listener.accept().await.unwrap();
        let (mut device, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(target).await.unwrap();
        let _ = copy_bidirectional(&mut device, &mut server).await;
    });
    let doctor = world.doctor(address.to_string(), cloud.emulator().root_pem());
    let start = Instant::now();
    let report = doctor.deadline(Duration::from_secs(4)).wire().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "the deadline holds");
    let words = ["8883 did not answer within 2.0s", "443 is open"];
    assert_only(&report, Check::MqttPortClosed, &words);
    relay.await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn what_is_no_tls() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let doctor = world.doctor(address, world.hierarchy.root.certificate().to_pem().as_str());
    assert_only(&doctor.wire().await.unwrap(), Check::TlsFailed, &[HOST, "TLS"]);
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_named_with_its_root() {
    let world = World::new();
    let cloud = Cloud::start().await;
    let other = world.hierarchy.root.certificate().to_pem();
    let doctor = world.doctor(cloud.emulator().connect_to(), &other);
    let report = doctor.wire().await.unwrap();
    assert_only(&report, Check::ServerNotTrusted, &["It presents", "up to the root"]);
    cloud.stop().await;
}

#[test]
fn trust_roots_that_azure_does_not_use() {
    let world = World::new();
    let root = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    };
    let needed =
        root("DigiCert Global Root G2") + &root("Microsoft RSA Root Certificate Authority 2017");
    let doctor = |roots: &str, name: &str| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, roots).unwrap();
        Doctor::new().certificate(world.hierarchy.full_chain(&world.device)).roots_file(path)
    };
    assert_offline(
        doctor(&root("DigiCert Global Root G2"), "one.pem"),
        doctor(&needed, "both.pem"),
        Check::TrustIncomplete,
        &["Microsoft RSA Root Certificate Authority 2017 is not among", "one.pem"],
    );
    let none = Doctor::new().certificate(world.hierarchy.full_chain(&world.device));
    assert_offline(
        none.roots(world.hierarchy.root.certificate().to_pem()),
        doctor(&needed, "both.pem"),
        Check::TrustIncomplete,
        &["the trust roots", "Microsoft RSA Root Certificate Authority 2017 are not among"],
    );
    assert_offline(
        doctor(&(root("Baltimore CyberTrust Root") + &needed), "old.pem"),
        doctor(&needed, "both.pem"),
        Check::TrustOutdated,
        &["Baltimore CyberTrust Root", "Remove it"],
    );
}

#[tokio::test]
async fn a_proxy_that_ends_tls_and_one_that_refuses_websockets() {
    let world = World::new();
    let intercepting = Server::start(&world, Answer::Upgrade, false).await;
    let report = world.doctor(&intercepting.address, &intercepting.root).wire().await.unwrap();
    assert_only(&report, Check::CertificateNotAsked, &[HOST, "did not ask", "inspects TLS"]);

    let refusing = Server::start(&world, Answer::Forbidden, true).await;
    let report = world.doctor(&refusing.address, &refusing.root).wire().await.unwrap();
    assert_only(&report, Check::WebSocketRefused, &["443", "403"]);

    let open = Server::start(&world, Answer::Upgrade, true).await;
    let report = world.doctor(&open.address, &open.root).wire().await.unwrap();
    assert_nothing(&report);
}

#[derive(Clone, Copy)]
enum Answer {
    Upgrade,
    Forbidden,
}

/// A TLS server under the name of DPS.
struct Server {
    address: String,
    root: String,
}

impl Server {
    async fn start(world: &World, answer: Answer, asks_for_certificate: bool) -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let leaf = CertificateParams::new([HOST.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match asks_for_certificate {
            false => builder.with_no_client_auth(),
            true => {
                let mut roots = RootCertStore::empty();
                roots.add(world.hierarchy.root.certificate().der().into()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    match answer {
                        Answer::Upgrade => {
                            // The type of a refusal is tungstenite's own.
                            #[allow(clippy::result_large_err)]
                            let with_mqtt = |_: &Request, mut response: Response| {
                                let value = "mqtt".parse().unwrap();
                                response.headers_mut().insert("sec-websocket-protocol", value);
                                Ok(response)
                            };
                            let _ = tokio_tungstenite::accept_hdr_async(stream, with_mqtt).await;
                        }
                        Answer::Forbidden => {
                            let mut request = [0; 4096];
                            let Ok(1..) = stream.read(&mut request).await else { return };
                            let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
                            let _ = stream.write_all(refusal).await;
                        }
                    }
                });
            }
        });
        Self { address, root: root_pem }
    }
}
