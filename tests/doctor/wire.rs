//! `DPS-N…` and the server's clock: what the network tells.

use std::{
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant, SystemTime},
};

use dps_core::{
    SignRequest, SignatureAlgorithm, Signer, SignerError,
    doctor::{Check, Doctor},
    key::{KeyType, PrivateKey},
};
use dps_tests::{Device, Hierarchy, cloud::Cloud, text};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
    },
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    process::Command,
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

    let repaired = || world.doctor_of(&cloud);
    let unknown = world.doctor("nowhere.invalid:8883", cloud.emulator().root_pem());
    let words = ["nowhere.invalid", "could not be resolved"];
    assert_wire(unknown, repaired(), Check::HostNotFound, &words).await;

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = world.doctor(free.to_string(), cloud.emulator().root_pem());
    let target = format!("connect_to sends every connection to {free}: is the emulator running");
    let words = ["8883", "refused", "443 cannot be reached either", &target];
    assert_wire(closed, repaired(), Check::MqttPortClosed, &words).await;

    let hour = Duration::from_secs(3600);
    let skewed = repaired().clock(SystemTime::now() + hour);
    assert_wire(skewed, repaired(), Check::ClockSkew, &["timedatectl"]).await;

    let misnamed = repaired().host("dps.example.com");
    let words = ["dps.example.com", "another name"];
    assert_wire(misnamed, repaired(), Check::ServerCertificateInvalid, &words).await;
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
    let words = ["443", "refused"];
    assert_wire(doctor, world.doctor_of(&cloud), Check::HttpsPortClosed, &words).await;
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
    let silent = format!("{address} (in place of {HOST}:8883) did not answer within 2.0s");
    let words = [&silent, "443 is open", "is the emulator running"];
    assert_only(&report, Check::MqttPortClosed, &words);
    assert_nothing(&world.doctor_of(&cloud).wire().await.unwrap());
    relay.await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn what_is_no_tls() {
    let world = World::new();
    let cloud = Cloud::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let doctor = world.doctor(address, world.hierarchy.root.certificate().to_pem().as_str());
    assert_wire(doctor, world.doctor_of(&cloud), Check::TlsFailed, &[HOST, "TLS"]).await;
    cloud.stop().await;
}

/// The same certificate behind a server that speaks no TLS after 1.1, which Azure refuses too.
#[tokio::test]
async fn a_tls_below_1_2() {
    let world = World::new();
    let names = ServerNames::new();
    let file = |name: &str, pem: String| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let certificate = file("server.pem", names.certificate.pem());
    let key = file("server.key.pem", names.key.serialize_pem());
    // OpenSSL calls TLS 1.1 too weak for its default security level.
    let weak = ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"];
    let mut server = Command::new("openssl")
        .args(["s_server", "-accept", "127.0.0.1:0", "-cert", text(&certificate)])
        .args(["-key", text(&key)])
        .args(weak)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = loop {
        let line = said.next_line().await.unwrap().expect("the server says where it listens");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.to_owned();
        }
    };
    // What it says of those who connect must go somewhere.
    tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
    let old = Command::new("openssl")
        .args(["s_client", "-connect", &address])
        .args(weak)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let old = String::from_utf8_lossy(&old.stdout).into_owned();
    assert!(old.contains("New, TLSv1.0, Cipher is ECDHE"), "it does speak TLS 1.1: {old}");

    let broken = world.doctor(&address, &names.root);
    let repaired = Server::start_as(&names, &world, Answer::Upgrade, true, &[TLS_1_2_SUITE]).await;
    let repaired = world.doctor(&repaired.address, &names.root);
    let words = [HOST, "ProtocolVersion", "neither TLS 1.2 nor 1.3"];
    assert_wire(broken, repaired, Check::TlsFailed, &words).await;
    server.kill().await.unwrap();
}

