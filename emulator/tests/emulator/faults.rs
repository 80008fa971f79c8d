//! Each fault, seen from the client that suffers it.

use crate::client::*;
use dps_emulator::{Action, Cut, Emulator, Fault, Faults, Step};
use hyper::Method;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::ConnectReturnCode::{ServiceUnavailable, Success};
use rumqttc::mqttbytes::v4::{Packet, Subscribe};
use std::time::{Duration, Instant};

fn fault(step: Step, action: Action) -> Fault {
    Fault::new(step, action).unwrap()
}

/// What the registration is answered with, as status, topic rest and text.
async fn answered(emulator: &Emulator, identity: &Identity) -> Option<(String, String)> {
    let mut mqtt = dps_client(emulator, "device-01", identity).await;
    let answer = mqtt.ask(&register_topic("7"), "").await?;
    let topic = answer.topic.strip_prefix("$dps/registrations/res/").unwrap().to_owned();
    Some((topic, String::from_utf8(answer.payload.to_vec()).unwrap()))
}

#[tokio::test]
async fn a_status_is_answered_instead_of_the_service_and_then_no_more() {
    let rule = r#"{"device": "device-01", "step": "register", "times": 2, "action":
        {"status": {"code": 429, "retryAfter": 2, "errorCode": 429001, "message": "Throttled."}}}"#;
    let faults = Faults::from_json(rule).unwrap();
    let (emulator, pki) = prepared(Emulator::builder().faults(faults)).await;
    let identity = pki.device("device-01");
    for _ in 0..2 {
        let (topic, text) = answered(&emulator, &identity).await.unwrap();
        assert_eq!(topic, "429/?$rid=7&retry-after=2");
        let body: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&body["errorCode"], &body["message"]), (&429001.into(), &"Throttled.".into()));
    }
    assert_eq!(answered(&emulator, &identity).await.unwrap().0, "202/?$rid=7&retry-after=3");
}

#[tokio::test]
async fn answers_are_spoilt_as_told() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let faults = emulator.faults();

    faults.add(fault(Step::Register, Action::Body("{\"operationId\":".to_owned())));
    let (topic, text) = answered(&emulator, &identity).await.unwrap();
    assert_eq!((topic.as_str(), text.as_str()), ("202/?$rid=7&retry-after=3", "{\"operationId\":"));

    faults.add(fault(Step::Register, Action::Oversize(300_000)));
    assert!(answered(&emulator, &identity).await.unwrap().1.len() > 300_000);

    faults.add(fault(Step::Register, Action::WrongRid(true)));
    assert_eq!(answered(&emulator, &identity).await.unwrap().0, "202/?$rid=not-7&retry-after=3");

    faults.add(fault(Step::Poll, Action::RegistrationStatus("pondering".to_owned())));
    let mut mqtt = dps_client(&emulator, "device-01", &identity).await;
    let operation = parsed(&mqtt.ask(&register_topic("1"), "").await.unwrap());
    let poll = poll_topic("2", operation["operationId"].as_str().unwrap());
    assert_eq!(parsed(&mqtt.ask(&poll, "").await.unwrap())["status"], "pondering");
    assert_eq!(parsed(&mqtt.ask(&poll, "").await.unwrap())["status"], "assigned");
}

#[tokio::test]
async fn a_delay_delays() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    emulator.faults().add(fault(Step::Register, Action::Delay { ms: 300 }));
    let mut mqtt = dps_client(&emulator, "device-01", &pki.device("device-01")).await;
    let begun = Instant::now();
    mqtt.ask(&register_topic("1"), "").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn the_provisioning_dialogue_is_cut_at_every_step() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    for cut in [Cut::Before, Cut::After] {
        emulator.faults().add(fault(Step::Tls, Action::Cut(cut)).device("device-01"));
        let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
        assert_eq!(mqtt.next().await, None);

        emulator.faults().add(fault(Step::Connect, Action::Cut(cut)));
        let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
        assert_eq!(mqtt.connect("device-01", &dps_user("device-01"), "").await, None);

        emulator.faults().add(fault(Step::Subscribe, Action::Cut(cut)));
        let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
        assert_eq!(mqtt.connect("device-01", &dps_user("device-01"), "").await, Some(Success));
        let mut subscribe = Subscribe::new(ANSWERS, QoS::AtLeastOnce);
        subscribe.pkid = 1;
        mqtt.send([Packet::Subscribe(subscribe)]).await;
        assert_eq!(mqtt.next().await, None);

        emulator.faults().add(fault(Step::Register, Action::Cut(cut)));
        assert_eq!(answered(&emulator, &identity).await, None);
        // After: the registration record is there, though nobody was told.
        let path = "/registrations/device-01?api-version=2021-10-01";
        let record = manage(&emulator, &emulator.dps_host(), Method::GET, path, None).await;
        assert_eq!(record.status.is_success(), cut == Cut::After);

        emulator.faults().add(fault(Step::Poll, Action::Cut(cut)));
        let mut mqtt = dps_client(&emulator, "device-01", &identity).await;
        let operation = parsed(&mqtt.ask(&register_topic("1"), "").await.unwrap());
        let poll = poll_topic("2", operation["operationId"].as_str().unwrap());
        assert_eq!(mqtt.ask(&poll, "").await, None);
    }
}

