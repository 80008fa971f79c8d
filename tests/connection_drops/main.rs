//! A connection cut at each step of the registration dialogue and in the middle of telemetry: what
//! was asked for is done, or fails with the right typed error in time; nothing that was
//! acknowledged is lost, and first deliveries are in order.

use std::{sync::Arc, time::Duration};

use dps_core::{
    Credential, ErrorKind, HubClient, Identity, ProvisioningClient, hub::ConnectionState,
    key::KeyType, provisioning::Progress, transport::Network,
};
use dps_emulator::{Action, Cut, Emulator, Fault, Recorded, Role, Step};
use dps_tests::{Hierarchy, cloud::Cloud};
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};

const HUB: &str = "contoso-hub-2.azure-devices.net";

/// Every step of the way to an assignment.
const STEPS: [Step; 5] = [Step::Tls, Step::Connect, Step::Subscribe, Step::Register, Step::Poll];

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(hierarchy: &Hierarchy, name: &str) -> Identity {
    let device = hierarchy.device(name);
    Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap()
}

#[tokio::test]
async fn a_cut_at_each_step_of_the_registration_is_survived() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    for step in STEPS {
        for when in [Cut::Before, Cut::After] {
            let name = format!("device-{step:?}-{when:?}");
            let identity = open(&hierarchy, &name);
            let fault = Fault::new(step, Action::Cut(when)).unwrap().device(&name);
            cloud.emulator().faults().add(fault);
            let client = cloud.client(&identity);
            let assignment = timeout(PATIENCE, client.register()).await.expect("in time").unwrap();
            assert_eq!(assignment.device_id(), name);
            let (status, record) = cloud.registration(&name).await;
            assert_eq!((status, &record["status"]), (200, &"assigned".into()));
        }
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_always_cut_ends_at_the_deadline() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    for step in STEPS {
        let name = format!("device-{step:?}");
        let identity = open(&hierarchy, &name);
        let fault = Fault::new(step, Action::Cut(Cut::Before)).unwrap().device(&name).times(0);
        cloud.emulator().faults().add(fault);
        let client = cloud.client(&identity).deadline(Duration::from_secs(2));
        let error = timeout(PATIENCE, client.register()).await.expect("in time").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{step:?}: {error}");
        assert!(error.message().contains("given up after"), "{step:?}: {error}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_reset_while_the_device_waits_is_opened_again() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::start_with(Emulator::builder().retry_after(1)).await;
    cloud.enroll(&hierarchy, true, "enabled").await;
    let identity = open(&hierarchy, "device-01");
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = cloud.network().connect_to(between.local_addr().unwrap().to_string());
    let reset = Arc::new(Notify::new());
    let client = cloud.client(&identity).network(network).deadline(Duration::from_secs(20));
    let assigning = Arc::clone(&reset);
    let client = client.on_progress(move |progress| {
        if progress == Progress::Assigning {
            assigning.notify_one();
        }
    });
    let address = cloud.emulator().connect_to();
    let carry = async {
        loop {
            let (mut device, _) = between.accept().await.unwrap();
            let mut service = TcpStream::connect(&address).await.unwrap();
            tokio::select! {
                _ = copy_bidirectional(&mut device, &mut service) => {}
                // With no time to linger, the device gets a reset.
                () = reset.notified() => device.set_zero_linger().unwrap(),
            }
        }
    };
    let assignment = tokio::select! {
        assignment = client.register() => assignment.unwrap(),
        () = carry => unreachable!("it goes on for ever"),
    };
    assert_eq!(assignment.device_id(), "device-01");
    cloud.stop().await;
}

#[tokio::test]
async fn dropping_the_future_cancels_the_registration_in_each_state() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    for (step, packet, topic) in [
        (Step::Connect, "CONNECT", ""),
        (Step::Subscribe, "SUBSCRIBE", ""),
        (Step::Register, "PUBLISH", "iotdps-register"),
        (Step::Poll, "PUBLISH", "iotdps-get-operationstatus"),
    ] {
        let name = format!("device-{step:?}");
        let identity = open(&hierarchy, &name);
        let fault = Fault::new(step, Action::Delay { ms: 600_000 }).unwrap().device(&name);
        cloud.emulator().faults().add(fault);
        let client = cloud.client(&identity);
        let reached = async {
            let is_it = |seen: &Recorded| {
                seen.packet == packet && seen.topic.as_deref().unwrap_or_default().contains(topic)
            };
            while !cloud.recorded(Role::Dps, &name).iter().any(is_it) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = client.register() => panic!("{step:?} is delayed: {result:?}"),
            () = async { timeout(PATIENCE, reached).await.expect("in time") } => {}
        }
        // A cancelled registration leaves nothing behind that a new one would stumble over.
        let assignment = timeout(PATIENCE, client.register()).await.expect("in time").unwrap();
        assert_eq!(assignment.device_id(), name);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn dropping_the_future_cancels_the_tls_handshake() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let identity = open(&hierarchy, "device-01");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Network::default().connect_to(silent.local_addr().unwrap().to_string());
    let client = ProvisioningClient::new("0ne00000A0A", &identity).network(network);
    let mut peer = tokio::select! {
        result = client.register() => panic!("nobody answers: {result:?}"),
        accepted = silent.accept() => accepted.unwrap().0,
    };
    // The device has left: its side of the connection is closed.
    let mut rest = Vec::new();
    timeout(PATIENCE, peer.read_to_end(&mut rest)).await.expect("in time").ok();
}

#[tokio::test]
async fn telemetry_survives_cuts_in_order_and_without_loss() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    for (name, when) in [("before", Cut::Before), ("after", Cut::After)] {
        let identity = open(&hierarchy, name);
        let assignment = cloud.client(&identity).register().await.unwrap();
        for nth in [3, 17, 40] {
            let fault = Fault::new(Step::Telemetry, Action::Cut(when)).unwrap();
            cloud.emulator().faults().add(fault.device(name).nth(nth));
        }
        let hub = assignment.connect(&identity).await.unwrap();
        send_numbers(&hub, 0..60).await;
        timeout(PATIENCE, hub.close(PATIENCE)).await.expect("in time").unwrap();

        let first_deliveries = numbers(&cloud, name, false).await;
        assert_eq!(first_deliveries, (0..60).collect::<Vec<u32>>(), "each once, in send order");
        let repeats = numbers(&cloud, name, true).await.len();
        assert!(repeats < 60, "a cut repeats what was under way, not everything: {repeats}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_cut_while_connecting_to_the_hub_is_survived() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    for when in [Cut::Before, Cut::After] {
        let name = format!("device-{when:?}");
        let identity = open(&hierarchy, &name);
        let assignment = cloud.client(&identity).register().await.unwrap();
        let fault = Fault::new(Step::HubConnect, Action::Cut(when)).unwrap().device(&name);
        cloud.emulator().faults().add(fault);
        let hub = timeout(PATIENCE, assignment.connect(&identity)).await.expect("in time").unwrap();
        send_numbers(&hub, 0..3).await;
        timeout(PATIENCE, hub.close(PATIENCE)).await.expect("in time").unwrap();
        assert_eq!(numbers(&cloud, &name, false).await, [0, 1, 2]);
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_hub_that_refuses_for_a_while_is_tried_again() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let identity = open(&hierarchy, "device-01");
    let assignment = cloud.client(&identity).register().await.unwrap();
    let faults = cloud.emulator().faults();
    faults.add(Fault::new(Step::HubConnect, Action::Refuse(3)).unwrap().times(2));
    let hub = timeout(PATIENCE, assignment.connect(&identity)).await.expect("in time").unwrap();
    faults.add(Fault::new(Step::Telemetry, Action::Cut(Cut::Before)).unwrap().nth(2));
    faults.add(Fault::new(Step::HubConnect, Action::Refuse(3)).unwrap().nth(4).times(2));
    send_numbers(&hub, 0..5).await;
    timeout(PATIENCE, hub.close(PATIENCE)).await.expect("in time").unwrap();
    assert_eq!(numbers(&cloud, "device-01", false).await, [0, 1, 2, 3, 4]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_client_that_the_hub_has_stopped_knows_why_and_a_closed_one_has_no_reason() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let identity = open(&hierarchy, "device-01");
    let assignment = cloud.client(&identity).register().await.unwrap();
    let hub = assignment.connect(&identity).await.unwrap();
    hub.close(PATIENCE).await.unwrap();
    assert!(hub.stopped().is_none());

    let faults = cloud.emulator().faults();
    let hub = assignment.connect(&identity).await.unwrap();
    faults.add(Fault::new(Step::HubConnect, Action::Refuse(5)).unwrap());
    faults.add(Fault::new(Step::Telemetry, Action::Cut(Cut::Before)).unwrap());
    let error = timeout(PATIENCE, hub.send("x")).await.expect("in time").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let mut state = hub.state();
    while state != ConnectionState::Closed {
        state = timeout(PATIENCE, hub.state_changed(&state)).await.expect("in time");
    }
    assert_eq!(hub.stopped().unwrap().kind(), ErrorKind::Unauthorized);
    cloud.stop().await;
}

#[tokio::test]
async fn a_hub_that_does_not_know_the_device_refuses_every_message() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let identity = open(&hierarchy, "device-01");
    let error = HubClient::builder(HUB, "device-01", &identity)
        .network(cloud.network())
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("register")), "{error}");
    cloud.stop().await;
}

/// Sends concurrently, as a busy device does, and waits for every acknowledgement.
async fn send_numbers(hub: &HubClient, numbers: std::ops::Range<u32>) {
    let mut sends = tokio::task::JoinSet::new();
    for number in numbers {
        let hub = hub.clone();
        let send = async move { hub.send(number.to_string()).await };
        sends.spawn(send);
        // Spawned sends are admitted in the order of their first poll.
        tokio::task::yield_now().await;
    }
    while let Some(sent) = timeout(PATIENCE, sends.join_next()).await.expect("in time") {
        sent.unwrap().unwrap();
    }
}

/// The numbers that the hub stored: first deliveries alone, or everything after them.
async fn numbers(cloud: &Cloud, device: &str, repeats: bool) -> Vec<u32> {
    let mut seen = Vec::new();
    let mut again = Vec::new();
    for message in cloud.feed(HUB, device).await {
        let number: u32 = message["body"].as_str().unwrap().parse().unwrap();
        if seen.contains(&number) {
            again.push(number);
        } else {
            seen.push(number);
        }
    }
    if repeats { again } else { seen }
}
