//! MQTT 3.1.1 over any stream: the only file that knows the codec.

use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use rumqttc::mqttbytes::{
    self,
    v4::{self, ConnectReturnCode, Login, PubAck, Subscribe, SubscribeReasonCode},
};
pub(crate) use rumqttc::mqttbytes::{
    QoS,
    v4::{Packet, Publish},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use zeroize::{Zeroize, Zeroizing};

use super::Host;
use crate::{
    error::{Error, ErrorKind, Result},
    tls::io_failure,
};

/// The longest string that MQTT can carry (MQTT 3.1.1, section 1.5.3).
pub(crate) const MAX_STRING: usize = 65_535;

/// The largest packet that is accepted from the other side.
const MAX_INCOMING: usize = 1024 * 1024;

/// The largest remaining length that MQTT can carry (MQTT 3.1.1, section 2.2.3).
const MAX_OUTGOING: usize = 268_435_455;

/// The first byte of a CONNACK (MQTT 3.1.1, section 3.2.1).
const CONNACK: u8 = 0x20;

/// How much room is made before a read.
const READ_SIZE: usize = 4096;

/// How many packets may arrive while one answer is awaited.
const MAX_AHEAD: usize = 64;

/// How long saying goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The most bytes that are left to the shutdown of a stream.
const LAST_WORDS: usize = 1024;

/// What carries the packets.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Takes the last few bytes; the shutdown, which must follow, sends them in one piece with
    /// its own goodbye.
    fn put_last(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What a client says when it connects.
pub(crate) struct Connect {
    pub(crate) client_id: String,
    pub(crate) user_name: String,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) clean_session: bool,
    pub(crate) keep_alive: Duration,
}

impl Connect {
    /// The packet in a buffer of its own, which is wiped after use, since it may hold a password.
    /// What is early follows in the same buffer.
    pub(crate) fn encode(self, early: Option<&Early>) -> Result<Zeroizing<Vec<u8>>> {
        check_string("client ID", &self.client_id)?;
        check_string("user name", &self.user_name)?;
        let password = self.password.as_deref().map_or("", String::as_str);
        check_string("password", password)?;
        let mut packet = v4::Connect::new(self.client_id);
        packet.clean_session = self.clean_session;
        packet.keep_alive = u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX);
        packet.login = Some(Login::new(self.user_name, password));
        // One allocation: a buffer that grows would leave a copy behind.
        let early = early.map_or(&[][..], |early| &early.bytes);
        let mut buffer = BytesMut::with_capacity(packet.size() + early.len());
        let written = packet.write(&mut buffer);
        if let Some(login) = &mut packet.login {
            login.password.zeroize();
        }
        written.map_err(not_encoded)?;
        buffer.extend_from_slice(early);
        Ok(Zeroizing::new(buffer.into()))
    }
}

/// What goes out with CONNECT, since it need not wait until the client is accepted (MQTT 3.1.1,
/// section 3.1.4): the subscription to answers, and a request, both at QoS 1.
pub(crate) struct Early {
    bytes: BytesMut,
}

impl Early {
    const SUBSCRIPTION: u16 = 1;
    const REQUEST: u16 = 2;

    pub(crate) fn new(filter: &str, topic: String, payload: Vec<u8>) -> Result<Self> {
        let subscribe = subscription(filter, QoS::AtLeastOnce, Self::SUBSCRIPTION)?;
        let mut request = publication(topic, payload, QoS::AtLeastOnce)?;
        request.pkid = Self::REQUEST;
        let mut bytes = BytesMut::new();
        for packet in [subscribe, Packet::Publish(request)] {
            packet.write(&mut bytes, MAX_OUTGOING).map_err(not_encoded)?;
        }
        Ok(Self { bytes })
    }
}

/// An accepted MQTT connection, used one request at a time.
pub(crate) struct Session<S> {
    wire: Wire<S>,
    /// How long the other side may take to answer or to accept what is written.
    patience: Duration,
    last_id: u16,
    /// Packets that arrived while another was awaited.
    ahead: VecDeque<Packet>,
}

