//! A hub over MQTT: telemetry, eviction, the twin, and what survives.

use crate::client::*;
use dps_emulator::{Action, Emulator, Fault, Role, Step};
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
async fn messages_of_both_qualities_in_one_write_are_kept_in_their_order() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let topic = events_topic("device-01");
    let packets = (1..=9).map(|n| match n % 3 {
        0 => message(&topic, QoS::AtMostOnce, 0, format!("m{n}")),
        _ => message(&topic, QoS::AtLeastOnce, n, format!("m{n}")),
    });
    mqtt.send(packets).await;
    for n in [1, 2, 4, 5, 7, 8] {
        assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n), "{n}");
    }
    eventually(async || feed(&emulator, "device-01").await.len() == 9).await;
    let stored = feed(&emulator, "device-01").await;
    assert_eq!(texts(&stored), (1..=9).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_stands_before_a_breach_is_stored_and_acknowledged() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let topic = events_topic("device-01");
    let qualities = [QoS::AtLeastOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce];
    mqtt.send((1..).zip(qualities).map(|(n, qos)| message(&topic, qos, n, format!("m{n}")))).await;
    for n in [1, 2] {
        assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n), "{n}");
    }
    assert_eq!(mqtt.next().await, None);
    assert_eq!(texts(&feed(&emulator, "device-01").await), ["m1", "m2"]);
}

#[tokio::test]
async fn a_full_feed_keeps_the_newest_and_counts_what_made_room() {
    let (emulator, pki) = prepared(Emulator::builder().retention(100)).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let topic = events_topic("device-01");
    // In pieces that the limit does not divide.
    let mut sent = 0;
    for piece in [70, 70, 1, 450] {
        let numbers = sent + 1..=sent + piece;
        mqtt.send(numbers.clone().map(|n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}"))))
            .await;
        for n in numbers {
            assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n), "{n}");
        }
        sent += piece;
        let oldest = sent.saturating_sub(100) + 1;
        let path = "/devices/device-01/messages/events?api-version=2021-04-12";
        let told = manage(&emulator, HUB, Method::GET, path, None).await.body;
        assert_eq!(
            (&told["retained"], &told["dropped"]),
            (&json!(sent + 1 - oldest), &json!(oldest - 1))
        );
        let messages = told["messages"].as_array().unwrap();
        assert_eq!(texts(messages), (oldest..=sent).map(|n| format!("m{n}")).collect::<Vec<_>>());
        assert_eq!(messages[0]["sequence"], json!(oldest));
    }
}

#[tokio::test]
async fn a_device_that_is_gone_does_not_take_others_messages_with_it() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let mut clients = Vec::new();
    for device in ["device-01", "device-02"] {
        let identity = pki.device(device);
        register(&emulator, device, &identity).await;
        clients.push(hub_client(&emulator, device, &identity).await);
    }
    let path = "/devices/device-02?api-version=2021-04-12";
    let answer = manage(&emulator, HUB, Method::DELETE, path, None).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let burst = |device| {
        let topic = events_topic(device);
        (1..=300).map(move |n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}")))
    };
    let [here, gone] = clients.as_mut_slice() else { unreachable!() };
    tokio::join!(here.send(burst("device-01")), gone.send(burst("device-02")));
    assert_eq!(gone.next().await, None);
    for n in 1..=300 {
        assert!(matches!(here.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n), "{n}");
    }
    assert_eq!(feed(&emulator, "device-01").await.len(), 300);
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
async fn what_an_older_connection_has_sent_is_taken_in_before_it_ends() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    // Nothing behind the first message is read while it is held up.
    emulator.faults().add(Fault::new(Step::Telemetry, Action::Delay { ms: 500 }).unwrap());
    let mut older = hub_client(&emulator, "device-01", &identity).await;
    let topic = events_topic("device-01");
    // More than the runtime lets a task read at a time.
    const COUNT: u16 = 900;
    let text = |n: u16| format!("m{n:01000}");
    let messages = (1..=COUNT).map(|n| message(&topic, QoS::AtLeastOnce, n, text(n)));
    older.send(messages.chain([Packet::Disconnect])).await;
    let mut newer = hub_client(&emulator, "device-01", &identity).await;
    let recorded = emulator.recorded();
    assert!(
        recorded.iter().any(|entry| entry.packet == "DISCONNECT" && entry.role == Some(Role::Hub))
    );
    newer.send([message(&topic, QoS::AtLeastOnce, 1, text(COUNT + 1))]).await;
    assert!(matches!(newer.next().await, Some(Packet::PubAck(_))));
    let expected: Vec<_> = (1..=COUNT + 1).map(text).collect();
    assert_eq!(texts(&feed(&emulator, "device-01").await), expected);
}