#[tokio::test]
async fn the_version_and_the_suite_of_tls_are_reported() {
    let world = World::new();
    for (suite, words) in [
        (TLS_1_2_SUITE, "TLSv1_2, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        (TLS13_CHACHA20_POLY1305_SHA256, "TLSv1_3, TLS13_CHACHA20_POLY1305_SHA256"),
    ] {
        let names = ServerNames::new();
        let server = Server::start_as(&names, &world, Answer::Upgrade, true, &[suite]).await;
        let report = world.doctor(&server.address, &names.root).wire().await.unwrap();
        assert_nothing(&report);
        let seen = report.seen().join("\n");
        assert!(seen.contains(&format!("{HOST}:8883 at {}: {words}", server.address)), "{seen}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_named_with_its_root() {
    let world = World::new();
    let cloud = Cloud::start().await;
    let other = world.hierarchy.root.certificate().to_pem();
    let report = world.doctor(cloud.emulator().connect_to(), &other).wire().await.unwrap();
    assert_only(&report, Check::ServerNotTrusted, &["It presents", "up to the root"]);
    assert_nothing(&world.doctor_of(&cloud).wire().await.unwrap());
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

/// Counts what it signs; says nothing at all while it may not.
struct Token {
    key: Arc<PrivateKey>,
    signed: AtomicUsize,
    may_answer: Mutex<Receiver<()>>,
}

impl Token {
    fn new(device: &Device) -> (Arc<Self>, Sender<()>) {
        let (let_answer, may_answer) = mpsc::channel();
        let (key, may_answer) = (Arc::clone(&device.key), Mutex::new(may_answer));
        (Arc::new(Self { key, signed: AtomicUsize::new(0), may_answer }), let_answer)
    }
}

impl Signer for Token {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.key.algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.signed.fetch_add(1, Ordering::Relaxed);
        // Ends with the test, when the sender is dropped.
        let _ = self.may_answer.lock().unwrap().recv();
        self.key.sign(request)
    }
}

/// On one thread: were the silent signer called there, no deadline could pass.
#[tokio::test]
async fn a_signer_that_never_answers_is_told_and_the_network_examined_all_the_same() {
    let world = World::new();
    let open = Server::start(&world, Answer::Upgrade, false).await;
    let (silent, let_answer) = Token::new(&world.device);
    let signer = Arc::clone(&silent) as Arc<dyn Signer>;
    let doctor = world.doctor(&open.address, &open.root).signer(signer);
    let doctor = doctor.deadline(Duration::from_secs(8));
    let report = tokio::time::timeout(Duration::from_secs(60), doctor.wire()).await;
    assert_only(&report.expect("in time").unwrap(), Check::SignerFailed, &["did not answer"]);
    assert_eq!(silent.signed.load(Ordering::Relaxed), 1, "one proof for each examination");
    drop(let_answer);
}

/// The broken doctor finds this alone; the repaired one finds nothing.
async fn assert_wire(broken: Doctor, repaired: Doctor, check: Check, words: &[&str]) {
    assert_only(&broken.wire().await.unwrap(), check, words);
    assert_nothing(&repaired.wire().await.unwrap());
}

const TLS_1_2_SUITE: SupportedCipherSuite = TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;

#[derive(Clone, Copy)]
enum Answer {
    Upgrade,
    Forbidden,
}

/// A certificate for the name of DPS, and its root as PEM.
struct ServerNames {
    root: String,
    certificate: Certificate,
    key: KeyPair,
}

impl ServerNames {
    fn new() -> Self {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let leaf = CertificateParams::new([HOST.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap();
        Self { root: root_pem, certificate, key }
    }
}

/// A TLS server under the name of DPS.
struct Server {
    address: String,
    root: String,
}

impl Server {
    async fn start(world: &World, answer: Answer, asks_for_certificate: bool) -> Self {
        let suites = rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES;
        Self::start_as(&ServerNames::new(), world, answer, asks_for_certificate, suites).await
    }

    async fn start_as(
        names: &ServerNames,
        world: &World,
        answer: Answer,
        asks_for_certificate: bool,
        suites: &[SupportedCipherSuite],
    ) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = suites.to_vec();
        let provider = Arc::new(provider);
        let versions: Vec<_> = suites.iter().map(SupportedCipherSuite::version).collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
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
        let key = rustls::pki_types::PrivateKeyDer::try_from(names.key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![names.certificate.der().clone()], key).unwrap();
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
        Self { address, root: names.root.clone() }
    }
}