impl<S: Stream> Session<S> {
    /// Writes `first`, an encoded [`Connect`], which is empty where it went out with the TLS
    /// handshake; and waits, at most `patience`, until the other side accepts the client.
    pub(crate) async fn connect(
        stream: S,
        first: &[u8],
        host: &Host,
        patience: Duration,
    ) -> Result<Self> {
        let mut wire = Wire::new(stream, host);
        timeout(patience, wire.introduce(first))
            .await
            .unwrap_or_else(|_| Err(wire.too_slow("answer CONNECT", patience)))?;
        Ok(Self { wire, patience, last_id: 0, ahead: VecDeque::new() })
    }

    /// Subscribes to `filter` and waits until the other side has granted it; it only waits where
    /// the subscription was `early`.
    pub(crate) async fn subscribe(
        &mut self,
        filter: &str,
        qos: QoS,
        early: Option<&Early>,
    ) -> Result<()> {
        let id = match early {
            Some(_) => {
                self.last_id = Early::REQUEST;
                Early::SUBSCRIPTION
            }
            None => {
                let id = self.next_id();
                self.wire.put(&subscription(filter, qos, id)?)?;
                id
            }
        };
        timeout(self.patience, self.granted(id, filter))
            .await
            .unwrap_or_else(|_| Err(self.wire.too_slow("answer SUBSCRIBE", self.patience)))
    }

    /// Publishes one message and returns its packet ID; 0 at QoS 0, which has none.
    pub(crate) async fn publish(
        &mut self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        qos: QoS,
    ) -> Result<u16> {
        let mut publish = publication(topic, payload, qos)?;
        if qos != QoS::AtMostOnce {
            publish.pkid = self.next_id();
        }
        let id = publish.pkid;
        self.wire.put(&Packet::Publish(publish))?;
        self.flush().await?;
        Ok(id)
    }

