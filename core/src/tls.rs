//! TLS 1.2 and 1.3 with a client certificate. The only room that knows rustls.

mod client_key;
mod failure;
mod pool;
mod recorder;
mod roots;
mod stepped;

/// What the pool's threads meet with.
mod sync {
    pub(super) use std::{
        sync::{Condvar, Mutex, MutexGuard},
        thread,
    };
}

use std::{
    io::{self, Write as _},
    sync::Arc,
};

use rustls::{
    ClientConfig, ConfigBuilder, SupportedProtocolVersion,
    client::{Resumption, WantsClientCert},
    version,
};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client};

pub(crate) use self::{client_key::ClientKey, failure::io_failure, recorder::ServerChain};
pub use self::{
    roots::Roots,
    stepped::{SigningExecutor, SigningThreads},
};
use crate::{
    crypto::tls_provider,
    error::{Error, ErrorKind, Result},
    transport::{Host, mqtt},
};

/// An encrypted connection whose server was verified.
pub(crate) type TlsStream = client::TlsStream<TcpStream>;

impl mqtt::Stream for TlsStream {
    fn put_last(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.get_mut().1.writer().write_all(bytes)
    }
}

/// What the TLS connections of one identity share.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    /// Where a signer that may block is called.
    executor: Option<Arc<dyn SigningExecutor>>,
    roots: Roots,
}

impl TlsClient {
    pub(crate) fn new(key: Arc<ClientKey>, roots: &Roots) -> Result<Self> {
        let versions: &[_] = match key.needs_tls12() {
            true => &[&version::TLS12],
            false => &[&version::TLS13, &version::TLS12],
        };
        let executor = key.may_block().then(SigningThreads::shared);
        let config = verifying(versions, roots)?.with_client_cert_resolver(key);
        Ok(Self::from_config(config, executor, roots))
    }

    /// For a server that asks for no client certificate: the management surface.
    pub(crate) fn anonymous(roots: &Roots) -> Result<Self> {
        let versions = &[&version::TLS13, &version::TLS12];
        let config = verifying(versions, roots)?.with_no_client_auth();
        Ok(Self::from_config(config, None, roots))
    }

    /// Writes down which certificates the server presents, and then hangs up.
    pub(crate) fn recorder() -> Result<(Self, ServerChain)> {
        let chain = ServerChain::default();
        let config = ClientConfig::builder_with_provider(tls_provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(not_set_up)?
            .dangerous()
            .with_custom_certificate_verifier(recorder::verifier(&chain))
            .with_no_client_auth();
        Ok((Self::from_config(config, None, &Roots::default()), chain))
    }

    fn from_config(
        mut config: ClientConfig,
        executor: Option<Arc<dyn SigningExecutor>>,
        roots: &Roots,
    ) -> Self {
        // Per identity, so that a rotated key never resumes the old key's session.
        config.resumption = Resumption::in_memory_sessions(2);
        Self { config: Arc::new(config), executor, roots: roots.clone() }
    }

    /// Performs the handshake; `host` is sent as SNI and checked against the server certificate.
    /// What follows it begins with `first`.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        host: &Host,
        first: &[u8],
    ) -> Result<TlsStream> {
        let name = ServerName::try_from(host.as_str().to_owned()).map_err(|_| {
            Error::new(ErrorKind::HostInvalid, format!("{host} is not a server name"))
        })?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let mut held_back = Ok(());
        let connect = connector.connect_with(name, stream, |tls| {
            held_back = tls.writer().write_all(first);
        });
        held_back.map_err(|cause| {
            let message = format!("{} bytes are too many to follow a handshake", first.len());
            Error::new(ErrorKind::InvalidArgument, message).with_source(cause)
        })?;
        let result = match &self.executor {
            None => connect.await,
            Some(executor) => stepped::run(connect, executor.as_ref()).await,
        };
        result.map_err(|error| failure::handshake_failure(error, host, &self.roots))
    }
}

fn verifying(
    versions: &[&'static SupportedProtocolVersion],
    roots: &Roots,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    Ok(ClientConfig::builder_with_provider(tls_provider())
        .with_protocol_versions(versions)
        .map_err(not_set_up)?
        .with_webpki_verifier(roots.verifier()?))
}

fn not_set_up(error: rustls::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {error}"))
}
