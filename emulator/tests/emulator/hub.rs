//! A hub over MQTT: telemetry, eviction, the twin, and what survives.

use crate::client::*;
use dps_emulator::Emulator;
use hyper::{Method, StatusCode};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::ConnectReturnCode::{NotAuthorized, Success};
use rumqttc::mqttbytes::v4::{Packet, SubscribeReasonCode};
use serde_json::json;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[tokio::test]
async fn telemetry_is_stored_and_acknowledged_in_order() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let state = register(&emulator, "device-01", &identity).await;
    assert_eq!(state["assignedHub"], HUB);

    // More than are worked on at once, in a single write.
    const COUNT: u16 = 1500;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let topic = format!("{}%24.ct=text%2Fplain&room=caf%C3%A9", events_topic("device-01"));
    let messages = (1..=COUNT).map(|n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}")));
    mqtt.send(messages).await;
    for n in 1..=COUNT {
        match mqtt.next().await {
            Some(Packet::PubAck(ack)) => assert_eq!(ack.pkid, n),
            other => panic!("{other:?}"),
        }
    }
    let stored = feed(&emulator, "device-01").await;
    let expected: Vec<_> = (1..=COUNT).map(|n| format!("m{n}")).collect();
    assert_eq!(texts(&stored), expected);
    assert_eq!(stored[0]["properties"], json!({ "room": "café" }));
}

#[tokio::test]
async fn a_qos_0_message_right_before_the_disconnect_is_kept() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let last = message("devices/device-01/messages/events", QoS::AtMostOnce, 0, "last words");
    mqtt.send([last, Packet::Disconnect]).await;
    assert_eq!(mqtt.next().await, None);
    assert_eq!(texts(&feed(&emulator, "device-01").await), ["last words"]);
}

#[tokio::test]
async fn the_newest_connection_of_an_identity_stays() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut older = hub_client(&emulator, "device-01", &identity).await;
    let mut newer = hub_client(&emulator, "device-01", &identity).await;
    assert_eq!(older.next().await, None);
    newer.send([message(&events_topic("device-01"), QoS::AtLeastOnce, 1, "here")]).await;
    assert!(matches!(newer.next().await, Some(Packet::PubAck(_))));
    let device = "/devices/device-01?api-version=2021-04-12";
    let answer = manage(&emulator, HUB, Method::GET, device, None).await;
    assert_eq!(answer.body["connectionState"], "Connected");
    newer.send([Packet::Disconnect]).await;
    assert_eq!(newer.next().await, None);
    eventually(async || {
        let answer = manage(&emulator, HUB, Method::GET, device, None).await;
        answer.body["connectionState"] == "Disconnected"
    })
    .await;
}

#[tokio::test]
async fn only_devices_the_hub_knows_get_in() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let (one, two) = (pki.device("device-01"), pki.device("device-02"));
    register(&emulator, "device-01", &one).await;
    for (device, identity, host, expected) in [
        ("device-01", Some(&one), HUB, Success),
        ("device-01", Some(&one), &format!("{HUB}:8883"), Success),
        ("device-01", Some(&two), HUB, NotAuthorized),
        ("device-01", None, HUB, NotAuthorized),
        ("device-02", Some(&two), HUB, NotAuthorized),
        ("device-01", Some(&one), "other.azure-devices.net", NotAuthorized),
    ] {
        let mut mqtt = Mqtt::new(tls(&emulator, HUB, identity).await);
        let user = format!("{host}/{device}/?api-version=2021-04-12");
        assert_eq!(mqtt.connect(device, &user, "").await, Some(expected), "{user}");
    }
}

#[tokio::test]
async fn a_breach_of_the_rules_ends_the_connection() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let breaches = [
        message(&events_topic("device-01"), QoS::ExactlyOnce, 5, ""),
        message(&events_topic("device-02"), QoS::AtLeastOnce, 5, ""),
        message(&register_topic("1"), QoS::AtLeastOnce, 5, ""),
        message(&events_topic("device-01"), QoS::AtLeastOnce, 5, vec![0; 256 * 1024 + 1]),
    ];
    for breach in breaches {
        let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
        mqtt.send([breach]).await;
        assert_eq!(mqtt.next().await, None);
    }
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let largest = vec![b'x'; 256 * 1024];
    mqtt.send([message(&events_topic("device-01"), QoS::AtLeastOnce, 5, largest)]).await;
    assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 5));
    assert_eq!(feed(&emulator, "device-01").await.len(), 1);
}

