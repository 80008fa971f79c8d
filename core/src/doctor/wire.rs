//! What the network tells: names, ports, TLS, the WebSocket upgrade, and the server's clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{
    Error as WebSocketError,
    client::IntoClientRequest,
    http::{HeaderValue, Response, header},
};

use super::{
    Check, Doctor, Finding, Limit, Report, offline::Examined, offline::sentence, service::remedy,
};
use crate::{
    chain::{Certificate, date, moment},
    credential::CHAIN,
    error::{Error, ErrorKind, Missing, Result},
    identity::Identity,
    signer::{SignRequest, SignatureAlgorithm, Signer, SignerError},
    tls::{Roots, TlsClient, TlsStream},
    transport::{Host, MQTT_PORT, Network},
};

const HTTPS_PORT: u16 = 443;

/// How long a server may take to answer the WebSocket upgrade.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);

/// Clocks that differ less disturb nothing: certificates are dated back that far.
const ALLOWED_SKEW: time::Duration = time::Duration::minutes(5);

/// Whether the server can be talked to over MQTT.
pub(super) async fn examine(
    doctor: &Doctor,
    examined: &mut Examined,
    limit: Limit,
) -> Result<bool> {
    let Some(host) = examined.host.clone() else { return Ok(false) };
    let network = doctor.network();
    let credential = examined.credential().map(|(chain, signer)| {
        let sent = chain.certificates().len();
        let watched = Arc::new(Watched { signer, signed: AtomicBool::new(false) });
        let signer = Arc::clone(&watched) as Arc<dyn Signer>;
        (Identity::from_proven_signer(chain, signer, CHAIN), watched, sent)
    });
    let tls = match &credential {
        Some((identity, ..)) => identity.tls(network.trusted_roots())?,
        None => TlsClient::anonymous(network.trusted_roots())?,
    };
    let connection = Connection { host: &host, network: &network, tls: &tls, limit };
    let report = &mut examined.report;
    let Some(mut stream) = connection.open(MQTT_PORT, report).await? else { return Ok(false) };
    describe(&host, MQTT_PORT, &stream, report);
    if let Some((_, watched, sent)) = &credential {
        judge_request(&host, *sent, watched, report);
    }
    // With TLS 1.3 a server refuses a client's certificate only now.
    let refused = refusal(&mut stream, &host).await;
    drop(stream);
    if let Some(error) = refused {
        report.found(explained(&error, Check::TlsFailed));
        return Ok(false);
    }
    if let Some(stream) = connection.open(HTTPS_PORT, report).await? {
        examine_websocket(doctor, &host, stream, limit, report).await;
    }
    Ok(true)
}

impl Doctor {
    pub(super) fn network(&self) -> Network {
        let mut network = Network::default();
        if let Some(target) = &self.connect_to {
            network = network.connect_to(target);
        }
        match &self.roots {
            Some(roots) => network.roots(Roots::from(roots.source().clone())),
            None => network,
        }
    }
}

struct Connection<'a> {
    host: &'a Host,
    network: &'a Network,
    tls: &'a TlsClient,
    limit: Limit,
}

impl Connection<'_> {
    /// A connection after its TLS handshake; `None` where the report says why there is none.
    async fn open(&self, port: u16, report: &mut Report) -> Result<Option<TlsStream>> {
        let error = match self.dial(port, self.tls).await {
            Ok(stream) => return Ok(Some(stream)),
            Err(error) => error,
        };
        let closed = match port {
            MQTT_PORT => Check::MqttPortClosed,
            _ => Check::HttpsPortClosed,
        };
        let finding = match error.kind() {
            // Nothing can be said of a network that was not described.
            ErrorKind::InvalidArgument
            | ErrorKind::FileNotReadable
            | ErrorKind::WrongFileContent
            | ErrorKind::CertificateMalformed => return Err(error),
            ErrorKind::HostNotFound => explained(&error, Check::HostNotFound),
            ErrorKind::ServerNotTrusted => Finding::new(
                Check::ServerNotTrusted,
                format!("{} {}", sentence(&error), self.server_root(port).await),
                error.hint().unwrap_or_default(),
            ),
            ErrorKind::ServerNameMismatch | ErrorKind::ServerCertificateInvalid => {
                explained(&error, Check::ServerCertificateInvalid)
            }
            ErrorKind::Signer => explained(&error, Check::SignerFailed),
            ErrorKind::TlsRefused | ErrorKind::ConnectionLost => {
                explained(&error, Check::TlsFailed)
            }
            _ if error.missing() == Some(Missing::Handshake) => explained(&error, Check::TlsFailed),
            _ if error.missing() == Some(Missing::Address) => {
                explained(&error, Check::HostNotFound)
            }
            _ => Finding::new(
                closed,
                match closed {
                    Check::MqttPortClosed => format!("{} {}", sentence(&error), self.https().await),
                    _ => sentence(&error),
                },
                error.hint().unwrap_or(remedy(closed)),
            ),
        };
        report.found(finding);
        Ok(None)
    }

    /// Takes half of what is left of the time: something else is to be examined after it.
    async fn dial(&self, port: u16, tls: &TlsClient) -> Result<TlsStream> {
        let span = self.limit.left() / 2;
        let route = self.network.route(self.host, port)?;
        timeout(span, self.network.open(self.host, port, tls, &[])).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::RequestTimeout,
                format!("{route} did not answer within {span:.1?}"),
            )
            .with_hint(route.remedy()))
        })
    }

    /// Whether it is port 8883 alone that is closed.
    async fn https(&self) -> &'static str {
        match self.dial(HTTPS_PORT, self.tls).await.map_err(|error| error.kind()) {
            Err(
                ErrorKind::ConnectionFailed | ErrorKind::RequestTimeout | ErrorKind::HostNotFound,
            ) => "Port 443 cannot be reached either.",
            // Whatever happened there, the port is open.
            Ok(_) | Err(_) => "Port 443 is open, so that something on the way stops 8883.",
        }
    }

    /// Which certificates a server presented that was not trusted, and which root they name.
    async fn server_root(&self, port: u16) -> String {
        let Ok((recorder, chain)) = TlsClient::recorder() else { return String::new() };
        // It always ends in an error: nothing is said to a server that is not trusted.
        let _ = self.dial(port, &recorder).await;
        match server_chain(&chain.take()) {
            Some(names) => format!("It presents {names}."),
            None => String::new(),
        }
    }
}

