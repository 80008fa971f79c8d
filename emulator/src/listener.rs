//! One TLS port for everything: the first byte after the handshake tells MQTT, HTTP and AMQP
//! apart, so that clients with fixed ports reach the provisioning service and the hubs alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::faults::{Cut, FaultControl, Step};
use crate::mqtt::{self, Presence};
use crate::record::{Recorder, Source, Transport};
use crate::service::{Peer, Service};
use crate::tls::{self, TlsVersion};

/// How long a connection may stay silent before it has said what it wants.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// How long a connection that is over may take to finish its work, and then to say goodbye.
pub(crate) const GRACE: Duration = Duration::from_secs(5);
/// How long an HTTP connection may idle between requests. Devices keep one between polls.
const HTTP_IDLE: Duration = Duration::from_secs(120);

/// What every connection of one emulator shares.
pub(crate) struct Shared {
    pub(crate) service: Service,
    pub(crate) faults: FaultControl,
    pub(crate) recorder: Recorder,
    pub(crate) presence: Presence,
    /// Cancelled when the emulator stops.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    connections: AtomicU64,
}

impl Shared {
    pub(crate) fn new(service: Service, faults: FaultControl) -> Self {
        Self {
            service,
            faults,
            recorder: Recorder::new(),
            presence: Presence::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            connections: AtomicU64::new(0),
        }
    }
}

/// Who is at the other end.
pub(crate) struct Connection {
    pub(crate) number: u64,
    pub(crate) remote: SocketAddr,
    pub(crate) peer: Arc<Peer>,
    pub(crate) tls: Option<TlsVersion>,
    /// What the client sent as SNI.
    pub(crate) server_name: Option<String>,
    /// Cancelled by an HTTP handler that was told to cut its connection.
    pub(crate) cut: CancellationToken,
}

impl Connection {
    /// What every record of it says, before it is known whom it speaks to.
    pub(crate) fn source(&self, transport: Transport) -> Source {
        Source {
            connection: self.number,
            tls: self.tls,
            server_name: self.server_name.clone(),
            transport,
            role: None,
            device: None,
        }
    }
}

/// Accepts until the emulator stops.
pub(crate) async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    router: Router,
    shared: Arc<Shared>,
) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, remote)) => {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                shared.tasks.spawn(converse(tcp, remote, acceptor, router, shared.clone()));
            }
            // A process out of file descriptors gets better; a loop without a pause would not.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(
    tcp: TcpStream,
    remote: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    shared: Arc<Shared>,
) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
    let opened = tokio::select! {
        () = shared.stop.cancelled() => return,
        opened = open(tcp, remote, number, &acceptor, &shared) => opened,
    };
    let Some((mut stream, connection, first)) = opened else { return };
    let connection = Arc::new(connection);
    match first {
        // CONNECT, the only packet a client may begin with (MQTT 3.1.1, 3.1).
        0x10 => {
            let (reader, writer) = tokio::io::split(stream);
            mqtt::serve(reader, writer, Transport::Mqtt, &connection, &shared).await;
        }
        b'A' => tokio::select! {
            () = shared.stop.cancelled() => {}
            () = refuse_amqp(&mut stream, number) => {}
        },
        b'B'..=b'Z' => serve_http(stream, connection, router, &shared).await,
        other => {
            tracing::warn!(connection = number, first = other, "neither MQTT nor HTTP; closing");
        }
    }
}

/// The TLS handshake, its faults, and a look at the first byte behind it.
async fn open(
    mut tcp: TcpStream,
    remote: SocketAddr,
    number: u64,
    acceptor: &TlsAcceptor,
    shared: &Shared,
) -> Option<(BufReader<TlsStream<TcpStream>>, Connection, u8)> {
    tracing::debug!(connection = number, %remote, "connection");
    // Acknowledgements are small and awaited: they must not wait for company.
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(connection = number, %error, "cannot set TCP_NODELAY");
    }
    let firing = shared.faults.at(Step::Tls, None);
    firing.begin(&shared.service).await;
    if firing.silent {
        swallow(&mut tcp).await;
    }
    if firing.silent || firing.cut == Some(Cut::Before) {
        return None;
    }
    let tls = match timeout(SILENCE, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            tracing::warn!(connection = number, %error, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::warn!(connection = number, "silent during the TLS handshake; closing");
            return None;
        }
    };
    if firing.cut == Some(Cut::After) {
        return None;
    }
    let agreed = tls.get_ref().1;
    let certificates = agreed.peer_certificates().unwrap_or_default();
    let peer = Peer { certificates: certificates.iter().map(|der| der.to_vec()).collect() };
    let connection = Connection {
        number,
        remote,
        peer: Arc::new(peer),
        tls: TlsVersion::agreed(agreed.protocol_version()),
        server_name: agreed.server_name().map(str::to_owned),
        cut: CancellationToken::new(),
    };
    let mut stream = BufReader::with_capacity(4096, tls);
    if let Some(name) = connection.peer.certificates.first().and_then(|leaf| tls::common_name(leaf))
    {
        let firing = shared.faults.at(Step::Tls, Some(&name));
        firing.begin(&shared.service).await;
        if firing.silent {
            swallow(&mut stream).await;
        }
        if firing.mutes() {
            return None;
        }
    }
    match timeout(SILENCE, stream.fill_buf()).await {
        Ok(Ok(bytes)) => bytes.first().copied().map(|first| (stream, connection, first)),
        Ok(Err(error)) => {
            tracing::debug!(connection = number, %error, "lost before its first byte");
            None
        }
        Err(_) => {
            tracing::warn!(connection = number, "silent after the TLS handshake; closing");
            None
        }
    }
}

/// Reads and forgets until the client gives up.
pub(crate) async fn swallow(stream: &mut (impl AsyncRead + Unpin)) {
    if let Err(error) = tokio::io::copy(stream, &mut tokio::io::sink()).await {
        tracing::debug!(%error, "a swallowed connection ended");
    }
}

async fn serve_http(
    stream: BufReader<TlsStream<TcpStream>>,
    connection: Arc<Connection>,
    router: Router,
    shared: &Shared,
) {
    let (number, cut) = (connection.number, connection.cut.clone());
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: hyper::Request<_>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        // First, so that no answer slips out of a connection that is to be cut.
        biased;
        () = cut.cancelled() => return,
        () = shared.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(GRACE, serving).await.unwrap_or(Ok(()))
        }
        ended = serving.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(connection = number, %error, "HTTP connection ended");
    }
}

/// AMQP 1.0, 2.2: a peer that cannot speak what was asked for answers with a protocol header it
/// did not ask for, and closes.
async fn refuse_amqp(stream: &mut BufReader<TlsStream<TcpStream>>, number: u64) {
    let mut header = [0; 8];
    match timeout(SILENCE, stream.read_exact(&mut header)).await {
        Ok(Ok(_)) if header.starts_with(b"AMQP") => {}
        _ => return tracing::warn!(connection = number, "neither MQTT, HTTP nor AMQP; closing"),
    }
    tracing::warn!(connection = number, "AMQP is not spoken here; use MQTT or HTTPS");
    let id = if header[4] == 0 { 3 } else { 0 };
    let answer = [b'A', b'M', b'Q', b'P', id, 1, 0, 0];
    let farewell = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await
    };
    if !matches!(timeout(SILENCE, farewell).await, Ok(Ok(()))) {
        tracing::debug!(connection = number, "the client did not wait for its refusal");
    }
}
