//! How a connection is opened: to which host, over which route, trusting which roots.
//!
//! The same for the Device Provisioning Service and for the hub it assigns.

pub(crate) mod mqtt;

use std::{
    env,
    fmt::{self, Write as _},
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use rustls_pki_types::DnsName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    error::{Error, ErrorKind, Missing, Result},
    signer::SIGN_LIMIT,
    tls::{Roots, TlsClient, TlsStream},
};

/// The port of MQTT over TLS, for the Device Provisioning Service and for hubs.
pub(crate) const MQTT_PORT: u16 = 8883;

/// The environment variable that sends every connection to one `HOST:PORT`.
const CONNECT_TO: &str = "DPS_CONNECT_TO";

/// How long opening a connection may take: name lookup, TCP and TLS.
const OPEN_LIMIT: Duration = SIGN_LIMIT;

/// The name of a server: a DNS name or an IP address, in lower case, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// Reads a host name; refuses a URL, a port and whatever else is not a name.
    pub fn parse(text: &str) -> Result<Self> {
        Self::strict(text).ok_or_else(|| {
            let error = Error::new(
                ErrorKind::HostInvalid,
                format!("{} is not a host name: {}", quoted(text), fault_of(text)),
            );
            match Self::repaired(text) {
                Some(repaired) if has_port(text) => error.with_hint(format!(
                    "Write it as \"{repaired}\"; the port is an option of its own."
                )),
                Some(repaired) => error.with_hint(format!("Write it as \"{repaired}\".")),
                None => error,
            }
        })
    }

    /// The name as it is sent in SNI and in user names.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn strict(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self(address.to_string()));
        }
        // A trailing dot is good DNS, but SNI does not allow it (RFC 6066, section 3).
        let name = DnsName::try_from(text).ok().filter(|_| !text.ends_with('.'))?;
        Some(Self(name.as_ref().to_ascii_lowercase()))
    }

    /// The host name that the user most likely meant.
    fn repaired(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let text = text.split(['/', '?', '#']).next().unwrap_or_default();
        let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
        let host = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => match text.split_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => host,
                _ => text,
            },
        };
        Self::strict(host.trim_end_matches('.'))
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Turns host names into addresses.
pub trait Resolver: Send + Sync {
    /// The addresses of `host`, in the order in which they are to be tried.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// How connections are opened: the same for the Device Provisioning Service and the hub.
#[derive(Clone, Default)]
#[must_use = "a network is given to a client"]
pub struct Network {
    connect_to: Option<String>,
    roots: Roots,
    resolver: Option<Arc<dyn Resolver>>,
}

impl Network {
    /// Sends every connection to `HOST:PORT`, while SNI, the check of the server's name and the
    /// user names keep the real host: for private endpoints, tests and the emulator.
    ///
    /// Where it is not set, the environment variable `DPS_CONNECT_TO` decides.
    pub fn connect_to(mut self, host_and_port: impl Into<String>) -> Self {
        self.connect_to = Some(host_and_port.into());
        self
    }

    /// The roots that a server's certificate must lead to.
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = roots;
        self
    }

    /// Looks host names up with `resolver` instead of the system.
    pub fn resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    pub(crate) fn trusted_roots(&self) -> &Roots {
        &self.roots
    }

