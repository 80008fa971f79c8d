//! The provisioning dialogue over MQTT, as real clients hold it.

use crate::client::*;
use dps_emulator::{Direction, Emulator, Role};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::ConnectReturnCode::{
    BadClientId, BadUserNamePassword, NotAuthorized, RefusedProtocolVersion, Success,
};
use rumqttc::mqttbytes::v4::{Packet, PubAck, SubscribeReasonCode, Unsubscribe};
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn a_device_of_the_group_is_assigned_after_one_poll() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let mut mqtt = dps_client(&emulator, "device-01", &pki.device("device-01")).await;

    let rid = "8d1c%2F;odd id";
    let answer = mqtt.ask(&register_topic(rid), r#"{"registrationId":"device-01"}"#).await.unwrap();
    assert_eq!(answer.topic, format!("$dps/registrations/res/202/?$rid={rid}&retry-after=3"));
    assert_eq!(answer.qos, QoS::AtLeastOnce);
    assert!(answer.pkid != 0);
    mqtt.send([Packet::PubAck(PubAck::new(answer.pkid))]).await;
    let body = parsed(&answer);
    assert_eq!(body["status"], "assigning");

    let operation = body["operationId"].as_str().unwrap();
    let answer = mqtt.ask(&poll_topic("2", operation), " ").await.unwrap();
    assert_eq!(answer.topic, "$dps/registrations/res/200/?$rid=2");
    let body = parsed(&answer);
    assert_eq!(body["status"], "assigned");
    assert_eq!(body["registrationState"]["assignedHub"], HUB);
    assert_eq!(body["registrationState"]["deviceId"], "device-01");

    mqtt.send([
        Packet::PingReq,
        Packet::Unsubscribe(Unsubscribe { pkid: 9, topics: vec![ANSWERS.to_owned()] }),
    ])
    .await;
    assert_eq!(mqtt.next().await, Some(Packet::PingResp));
    assert!(matches!(mqtt.next().await, Some(Packet::UnsubAck(ack)) if ack.pkid == 9));
    mqtt.send([Packet::Disconnect]).await;
    assert_eq!(mqtt.next().await, None);

    let recorded = emulator.recorded();
    let of_device = recorded.iter().filter(|r| r.device.as_deref() == Some("device-01"));
    let packets: Vec<_> = of_device.clone().map(|r| (r.direction, r.packet.as_str())).collect();
    use Direction::{In, Out};
    assert_eq!(
        packets,
        [
            (In, "CONNECT"),
            (Out, "CONNACK"),
            (In, "SUBSCRIBE"),
            (Out, "SUBACK"),
            (In, "PUBLISH"),
            (Out, "PUBACK"),
            (Out, "PUBLISH"),
            (In, "PUBACK"),
            (In, "PUBLISH"),
            (Out, "PUBACK"),
            (Out, "PUBLISH"),
            (In, "PINGREQ"),
            (Out, "PINGRESP"),
            (In, "UNSUBSCRIBE"),
            (Out, "UNSUBACK"),
            (In, "DISCONNECT"),
        ]
    );
    let connect = of_device.clone().next().unwrap();
    assert_eq!(connect.role, Some(Role::Dps));
    assert_eq!(connect.user_name.as_deref(), Some(dps_user("device-01").as_str()));
    assert_eq!((connect.has_password, connect.keep_alive), (Some(false), Some(60)));
    let register = of_device.clone().find(|r| r.packet == "PUBLISH").unwrap();
    assert_eq!(register.payload, br#"{"registrationId":"device-01"}"#);
    emulator.stop().await;
}

#[tokio::test]
async fn a_client_of_qos_0_is_answered_in_kind() {
    let (emulator, pki) = prepared(Emulator::builder().polls(0)).await;
    let identity = pki.device("device-01");
    let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
    mqtt.connect("device-01", &dps_user("device-01"), "").await;
    let granted = mqtt.subscribe(ANSWERS, QoS::AtMostOnce).await;
    assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtMostOnce));
    let body = r#"{"payload": null, "registrationId": "device-01"}"#;
    mqtt.send([message(&register_topic("1"), QoS::AtMostOnce, 0, body)]).await;
    let Some(Packet::Publish(answer)) = mqtt.next().await else { panic!("no answer") };
    assert_eq!((answer.qos, answer.pkid), (QoS::AtMostOnce, 0));
    assert_eq!(answer.topic, "$dps/registrations/res/200/?$rid=1");
    assert_eq!(parsed(&answer)["status"], "assigned");
}

#[tokio::test]
async fn a_leaf_alone_connects_and_is_refused_at_the_registration() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01").leaf_only();
    let mut mqtt = dps_client(&emulator, "device-01", &identity).await;
    let answer = mqtt.ask(&register_topic("1"), "").await.unwrap();
    assert_eq!(answer.topic, "$dps/registrations/res/401/?$rid=1");
    let body = parsed(&answer);
    assert_eq!(body["errorCode"], 401002);
    assert_eq!(body["message"], "CA certificate not found.");
}

