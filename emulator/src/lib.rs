//! A local emulator of the Azure IoT Hub Device Provisioning Service and of the hubs linked to it.
//!
//! One TLS port speaks MQTT, MQTT over WebSocket and HTTPS, for devices and for management alike.
//! Clients connect to [`Emulator::connect_to`] while their SNI, user names and `Host` headers keep
//! the names of the real service, all of which the server's certificate carries.
//!
//! ```no_run
//! # async fn example() -> Result<(), dps_emulator::EmulatorError> {
//! let emulator = dps_emulator::Emulator::builder().polls(0).start().await?;
//! println!("DPS_CONNECT_TO={}", emulator.connect_to());
//! emulator.stop().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod control;
mod device_http;
mod faults;
mod listener;
mod manage;
mod mqtt;
mod record;
mod sas;
mod service;
mod settings;
mod store;
mod tls;
mod x509;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustls::pki_types::DnsName;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::DropGuard;

pub use faults::{Action, Cut, Fault, FaultControl, FaultError, Faults, Step};
pub use record::{Direction, Recorded, Role, Transport};
pub use tls::TlsVersion;

use listener::Shared;
use service::Service;
use settings::Settings;
use tls::Root;

/// The host every device of Azure's public cloud provisions through.
const GLOBAL_HOST: &str = "global.azure-devices-provisioning.net";
/// The port of MQTT over TLS, which Microsoft's SDKs cannot change.
const MQTT_PORT: u16 = 8883;
/// Where the root certificate lies among the stored blobs.
const ROOT: &str = "tls/root";

/// Why an emulator could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The operating system refused something.
    #[error("{context}: {source}")]
    Io {
        /// What was attempted.
        context: String,
        /// The system's own words.
        #[source]
        source: std::io::Error,
    },
    /// The data file cannot be used.
    #[error("data file: {0}")]
    Store(String),
    /// The server's certificates cannot be made or used.
    #[error("TLS: {0}")]
    Tls(String),
    /// A setting makes no sense.
    #[error("setting: {0}")]
    InvalidSetting(String),
}

/// A running emulator. Dropping it ends it without waiting; [`Emulator::stop`] waits.
pub struct Emulator {
    shared: Arc<Shared>,
    endpoints: Vec<SocketAddr>,
    root_pem: String,
    settings: Settings,
    _stop: DropGuard,
}

impl Emulator {
    /// An emulator as the tutorial has it: one linked hub, everything in memory, a free port of
    /// 127.0.0.1.
    pub fn builder() -> Builder {
        Builder {
            listen: Vec::new(),
            settings: Settings::default(),
            hubs: None,
            faults: Faults::default(),
        }
    }

    /// The addresses it listens on, in the order in which they were asked for.
    pub fn endpoints(&self) -> &[SocketAddr] {
        &self.endpoints
    }

    /// `ADDR:PORT` of the first endpoint, for `DPS_CONNECT_TO`.
    pub fn connect_to(&self) -> String {
        // A builder without addresses listens on one.
        let mut first = self.endpoints.first().copied().unwrap_or_else(any_loopback_port);
        match first.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => first.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => first.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        first.to_string()
    }

    /// The root certificate that clients have to trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The ID scope devices register under.
    pub fn id_scope(&self) -> &str {
        self.shared.service.id_scope()
    }

    /// Host name of the instance's own endpoint.
    pub fn dps_host(&self) -> String {
        self.settings.dps_host()
    }

    /// Host names of the linked hubs.
    pub fn hubs(&self) -> &[String] {
        &self.settings.hubs
    }

    /// Connection string of the provisioning service's owner, for management.
    pub fn connection_string(&self) -> String {
        let key = self.shared.service.owner_key();
        let host = self.dps_host();
        format!(
            "HostName={host};SharedAccessKeyName=provisioningserviceowner;SharedAccessKey={key}"
        )
    }

    /// Connection string of a hub's owner.
    pub fn hub_connection_string(&self, hub: &str) -> String {
        let key = self.shared.service.owner_key();
        format!("HostName={hub};SharedAccessKeyName=iothubowner;SharedAccessKey={key}")
    }