#[tokio::test]
async fn a_newer_connection_does_not_wait_for_all_that_an_older_one_sends() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    emulator.faults().add(Fault::new(Step::Telemetry, Action::Delay { ms: 2000 }).unwrap());
    let mut older = hub_client(&emulator, "device-01", &identity).await;
    let topic = events_topic("device-01");
    const COUNT: u16 = 4000;
    older.send((1..=COUNT).map(|n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}")))).await;
    let _newer = hub_client(&emulator, "device-01", &identity).await;
    // What is left out was not acknowledged, and has no gaps before it.
    let stored = feed(&emulator, "device-01").await;
    assert!((1..usize::from(COUNT)).contains(&stored.len()), "{}", stored.len());
    assert_eq!(texts(&stored), (1..=stored.len()).map(|n| format!("m{n}")).collect::<Vec<_>>());
    for n in 1..=stored.len() {
        let next = older.next().await;
        assert!(matches!(next, Some(Packet::PubAck(ack)) if usize::from(ack.pkid) == n), "{n}");
    }
    assert_eq!(older.next().await, None);
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

#[tokio::test]
async fn what_a_device_reports_is_in_its_twin() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    mqtt.subscribe("$iothub/twin/res/#", QoS::AtLeastOnce).await;
    let report = |query: &str| format!("$iothub/twin/PATCH/properties/reported/?{query}");

    let first = r#"{"firmware":{"version":"1.0","pending":true},"battery":80}"#;
    let answer = mqtt.ask(&report("$rid=1"), first).await.unwrap();
    assert_eq!(
        (answer.topic.as_str(), answer.payload.len()),
        ("$iothub/twin/res/204/?$rid=1&$version=2", 0)
    );
    // As Node's SDK sends it.
    let second = r#"{"firmware":{"pending":null},"battery":79}"#;
    mqtt.send([message(&report("$rid=2"), QoS::AtMostOnce, 0, second)]).await;
    match mqtt.next().await {
        Some(Packet::Publish(answer)) => {
            assert_eq!(answer.topic, "$iothub/twin/res/204/?$rid=2&$version=3");
        }
        other => panic!("{other:?}"),
    }
    let twin = mqtt.ask("$iothub/twin/GET/?$rid=3", "").await.unwrap();
    let expected = json!({ "firmware": { "version": "1.0" }, "battery": 79, "$version": 3 });
    assert_eq!(parsed(&twin)["reported"], expected);
    let path = "/twins/device-01?api-version=2021-04-12";
    let told = manage(&emulator, HUB, Method::GET, path, None).await.body;
    assert_eq!(told["properties"]["reported"]["battery"], 79);
    assert_eq!(told["properties"]["reported"]["$version"], 3);

    let large = json!({ "text": "x".repeat(32 * 1024) }).to_string();
    for (query, body, status) in [
        ("$rid=4", "{", 400),
        ("$rid=4", "[]", 400),
        ("$rid=4", r#"{"$version":1}"#, 400),
        ("$rid=4", &large, 413),
        ("$rid=4&$version=2", r#"{"battery":1}"#, 412),
    ] {
        let answer = mqtt.ask(&report(query), body).await.unwrap();
        assert_eq!(answer.topic, format!("$iothub/twin/res/{status}/?$rid=4"), "{body:.20}");
        assert_eq!(parsed(&answer)["errorCode"], status * 1000);
    }
    let answer = mqtt.ask(&report("$rid=5&$version=3"), r#"{"battery":78}"#).await.unwrap();
    assert_eq!(answer.topic, "$iothub/twin/res/204/?$rid=5&$version=4");
}

#[tokio::test]
async fn whatever_a_device_may_report_can_be_read_back() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    mqtt.subscribe("$iothub/twin/res/#", QoS::AtLeastOnce).await;
    let report = "$iothub/twin/PATCH/properties/reported/?$rid=1";
    let patch = |open: &str, close: &str, depth| {
        format!(r#"{{"a":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
    };
    for (open, close) in [("[", "]"), (r#"{"b":"#, "}")] {
        for depth in 1..=10 {
            let patch = patch(open, close, depth);
            let answer = mqtt.ask(report, &patch).await.unwrap();
            assert!(answer.topic.starts_with("$iothub/twin/res/204/?$rid=1"), "{patch}");
            let twin = mqtt.ask("$iothub/twin/GET/?$rid=2", "").await.unwrap();
            let reported: serde_json::Value = serde_json::from_str(&patch).unwrap();
            assert_eq!(parsed(&twin)["reported"]["a"], reported["a"]);
            // What is merged into objects would only go deeper.
            mqtt.ask(report, r#"{"a":null}"#).await.unwrap();
        }
        // 126 is as deep as the parser goes.
        for depth in [11, 126] {
            let answer = mqtt.ask(report, &patch(open, close, depth)).await.unwrap();
            assert_eq!(answer.topic, "$iothub/twin/res/400/?$rid=1", "{depth}");
        }
    }
    let path = "/devices?api-version=2021-04-12";
    let listed = manage(&emulator, HUB, Method::GET, path, None).await;
    assert_eq!((listed.status, listed.body.as_array().unwrap().len()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn telemetry_and_reports_are_acknowledged_in_their_order() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let report = "$iothub/twin/PATCH/properties/reported/?$rid=1";
    // With and without an answer to the report.
    for answered in [false, true] {
        if answered {
            mqtt.subscribe("$iothub/twin/res/#", QoS::AtMostOnce).await;
        }
        let telemetry = message(&events_topic("device-01"), QoS::AtLeastOnce, 1, "m1");
        mqtt.send([telemetry, message(report, QoS::AtLeastOnce, 2, r#"{"a":1}"#)]).await;
        for n in [1, 2] {
            assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n), "{n}");
        }
        if answered {
            assert!(matches!(mqtt.next().await, Some(Packet::Publish(_))));
        }
    }
}

#[tokio::test]
async fn a_device_that_is_gone_has_no_twin_to_ask() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    for request in ["GET", "PATCH/properties/reported"] {
        register(&emulator, "device-01", &identity).await;
        let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
        mqtt.subscribe("$iothub/twin/res/#", QoS::AtLeastOnce).await;
        let path = "/devices/device-01?api-version=2021-04-12";
        let answer = manage(&emulator, HUB, Method::DELETE, path, None).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
        let request = format!("$iothub/twin/{request}/?$rid=1");
        mqtt.send([message(&request, QoS::AtLeastOnce, 2, "{}")]).await;
        assert_eq!(mqtt.next().await, None, "{request}");
    }
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
    let topic = events_topic("device-01");
    // One by one first, then many at once; ends by itself should nobody kill it.
    for first in (1..=100).chain((101..=5000).step_by(50)) {
        let burst = if first > 100 { first..first + 50 } else { first..first + 1 };
        let packets = burst.clone().map(|n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}")));
        mqtt.send(packets).await;
        for n in burst {
            assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == n));
            eprintln!("acknowledged {n}");
        }
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