    /// Opens a TLS connection without a client certificate, for the management of a service.
    pub async fn open_tls(
        &self,
        host: &Host,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>> {
        self.open(host, port, &TlsClient::anonymous(&self.roots)?, &[]).await
    }

    /// Opens a TLS connection to `host`. The bytes of `first` go out once the server is verified,
    /// in TLS 1.3 with the end of the handshake: one packet less on the way.
    ///
    /// They must hold no password, since TLS keeps an unwiped copy.
    pub(crate) async fn open(
        &self,
        host: &Host,
        port: u16,
        tls: &TlsClient,
        first: &[u8],
    ) -> Result<TlsStream> {
        let route = self.route(host, port)?;
        let deadline = Instant::now() + OPEN_LIMIT;
        let stream = self.dial(&route, deadline).await?;
        timeout_at(deadline, tls.handshake(stream, host, first)).await.unwrap_or_else(|_| {
            Err(route.too_slow("the TLS handshake was not done", Missing::Handshake))
        })
    }

    /// Where the bytes for `host` go.
    pub(crate) fn route(&self, host: &Host, port: u16) -> Result<Route> {
        if port == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "port 0 cannot be connected to"));
        }
        let real = Route { host: host.0.clone(), port, detour: None };
        let (option, target) = match &self.connect_to {
            Some(target) => ("connect_to", target.clone()),
            None => match env::var(CONNECT_TO) {
                Ok(target) if !target.is_empty() => (CONNECT_TO, target),
                Ok(_) | Err(env::VarError::NotPresent) => return Ok(real),
                Err(env::VarError::NotUnicode(target)) => {
                    (CONNECT_TO, target.to_string_lossy().into_owned())
                }
            },
        };
        let (host, port) = host_and_port(&target).ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, format!("{option} is {}", quoted(&target)))
                .with_hint("It must be HOST:PORT, such as 127.0.0.1:8883.")
        })?;
        Ok(Route { host: host.0, port, detour: Some(Detour { option, real: real.to_string() }) })
    }

    /// Tries each address in turn, giving each a fair share of the time that is left.
    async fn dial(&self, route: &Route, deadline: Instant) -> Result<TcpStream> {
        let addresses = timeout_at(deadline, self.resolve(route)).await.unwrap_or_else(|_| {
            Err(route.too_slow("the host name was not resolved", Missing::Address))
        })?;
        let mut failures = String::new();
        let mut all_slow = true;
        for (index, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let cause = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => match stream.set_nodelay(true) {
                    Ok(()) => return Ok(stream),
                    Err(cause) => cause.to_string(),
                },
                Ok(Err(cause)) => cause.to_string(),
                Err(_) => {
                    let _ = write!(failures, "; {address}: no answer");
                    continue;
                }
            };
            all_slow = false;
            let _ = write!(failures, "; {address}: {cause}");
        }
        let kind = if all_slow { ErrorKind::RequestTimeout } else { ErrorKind::ConnectionFailed };
        Err(Error::new(kind, format!("could not connect to {route}{failures}"))
            .awaiting(Missing::Connection)
            .with_hint(route.remedy()))
    }

    /// At least one address, or an error.
    async fn resolve(&self, route: &Route) -> Result<Vec<SocketAddr>> {
        if let Ok(address) = route.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, route.port)]);
        }
        let found = match &self.resolver {
            Some(resolver) => resolver.resolve(&route.host, route.port).await,
            None => lookup_host((route.host.as_str(), route.port)).await.map(Iterator::collect),
        };
        let not_found = |cause: &dyn fmt::Display| {
            let for_host = route.detour.as_ref();
            let for_host = for_host.map(|detour| format!(", in place of {}", detour.real));
            let for_host = for_host.unwrap_or_default();
            Error::new(
                ErrorKind::HostNotFound,
                format!("the host name {}{for_host} could not be resolved: {cause}", route.host),
            )
            .with_hint("Check the spelling, the DNS server and the network.")
        };
        match found {
            Ok(addresses) if addresses.is_empty() => Err(not_found(&"it has no address")),
            Ok(addresses) => Ok(addresses),
            Err(cause) => Err(not_found(&cause).with_source(cause)),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("connect_to", &self.connect_to).finish_non_exhaustive()
    }
}

/// Where the bytes go.
pub(crate) struct Route {
    host: String,
    port: u16,
    /// Where the connection is sent elsewhere than to the real host.
    detour: Option<Detour>,
}

struct Detour {
    /// What asked for it.
    option: &'static str,
    /// The real host and port.
    real: String,
}

impl Route {
    fn too_slow(&self, what: &str, missing: Missing) -> Error {
        Error::new(
            ErrorKind::RequestTimeout,
            format!("{self}: {what} within {} s", OPEN_LIMIT.as_secs()),
        )
        .awaiting(missing)
    }

    /// What to do where nobody answers.
    pub(crate) fn remedy(&self) -> String {
        let Self { host, port, detour } = self;
        match detour {
            None => format!(
                "Have outgoing TCP to {} allowed; test it: nc -vz {host} {port}",
                self.target()
            ),
            Some(Detour { option, .. }) => format!(
                "{option} sends every connection to {}: is the emulator running there? Start it: \
                 dps emulator; or leave {option} out.",
                self.target()
            ),
        }
    }

    fn target(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target())?;
        match &self.detour {
            Some(Detour { real, .. }) => write!(f, " (in place of {real})"),
            None => Ok(()),
        }
    }
}

fn host_and_port(text: &str) -> Option<(Host, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    Some((Host::strict(host)?, port))
}

/// Why `text`, which is no host name, is none.
fn fault_of(text: &str) -> &'static str {
    if text.is_empty() {
        "it is empty"
    } else if text.contains("://") {
        "it is a URL"
    } else if text.contains(char::is_whitespace) {
        "it contains a space"
    } else if text.contains(['/', '?', '#', '\\']) {
        "it contains a path"
    } else if has_port(text) {
        "it contains a port"
    } else if text.len() > 253 {
        "it is longer than 253 characters"
    } else if text.ends_with('.') {
        "it ends in a dot"
    } else if !text.is_ascii() {
        "it contains a letter outside ASCII"
    } else {
        "it is neither a DNS name nor an IP address"
    }
}

fn has_port(text: &str) -> bool {
    let text = text.trim();
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split(['/', '?', '#']).next().unwrap_or_default();
    text.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (host.ends_with(']') || !host.contains(':'))
    })
}

