//! Servers that are no DPS: what a device may run into before it speaks MQTT.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::case::Server;

/// A server, until it is dropped.
pub(crate) struct Raw {
    pub(crate) address: String,
    pub(crate) root_pem: String,
    /// How many connections it has accepted.
    pub(crate) accepted: watch::Receiver<u32>,
    task: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The service's name, which clients check.
const HOST: &str = "global.azure-devices-provisioning.net";

/// A fatal alert `handshake_failure` (RFC 5246, section 7.2).
const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 40];

impl Raw {
    pub(crate) async fn start(kind: Server) -> Self {
        // Nothing else of this suite listens on the second address.
        let address = if kind == Server::Closed { "127.0.0.2:0" } else { "127.0.0.1:0" };
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (acceptor, root_pem) = acceptor(kind == Server::Expired);
        let (count, accepted) = watch::channel(0);
        let task = tokio::spawn(async move {
            if kind == Server::Closed {
                return;
            }
            while let Ok((stream, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let acceptor = acceptor.clone();
                // Ends with the client, which closes the connection.
                tokio::spawn(async move { serve(kind, stream, acceptor).await });
            }
        });
        Self { address, root_pem, accepted, task }
    }
}

async fn serve(kind: Server, mut stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    let farewell: &[u8] = match kind {
        Server::Plain => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        Server::Refusing => ALERT,
        _ => b"",
    };
    if !farewell.is_empty() {
        let _ = stream.read(&mut buffer).await?;
        stream.write_all(farewell).await?;
    }
    if matches!(kind, Server::Silent | Server::Plain | Server::Refusing) {
        while stream.read(&mut buffer).await? > 0 {}
        return Ok(());
    }
    let mut stream = acceptor.accept(stream).await?;
    let _ = stream.read(&mut buffer).await?;
    stream
        .write_all(match kind {
            Server::NoMqtt => b"HTTP/1.1 400 Bad Request\r\n\r\n",
            // The largest remaining length, and hardly anything of it.
            Server::Endless => &[0x20, 0xff, 0xff, 0xff, 0x7f, 0],
            Server::WrongPacket => &[0x90, 3, 0, 1, 1],
            _ => &[],
        })
        .await?;
    stream.flush().await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

fn acceptor(expired: bool) -> (TlsAcceptor, String) {
    let key = || KeyPair::generate().expect("a key");
    let (root_key, leaf_key) = (key(), key());
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "Conformance Root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&root_key).expect("a root").pem();
    let mut leaf = CertificateParams::new([HOST.to_owned()]).expect("a host name");
    let day = Duration::from_secs(24 * 3600);
    let end = if expired { SystemTime::now() - day } else { SystemTime::now() + day };
    leaf.not_before = (SystemTime::now() - 9 * day).into();
    leaf.not_after = end.into();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(root, root_key)).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), root_pem)
}
