//! The first connection of a client, and that of the next client of the same device.

use super::*;
use crate::pacing::Pacing;

#[tokio::test(start_paused = true)]
async fn the_first_connection_is_tried_until_it_succeeds() {
    let failure = |kind| Error::new(kind, "hub.example.net: scripted");
    let failures = [ErrorKind::HostNotFound, ErrorKind::ConnectionFailed].map(failure);
    let (mut hub, client) = connecting(failures.into());
    hub.opened().await.answer(ConnectReturnCode::ServiceUnavailable).await;
    let _peer = hub.accepted().await;
    assert_eq!(client.await.unwrap().unwrap().state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_fails_at_once_where_waiting_does_not_help() {
    let (mut hub, client) = connecting(Vec::new());
    let before = Instant::now();
    hub.opened().await.answer(ConnectReturnCode::NotAuthorized).await;
    let error = client.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_first_connection_gives_up_at_its_deadline_and_says_why() {
    let failures = (0..1000).map(|_| Error::new(ErrorKind::HostNotFound, "hub.example.net"));
    let (_hub, client) = connecting(failures.collect());
    let before = Instant::now();
    let error = client.await.unwrap().unwrap_err();
    assert_eq!(before.elapsed().as_secs(), 60);
    assert_eq!(error.kind(), ErrorKind::HostNotFound);
    assert!(error.message().contains("within 60.0 s"), "{error}");

    let (_silent, client) = connecting(Vec::new());
    let error = client.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestTimeout, "{error}");
}

/// A device that connects anew, with one memory for all of its attempts.
struct Device {
    memory: Arc<Pacing>,
    connections: mpsc::UnboundedSender<DuplexStream>,
}

impl Device {
    fn new() -> (Self, Hub) {
        let (connections, hub) = mpsc::unbounded_channel();
        (Self { memory: Arc::default(), connections }, Hub(hub))
    }

    fn connect(&self, deadline: Duration, failures: Vec<Error>) -> JoinHandle<Result<HubClient>> {
        let failures = Mutex::new(failures);
        let opener = ToHub { connections: self.connections.clone(), failures };
        let throttled = Throttled::new("hub.example.net:8883".into(), &self.memory);
        tokio::spawn(start(Dialer { throttled, ..dialer(opener) }, deadline, None))
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_connects_again_and_again_does_not_hammer_a_busy_hub() {
    let (device, mut hub) = Device::new();
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let busy = tokio::spawn({
        let attempts = Arc::clone(&attempts);
        async move {
            loop {
                let mut peer = hub.opened().await;
                attempts.lock().unwrap().push(Instant::now());
                peer.refuse_as_busy().await;
            }
        }
    });
    let begin = Instant::now();
    while begin.elapsed() < HOUR {
        let error = device.connect(Duration::from_secs(2), Vec::new()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ServiceFault, "{error}");
        sleep(Duration::from_secs(1)).await;
    }
    busy.abort();
    // Seven until the waits are a minute long, then ever fewer, and one in five minutes at most.
    let attempts = attempts.lock().unwrap();
    assert!((12..60).contains(&attempts.len()), "{} attempts", attempts.len());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_what_a_busy_hub_was_promised_or_fails_at_once() {
    let (device, mut hub) = Device::new();
    let soon = Duration::from_millis(100);
    let first = device.connect(soon, Vec::new());
    hub.opened().await.answer(ConnectReturnCode::ServiceUnavailable).await;
    first.await.unwrap().unwrap_err();

    let before = Instant::now();
    let error = device.connect(soon, Vec::new()).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), before.elapsed()), (ErrorKind::ServiceFault, Duration::ZERO));
    assert!(error.retryable() && error.message().contains("not asked again"), "{error}");

    let patient = device.connect(MINUTE, Vec::new());
    let mut peer = hub.accepted().await;
    assert!(before.elapsed() >= Duration::from_millis(350), "{:?}", before.elapsed());
    let client = patient.await.unwrap().unwrap();

    // A hub that is busy when a client comes back is remembered beyond the client.
    drop(peer);
    peer = hub.opened().await;
    let before = client.state();
    peer.answer(ConnectReturnCode::ServiceUnavailable).await;
    client.state_changed(&before).await;
    client.close(Duration::ZERO).await.unwrap();
    let again = device.connect(soon, Vec::new()).await.unwrap().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::ServiceFault, "{again}");

    // Once the hub has accepted the device, all is forgotten.
    let patient = device.connect(MINUTE, Vec::new());
    let _first = hub.accepted().await;
    let _client = patient.await.unwrap().unwrap();
    let before = Instant::now();
    let at_once = device.connect(soon, Vec::new());
    let _second = hub.accepted().await;
    let _client = at_once.await.unwrap().unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_call_after_silence_dials_at_once() {
    let (device, mut hub) = Device::new();
    let unreachable = || Error::new(ErrorKind::ConnectionFailed, "hub.example.net: scripted");
    let failures = (0..100).map(|_| unreachable()).collect();
    let error = device.connect(MINUTE, failures).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionFailed);
    let before = Instant::now();
    let again = device.connect(MINUTE, Vec::new());
    let _peer = hub.accepted().await;
    let _client = again.await.unwrap().unwrap();
    assert_eq!(before.elapsed(), Duration::ZERO);
}
