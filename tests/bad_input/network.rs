//! Hosts, names, ports and server certificates.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use dps_core::{
    Credential, Error, ErrorKind, Identity, ProvisioningClient,
    key::KeyType,
    tls::Roots,
    transport::{Network, Resolver},
};
use dps_tests::{Hierarchy, cloud::Cloud};

use crate::assert_error;

fn identity() -> Identity {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap()
}

async fn error_of(network: Network, host: &str) -> Error {
    ProvisioningClient::new("0ne00000A0A", &identity())
        .host(host)
        .network(network)
        .deadline(Duration::from_secs(2))
        .register()
        .await
        .unwrap_err()
}

#[tokio::test]
async fn a_url_in_place_of_a_host_is_repaired_in_the_hint() {
    for host in ["https://my.dps.example", "my.dps.example:8883", "my.dps.example/path"] {
        let error = error_of(Network::default(), host).await;
        assert_error(&error, ErrorKind::HostInvalid, &[host, "Write it as \"my.dps.example\""]);
    }
    let error = error_of(Network::default(), "my dps").await;
    assert_error(&error, ErrorKind::HostInvalid, &["my dps"]);
}

struct NoSuchName;

impl Resolver for NoSuchName {
    fn resolve<'a>(
        &'a self,
        _: &'a str,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async { Err(io::Error::other("Name or service not known")) })
    }
}

#[tokio::test]
async fn an_unknown_host_is_named_with_its_cause() {
    let network = Network::default().resolver(Arc::new(NoSuchName));
    let error = error_of(network, "no-such-dps.example").await;
    // A name may resolve a moment later, so it is tried until the deadline.
    assert_error(
        &error,
        ErrorKind::HostNotFound,
        &["no-such-dps.example", "Name or service not known", "given up after"],
    );
}

#[tokio::test]
async fn a_closed_port_is_named_with_its_cause() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let network = Network::default().connect_to(format!("127.0.0.1:{port}"));
    let error = error_of(network, "my.dps.example").await;
    let words = ["my.dps.example", &format!("127.0.0.1:{port}"), "refused"];
    assert_error(&error, ErrorKind::ConnectionFailed, &words);
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_refused_at_once() {
    let cloud = Cloud::start().await;
    let stranger = Hierarchy::new(KeyType::EcP256).root.certificate().to_pem();
    let network =
        Network::default().connect_to(cloud.emulator().connect_to()).roots(Roots::pem(stranger));
    let error = error_of(network, "global.azure-devices-provisioning.net").await;
    assert_error(
        &error,
        ErrorKind::ServerNotTrusted,
        &["global.azure-devices-provisioning.net", "SSL_CERT_FILE", "DigiCert Global Root G2"],
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_server_with_another_name_is_refused_at_once() {
    let cloud = Cloud::start().await;
    let error = error_of(cloud.network(), "another.example").await;
    assert_error(&error, ErrorKind::ServerNameMismatch, &["another.example"]);
    cloud.stop().await;
}

#[tokio::test]
async fn roots_that_are_no_certificates_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, "hello").unwrap();
    let error = error_of(Network::default().roots(Roots::pem_file(&file)), "my.dps.example").await;
    assert_error(&error, ErrorKind::WrongFileContent, &["roots.pem", "a text without any PEM"]);
}
