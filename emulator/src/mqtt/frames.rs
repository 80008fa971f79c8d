//! MQTT packets over a pair of byte streams, each of them recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::mqttbytes::v4::{Connect, Packet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::listener::{self, Connection, Shared};
use crate::record::{Direction, Role, Source, Transport, What};

/// Largest packet taken in: a hub's message of 256 KB with its properties behind
/// a topic as long as MQTT allows.
const LARGEST: usize = 256 * 1024 + 64 * 1024 + 16;
/// How long a client may take to read what it is sent.
const WRITE: Duration = Duration::from_secs(10);

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("not MQTT 3.1.1: {0}")]
    Codec(CodecError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the client does not read its answers")]
    Stalled,
}

pub(super) struct Frames<R, W> {
    reader: R,
    writer: W,
    incoming: BytesMut,
    outgoing: BytesMut,
    pub(super) trace: Trace,
}

impl<R: AsyncRead + Send + Unpin, W: AsyncWrite + Send + Unpin> Frames<R, W> {
    pub(super) fn new(reader: R, writer: W, trace: Trace) -> Self {
        let (incoming, outgoing) = (BytesMut::new(), BytesMut::new());
        Self { reader, writer, incoming, outgoing, trace }
    }

    /// The next packet; `None` where the client has closed the connection. Safe to cancel.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, Error> {
        loop {
            if let Some(packet) = self.decode()? {
                return Ok(Some(packet));
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// The next packet of those already read.
    pub(super) fn decode(&mut self) -> Result<Option<Packet>, Error> {
        match Packet::read(&mut self.incoming, LARGEST) {
            Ok(packet) => {
                // A CONNECT is recorded once its user name is understood.
                if !matches!(packet, Packet::Connect(_)) {
                    self.trace.push(Direction::In, [What::of(&packet)]);
                }
                Ok(Some(packet))
            }
            Err(CodecError::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(Error::Codec(error)),
        }
    }

    /// Reads more and says how many bytes; 0 where the client has closed the connection. Safe to
    /// cancel.
    pub(super) async fn fill(&mut self) -> Result<usize, Error> {
        self.incoming.reserve(4096);
        Ok(self.reader.read_buf(&mut self.incoming).await?)
    }

    /// Queues a packet until the next [`Frames::flush`].
    pub(super) fn send(&mut self, packet: Packet) {
        self.send_all([packet]);
    }

    /// Queues packets until the next [`Frames::flush`].
    pub(super) fn send_all(&mut self, packets: impl IntoIterator<Item = Packet>) {
        let queued = packets.into_iter().filter(|packet| queue(packet, &mut self.outgoing));
        self.trace.push(Direction::Out, queued.map(|packet| What::of(&packet)));
    }

    /// Whether a packet waits for the next [`Frames::flush`].
    pub(super) fn has_queued(&self) -> bool {
        !self.outgoing.is_empty()
    }

    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let write = async {
            self.writer.write_all_buf(&mut self.outgoing).await?;
            self.writer.flush().await
        };
        timeout(WRITE, write).await.map_err(|_| Error::Stalled)??;
        Ok(())
    }

    /// Sends what is queued and says goodbye in TLS.
    pub(super) async fn close(&mut self) {
        let farewell = async {
            self.flush().await?;
            self.writer.shutdown().await?;
            Ok::<_, Error>(())
        };
        if !matches!(timeout(listener::GRACE, farewell).await, Ok(Ok(()))) {
            tracing::debug!("the client did not wait for the goodbye");
        }
    }

    /// Reads and forgets until the client gives up.
    pub(super) async fn swallow(&mut self) {
        listener::swallow(&mut self.reader).await;
    }
}

/// Whether the packet could be written. The codec would silently truncate a topic too long for
/// MQTT, so that is kept out here.
fn queue(packet: &Packet, outgoing: &mut BytesMut) -> bool {
    if matches!(packet, Packet::Publish(publish) if publish.topic.len() > usize::from(u16::MAX)) {
        tracing::warn!("an answer's topic is too long for MQTT; not sent");
        return false;
    }
    let written = packet.write(outgoing, usize::MAX);
    if let Err(error) = &written {
        tracing::warn!(%error, "an answer cannot be encoded; not sent");
    }
    written.is_ok()
}

/// Records the packets of one connection.
pub(super) struct Trace {
    shared: Arc<Shared>,
    source: Arc<Source>,
}

impl Trace {
    pub(super) fn new(shared: Arc<Shared>, connection: &Connection, transport: Transport) -> Self {
        Self { shared, source: Arc::new(connection.source(transport)) }
    }

    pub(super) fn identify(&mut self, role: Role, device: &str) {
        let source = Arc::make_mut(&mut self.source);
        (source.role, source.device) = (Some(role), Some(device.to_owned()));
    }

    /// The CONNECT passes through here by itself because its Debug form shows the password.
    pub(super) fn incoming_connect(&self, connect: &Connect) {
        self.push(Direction::In, [What::of(&Packet::Connect(connect.clone()))]);
    }

    fn push(&self, direction: Direction, packets: impl IntoIterator<Item = What>) {
        self.shared.recorder.push(&self.source, direction, packets);
    }
}