/// `text` in quotes, with control characters escaped and a sane length.
fn quoted(text: &str) -> String {
    const LIMIT: usize = 100;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(io::Result<Vec<SocketAddr>>);

    impl Resolver for Fixed {
        fn resolve<'a>(
            &'a self,
            _: &'a str,
            _: u16,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
            let found = match &self.0 {
                Ok(addresses) => Ok(addresses.clone()),
                Err(cause) => Err(io::Error::new(cause.kind(), cause.to_string())),
            };
            Box::pin(async { found })
        }
    }

    /// A network that neither the environment nor the system's resolver can change.
    fn resolving_to(found: io::Result<Vec<SocketAddr>>) -> Network {
        Network::default().connect_to("hub.example.net:8883").resolver(Arc::new(Fixed(found)))
    }

    async fn dial(network: &Network) -> Result<TcpStream> {
        let route = network.route(&Host::parse("real.example.net").unwrap(), MQTT_PORT)?;
        network.dial(&route, Instant::now() + OPEN_LIMIT).await
    }

    #[test]
    fn no_server_listens_on_port_0() {
        let network = Network::default().connect_to("hub.example.net:8883");
        let error = network.route(&Host::parse("real.example.net").unwrap(), 0).err().unwrap();
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::InvalidArgument, false));
    }

    /// An address on which nobody listens.
    async fn closed() -> SocketAddr {
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[test]
    fn host_names_and_addresses_are_accepted_in_lower_case() {
        for (text, host) in [
            ("global.azure-devices-provisioning.net", "global.azure-devices-provisioning.net"),
            ("Contoso-Hub.Azure-Devices.NET", "contoso-hub.azure-devices.net"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
        ] {
            assert_eq!(Host::parse(text).unwrap().as_str(), host);
        }
    }

    #[test]
    fn what_is_no_host_name_is_quoted_and_repaired() {
        for (text, fault, hint) in [
            ("https://hub.example.net", "a URL", Some("Write it as \"hub.example.net\".")),
            ("hub.example.net/path", "a path", Some("Write it as \"hub.example.net\".")),
            ("hub.example.net:8883", "a port", Some("Write it as \"hub.example.net\"; the port")),
            ("mqtts://hub.example.net:8883/x", "a URL", Some("hub.example.net\"; the port")),
            ("[::1]:8883", "a port", Some("Write it as \"::1\"; the port")),
            (" hub.example.net", "a space", Some("Write it as \"hub.example.net\".")),
            ("hub example.net", "a space", None),
            ("hub.example.net.", "a dot", Some("Write it as \"hub.example.net\".")),
            ("", "empty", None),
            ("hüb.example.net", "ASCII", None),
            ("hub..example.net", "neither", None),
            ("999.1.1.1", "neither", None),
            ("hub\0.example.net", "neither", None),
        ] {
            let error = Host::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HostInvalid, "{text:?}");
            assert!(error.message().starts_with(&format!("{text:?} is not a host name")));
            assert!(error.message().contains(fault), "{error}");
            match hint {
                Some(hint) => assert!(error.hint().unwrap().contains(hint), "{error}"),
                None => assert_eq!(error.hint(), None, "{error}"),
            }
        }
    }

    #[test]
    fn a_name_of_253_characters_is_the_longest() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(Host::parse(&longest).is_ok());
        let error = Host::parse(&format!("a{longest}")).unwrap_err();
        assert!(error.message().contains("longer than 253"), "{error}");
        assert!(error.message().len() < 300, "the quotation is cut");
    }

    #[tokio::test]
    async fn every_connection_goes_where_connect_to_says() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let stream = dial(&Network::default().connect_to(target)).await.unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(listener.accept().await.unwrap().1, stream.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_malformed_connect_to_is_named() {
        for text in ["localhost", "localhost:", "localhost:0", "localhost:65536", ":1", "a b:1"] {
            let error = dial(&Network::default().connect_to(text)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text:?}");
            assert!(error.to_string().contains(&format!("connect_to is {text:?}")), "{error}");
        }
    }

    #[tokio::test]
    async fn an_unknown_host_is_named_with_its_cause() {
        let unknown = io::Error::new(io::ErrorKind::NotFound, "Name or service not known");
        let error = dial(&resolving_to(Err(unknown))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostNotFound);
        let text = error.to_string();
        assert!(text.contains("hub.example.net") && text.contains("real.example.net"), "{text}");
        assert!(text.contains("Name or service not known"), "{text}");

        let error = dial(&resolving_to(Ok(Vec::new()))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostNotFound);
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = vec![closed().await, listener.local_addr().unwrap()];
        let stream = dial(&resolving_to(Ok(addresses))).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_closed_port_is_named_with_the_systems_cause() {
        let address = closed().await;
        let error = dial(&resolving_to(Ok(vec![address]))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionFailed);
        let text = error.to_string();
        assert!(text.contains("hub.example.net:8883"), "{text}");
        assert!(text.contains(&address.to_string()) && text.contains("refused"), "{text}");
    }
}