    /// The next packet. Where it asks for an acknowledgement, the next thing that is written takes
    /// that along: a PUBLISH, DISCONNECT or [`flush`](Self::flush).
    ///
    /// Cancel-safe: no packet is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = self.ahead.pop_front() {
                return Ok(packet);
            }
            match self.wire.take()? {
                Some(packet) => self.admit(packet)?,
                None => self.wire.progress().await?,
            }
        }
    }

    /// Says goodbye and closes the stream; best effort, for at most a second.
    pub(crate) async fn disconnect(self) {
        self.wire.disconnect().await;
    }

    /// The connection alone, for a driver that reads and writes at the same time.
    pub(crate) fn into_wire(self) -> Wire<S> {
        self.wire
    }

    async fn granted(&mut self, id: u16, filter: &str) -> Result<()> {
        loop {
            match self.wire.take()? {
                Some(Packet::SubAck(answer)) if answer.pkid == id => {
                    return match answer.return_codes.as_slice() {
                        [SubscribeReasonCode::Success(_)] => Ok(()),
                        [SubscribeReasonCode::Failure] => Err(Error::new(
                            ErrorKind::ServiceRefused,
                            format!("{} refused the subscription to {filter}", self.wire.host),
                        )),
                        _ => Err(self.wire.violation("a SUBACK for another number of filters")),
                    };
                }
                Some(packet) => self.admit(packet)?,
                None => self.wire.progress().await?,
            }
        }
    }

    /// Keeps a packet for [`Self::next`], and its acknowledgement for the next write.
    fn admit(&mut self, packet: Packet) -> Result<()> {
        if self.ahead.len() == MAX_AHEAD {
            return Err(self.wire.violation("many packets instead of the answer"));
        }
        if let Packet::Publish(publish) = &packet {
            match publish.qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => self.wire.put(&Packet::PubAck(PubAck::new(publish.pkid)))?,
                QoS::ExactlyOnce => return Err(self.wire.violation("a PUBLISH at QoS 2")),
            }
        }
        self.ahead.push_back(packet);
        Ok(())
    }

    /// Writes the acknowledgements that are still to be sent.
    pub(crate) async fn flush(&mut self) -> Result<()> {
        timeout(self.patience, self.wire.flush())
            .await
            .unwrap_or_else(|_| Err(self.wire.too_slow("accept what was written", self.patience)))
    }

    fn next_id(&mut self) -> u16 {
        // 0 is no packet ID (MQTT 3.1.1, section 2.3.1).
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

/// A stream that carries MQTT packets both ways at once.
pub struct Wire<S> {
    stream: S,
    host: Host,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Whether the stream may still hold back what it has taken.
    unflushed: bool,
}

impl<S: Stream> Wire<S> {
    /// A stream to `host`, on which nothing has been said yet.
    pub fn new(stream: S, host: &Host) -> Self {
        Self {
            stream,
            host: host.clone(),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            unflushed: false,
        }
    }

    /// How many bytes wait to be written.
    pub fn backlog(&self) -> usize {
        self.outgoing.len()
    }

    /// Lines `packet` up to be written by [`Self::progress`].
    pub fn put(&mut self, packet: &Packet) -> Result<()> {
        packet.write(&mut self.outgoing, MAX_OUTGOING).map(drop).map_err(not_encoded)
    }

    /// Lines a PUBLISH up to be written by [`Self::progress`].
    pub(crate) fn put_publish(&mut self, publish: &Publish) -> Result<()> {
        publish.write(&mut self.outgoing).map(drop).map_err(not_encoded)
    }

    /// The next packet that has arrived whole.
    pub fn take(&mut self) -> Result<Option<Packet>> {
        match Packet::read(&mut self.incoming, MAX_INCOMING) {
            Ok(Packet::Publish(mut publish)) => {
                // A slice would keep the whole read buffer alive.
                publish.payload = Bytes::copy_from_slice(&publish.payload);
                Ok(Some(Packet::Publish(publish)))
            }
            Ok(packet) => Ok(Some(packet)),
            Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
            Err(cause) => Err(self.violation(format_args!("a malformed packet: {cause}"))),
        }
    }

    /// Reads and writes until something has moved. Cancel-safe.
    pub async fn progress(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_progress(cx)).await.map_err(|cause| self.lost(cause))
    }

    /// Writes everything that is lined up. Cancel-safe.
    async fn flush(&mut self) -> Result<()> {
        poll_fn(|cx| self.poll_write(cx)).await.map(drop).map_err(|cause| self.lost(cause))
    }

    /// Says goodbye and closes the stream; best effort, for at most a second.
    pub(crate) async fn disconnect(mut self) {
        let goodbye = async {
            self.put(&Packet::Disconnect)?;
            if self.outgoing.len() > LAST_WORDS {
                self.flush().await?;
            }
            self.stream.put_last(&self.outgoing).map_err(|cause| self.lost(cause))?;
            self.stream.shutdown().await.map_err(|cause| self.lost(cause))
        };
        // Whoever disconnects has nothing left to lose.
        let _ = timeout(FAREWELL, goodbye).await;
    }

    /// Gives back memory that a burst has left behind.
    pub(crate) fn shrink(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
        if self.outgoing.is_empty() {
            self.outgoing = BytesMut::new();
        }
    }

    /// The error of a peer that broke the protocol by sending `what`.
    pub(crate) fn violation(&self, what: impl fmt::Display) -> Error {
        Error::new(ErrorKind::ProtocolViolation, format!("{} sent {what}", self.host))
    }

    /// Writes what is said first and waits for a CONNACK that says yes.
    async fn introduce(&mut self, first: &[u8]) -> Result<()> {
        let written = async {
            self.stream.write_all(first).await?;
            self.stream.flush().await
        };
        written.await.map_err(|cause| self.refused(cause))?;
        loop {
            match self.take()? {
                Some(Packet::ConnAck(answer)) => return self.judge(answer.code),
                Some(other) => {
                    let what = format!("{} instead of CONNACK", name_of(&other));
                    return Err(self.violation(what));
                }
                // What is not MQTT may never fill what it seems to be the beginning of.
                None if self.incoming.first().is_some_and(|first| *first != CONNACK) => {
                    return Err(self.violation("something other than an MQTT CONNACK"));
                }
                None => poll_fn(|cx| self.poll_progress(cx))
                    .await
                    .map_err(|cause| self.refused(cause))?,
            }
        }
    }

    /// The return codes of MQTT 3.1.1, table 3.1, as Azure uses them.
    fn judge(&self, code: ConnectReturnCode) -> Result<()> {
        let (kind, why) = match code {
            ConnectReturnCode::Success => return Ok(()),
            ConnectReturnCode::RefusedProtocolVersion => {
                (ErrorKind::ProtocolViolation, "it does not speak MQTT 3.1.1")
            }
            ConnectReturnCode::BadClientId => (ErrorKind::BadRequest, "client ID rejected"),
            ConnectReturnCode::ServiceUnavailable => {
                (ErrorKind::ServiceFault, "server unavailable")
            }
            ConnectReturnCode::BadUserNamePassword => {
                (ErrorKind::Unauthorized, "bad user name or password")
            }
            ConnectReturnCode::NotAuthorized => (ErrorKind::Unauthorized, "not authorized"),
        };
        let message =
            format!("{} refused the connection: {why} (CONNACK {})", self.host, code as u8);
        Err(Error::new(kind, message))
    }

    /// Reads and writes what it can without waiting; ready once something has moved.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Reading comes first, so that what the peer said before it left is not lost.
        let read = self.poll_read(cx)?;
        let wrote = match self.poll_write(cx)? {
            Poll::Ready(wrote) => wrote,
            Poll::Pending => false,
        };
        if read.is_ready() || wrote { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.incoming.capacity() - self.incoming.len() < READ_SIZE / 4 {
            self.incoming.reserve(READ_SIZE);
        }
        match ready!(pin!(self.stream.read_buf(&mut self.incoming)).poll(cx))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Ready once all is written and flushed; says whether there was anything to write.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let wrote = !self.outgoing.is_empty();
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(wrote))
    }

    /// A failure before CONNACK. With TLS 1.3 a server refuses a client's certificate only now.
    fn refused(&self, cause: io::Error) -> Error {
        match cause.kind() {
            io::ErrorKind::UnexpectedEof => Error::new(
                ErrorKind::ConnectionLost,
                format!("{} closed the connection before it answered CONNECT", self.host),
            ),
            _ => io_failure(cause, &self.host),
        }
    }

    /// A failure after CONNACK. Even an alert of TLS says no more now than that it is over.
    fn lost(&self, cause: io::Error) -> Error {
        let message = match cause.kind() {
            io::ErrorKind::UnexpectedEof => format!("{} closed the connection", self.host),
            _ => format!("the connection to {} was lost: {cause}", self.host),
        };
        Error::new(ErrorKind::ConnectionLost, message).with_source(cause)
    }

    fn too_slow(&self, what: &str, patience: Duration) -> Error {
        Error::new(
            ErrorKind::RequestTimeout,
            format!("{} did not {what} within {} s", self.host, patience.as_secs_f64()),
        )
    }
}

