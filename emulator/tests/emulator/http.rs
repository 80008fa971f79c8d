//! HTTPS, WebSocket, AMQP's refusal and the control path, all on the one port.

use crate::client::*;
use dps_emulator::{Emulator, Transport};
use futures_util::{SinkExt as _, StreamExt as _, future};
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, header};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::ConnectReturnCode::Success;
use rumqttc::mqttbytes::v4::{Packet, SubscribeReasonCode};
use serde_json::{Value, json};
use std::io;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

#[tokio::test]
async fn a_device_registers_over_https() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let base = format!("/{SCOPE}/registrations/device-01");
    let body = r#"{"registrationId":"device-01"}"#;

    let path = format!("{base}/register?api-version=2021-06-01");
    let request = device_request(Method::PUT, &path, body);
    let answer = http(&emulator, Some(&identity), request).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(answer.headers[header::RETRY_AFTER], "3");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json; charset=utf-8");
    assert_eq!(answer.headers[header::LOCATION], format!("https://{GLOBAL}{base}/register"));
    let operation = answer.body["operationId"].as_str().unwrap();

    // The Node SDK sends a body with its GET.
    let path = format!("{base}/operations/{operation}?api-version=2019-03-31");
    let request = device_request(Method::GET, &path, "{}");
    let answer = http(&emulator, Some(&identity), request).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["registrationState"]["assignedHub"], HUB);
    assert!(!answer.headers.contains_key(header::RETRY_AFTER));

    let request = device_request(Method::POST, &format!("{base}?api-version=2021-06-01"), body);
    let answer = http(&emulator, Some(&identity), request).await.unwrap();
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("assigned")));

    let requests: Vec<_> = emulator.recorded().into_iter().filter_map(|r| r.request).collect();
    let register = format!("PUT {base}/register?api-version=2021-06-01 HTTP/1.1");
    assert!(requests.contains(&register), "{requests:?}");
}

#[tokio::test]
async fn what_is_wrong_over_https_is_said_in_the_services_shape() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let path = format!("/{SCOPE}/registrations/device-01/register");
    let versioned = format!("{path}?api-version=2021-06-01");
    for (who, path, body, status) in [
        (Some(&identity), &path, String::new(), 400),
        (Some(&identity), &versioned, "{".to_owned(), 400),
        (Some(&identity), &versioned, "x".repeat(97 * 1024), 413),
        (None, &versioned, String::new(), 401),
        (Some(&identity), &versioned.replace("device-01", "device-02"), String::new(), 401),
    ] {
        let request = device_request(Method::PUT, path, &body);
        let answer = http(&emulator, who, request).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        let code = answer.body["errorCode"].as_u64().unwrap();
        assert_eq!(code / 1000, u64::from(status));
        assert!(answer.body["trackingId"].is_string() && answer.body["message"].is_string());
    }
}

#[tokio::test]
async fn faults_strike_over_https_too() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let rules = json!([
        { "step": "register", "nth": 1, "action": { "status": { "code": 503, "retryAfter": 9 } } },
        { "step": "register", "nth": 2, "action": { "cut": "before" } },
        { "step": "register", "nth": 3, "action": { "body": "not json" } },
    ]);
    assert_eq!(control(&emulator, Method::POST, "faults", &rules.to_string()).await.status, 204);
    let path = format!("/{SCOPE}/registrations/device-01/register?api-version=2021-06-01");
    let register = || http(&emulator, Some(&identity), device_request(Method::PUT, &path, ""));
    let answer = register().await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body["errorCode"]), (503, &json!(503_000)));
    assert_eq!(answer.headers[header::RETRY_AFTER], "9");
    assert!(register().await.is_err());
    assert_eq!(register().await.unwrap().text, "not json");
    assert_eq!(register().await.unwrap().body["status"], "assigning");
}