/// The server's certificates, and the root by name, as the top one knows it.
fn server_chain(presented: &[Vec<u8>]) -> Option<String> {
    let certificates: Vec<_> =
        presented.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
    let names: Vec<_> = certificates.iter().map(|c| format!("{:?}", c.subject())).collect();
    let root = certificates.last()?.issuer();
    Some(format!("{}, up to the root {root:?}", names.join(", ")))
}

/// Version, suite and server chain of a connection.
fn describe(host: &Host, port: u16, stream: &TlsStream, report: &mut Report) {
    let (tcp, tls) = stream.get_ref();
    let address = tcp.peer_addr().map_or_else(|_| "an address".into(), |a| a.to_string());
    let version = tls.protocol_version().map_or_else(String::new, |v| format!("{v:?}"));
    let suite =
        tls.negotiated_cipher_suite().map_or_else(String::new, |s| format!("{:?}", s.suite()));
    report.saw(format!("{host}:{port} at {address}: {version}, {suite}"));
    let presented: Vec<_> =
        tls.peer_certificates().unwrap_or_default().iter().map(|der| der.to_vec()).collect();
    if let Some(names) = server_chain(&presented) {
        report.saw(format!("the server's certificates: {names}"));
    }
}

/// DPS always asks for the device's certificate; what does not, ends the TLS connection before it.
fn judge_request(host: &Host, sent: usize, watched: &Watched, report: &mut Report) {
    if watched.signed.load(Ordering::Relaxed) {
        report.saw(format!("certificates sent to {host}: {sent}"));
        return;
    }
    report.found(Finding::new(
        Check::CertificateNotAsked,
        format!("The server that answers for {host} did not ask for the device's certificate."),
        "Have the proxy or firewall that inspects TLS leave this host alone, or check the host name.",
    ));
}

/// The alert with which a server hangs up right after the handshake; most wait for us to speak.
async fn refusal(stream: &mut TlsStream, host: &Host) -> Option<Error> {
    use tokio::io::AsyncReadExt;

    const PATIENCE: Duration = Duration::from_millis(500);

    let mut byte = [0];
    match timeout(PATIENCE, stream.read(&mut byte)).await {
        Ok(Err(error)) => Some(crate::tls::io_failure(error, host)),
        Ok(Ok(_)) | Err(_) => None,
    }
}

async fn examine_websocket(
    doctor: &Doctor,
    host: &Host,
    stream: TlsStream,
    limit: Limit,
    report: &mut Report,
) {
    let refused = |what: String| {
        Finding::new(
            Check::WebSocketRefused,
            format!("The WebSocket upgrade on {host}:{HTTPS_PORT} failed: {what}."),
            "Have the proxy let WebSocket upgrades to this host pass, or use port 8883.",
        )
    };
    let name = match host.as_str() {
        address if address.contains(':') => format!("[{address}]"),
        name => name.to_owned(),
    };
    let request = format!("wss://{name}/$iothub/websocket").into_client_request();
    let Ok(mut request) = request else { return };
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    let upgrade = tokio_tungstenite::client_async(request, stream);
    match timeout(UPGRADE_LIMIT.min(limit.left()), upgrade).await {
        Ok(Ok((_, response))) => {
            report.saw(format!("the WebSocket upgrade on {host}:{HTTPS_PORT}"));
            compare_clocks(doctor, host, &response, report);
        }
        Ok(Err(WebSocketError::Http(response))) => {
            report.found(refused(format!("the answer was {}", response.status())));
            compare_clocks(doctor, host, &response, report);
        }
        Ok(Err(error)) => report.found(refused(error.to_string())),
        Err(_) => report.found(refused("no answer came".into())),
    }
}

fn compare_clocks<T>(doctor: &Doctor, host: &Host, response: &Response<T>, report: &mut Report) {
    let stamp = response.headers().get(header::DATE).and_then(|value| value.to_str().ok());
    let Some(theirs) = stamp.and_then(|stamp| OffsetDateTime::parse(stamp, &Rfc2822).ok()) else {
        return;
    };
    let ours = moment(doctor.now());
    if (ours - theirs).abs() <= ALLOWED_SKEW {
        report.saw("this device's clock, against the server's");
        return;
    }
    report.found(Finding::new(
        Check::ClockSkew,
        format!("This device's clock shows {}, and that of {host} {}.", date(ours), date(theirs)),
        "Set this device's clock, for example: timedatectl set-ntp true",
    ));
}

fn explained(error: &Error, check: Check) -> Finding {
    Finding::new(check, sentence(error), error.hint().unwrap_or("Look at the server's own log."))
}

/// Notices whether TLS has asked for a signature, that is for the certificate.
struct Watched {
    signer: Arc<dyn Signer>,
    signed: AtomicBool,
}

impl Signer for Watched {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.signer.algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.signed.store(true, Ordering::Relaxed);
        self.signer.sign(request)
    }

    fn may_block(&self) -> bool {
        self.signer.may_block()
    }
}