#[tokio::test]
async fn a_device_reads_its_twin_and_subscribes_to_what_a_hub_offers() {
    let emulator = Emulator::builder().start().await.unwrap();
    let pki = Pki::new();
    let twin = json!({ "tags": {}, "properties": { "desired": { "interval": 30 } } });
    enroll(&emulator, &pki, twin).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    for filter in [
        "devices/device-01/messages/devicebound/#",
        "$iothub/methods/POST/#",
        "$iothub/twin/PATCH/properties/desired/#",
        "$iothub/twin/res/#",
    ] {
        let granted = mqtt.subscribe(filter, QoS::ExactlyOnce).await;
        assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce), "{filter}");
    }
    for filter in ["#", "devices/device-02/messages/devicebound/#"] {
        let granted = mqtt.subscribe(filter, QoS::AtMostOnce).await;
        assert_eq!(granted, SubscribeReasonCode::Failure, "{filter}");
    }
    let answer = mqtt.ask("$iothub/twin/GET/?$rid=a-b", " ").await.unwrap();
    assert_eq!(answer.topic, "$iothub/twin/res/200/?$rid=a-b");
    assert_eq!(parsed(&answer)["desired"]["interval"], 30);
    assert!(parsed(&answer)["reported"]["$version"].is_u64());
}

/// Names the data file to the process that is going to be killed.
const DOOMED: &str = "DPS_EMULATOR_TEST_DATA";

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(data) = std::env::var_os(DOOMED) {
        return runtime.block_on(send_until_killed(data.into()));
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("emulator.db");
    // This very test again, in a process of its own.
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hub::what_was_acknowledged_survives_kill_9", "--nocapture"])
        .env(DOOMED, &data)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged = 0;
    for line in lines {
        // The last line may be cut off in its middle.
        if let Some(Ok(n)) = line.strip_prefix("acknowledged ").map(str::parse::<usize>) {
            acknowledged = acknowledged.max(n);
        }
        if acknowledged == 500 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged >= 500, "the other process ended early, at {acknowledged}");

    runtime.block_on(async {
        let emulator = Emulator::builder().data(&data).start().await.unwrap();
        let stored = texts(&feed(&emulator, "device-01").await);
        assert!(stored.len() >= acknowledged, "{} of {acknowledged}", stored.len());
        let expected: Vec<_> = (1..=stored.len()).map(|n| format!("m{n}")).collect();
        assert_eq!(stored, expected);
        let root = std::fs::read_to_string(data.with_extension("pem")).unwrap();
        assert_eq!(emulator.root_pem(), root);
        emulator.stop().await;

        let error = Emulator::builder().data(&data).id_scope("0ne00000B0B").start().await;
        assert!(error.unwrap_err().to_string().contains("0ne00000A0A"));
    });
}

async fn send_until_killed(data: PathBuf) {
    let (emulator, pki) = prepared(Emulator::builder().data(&data)).await;
    std::fs::write(data.with_extension("pem"), emulator.root_pem()).unwrap();
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    // Ends by itself should nobody kill it.
    for n in 1..=5000 {
        let text = format!("m{n}");
        mqtt.send([message(&events_topic("device-01"), QoS::AtLeastOnce, n, text)]).await;
        assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n));
        eprintln!("acknowledged {n}");
    }
}

#[tokio::test]
async fn stopping_answers_what_was_received_and_ends_everything() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("emulator.db");
    let (emulator, pki) = prepared(Emulator::builder().data(&data)).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let mut idle = tls(&emulator, HUB, None).await;
    mqtt.send([message(&events_topic("device-01"), QoS::AtLeastOnce, 1, "m1")]).await;
    assert!(matches!(mqtt.next().await, Some(Packet::PubAck(_))));
    let endpoint = emulator.endpoints()[0];
    soon(emulator.stop()).await;
    assert_eq!(mqtt.next().await, None);
    let mut byte = [0];
    let end = soon(tokio::io::AsyncReadExt::read(&mut idle, &mut byte)).await;
    assert!(!matches!(end, Ok(1..)));
    // Port and file are free again.
    let again = Emulator::builder().data(&data).listen(endpoint.to_string()).start().await.unwrap();
    assert_eq!(texts(&feed(&again, "device-01").await), ["m1"]);
    let missing = "/devices/device-09?api-version=2021-04-12";
    let answer = manage(&again, HUB, Method::GET, missing, None).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
