//! What stands between a client and the emulator: it passes bytes on, knows when both sides have
//! done with a connection, and reads the passwords, which the emulator never keeps.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::BytesMut;
use rumqttc::mqttbytes::{
    Error,
    v4::{Login, Packet},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink, split},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{password::Password, tls::Certificates};

/// How long what a client said last may be under way after its end.
const ARRIVAL: Duration = Duration::from_secs(2);

/// More than a CONNECT of this suite.
const LARGEST: usize = 1 << 18;

/// A way to the emulator, until it is dropped.
pub(crate) struct Tunnel {
    pub(crate) address: String,
    pub(crate) root_pem: String,
    open: watch::Receiver<usize>,
    passwords: Arc<Mutex<Vec<Password>>>,
    task: JoinHandle<()>,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The two ends of TLS, for passwords are inside it. Client certificates end here, so this is for
/// devices that have none.
#[derive(Clone)]
struct Ears {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    passwords: Arc<Mutex<Vec<Password>>>,
}

impl Tunnel {
    /// A way to the emulator at this address; one that `listens` reads the passwords.
    pub(crate) async fn start(emulator: String, root_pem: &str, listens: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let passwords = Arc::<Mutex<Vec<Password>>>::default();
        let mut shown = root_pem.to_owned();
        let mut ears = None;
        if listens {
            let certificates = Certificates::new(false);
            shown.clone_from(&certificates.root_pem);
            ears = Some(Ears {
                acceptor: certificates.acceptor(),
                connector: connector(root_pem),
                passwords: Arc::clone(&passwords),
            });
        }
        let (closing, open) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let guard = Count::one_more(&closing);
                let (emulator, ears) = (emulator.clone(), ears.clone());
                tokio::spawn(async move {
                    let _guard = guard;
                    let server = TcpStream::connect(emulator).await?;
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    match ears {
                        None => pass_on(client, server).await,
                        Some(ears) => ears.listen(client, server).await?,
                    }
                    io::Result::Ok(())
                });
            }
        });
        Self { address, root_pem: shown, open, passwords, task }
    }

    /// Waits until both sides have done with every connection, for a while.
    pub(crate) async fn settled(&self) {
        ended(&self.open).await;
    }

    /// The passwords that were shown so far.
    pub(crate) fn passwords(&self) -> Vec<Password> {
        self.passwords.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Ears {
    async fn listen(self, client: TcpStream, server: TcpStream) -> io::Result<()> {
        let mut client = self.acceptor.accept(client).await?;
        let name = client.get_ref().1.server_name().unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let mut server = self.connector.connect(name, server).await?;
        let mut first = BytesMut::new();
        loop {
            if client.read_buf(&mut first).await? == 0 {
                return Ok(());
            }
            match Packet::read(&mut first.clone(), LARGEST) {
                Err(Error::InsufficientBytes(_)) => {}
                Ok(Packet::Connect(connect)) => {
                    if let Some(Login { password: text, .. }) = connect.login
                        && !text.is_empty()
                    {
                        let password = Password { text, at: SystemTime::now() };
                        let mut known =
                            self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
                        known.push(password);
                    }
                    break;
                }
                _ => break,
            }
        }
        server.write_all(&first).await?;
        server.flush().await?;
        pass_on(client, server).await;
        Ok(())
    }
}

/// Passes bytes on until the server has done with the connection, which it has when it has heard
/// all that the client said.
async fn pass_on(client: impl AsyncRead + AsyncWrite, server: impl AsyncRead + AsyncWrite) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_server, mut to_server) = split(server);
    let forth = async {
        // However the client ended, the server is told that it has.
        let _ = copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        std::future::pending::<()>().await;
    };
    let back = async {
        match copy(&mut from_server, &mut to_client).await {
            Ok(_) => drop(to_client.shutdown().await),
            // The client is gone; the server may still be hearing it.
            Err(_) => drop(copy(&mut from_server, &mut sink()).await),
        }
    };
    tokio::select! {
        () = back => {}
        () = forth => {}
    }
}

fn connector(root_pem: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).expect("the emulator's root");
    roots.add(root).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// One open connection, until it is dropped.
pub(crate) struct Count(watch::Sender<usize>);

impl Count {
    pub(crate) fn one_more(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// Waits until no connection is open, for a while.
pub(crate) async fn ended(open: &watch::Receiver<usize>) {
    let _ = timeout(ARRIVAL, open.clone().wait_for(|open| *open == 0)).await;
}
