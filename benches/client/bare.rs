//! The same bytes on the wire by tokio-rustls and the MQTT codec alone: no retries, no checks, no
//! window. What dps-core costs above this is its own.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::BytesMut;
use dps_benches::{MESSAGE_SIZE, Meter, Outcome, Reading, Site, Task};
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rumqttc::mqttbytes::{
    self, QoS,
    v4::{Connect, ConnectReturnCode, Login, Packet, PubAck, Publish, Subscribe},
};
use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::ours::{ABREAST, WARM_UP};

const GLOBAL_HOST: &str = "global.azure-devices-provisioning.net";

/// How many bytes are encoded before they are written; also the largest packet.
const BATCH: usize = 64 * 1024;

pub(crate) async fn run(task: Task, site: &Site) -> Outcome<Reading> {
    match task {
        Task::Handshake { devices, times, pause } => {
            visits(site, devices, times, Some(Duration::from_micros(pause))).await
        }
        Task::Register { devices, times } => visits(site, devices, times, None).await,
        Task::Device { messages } => device(site, messages).await,
        Task::Telemetry { messages, at_once } => telemetry(site, messages, at_once).await,
        Task::Fleet { devices } => fleet(site, devices).await,
        Task::Mint { devices, folder } => files(devices, &folder),
        _ => Err("only dps-core does this".into()),
    }
}

/// Visits to DPS: whole registrations, or handshakes with a pause before the end of each.
async fn visits(
    site: &Site,
    devices: usize,
    times: usize,
    pause: Option<Duration>,
) -> Outcome<Reading> {
    let bare = Bare::new(site)?;
    let devices: Vec<_> = (0..devices).map(|number| bare.device(number)).collect::<Outcome<_>>()?;
    let each = |times: usize| {
        try_join_all(devices.iter().map(move |device| async move {
            for _ in 0..times {
                match pause {
                    None => device.register().await?,
                    Some(pause) => {
                        let mut stream = device.shake_hands(GLOBAL_HOST, &[]).await?;
                        // Not by the runtime, whose clock counts milliseconds.
                        thread::sleep(pause);
                        stream.shutdown().await?;
                    }
                }
            }
            Outcome::<()>::Ok(())
        }))
    };
    each(WARM_UP).await?;
    let meter = Meter::start()?;
    each(times / devices.len()).await?;
    meter.stop()
}

async fn device(site: &Site, messages: usize) -> Outcome<Reading> {
    let meter = Meter::start()?;
    let device = Bare::new(site)?.device(0)?;
    device.register().await?;
    let mut hub = device.hub().await?;
    hub.send(messages, 1).await?;
    hub.leave(&[Packet::Disconnect]).await?;
    meter.stop()
}

async fn telemetry(site: &Site, messages: usize, at_once: usize) -> Outcome<Reading> {
    let mut hub = Bare::new(site)?.device(0)?.hub().await?;
    hub.send(messages / 10, at_once).await?;
    let meter = Meter::start()?;
    hub.send(messages, at_once).await?;
    let reading = meter.stop()?;
    hub.leave(&[Packet::Disconnect]).await?;
    Ok(reading)
}

async fn fleet(site: &Site, devices: usize) -> Outcome<Reading> {
    let bare = Bare::new(site)?;
    let _one_more = bare.connected(devices).await?;
    let meter = Meter::start()?;
    let fleet: Vec<_> = stream::iter(0..devices)
        .map(|number| bare.connected(number))
        .buffer_unordered(ABREAST)
        .try_collect()
        .await?;
    let reading = meter.stop()?;
    drop(fleet);
    Ok(reading)
}

/// What a key, a certificate and a full chain in EC P-256 take on the disk, each written under
/// another name and renamed.
fn files(devices: usize, folder: &Path) -> Outcome<Reading> {
    const SIZES: [(&str, usize); 3] = [("key", 240), ("full-chain", 2000), ("cert", 750)];

    let meter = Meter::start()?;
    for number in 0..devices {
        for (name, size) in SIZES {
            let path = folder.join(format!("{number}.{name}.pem"));
            let temporary = path.with_extension("new");
            let mut file = File::create_new(&temporary)?;
            file.write_all(&vec![b'x'; size])?;
            fs::rename(temporary, path)?;
        }
    }
    meter.stop()
}

/// What the devices of one process share.
struct Bare<'a> {
    site: &'a Site,
    provider: Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl<'a> Bare<'a> {
    fn new(site: &'a Site) -> Outcome<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(&site.roots)? {
            roots.add(root?)?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()?;
        Ok(Self { site, provider, verifier })
    }

    fn device(&self, number: usize) -> Outcome<Device<'a>> {
        let chain: Result<_, _> = CertificateDer::pem_file_iter(self.site.chain(number))?.collect();
        let key = PrivateKeyDer::from_pem_file(self.site.key(number))?;
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_webpki_verifier(self.verifier.clone())
            .with_client_auth_cert(chain?, key)?;
        let id = Site::device_id(number);
        Ok(Device { site: self.site, id, connector: Arc::new(config).into() })
    }

    /// A device with an idle connection to its hub.
    async fn connected(&self, number: usize) -> Outcome<Line> {
        let device = self.device(number)?;
        device.register().await?;
        device.hub().await
    }
}

