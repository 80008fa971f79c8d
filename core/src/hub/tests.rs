//! The client against a scripted hub: in memory and in virtual time, except where noted.

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, PubAck, PubRec};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use super::*;
use crate::{
    symmetric_key::{SymmetricKey, Tokens},
    transport::mqtt::{Packet, QoS, Stream},
};

mod connecting;

const ACCEPTED: ConnectReturnCode = ConnectReturnCode::Success;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The hub's end of one connection.
struct Peer<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next packet, or nothing once the client is gone.
    async fn packet(&mut self) -> Option<Packet> {
        loop {
            if let Ok(packet) = Packet::read(&mut self.buffer, 1024 * 1024) {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    async fn say(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Hears CONNECT with a token and accepts it; says until which second the token is good.
    async fn accept_token(&mut self) -> u64 {
        self.answer_token(ACCEPTED).await
    }

    async fn answer_token(&mut self, code: ConnectReturnCode) -> u64 {
        let Some(Packet::Connect(connect)) = self.packet().await else { panic!("no CONNECT") };
        let token = connect.login.unwrap().password;
        let prefix = "SharedAccessSignature sr=hub.example.net%2Fdevices%2Fdevice-01&sig=";
        assert!(token.starts_with(prefix), "{token}");
        self.say(Packet::ConnAck(ConnAck::new(code, false))).await;
        token.rsplit_once("&se=").unwrap().1.parse().unwrap()
    }

    /// Hears CONNECT and answers it.
    async fn answer(&mut self, code: ConnectReturnCode) {
        let Some(Packet::Connect(connect)) = self.packet().await else { panic!("no CONNECT") };
        assert_eq!(connect.client_id, "device-01");
        assert!(!connect.clean_session);
        let login = connect.login.unwrap();
        assert!(login.username.starts_with("hub.example.net/device-01/?api-version="));
        assert!(login.password.is_empty());
        self.say(Packet::ConnAck(ConnAck::new(code, false))).await;
    }

    /// Hears CONNECT and answers that the hub is busy, unless the client's time was over first.
    async fn refuse_as_busy(&mut self) {
        let Some(Packet::Connect(_)) = self.packet().await else { return };
        let mut bytes = BytesMut::new();
        let busy = ConnAck::new(ConnectReturnCode::ServiceUnavailable, false);
        busy.write(&mut bytes).unwrap();
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The next PUBLISH: its text, its packet ID and whether it is a duplicate.
    async fn publish(&mut self) -> (String, u16, bool) {
        let Some(Packet::Publish(publish)) = self.packet().await else { panic!("no PUBLISH") };
        assert_eq!(publish.qos, QoS::AtLeastOnce);
        assert!(!publish.retain);
        let text = String::from_utf8(publish.payload.to_vec()).unwrap();
        (text, publish.pkid, publish.dup)
    }

    async fn publishes(&mut self, count: usize) -> Vec<(String, u16, bool)> {
        let mut publishes = Vec::new();
        for _ in 0..count {
            publishes.push(self.publish().await);
        }
        publishes
    }

    async fn acknowledge(&mut self, id: u16) {
        self.say(Packet::PubAck(PubAck::new(id))).await;
    }
}

/// A hub that is a test: it gets the other end of each connection that the client opens.
struct Hub(mpsc::UnboundedReceiver<DuplexStream>);

impl Hub {
    /// The next connection, before its CONNECT.
    async fn opened(&mut self) -> Peer<DuplexStream> {
        let stream = timeout(HOUR, self.0.recv()).await.expect("nobody connects");
        Peer::new(stream.expect("the client is gone"))
    }

    /// The next connection, accepted.
    async fn accepted(&mut self) -> Peer<DuplexStream> {
        let mut peer = self.opened().await;
        peer.answer(ACCEPTED).await;
        peer
    }
}

struct ToHub {
    connections: mpsc::UnboundedSender<DuplexStream>,
    /// Failures that come before the next connections.
    failures: Mutex<Vec<Error>>,
}

impl Open for ToHub {
    type Stream = DuplexStream;

    async fn open(&self, first: &[u8]) -> Result<DuplexStream> {
        if let Some(error) = self.failures.lock().unwrap().pop() {
            return Err(error);
        }
        let (mut ours, theirs) = duplex(16 * 1024);
        ours.write_all(first).await.unwrap();
        self.connections.send(theirs).unwrap();
        Ok(ours)
    }
}

fn dialer<O>(opener: O) -> Dialer<O> {
    Dialer {
        opener,
        host: Host::parse("hub.example.net").unwrap(),
        device_id: DeviceId::parse("device-01").unwrap(),
        tokens: None,
        keep_alive: MINUTE,
        throttled: Throttled::new("hub.example.net:8883".into(), &Arc::default()),
    }
}

/// A client with a token for an hour, its hub, and the connection.
async fn connected_by_token() -> (HubClient, Hub, Peer<DuplexStream>) {
    let (connections, hub) = mpsc::unbounded_channel();
    let key = SymmetricKey::from_base64("O+H9VTcdJP0Tqkl7bh4nVG0OJNrAataMpuWB54D0VEc=").unwrap();
    let tokens = Tokens::for_device(Arc::new(key), "hub.example.net", "device-01", HOUR);
    let opener = ToHub { connections, failures: Mutex::default() };
    let dialer = Dialer { tokens: Some(tokens), ..dialer(opener) };
    let client = tokio::spawn(start(dialer, MINUTE, Some(1)));
    let mut hub = Hub(hub);
    let mut peer = hub.opened().await;
    let expiry = peer.accept_token().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!((now + 3590..=now + 3601).contains(&expiry), "{expiry}, {now}");
    (client.await.unwrap().unwrap(), hub, peer)
}

/// A client that is about to connect, after `failures`, the last first, and its hub.
fn connecting(failures: Vec<Error>) -> (Hub, JoinHandle<Result<HubClient>>) {
    let (connections, hub) = mpsc::unbounded_channel();
    let dialer = dialer(ToHub { connections, failures: Mutex::new(failures) });
    (Hub(hub), tokio::spawn(start(dialer, MINUTE, Some(1))))
}

async fn connected() -> (HubClient, Hub, Peer<DuplexStream>) {
    let (mut hub, client) = connecting(Vec::new());
    let peer = hub.accepted().await;
    (client.await.unwrap().unwrap(), hub, peer)
}

type Send = JoinHandle<Result<()>>;

/// Starts to send, in this order.
async fn send<const N: usize>(client: &HubClient, texts: [&str; N]) -> [Send; N] {
    let sends = texts.map(|text| {
        let (client, text) = (client.clone(), text.to_owned());
        tokio::spawn(async move { client.send(text).await })
    });
    // The tasks of a current-thread runtime run in the order in which they were spawned.
    tokio::task::yield_now().await;
    sends
}

async fn kind_of(send: Send) -> ErrorKind {
    send.await.unwrap().unwrap_err().kind()
}

fn texts(publishes: &[(String, u16, bool)]) -> Vec<&str> {
    publishes.iter().map(|(text, ..)| text.as_str()).collect()
}

impl Stream for TcpStream {
    fn put_last(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.try_write(bytes).map(drop)
    }
}

/// In real time, over TCP, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_concurrent_sends_are_each_acknowledged() {
    struct Tcp(SocketAddr);

    impl Open for Tcp {
        type Stream = TcpStream;

        async fn open(&self, first: &[u8]) -> Result<TcpStream> {
            let mut stream = TcpStream::connect(self.0).await.unwrap();
            stream.write_all(first).await.unwrap();
            Ok(stream)
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = dialer(Tcp(listener.local_addr().unwrap()));
    let hub = tokio::spawn(async move {
        let mut peer = Peer::new(listener.accept().await.unwrap().0);
        peer.answer(ACCEPTED).await;
        let mut received = HashSet::new();
        while let Some(Packet::Publish(publish)) = peer.packet().await {
            peer.acknowledge(publish.pkid).await;
            assert!(!publish.dup);
            received.insert(publish.payload);
        }
        received
    });
    let client = start(dialer, MINUTE, None).await.unwrap();
    let mut sends = JoinSet::new();
    for number in 0..10_000 {
        let client = client.clone();
        sends.spawn(async move { client.send(format!("message {number}")).await });
    }
    while let Some(sent) = sends.join_next().await {
        sent.unwrap().unwrap();
    }
    client.close(MINUTE).await.unwrap();
    assert_eq!(hub.await.unwrap().len(), 10_000);
}

#[tokio::test(start_paused = true)]
async fn each_send_resolves_on_its_own_acknowledgement() {
    let (client, _hub, mut peer) = connected().await;
    let [first, second] = send(&client, ["1", "2"]).await;
    let publishes = peer.publishes(2).await;
    assert_eq!(texts(&publishes), ["1", "2"]);
    peer.acknowledge(publishes[1].1).await;
    second.await.unwrap().unwrap();
    // Nothing, a packet ID of nobody's and one that is spent: none of them is an answer.
    for id in [0, 999, publishes[1].1] {
        peer.acknowledge(id).await;
    }
    assert!(!first.is_finished());
    peer.acknowledge(publishes[0].1).await;
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cut_replays_what_was_not_acknowledged_first_and_in_order() {
    let (client, mut hub, mut peer) = connected().await;
    let sends = send(&client, ["1", "2", "3", "4"]).await;
    let publishes = peer.publishes(4).await;
    peer.acknowledge(publishes[0].1).await;
    peer.acknowledge(publishes[2].1).await;
    let state = client.state();
    drop(peer);
    let state = client.state_changed(&state).await;
    assert!(matches!(&state, ConnectionState::Reconnecting { attempt: 1, last_error }
        if last_error.contains("hub.example.net")));
    let late = send(&client, ["5"]).await;

    let mut peer = hub.accepted().await;
    assert_eq!(client.state_changed(&state).await, ConnectionState::Connected);
    let replayed = peer.publishes(3).await;
    assert_eq!(texts(&replayed), ["2", "4", "5"]);
    assert_eq!(replayed.iter().map(|(.., dup)| *dup).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(replayed[0].1, publishes[1].1, "a packet ID outlives its connection");
    for (_, id, _) in replayed {
        peer.acknowledge(id).await;
    }
    for sent in sends.into_iter().chain(late) {
        sent.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_before_it_expires_and_nothing_is_sent_twice() {
    let (client, mut hub, mut peer) = connected_by_token().await;
    let before = Instant::now();
    let responder = tokio::spawn(async move {
        // Keeps the connection alive until the client says goodbye.
        loop {
            match peer.packet().await {
                Some(Packet::PingReq) => peer.say(Packet::PingResp).await,
                Some(Packet::Publish(publish)) => {
                    // The client waits for it, and writes nothing meanwhile.
                    sleep(Duration::from_secs(3)).await;
                    peer.acknowledge(publish.pkid).await;
                }
                other => return other,
            }
        }
    });
    // One second before the renewal: its acknowledgement comes two seconds after.
    sleep(Duration::from_secs(48 * 60 - 1)).await;
    let [early] = send(&client, ["early"]).await;
    sleep(Duration::from_secs(2)).await;
    let late = send(&client, ["late 1", "late 2"]).await;
    assert_eq!(responder.await.unwrap(), Some(Packet::Disconnect));
    assert_eq!(before.elapsed().as_secs(), 48 * 60 + 2);
    early.await.unwrap().unwrap();

    let mut peer = hub.opened().await;
    peer.accept_token().await;
    let publishes = peer.publishes(2).await;
    assert_eq!(texts(&publishes), ["late 1", "late 2"]);
    for (_, id, dup) in publishes {
        assert!(!dup);
        peer.acknowledge(id).await;
    }
    for sent in late {
        sent.await.unwrap().unwrap();
    }
    assert_eq!(client.state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_leaves_what_is_not_acknowledged_in_time_to_the_next_connection() {
    let (client, mut hub, mut peer) = connected_by_token().await;
    let before = Instant::now();
    while before.elapsed().as_secs() < 47 * 60 {
        assert_eq!(peer.packet().await, Some(Packet::PingReq));
        peer.say(Packet::PingResp).await;
    }
    sleep(Duration::from_secs(50)).await;
    let sends = send(&client, ["1", "2"]).await;
    assert_eq!(texts(&peer.publishes(2).await), ["1", "2"]);
    assert_eq!(peer.packet().await, Some(Packet::Disconnect));
    assert_eq!(before.elapsed().as_secs(), 48 * 60 + 5);
    // The next attempt fails once: the client comes back as after any loss.
    let state = client.state();
    hub.opened().await.answer_token(ConnectReturnCode::ServiceUnavailable).await;
    let state = client.state_changed(&state).await;
    assert!(matches!(state, ConnectionState::Reconnecting { attempt: 1, .. }), "{state:?}");
    let mut peer = hub.opened().await;
    peer.accept_token().await;
    for (_, id, dup) in peer.publishes(2).await {
        assert!(dup);
        peer.acknowledge(id).await;
    }
    for sent in sends {
        sent.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn close_during_a_renewal_keeps_its_deadline() {
    let (client, mut hub, mut peer) = connected_by_token().await;
    let goodbye = tokio::spawn(async move {
        loop {
            match peer.packet().await {
                Some(Packet::PingReq) => peer.say(Packet::PingResp).await,
                other => return other,
            }
        }
    });
    assert_eq!(goodbye.await.unwrap(), Some(Packet::Disconnect));
    let [sent] = send(&client, ["1"]).await;
    let _silent = hub.opened().await;
    let before = Instant::now();
    let error = client.close(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!((error.kind(), before.elapsed().as_secs()), (ErrorKind::NotDelivered, 5));
    assert_eq!(kind_of(sent).await, ErrorKind::NotDelivered);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_every_connection_is_rejected_and_frees_the_rest() {
    let (client, mut hub, mut peer) = connected().await;
    let [poison, good] = send(&client, ["poison", "good"]).await;
    for _ in 0..3 {
        assert_eq!(texts(&peer.publishes(2).await), ["poison", "good"]);
        drop(peer);
        peer = hub.accepted().await;
    }
    let error = poison.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::MessageRejected, "send"));
    let (text, id, dup) = peer.publish().await;
    assert!(text == "good" && dup);
    peer.acknowledge(id).await;
    good.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_every_acknowledgement_and_says_goodbye() {
    let (client, _hub, mut peer) = connected().await;
    let sends = send(&client, ["1", "2", "3"]).await;
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close(MINUTE).await }
    });
    for (_, id, _) in peer.publishes(3).await {
        sleep(Duration::from_secs(10)).await;
        assert!(!closing.is_finished());
        assert_eq!(client.send("late").await.unwrap_err().kind(), ErrorKind::Closed);
        peer.acknowledge(id).await;
    }
    closing.await.unwrap().unwrap();
    assert_eq!(peer.packet().await, Some(Packet::Disconnect));
    assert_eq!(peer.packet().await, None);
    for sent in sends {
        sent.await.unwrap().unwrap();
    }
    assert_eq!(client.state(), ConnectionState::Closed);
    assert_eq!(client.send("late").await.unwrap_err().kind(), ErrorKind::Closed);
    client.close(MINUTE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_delivers_across_a_cut() {
    let (client, mut hub, mut peer) = connected().await;
    let [sent] = send(&client, ["1"]).await;
    let closing = tokio::spawn({
        let client = client.clone();
        async move { client.close(HOUR).await }
    });
    peer.publish().await;
    drop(peer);
    let mut peer = hub.accepted().await;
    let (_, id, dup) = peer.publish().await;
    assert!(dup);
    peer.acknowledge(id).await;
    sent.await.unwrap().unwrap();
    closing.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_says_after_its_deadline_how_many_were_not_delivered() {
    let (client, _hub, mut peer) = connected().await;
    let sends = send(&client, ["1", "2", "3"]).await;
    let publishes = peer.publishes(3).await;
    peer.acknowledge(publishes[1].1).await;
    let before = Instant::now();
    let error = client.close(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(error.kind(), ErrorKind::NotDelivered);
    assert!(error.message().contains("2 messages"), "{error}");
    let [first, second, third] = sends;
    assert_eq!(kind_of(first).await, ErrorKind::NotDelivered);
    second.await.unwrap().unwrap();
    assert_eq!(kind_of(third).await, ErrorKind::NotDelivered);
    assert_eq!(peer.packet().await, Some(Packet::Disconnect));
}

#[tokio::test(start_paused = true)]
async fn close_keeps_its_deadline_while_the_hub_is_away() {
    let (client, mut hub, mut peer) = connected().await;
    let [sent] = send(&client, ["1"]).await;
    peer.publish().await;
    drop(peer);
    // It connects, but nobody answers.
    let _silent = hub.opened().await;
    let before = Instant::now();
    let error = client.close(Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(before.elapsed().as_secs(), 5);
    assert_eq!(error.kind(), ErrorKind::NotDelivered);
    assert_eq!(kind_of(sent).await, ErrorKind::NotDelivered);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_send_is_not_sent_and_gives_its_room_back() {
    let (client, mut hub, peer) = connected().await;
    let state = client.state();
    drop(peer);
    client.state_changed(&state).await;
    let mut peer = hub.opened().await;

    let large = "x".repeat(250 * 1024);
    let mut sends = JoinSet::new();
    for _ in 0..100 {
        let (client, large) = (client.clone(), large.clone());
        sends.spawn(async move { timeout(Duration::from_secs(1), client.send(large)).await });
    }
    while let Some(outcome) = sends.join_next().await {
        assert!(outcome.unwrap().is_err(), "it was cancelled");
    }
    // All of the room is free again, though the hub is still away.
    let [sent] = send(&client, ["after"]).await;
    tokio::task::yield_now().await;
    assert_eq!(client.0.shared.room.available_permits(), ROOM - 1);

    peer.answer(ACCEPTED).await;
    let (text, id, _) = peer.publish().await;
    assert_eq!(text, "after");
    peer.acknowledge(id).await;
    sent.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn send_waits_while_the_queue_is_full() {
    let (client, _hub, mut peer) = connected().await;
    // 250 KiB of payload and less than one of topic take 251 KiB each: 32 of them fit.
    let large = "x".repeat(250 * 1024);
    let mut sends = JoinSet::new();
    for _ in 0..40 {
        let (client, large) = (client.clone(), large.clone());
        sends.spawn(async move { client.send(large).await });
    }
    let mut ids: Vec<_> = peer.publishes(32).await.into_iter().map(|(_, id, _)| id).collect();
    assert!(timeout(Duration::from_secs(1), peer.packet()).await.is_err(), "no more are written");
    while let Some(id) = ids.pop() {
        peer.acknowledge(id).await;
        if sends.len() > 32 {
            ids.insert(0, peer.publish().await.1);
        }
        sends.join_next().await.unwrap().unwrap().unwrap();
    }
    assert!(sends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_room_when_the_client_closes_is_told() {
    let (client, _hub, _peer) = connected().await;
    let _room = client.0.shared.room.acquire_many(ROOM as u32).await.unwrap();
    let [waiting] = send(&client, ["1"]).await;
    client.close(MINUTE).await.unwrap();
    assert_eq!(kind_of(waiting).await, ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_refuses_the_device_ends_the_client_with_that_error() {
    let (client, mut hub, mut peer) = connected().await;
    let [sent] = send(&client, ["1"]).await;
    peer.publish().await;
    drop(peer);
    hub.opened().await.answer(ConnectReturnCode::ServiceUnavailable).await;
    hub.opened().await.answer(ConnectReturnCode::NotAuthorized).await;
    let error = sent.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(error.hint().unwrap().contains("register again"), "{error}");
    assert_eq!(client.send("2").await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(client.state(), ConnectionState::Closed);
    client.close(MINUTE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_pinged_and_replaced_when_the_hub_is_deaf() {
    let (client, mut hub, mut peer) = connected().await;
    for _ in 0..2 {
        let before = Instant::now();
        assert_eq!(peer.packet().await, Some(Packet::PingReq));
        assert_eq!(before.elapsed().as_secs(), 60);
        peer.say(Packet::PingResp).await;
    }
    assert_eq!(peer.packet().await, Some(Packet::PingReq));
    let mut replacement = hub.accepted().await;
    assert_eq!(peer.packet().await, None);
    let [sent] = send(&client, ["1"]).await;
    let (_, id, _) = replacement.publish().await;
    replacement.acknowledge(id).await;
    sent.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_breaks_the_protocol_is_a_typed_error() {
    for nonsense in [&[0x50, 2, 0, 1][..], &[0xf0, 0], &[0x40, 0], &[0x30, 0xff, 0xff, 0x7f]] {
        let (client, _hub, mut peer) = connected().await;
        let [sent] = send(&client, ["1"]).await;
        peer.publish().await;
        peer.stream.write_all(nonsense).await.unwrap();
        assert_eq!(kind_of(sent).await, ErrorKind::ProtocolViolation, "{nonsense:?}");
    }
    // The first of them is what a PUBREC looks like.
    let mut bytes = BytesMut::new();
    PubRec::new(1).write(&mut bytes).unwrap();
    assert_eq!(bytes.as_ref(), [0x50, 2, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_takes_the_connection_with_it() {
    let (client, _hub, mut peer) = connected().await;
    let clone = client.clone();
    drop(client);
    let [sent] = send(&clone, ["1"]).await;
    let (_, id, _) = peer.publish().await;
    peer.acknowledge(id).await;
    sent.await.unwrap().unwrap();
    drop(clone);
    assert_eq!(peer.packet().await, Some(Packet::Disconnect));
    assert_eq!(peer.packet().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_refused_before_it_takes_room() {
    let (client, _hub, _peer) = connected().await;
    let error = client.send(vec![0; 262_145]).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::MessageTooLarge, "send"));
    assert_eq!(client.0.shared.room.available_permits(), ROOM);
}

#[test]
fn a_message_does_not_print_its_payload() {
    let message = Message::from("secret").property("name", "secret");
    assert!(!format!("{message:?}").contains("secret"));
}