    /// The faults it makes; rules may come and go while it runs.
    pub fn faults(&self) -> &FaultControl {
        &self.shared.faults
    }

    /// What went over the wire: the newest ten thousand MQTT packets, HTTP request lines and
    /// statuses.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorder.list().0
    }

    /// Forgets what was recorded.
    pub fn clear_recorded(&self) {
        self.shared.recorder.clear();
    }

    /// Sets the clock that judges certificates and tokens so many seconds ahead, or behind.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.shared.service.set_clock_skew(seconds);
    }

    /// Stops it: what was received is stored and answered, every connection is closed, every
    /// task and the database's thread have ended.
    pub async fn stop(self) {
        let Self { shared, .. } = self;
        shared.stop.cancel();
        shared.tasks.close();
        // Each connection limits its own farewell; this is only against a mistake of ours.
        if timeout(4 * listener::GRACE, shared.tasks.wait()).await.is_err() {
            tracing::error!(left = shared.tasks.len(), "connections did not end");
        }
        shared.service.close().await;
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The settings hold the owner's key.
        formatter
            .debug_struct("Emulator")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

/// An emulator about to be started.
#[derive(Clone)]
pub struct Builder {
    listen: Vec<String>,
    settings: Settings,
    hubs: Option<Vec<String>>,
    faults: Faults,
}

impl Builder {
    /// Listens on `ADDR[:PORT]`; the port is 8883 unless named, and 0 takes a free one. May be
    /// given several times.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen.push(address.into());
        self
    }

    /// Keeps everything in this SQLite file, which is made if it is not there.
    pub fn data(mut self, file: impl Into<PathBuf>) -> Self {
        self.settings.data = Some(file.into());
        self
    }

    /// The ID scope devices register under.
    pub fn id_scope(mut self, id_scope: impl Into<String>) -> Self {
        self.settings.id_scope = Some(id_scope.into());
        self
    }

    /// Name of the provisioning service; its host is `{name}.azure-devices-provisioning.net`.
    pub fn dps_name(mut self, name: impl Into<String>) -> Self {
        self.settings.dps_name = name.into();
        self
    }

    /// Links a hub by its host name, in place of the default one. May be given several times.
    pub fn hub(mut self, host: impl Into<String>) -> Self {
        self.hubs.get_or_insert_default().push(host.into());
        self
    }

    /// Links no hub, so that registrations fail as they do at a service without one.
    pub fn no_hubs(mut self) -> Self {
        self.hubs = Some(Vec::new());
        self
    }

    /// Speaks this version of TLS alone; without it, 1.2 and 1.3.
    pub fn tls(mut self, version: TlsVersion) -> Self {
        self.settings.tls = Some(version);
        self
    }

    /// Lets RSA keys sign handshakes with PKCS#1 v1.5 only, as servers do whose TLS stack is older
    /// than RSA-PSS. TLS 1.3 leaves RSA keys nothing then (RFC 8446, 4.2.3).
    pub fn without_rsa_pss(mut self) -> Self {
        self.settings.rsa_pss = false;
        self
    }

    /// Seconds devices are told to wait between polls.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.settings.retry_after = seconds;
        self
    }

    /// Polls until a device is assigned; with 0 the registration is answered at once.
    pub fn polls(mut self, polls: u32) -> Self {
        self.settings.polls = polls;
        self
    }

    /// Telemetry messages kept per device; the oldest make room, and the feed counts them.
    pub fn retention(mut self, messages: u32) -> Self {
        self.settings.retention = messages;
        self
    }

    /// Faults to make from the start.
    pub fn faults(mut self, faults: impl Into<Faults>) -> Self {
        self.faults = faults.into();
        self
    }

    /// Starts it; when this returns, it accepts connections.
    pub async fn start(self) -> Result<Emulator, EmulatorError> {
        let Self { listen, mut settings, hubs, faults } = self;
        if let Some(hubs) = hubs {
            settings.hubs = hubs;
        }
        check(&settings)?;
        settings.owner_key = new_key()?;
        let mut listeners = Vec::new();
        if listen.is_empty() {
            listeners.push(bind(any_loopback_port()).await?);
        }
        for address in &listen {
            listeners.push(bind(resolve(address).await?).await?);
        }
        let endpoints = listeners
            .iter()
            .map(|listener| listener.local_addr().map_err(|e| io("cannot read an address", e)))
            .collect::<Result<_, _>>()?;

        let service = Service::open(&settings)?;
        let root = stored_root(&service).await?;
        let mut names = vec![GLOBAL_HOST.to_owned(), settings.dps_host()];
        names.extend_from_slice(&settings.hubs);
        let acceptor = TlsAcceptor::from(Arc::new(root.server_config(&names, &settings)?));

        let control = FaultControl::default();
        control.add(faults);
        let shared = Arc::new(Shared::new(service, control));
        let router = device_http::router(&shared);
        for listener in listeners {
            let serving =
                listener::serve(listener, acceptor.clone(), router.clone(), shared.clone());
            shared.tasks.spawn(serving);
        }
        tracing::info!(?endpoints, id_scope = shared.service.id_scope(), "emulator ready");
        let root_pem = root.certificate_pem().to_owned();
        let _stop = shared.stop.clone().drop_guard();
        Ok(Emulator { shared, endpoints, root_pem, settings, _stop })
    }
}