#[tokio::test]
async fn the_handshake_of_anyone_is_cut() {
    let (emulator, _) = prepared(Emulator::builder()).await;
    emulator.faults().add(fault(Step::Tls, Action::Cut(Cut::Before)));
    let versions = rustls::ALL_VERSIONS;
    let first = tls_with(&emulator, GLOBAL, config(&emulator, None, versions)).await;
    assert!(first.is_err());
    tls_with(&emulator, GLOBAL, config(&emulator, None, versions)).await.unwrap();
}

#[tokio::test]
async fn a_connect_is_refused_as_told() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    emulator.faults().add(fault(Step::Connect, Action::Refuse(3)));
    emulator.faults().add(fault(Step::HubConnect, Action::Refuse(3)).times(2));
    for (host, user, expected) in [
        (GLOBAL, dps_user("device-01"), ServiceUnavailable),
        (GLOBAL, dps_user("device-01"), Success),
        (HUB, hub_user("device-01"), ServiceUnavailable),
        (HUB, hub_user("device-01"), ServiceUnavailable),
        (HUB, hub_user("device-01"), Success),
    ] {
        let mut mqtt = Mqtt::new(tls(&emulator, host, Some(&identity)).await);
        assert_eq!(mqtt.connect("device-01", &user, "").await, Some(expected), "{user}");
    }
}

#[tokio::test]
async fn a_swallowed_request_is_never_answered_and_the_connection_stays() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    emulator.faults().add(fault(Step::Register, Action::Drop(true)));
    let mut mqtt = dps_client(&emulator, "device-01", &pki.device("device-01")).await;
    mqtt.send([message(&register_topic("1"), QoS::AtLeastOnce, 2, ""), Packet::PingReq]).await;
    assert_eq!(mqtt.next().await, Some(Packet::PingResp));
    let answer = mqtt.ask(&register_topic("2"), "").await.unwrap();
    assert_eq!(answer.topic, "$dps/registrations/res/202/?$rid=2&retry-after=3");
}

#[tokio::test]
async fn a_skewed_clock_finds_the_certificates_expired() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    emulator.faults().add(fault(Step::Register, Action::ClockSkew(400 * 24 * 3600)));
    let (topic, text) = answered(&emulator, &identity).await.unwrap();
    assert!(topic.starts_with("401/") && text.contains("401002"), "{topic} {text}");
    emulator.set_clock_skew(0);
    assert!(answered(&emulator, &identity).await.unwrap().0.starts_with("202/"));
}

#[tokio::test]
async fn telemetry_is_cut_without_loss_or_disorder() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    emulator.faults().add(fault(Step::Telemetry, Action::Cut(Cut::Before)).nth(5));
    emulator.faults().add(fault(Step::Telemetry, Action::Cut(Cut::After)).nth(8));

    // Ten at once each time, as a client with a window does; what is not acknowledged is sent
    // again.
    let (mut acknowledged, mut rounds) = (0, Vec::new());
    while acknowledged < 10 {
        let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
        let rest = acknowledged + 1..=10;
        let topic = events_topic("device-01");
        mqtt.send(rest.map(|n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}")))).await;
        while acknowledged < 10
            && let Some(packet) = mqtt.next().await
        {
            let Packet::PubAck(ack) = packet else { panic!("{packet:?}") };
            assert_eq!(ack.pkid, acknowledged + 1);
            acknowledged = ack.pkid;
        }
        rounds.push(acknowledged);
    }
    // The fifth was cut before it was stored; the eighth attempt is the seventh message, cut
    // after it was stored, which is why it is there twice.
    assert_eq!(rounds, [4, 6, 10]);
    let stored = texts(&feed(&emulator, "device-01").await);
    assert_eq!(stored, ["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m7", "m8", "m9", "m10"]);
}

#[tokio::test]
async fn a_swallowed_message_is_neither_stored_nor_acknowledged() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    register(&emulator, "device-01", &identity).await;
    emulator.faults().add(fault(Step::Telemetry, Action::Drop(true)));
    let mut mqtt = hub_client(&emulator, "device-01", &identity).await;
    let topic = events_topic("device-01");
    mqtt.send((1..=2).map(|n| message(&topic, QoS::AtLeastOnce, n, format!("m{n}")))).await;
    assert!(matches!(mqtt.next().await, Some(Packet::PubAck(ack)) if ack.pkid == 2));
    assert_eq!(texts(&feed(&emulator, "device-01").await), ["m2"]);
}
