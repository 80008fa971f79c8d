//! Devices with symmetric keys, in the words of Microsoft's SDKs.

use crate::client::*;
use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_emulator::Emulator;
use hyper::{Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::ConnectReturnCode::{NotAuthorized, Success};
use rumqttc::mqttbytes::v4::{ConnectReturnCode, Packet};
use serde_json::{Value, json};
use time::OffsetDateTime;

const KEY: [u8; 32] = [7; 32];

fn in_seconds(seconds: i64) -> i64 {
    OffsetDateTime::now_utc().unix_timestamp() + seconds
}

/// Signs the resource as it stands.
fn token(resource: &str, expiry: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &KEY);
    let signature = hmac::sign(&key, format!("{resource}\n{expiry}").as_bytes());
    let signature = BASE64_STANDARD.encode(signature);
    let signature = utf8_percent_encode(&signature, NON_ALPHANUMERIC);
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}")
}

async fn enrolled() -> Emulator {
    let emulator = Emulator::builder().start().await.unwrap();
    let key = BASE64_STANDARD.encode(KEY);
    let body = json!({ "attestation": { "type": "symmetricKey",
        "symmetricKey": { "primaryKey": key, "secondaryKey": null } } });
    let path = "/enrollments/meter-1?api-version=2021-10-01";
    let answer = manage(&emulator, &emulator.dps_host(), Method::PUT, path, Some(body)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    emulator
}

/// Registers over MQTT with this token, and gives the status and the body of the last answer.
async fn register(emulator: &Emulator, token: &str) -> (String, Value) {
    let mut mqtt = Mqtt::new(tls(emulator, GLOBAL, None).await);
    let code = mqtt.connect("meter-1", &dps_user("meter-1"), token).await;
    assert_eq!(code, Some(Success), "credentials are judged at the registration");
    mqtt.subscribe(ANSWERS, QoS::AtLeastOnce).await;
    let mut answer = mqtt.ask(&register_topic("1"), "").await.unwrap();
    if answer.topic.contains("/202/") {
        let operation = parsed(&answer)["operationId"].as_str().unwrap().to_owned();
        answer = mqtt.ask(&poll_topic("2", &operation), " ").await.unwrap();
    }
    let status = answer.topic.split('/').nth(3).unwrap().to_owned();
    (status, parsed(&answer))
}

async fn hub_connect(emulator: &Emulator, token: &str) -> (Client, Option<ConnectReturnCode>) {
    let mut mqtt = Mqtt::new(tls(emulator, HUB, None).await);
    let code = mqtt.connect("meter-1", &hub_user("meter-1"), token).await;
    (mqtt, code)
}

#[tokio::test]
async fn a_device_registers_and_sends_with_tokens() {
    let emulator = enrolled().await;
    let expiry = in_seconds(3600);
    for token in [
        // Python, Node, C.
        token("0ne00000A0A%2Fregistrations%2Fmeter-1", expiry),
        format!("{}&skn=registration", token("0ne00000A0A/registrations/meter-1", expiry)),
        format!("{}&skn=registration", token("0ne00000A0A%2fregistrations%2fmeter-1", expiry)),
    ] {
        let (status, body) = register(&emulator, &token).await;
        assert_eq!((status.as_str(), &body["status"]), ("200", &json!("assigned")), "{body}");
    }
    for resource in [format!("{HUB}%2Fdevices%2Fmeter-1"), format!("{HUB}/devices/meter-1")] {
        let (mut mqtt, code) = hub_connect(&emulator, &token(&resource, expiry)).await;
        assert_eq!(code, Some(Success), "{resource}");
        mqtt.send([message(&events_topic("meter-1"), QoS::AtLeastOnce, 1, resource)]).await;
        assert!(matches!(mqtt.next().await, Some(Packet::PubAck(_))));
    }
    assert_eq!(feed(&emulator, "meter-1").await.len(), 2);
    for token in [
        String::new(),
        token("0ne00000A0A%2Fregistrations%2Fmeter-1", expiry),
        token(&format!("{HUB}%2Fdevices%2Fmeter-2"), expiry),
        token(&format!("{HUB}%2Fdevices%2Fmeter-1"), in_seconds(-1)),
    ] {
        assert_eq!(hub_connect(&emulator, &token).await.1, Some(NotAuthorized), "{token}");
    }
    // No password and no token is in what was recorded.
    assert!(!format!("{:?}", emulator.recorded()).contains("SharedAccessSignature"));
}

#[tokio::test]
async fn over_https_the_token_is_the_authorization() {
    let emulator = enrolled().await;
    let path = "/0ne00000A0A/registrations/meter-1/register?api-version=2021-06-01";
    let expiry = in_seconds(3600);
    for (token, expected) in [
        (token("0ne00000A0A%2Fregistrations%2Fmeter-1", expiry), StatusCode::ACCEPTED),
        (token("0ne00000A0A%2Fregistrations%2Fmeter-2", expiry), StatusCode::UNAUTHORIZED),
    ] {
        let mut request = device_request(Method::PUT, path, r#"{"registrationId":"meter-1"}"#);
        request.headers_mut().insert(header::AUTHORIZATION, token.parse().unwrap());
        let answer = http(&emulator, None, request).await.unwrap();
        assert_eq!(answer.status, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_hub_ends_a_connection_when_its_token_expires() {
    let emulator = enrolled().await;
    register(&emulator, &token("0ne00000A0A/registrations/meter-1", in_seconds(60))).await;
    let resource = format!("{HUB}%2Fdevices%2Fmeter-1");

    // By the clock that a test sets.
    let (mut mqtt, code) = hub_connect(&emulator, &token(&resource, in_seconds(3600))).await;
    assert_eq!(code, Some(Success));
    emulator.set_clock_skew(3000);
    mqtt.send([message(&events_topic("meter-1"), QoS::AtLeastOnce, 1, "in time")]).await;
    assert!(matches!(mqtt.next().await, Some(Packet::PubAck(_))));
    emulator.set_clock_skew(3601);
    assert_eq!(mqtt.next().await, None);
    emulator.set_clock_skew(0);

    // And by time that passes.
    let (mut mqtt, code) = hub_connect(&emulator, &token(&resource, in_seconds(3))).await;
    assert_eq!(code, Some(Success));
    assert_eq!(mqtt.next().await, None);
    assert_eq!(texts(&feed(&emulator, "meter-1").await), ["in time"]);
}

#[tokio::test]
async fn a_refused_token_is_told_apart_from_none_at_all() {
    let emulator = enrolled().await;
    let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, None).await);
    let code = mqtt.connect("meter-1", &dps_user("meter-1"), "").await;
    assert_eq!(code, Some(NotAuthorized));
    for token in [
        "SharedAccessSignature nonsense".to_owned(),
        token("0ne00000A0A/registrations/meter-1", in_seconds(-1)),
    ] {
        let (status, body) = register(&emulator, &token).await;
        assert_eq!((status.as_str(), &body["errorCode"]), ("401", &json!(401_002)), "{body}");
        assert_eq!(body["message"], "Unauthorized");
    }
}