fn check(settings: &Settings) -> Result<(), EmulatorError> {
    let invalid = |text: String| Err(EmulatorError::InvalidSetting(text));
    // It stands in user names and paths between slashes.
    if let Some(scope) = &settings.id_scope
        && (scope.is_empty() || !scope.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    {
        return invalid(format!("the ID scope {scope:?} is not of letters and digits"));
    }
    if DnsName::try_from(settings.dps_host()).is_err() || settings.dps_name.contains('.') {
        return invalid(format!("{:?} cannot name a provisioning service", settings.dps_name));
    }
    for (at, hub) in settings.hubs.iter().enumerate() {
        if DnsName::try_from(hub.as_str()).is_err() {
            return invalid(format!("the hub {hub:?} is not a host name"));
        }
        // Which of the two is meant is told by the host alone.
        if hub.to_ascii_lowercase().contains(".azure-devices-provisioning.") {
            return invalid(format!("{hub:?} names a provisioning service, not a hub"));
        }
        if settings.hubs[..at].iter().any(|other| other.eq_ignore_ascii_case(hub)) {
            return invalid(format!("the hub {hub:?} is linked twice"));
        }
    }
    Ok(())
}

fn any_loopback_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// `ADDR`, `ADDR:PORT`, with or without brackets around an IPv6 address, or a host name.
async fn resolve(text: &str) -> Result<SocketAddr, EmulatorError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok((ip, MQTT_PORT).into());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (text, Some(MQTT_PORT)),
    };
    let not_an_address =
        || EmulatorError::InvalidSetting(format!("{text:?} is not of the form ADDR[:PORT]"));
    let port = port.filter(|_| !host.is_empty()).ok_or_else(not_an_address)?;
    let mut found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| io(&format!("cannot find the address {text}"), error))?;
    found.next().ok_or_else(not_an_address)
}

async fn bind(address: SocketAddr) -> Result<TcpListener, EmulatorError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| io(&format!("cannot listen on {address}"), error))
}

fn io(context: &str, source: std::io::Error) -> EmulatorError {
    EmulatorError::Io { context: context.to_owned(), source }
}

/// As long as the keys the real service makes.
fn new_key() -> Result<String, EmulatorError> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key)
        .map_err(|_| EmulatorError::Tls("no random numbers".to_owned()))?;
    Ok(BASE64_STANDARD.encode(key))
}

async fn stored_root(service: &Service) -> Result<Root, EmulatorError> {
    if let Some(pem) = service.blob(ROOT).await? {
        return Root::from_pem(&pem);
    }
    let root = Root::generate()?;
    service.put_blob(ROOT, root.to_pem()).await?;
    Ok(root)
}