struct Device<'a> {
    site: &'a Site,
    id: String,
    connector: TlsConnector,
}

impl Device<'_> {
    async fn register(&self) -> Outcome<()> {
        let user_name = format!(
            "{}/registrations/{}/api-version=2021-06-01&ClientVersion={}",
            self.site.id_scope,
            self.id,
            client_version()
        );
        let mut subscribe = Subscribe::new("$dps/registrations/res/#", QoS::AtLeastOnce);
        subscribe.pkid = 1;
        let body = format!("{{\"registrationId\":\"{}\"}}", self.id);
        let topic = "$dps/registrations/PUT/iotdps-register/?$rid=1";
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, body);
        publish.pkid = 2;
        let said = [
            self.introduction(user_name, true),
            Packet::Subscribe(subscribe),
            Packet::Publish(publish),
        ];
        let mut line = self.open(GLOBAL_HOST, &said).await?;
        let answer = loop {
            match line.next().await? {
                Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {}
                Packet::SubAck(_) | Packet::PubAck(_) => {}
                Packet::Publish(answer) if answer.topic.contains("/res/200/") => break answer,
                _ => return Err("not registered".into()),
            }
        };
        line.leave(&[Packet::PubAck(PubAck::new(answer.pkid)), Packet::Disconnect]).await
    }

    async fn hub(&self) -> Outcome<Line> {
        let user_name = format!(
            "{}/{}/?api-version=2021-04-12&DeviceClientType={}",
            self.site.hub,
            self.id,
            client_version()
        );
        let mut line = self.open(&self.site.hub, &[self.introduction(user_name, false)]).await?;
        match line.next().await? {
            Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => Ok(line),
            _ => Err("not accepted".into()),
        }
    }

    fn introduction(&self, user_name: String, clean_session: bool) -> Packet {
        let mut connect = Connect::new(&self.id);
        connect.clean_session = clean_session;
        connect.keep_alive = 60;
        connect.login = Some(Login::new(user_name, ""));
        Packet::Connect(connect)
    }

    async fn open(&self, host: &str, said: &[Packet]) -> Outcome<Line> {
        let stream = self.shake_hands(host, &encoded(said)?).await?;
        Ok(Line { stream, incoming: BytesMut::new() })
    }

    /// The bytes of `first` go out with the last of the handshake.
    async fn shake_hands(&self, host: &str, first: &[u8]) -> Outcome<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.site.connect_to).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        let mut held_back = Ok(());
        let connect = self
            .connector
            .connect_with(name, stream, |tls| held_back = tls.writer().write_all(first));
        held_back?;
        Ok(connect.await?)
    }
}

/// A connection.
struct Line {
    stream: TlsStream<TcpStream>,
    incoming: BytesMut,
}

impl Line {
    async fn next(&mut self) -> Outcome<Packet> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(packet);
            }
            self.read().await?;
        }
    }

    fn take(&mut self) -> Outcome<Option<Packet>> {
        match Packet::read(&mut self.incoming, BATCH) {
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn read(&mut self) -> Outcome<()> {
        self.incoming.reserve(4096);
        match self.stream.read_buf(&mut self.incoming).await? {
            0 => Err("the server has closed the connection".into()),
            _ => Ok(()),
        }
    }

    async fn send(&mut self, messages: usize, at_once: usize) -> Outcome<()> {
        let topic = format!("devices/{}/messages/events/", Site::device_id(0));
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, vec![b'x'; MESSAGE_SIZE]);
        let mut outgoing = BytesMut::new();
        let (mut sent, mut acknowledged) = (0, 0);
        while acknowledged < messages {
            while sent < messages && sent - acknowledged < at_once && outgoing.len() < BATCH {
                publish.pkid = publish.pkid % 65_535 + 1;
                publish.write(&mut outgoing)?;
                sent += 1;
            }
            self.stream.write_all(&outgoing).await?;
            self.stream.flush().await?;
            outgoing.clear();
            self.read().await?;
            while let Some(packet) = self.take()? {
                let Packet::PubAck(_) = packet else { return Err("no PUBACK".into()) };
                acknowledged += 1;
            }
        }
        Ok(())
    }

    /// The last packets go out with the end of the stream.
    async fn leave(mut self, said: &[Packet]) -> Outcome<()> {
        self.stream.get_mut().1.writer().write_all(&encoded(said)?)?;
        Ok(self.stream.shutdown().await?)
    }
}

fn encoded(packets: &[Packet]) -> Outcome<BytesMut> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet.write(&mut bytes, BATCH)?;
    }
    Ok(bytes)
}

/// What dps-core calls itself, so that the bytes are as many.
fn client_version() -> String {
    let version = concat!("dps-core/", env!("CARGO_PKG_VERSION"));
    utf8_percent_encode(version, NON_ALPHANUMERIC).to_string()
}