#[tokio::test]
async fn an_unknown_scope_is_unauthorized() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
    let user = "0ne000FFFFF/registrations/device-01/api-version=2021-06-01";
    assert_eq!(mqtt.connect("device-01", user, "").await, Some(Success));
    mqtt.subscribe(ANSWERS, QoS::AtLeastOnce).await;
    let answer = mqtt.ask(&register_topic("1"), "").await.unwrap();
    assert_eq!(answer.topic, "$dps/registrations/res/401/?$rid=1");
    let body = parsed(&answer);
    assert_eq!((&body["errorCode"], &body["message"]), (&401002.into(), &"Unauthorized".into()));
}

#[tokio::test]
async fn only_the_answers_can_be_subscribed_to() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let mut mqtt = dps_client(&emulator, "device-01", &pki.device("device-01")).await;
    for filter in ["#", "$dps/#", "$dps/registrations/res/200/#", "devices/device-01/#", "é/#"] {
        let granted = mqtt.subscribe(filter, QoS::AtLeastOnce).await;
        assert_eq!(granted, SubscribeReasonCode::Failure, "{filter}");
    }
    let granted = mqtt.subscribe(ANSWERS, QoS::ExactlyOnce).await;
    assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));
}

#[tokio::test]
async fn a_connect_is_refused_by_the_return_code_that_says_why() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let sas = "SharedAccessSignature sr=x&sig=y&se=1";
    for (identity, client, user, password, expected) in [
        (None, "device-01", dps_user("device-01"), "", NotAuthorized),
        // A bad token is judged at the registration.
        (None, "device-01", dps_user("device-01"), sas, Success),
        (Some(&identity), "device-02", dps_user("device-01"), "", BadClientId),
        (Some(&identity), "DEVICE-01", dps_user("device-01"), "", Success),
        (Some(&identity), "device-01", String::new(), "", BadUserNamePassword),
        (Some(&identity), "device-01", "nonsense".to_owned(), "", BadUserNamePassword),
        (Some(&identity), "device-01", hub_user("device-01"), "", NotAuthorized),
    ] {
        let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, identity).await);
        let code = mqtt.connect(client, &user, password).await;
        assert_eq!(code, Some(expected), "{client} {user}");
        if expected != Success {
            assert_eq!(mqtt.next().await, None);
        }
    }
    let recorded = format!("{:?}", emulator.recorded());
    assert!(!recorded.contains("SharedAccessSignature"));
}

#[tokio::test]
async fn mqtt_5_is_refused_by_its_return_code() {
    let emulator = Emulator::builder().start().await.unwrap();
    for level in [3, 5] {
        let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, None).await);
        let connect = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', level, 2, 0, 60, 0, 0];
        mqtt.stream.write_all(&connect).await.unwrap();
        let Some(Packet::ConnAck(ack)) = mqtt.next().await else { panic!("no CONNACK") };
        assert_eq!(ack.code, RefusedProtocolVersion);
        assert_eq!(mqtt.next().await, None);
    }
}

#[tokio::test]
async fn a_breach_of_the_rules_ends_the_connection() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let breaches = [
        message(&register_topic("1"), QoS::ExactlyOnce, 5, ""),
        message("$dps/registrations/PUT/other/?$rid=1", QoS::AtLeastOnce, 5, ""),
        message(&events_topic("device-01"), QoS::AtLeastOnce, 5, "hello"),
        message(&register_topic("1"), QoS::AtLeastOnce, 5, vec![b' '; 97 * 1024]),
        Packet::PubRec(rumqttc::mqttbytes::v4::PubRec::new(1)),
        Packet::ConnAck(rumqttc::mqttbytes::v4::ConnAck::new(Success, false)),
    ];
    for breach in breaches {
        let mut mqtt = dps_client(&emulator, "device-01", &identity).await;
        mqtt.send([breach.clone()]).await;
        assert_eq!(mqtt.next().await, None, "{breach:?}");
    }
    for bytes in [
        // A length of 256 MB, of which nothing more may be waited for.
        &[0x30, 0xff, 0xff, 0xff, 0x7f][..],
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0xf0, 0],
        &[0x82, 2, 0, 1],
    ] {
        let mut mqtt = dps_client(&emulator, "device-01", &identity).await;
        mqtt.stream.write_all(bytes).await.unwrap();
        assert_eq!(mqtt.next().await, None, "{bytes:x?}");
    }
    register(&emulator, "device-01", &identity).await;
}

#[tokio::test]
async fn without_a_linked_hub_the_registration_fails() {
    let (emulator, pki) = prepared(Emulator::builder().no_hubs()).await;
    let state = register(&emulator, "device-01", &pki.device("device-01")).await;
    assert_eq!((&state["status"], &state["errorCode"]), (&"failed".into(), &400208.into()));
}