#[tokio::test]
async fn mqtt_runs_over_a_websocket_under_the_clients_spelling() {
    let (emulator, pki) = prepared(Emulator::builder().polls(0)).await;
    let identity = pki.device("device-01");
    for spelling in ["mqtt", "MQTT"] {
        let mut request =
            format!("wss://{GLOBAL}/$iothub/websocket").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", spelling.parse().unwrap());
        let stream = tls(&emulator, GLOBAL, Some(&identity)).await;
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], spelling);

        let (sink, stream) = socket.split();
        let reader = StreamReader::new(stream.map(|message| match message {
            Ok(message) => Ok(message.into_data()),
            Err(error) => Err(io::Error::other(error)),
        }));
        let sink = sink
            .with(|bytes| future::ready(Ok::<_, WsError>(Message::Binary(bytes))))
            .sink_map_err(io::Error::other);
        let writer = SinkWriter::new(CopyToBytes::new(sink));
        let mut mqtt = Mqtt::new(tokio::io::join(reader, writer));
        let code = mqtt.connect("device-01", &dps_user("device-01"), "").await;
        assert_eq!(code, Some(Success));
        let granted = mqtt.subscribe(ANSWERS, QoS::AtLeastOnce).await;
        assert_eq!(granted, SubscribeReasonCode::Success(QoS::AtLeastOnce));
        let answer = mqtt.ask(&register_topic("1"), "").await.unwrap();
        assert_eq!(parsed(&answer)["status"], "assigned");
        mqtt.send([Packet::Disconnect]).await;
        assert_eq!(mqtt.next().await, None);
    }
    let recorded = emulator.recorded();
    let connects = recorded.iter().filter(|r| r.packet == "CONNECT");
    assert!(connects.clone().count() == 2);
    assert!(connects.into_iter().all(|r| r.transport == Transport::WebSocket));
    soon(emulator.stop()).await;
}

#[tokio::test]
async fn a_websocket_of_another_subprotocol_is_refused() {
    let emulator = Emulator::builder().start().await.unwrap();
    let url = format!("wss://{GLOBAL}/$iothub/websocket");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "AMQPWSB10".parse().unwrap());
    let stream = tls(&emulator, GLOBAL, None).await;
    match tokio_tungstenite::client_async(request, stream).await {
        Err(WsError::Http(response)) => assert_eq!(response.status().as_u16(), 400),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn amqp_is_answered_with_a_header_it_did_not_ask_for() {
    let emulator = Emulator::builder().start().await.unwrap();
    for (asked, answered) in [(0, 3), (3, 0)] {
        let mut stream = tls(&emulator, GLOBAL, None).await;
        stream.write_all(&[b'A', b'M', b'Q', b'P', asked, 1, 0, 0]).await.unwrap();
        let mut answer = Vec::new();
        soon(stream.read_to_end(&mut answer)).await.unwrap();
        assert_eq!(answer, [b'A', b'M', b'Q', b'P', answered, 1, 0, 0]);
    }
    let mut stream = tls(&emulator, GLOBAL, None).await;
    stream.write_all(b"\x00\x01nonsense").await.unwrap();
    assert!(!matches!(soon(stream.read(&mut [0; 8])).await, Ok(1..)));
}

#[tokio::test]
async fn the_control_path_makes_faults_shows_packets_and_turns_the_clock() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let rule = r#"{"step":"connect","times":0,"action":{"refuse":3}}"#;
    assert_eq!(control(&emulator, Method::POST, "faults", rule).await.status, 204);
    let mut mqtt = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
    assert_ne!(mqtt.connect("device-01", &dps_user("device-01"), "").await, Some(Success));
    assert_eq!(control(&emulator, Method::DELETE, "faults", "").await.status, 204);
    let wrong = control(&emulator, Method::POST, "faults", r#"{"step":"tea"}"#).await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body["message"].as_str().unwrap().contains("tea"));

    assert_eq!(control(&emulator, Method::DELETE, "packets", "").await.status, 204);
    register(&emulator, "device-01", &identity).await;
    let packets = control(&emulator, Method::GET, "packets", "").await.body;
    let publishes: Vec<&Value> = packets["packets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|packet| packet["packet"] == "PUBLISH" && packet["direction"] == "in")
        .collect();
    assert_eq!(publishes.len(), 2);
    assert_eq!(publishes[1]["payload"], "IA==");
    assert_eq!(publishes[0]["topic"], register_topic("1"));
    assert_eq!(
        (&publishes[0]["device"], &publishes[0]["role"]),
        (&json!("device-01"), &json!("dps"))
    );

    let skew = r#"{"skewSeconds": 40000000}"#;
    assert_eq!(control(&emulator, Method::POST, "clock", skew).await.status, 204);
    let mut mqtt = dps_client(&emulator, "device-01", &identity).await;
    let answer = mqtt.ask(&register_topic("1"), "").await.unwrap();
    assert!(answer.topic.starts_with("$dps/registrations/res/401/"));
    assert_eq!(control(&emulator, Method::POST, "clock", "{}").await.status, 400);
}

async fn control(emulator: &Emulator, method: Method, what: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/emulator/{what}"))
        .header(header::HOST, "localhost")
        .body(Full::from(body.to_owned()))
        .unwrap();
    http(emulator, None, request).await.unwrap()
}