/// Lengths are checked before a packet is made, so this is our own fault.
fn not_encoded(cause: mqttbytes::Error) -> Error {
    Error::new(ErrorKind::Internal, "an MQTT packet could not be encoded").with_source(cause)
}

fn subscription(filter: &str, qos: QoS, id: u16) -> Result<Packet> {
    check_string("topic filter", filter)?;
    let mut subscribe = Subscribe::new(filter, qos);
    subscribe.pkid = id;
    Ok(Packet::Subscribe(subscribe))
}

fn publication(topic: impl Into<String>, payload: impl Into<Bytes>, qos: QoS) -> Result<Publish> {
    let publish = Publish::from_bytes(topic, qos, payload.into());
    check_string("topic", &publish.topic)?;
    Ok(publish)
}

/// MQTT strings carry no NUL (MQTT 3.1.1, section 1.5.3), and the codec truncates long ones.
fn check_string(what: &str, text: &str) -> Result<()> {
    if text.len() > MAX_STRING {
        let message = format!("the {what} has {} bytes, more than {MAX_STRING}", text.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    if text.contains('\0') {
        let message = format!("the {what} contains a NUL character");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(())
}

/// What the specification calls `packet`, whose `Debug` would print a password.
pub(crate) fn name_of(packet: &Packet) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect => "DISCONNECT",
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    impl Stream for DuplexStream {
        fn put_last(&mut self, bytes: &[u8]) -> io::Result<()> {
            let mut cx = Context::from_waker(Waker::noop());
            match Pin::new(self).poll_write(&mut cx, bytes) {
                Poll::Ready(Ok(written)) if written == bytes.len() => Ok(()),
                Poll::Ready(Err(cause)) => Err(cause),
                _ => Err(io::ErrorKind::WriteZero.into()),
            }
        }
    }

    fn host() -> Host {
        Host::parse("hub.example.net").unwrap()
    }

    fn connect() -> Zeroizing<Vec<u8>> {
        introduction().encode(None).unwrap()
    }

    fn introduction() -> Connect {
        Connect {
            client_id: "device-01".into(),
            user_name: "hub.example.net/device-01/".into(),
            password: None,
            clean_session: true,
            keep_alive: Duration::from_secs(60),
        }
    }

    /// Reads one packet as a server would.
    async fn heard(peer: &mut DuplexStream) -> Packet {
        let mut buffer = BytesMut::new();
        loop {
            // One byte at a time, so that nothing of the next packet is taken.
            match Packet::read(&mut buffer, MAX_INCOMING) {
                Ok(packet) => return packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => {
                    buffer.extend_from_slice(&[peer.read_u8().await.unwrap()]);
                }
                Err(cause) => panic!("{cause}"),
            }
        }
    }

    const ACCEPTED: &[u8] = &[0x20, 2, 0, 0];

    /// A session whose peer accepted it, and that peer.
    async fn connected() -> (Session<DuplexStream>, DuplexStream) {
        let (stream, mut peer) = duplex(1024);
        let (host, connect) = (host(), connect());
        let (session, ()) =
            tokio::join!(Session::connect(stream, &connect, &host, PATIENCE), async {
                heard(&mut peer).await;
                peer.write_all(ACCEPTED).await.unwrap();
            });
        (session.unwrap(), peer)
    }

    /// What `Session::connect` says to a peer that answers with `bytes` and then leaves.
    async fn answered_with(bytes: &[u8]) -> Error {
        let (stream, mut peer) = duplex(1024);
        peer.write_all(bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        let error = Session::connect(stream, &connect(), &host(), PATIENCE).await.err().unwrap();
        assert!(error.to_string().contains("hub.example.net"), "{error}");
        error
    }

    #[tokio::test]
    async fn connect_says_who_it_is() {
        let (stream, mut peer) = duplex(1024);
        let with_password = Connect {
            password: Some(Zeroizing::new("SharedAccessSignature sr=x".into())),
            ..introduction()
        };
        let with_password = with_password.encode(None).unwrap();
        let host = host();
        let (session, packet) =
            tokio::join!(Session::connect(stream, &with_password, &host, PATIENCE), async {
                let packet = heard(&mut peer).await;
                peer.write_all(ACCEPTED).await.unwrap();
                packet
            });
        assert!(session.is_ok());
        let Packet::Connect(connect) = packet else { panic!("no CONNECT") };
        assert_eq!(connect.client_id, "device-01");
        assert_eq!(connect.keep_alive, 60);
        assert!(connect.clean_session && connect.last_will.is_none());
        let login = connect.login.unwrap();
        assert_eq!(login.username, "hub.example.net/device-01/");
        assert_eq!(login.password, "SharedAccessSignature sr=x");
    }

    #[tokio::test]
    async fn each_connack_code_has_its_kind() {
        for (code, kind) in [
            (1, ErrorKind::ProtocolViolation),
            (2, ErrorKind::BadRequest),
            (3, ErrorKind::ServiceFault),
            (4, ErrorKind::Unauthorized),
            (5, ErrorKind::Unauthorized),
            (6, ErrorKind::ProtocolViolation),
        ] {
            assert_eq!(answered_with(&[0x20, 2, 0, code]).await.kind(), kind, "code {code}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_does_not_speak_mqtt_is_a_typed_error() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &[0x20, 0],
            &[0x20, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x30, 0xff, 0xff, 0x7f],
            &[0x30, 2, 0, 9],
            &[0xd0, 0],
        ] {
            let error = answered_with(bytes).await;
            assert_eq!(error.kind(), ErrorKind::ProtocolViolation, "{bytes:?}: {error}");
        }
        assert_eq!(answered_with(b"").await.kind(), ErrorKind::ConnectionLost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_times_out() {
        let (stream, _peer) = duplex(1024);
        let error = Session::connect(stream, &connect(), &host(), PATIENCE).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::RequestTimeout);
        assert!(error.to_string().contains("hub.example.net"), "{error}");

        let (mut session, _peer) = connected().await;
        let error = session.subscribe("a/#", QoS::AtLeastOnce, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestTimeout);

        let (mut session, _peer) = connected().await;
        let error = session.publish("a", vec![0; 4096], QoS::AtLeastOnce).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RequestTimeout, "a peer that reads nothing");
    }

    #[tokio::test]
    async fn strings_that_mqtt_cannot_carry_are_refused_before_writing() {
        let long = Connect { user_name: "u".repeat(MAX_STRING + 1), ..introduction() };
        let error = long.encode(None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);

        let (mut session, _peer) = connected().await;
        for topic in ["t".repeat(MAX_STRING + 1), "a\0b".into()] {
            let error = session.publish(topic, "x", QoS::AtMostOnce).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[tokio::test]
    async fn a_subscription_is_granted_or_refused() {
        let (mut session, mut peer) = connected().await;
        for (answer, granted) in [(1, true), (0x80, false)] {
            let (result, ()) =
                tokio::join!(session.subscribe("a/#", QoS::AtLeastOnce, None), async {
                    let Packet::Subscribe(subscribe) = heard(&mut peer).await else { panic!() };
                    assert_eq!(subscribe.filters[0].path, "a/#");
                    let [high, low] = subscribe.pkid.to_be_bytes();
                    // A message that overtakes the answer is not lost.
                    peer.write_all(&[0x30, 4, 0, 1, b'm', answer]).await.unwrap();
                    peer.write_all(&[0x90, 3, high, low, answer]).await.unwrap();
                });
            match granted {
                true => assert!(result.is_ok()),
                false => assert_eq!(result.unwrap_err().kind(), ErrorKind::ServiceRefused),
            }
            let Packet::Publish(publish) = session.next().await.unwrap() else { panic!() };
            assert_eq!(publish.payload.as_ref(), &[answer]);
        }
    }

    #[tokio::test]
    async fn what_need_not_wait_follows_connect_and_later_packets_have_other_ids() {
        let early = Early::new("a/#", "a/b".into(), b"x".to_vec()).unwrap();
        let said = introduction().encode(Some(&early)).unwrap();
        let (stream, mut peer) = duplex(1024);
        let host = host();
        let (session, ()) = tokio::join!(Session::connect(stream, &said, &host, PATIENCE), async {
            let Packet::Connect(_) = heard(&mut peer).await else { panic!("no CONNECT") };
            let Packet::Subscribe(subscribe) = heard(&mut peer).await else { panic!() };
            assert_eq!((subscribe.filters[0].path.as_str(), subscribe.pkid), ("a/#", 1));
            let Packet::Publish(publish) = heard(&mut peer).await else { panic!() };
            assert_eq!((publish.topic.as_str(), publish.pkid), ("a/b", 2));
            peer.write_all(ACCEPTED).await.unwrap();
            peer.write_all(&[0x40, 2, 0, 2, 0x90, 3, 0, 1, 1]).await.unwrap();
        });
        let mut session = session.unwrap();
        session.subscribe("a/#", QoS::AtLeastOnce, Some(&early)).await.unwrap();
        assert!(matches!(session.next().await.unwrap(), Packet::PubAck(ack) if ack.pkid == 2));
        assert_eq!(session.publish("a/b", "y", QoS::AtLeastOnce).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn what_asks_for_an_acknowledgement_is_acknowledged_and_nothing_is_lost_by_cancelling() {
        let (mut session, mut peer) = connected().await;
        let message = [0x32, 6, 0, 1, b'm', 0, 7, b'!'];
        for cut in 0..message.len() {
            peer.write_all(&message[..cut]).await.unwrap();
            // Polled once and dropped: half a packet has been read.
            assert!(timeout(Duration::ZERO, session.next()).await.is_err());
            peer.write_all(&message[cut..]).await.unwrap();
            let Packet::Publish(publish) = session.next().await.unwrap() else { panic!() };
            assert_eq!(publish.payload.as_ref(), b"!");
            session.flush().await.unwrap();
            assert!(matches!(heard(&mut peer).await, Packet::PubAck(ack) if ack.pkid == 7));
        }
    }

    #[tokio::test]
    async fn a_peer_that_leaves_is_a_lost_connection() {
        let (mut session, peer) = connected().await;
        drop(peer);
        let error = session.next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost);
        assert!(error.retryable() && error.to_string().contains("hub.example.net"), "{error}");
    }

    #[tokio::test]
    async fn disconnect_says_goodbye() {
        let (session, mut peer) = connected().await;
        session.disconnect().await;
        assert_eq!(heard(&mut peer).await, Packet::Disconnect);
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }
}
