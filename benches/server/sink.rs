//! A hub that acknowledges every message at once and keeps none: what limits the telemetry rate
//! is then the client.

use std::sync::Arc;

use bytes::BytesMut;
use dps_benches::{HUB, LOCAL_HUB, Outcome, SINK_ADDRESS};
use rcgen::{CertificateParams, KeyPair};
use rumqttc::mqttbytes::{
    self,
    v4::{ConnAck, ConnectReturnCode, Packet, PubAck},
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

const BATCH: usize = 64 * 1024;

/// Starts it; returns its address and the root to trust.
pub(crate) async fn start(listen: Option<String>) -> Outcome<(String, String)> {
    let key = KeyPair::generate()?;
    let names = [HUB, LOCAL_HUB, SINK_ADDRESS].map(str::to_owned);
    let certificate = CertificateParams::new(names)?.self_signed(&key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(listen.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // A client that goes away is how a conversation ends.
            tokio::spawn(async move { converse(stream, acceptor).await.ok() });
        }
    });
    Ok((address, certificate.pem()))
}

async fn converse(stream: TcpStream, acceptor: TlsAcceptor) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let (mut incoming, mut outgoing) = (BytesMut::with_capacity(BATCH), BytesMut::new());
    while stream.read_buf(&mut incoming).await? > 0 {
        loop {
            match Packet::read(&mut incoming, BATCH) {
                Ok(Packet::Publish(publish)) => {
                    PubAck::new(publish.pkid).write(&mut outgoing)?;
                }
                Ok(Packet::Connect(_)) => {
                    ConnAck::new(ConnectReturnCode::Success, false).write(&mut outgoing)?;
                }
                Ok(_) => {}
                Err(mqttbytes::Error::InsufficientBytes(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        stream.write_all(&outgoing).await?;
        stream.flush().await?;
        outgoing.clear();
        incoming.reserve(BATCH / 4);
    }
    Ok(())
}
