//! What the TLS layer lets in, and what it does not.

use crate::client::*;
use dps_emulator::{Emulator, EmulatorError, TlsVersion};
use hyper::{Method, StatusCode};
use rcgen::{CustomExtension, KeyPair, RsaKeySize};
use rumqttc::mqttbytes::v4::ConnectReturnCode::{NotAuthorized, Success};
use rumqttc::mqttbytes::v4::{Connect, Packet};
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test]
async fn every_kind_of_key_signs_a_handshake_of_either_version() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let keys = [
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
    ];
    for key in keys {
        let identity = pki.device_with("device-01", key, Vec::new());
        for version in [&TLS12, &TLS13] {
            let config = config(&emulator, Some(&identity), &[version]);
            let mut mqtt = Mqtt::new(tls_with(&emulator, GLOBAL, config).await.unwrap());
            let code = mqtt.connect("device-01", &dps_user("device-01"), "").await;
            assert_eq!(code, Some(Success));
        }
    }
}

/// The record tells what each connection's handshake agreed upon and which server it asked for.
#[tokio::test]
async fn a_version_that_is_not_spoken_is_refused_and_the_other_is_recorded() {
    for (only, spoken, other) in
        [(TlsVersion::V1_2, &TLS12, &TLS13), (TlsVersion::V1_3, &TLS13, &TLS12)]
    {
        let (emulator, pki) = prepared(Emulator::builder().tls(only)).await;
        let identity = pki.device("device-01");
        let refused = config(&emulator, Some(&identity), &[other]);
        tls_with(&emulator, GLOBAL, refused).await.expect_err("the other version");
        emulator.clear_recorded();

        let both = config(&emulator, Some(&identity), rustls::ALL_VERSIONS);
        let mut mqtt = Mqtt::new(tls_with(&emulator, GLOBAL, both).await.unwrap());
        assert_eq!(mqtt.connect("device-01", &dps_user("device-01"), "").await, Some(Success));
        let alone = config(&emulator, Some(&identity), &[spoken]);
        let stream = tls_with(&emulator, HUB, alone).await.unwrap();
        let answer = exchange(stream, device_request(Method::GET, "/", "")).await.unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND);

        let seen = |packet: &str| {
            let recorded = emulator.recorded();
            let entry = recorded.into_iter().find(|entry| entry.packet == packet).expect(packet);
            (entry.tls, entry.server_name)
        };
        for (packet, name) in
            [("CONNECT", GLOBAL), ("CONNACK", GLOBAL), ("REQUEST", HUB), ("RESPONSE", HUB)]
        {
            assert_eq!(seen(packet), (Some(only), Some(name.to_owned())), "{packet}");
        }
    }
}

#[tokio::test]
async fn without_rsa_pss_an_rsa_key_signs_with_pkcs1_or_not_at_all() {
    let (emulator, pki) = prepared(Emulator::builder().without_rsa_pss()).await;
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let rsa = pki.device_with("device-01", rsa, Vec::new());
    let connect = async |identity, version| {
        let config = config(&emulator, Some(identity), &[version]);
        let mut mqtt = Mqtt::new(tls_with(&emulator, GLOBAL, config).await.unwrap());
        mqtt.connect("device-01", &dps_user("device-01"), "").await
    };
    assert_eq!(connect(&rsa, &TLS12).await, Some(Success));
    // The client comes without its certificate, for want of a scheme.
    assert_eq!(connect(&rsa, &TLS13).await, Some(NotAuthorized));
    assert_eq!(connect(&pki.device("device-01"), &TLS13).await, Some(Success));
}

#[tokio::test]
async fn a_certificate_webpki_cannot_read_is_left_to_the_service() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 55555, 1], vec![5, 0]);
    unknown.set_criticality(true);
    let key = KeyPair::generate().unwrap();
    let identity = pki.device_with("device-01", key, vec![unknown]);
    for version in [&TLS12, &TLS13] {
        let config = config(&emulator, Some(&identity), &[version]);
        let mut mqtt = Mqtt::new(tls_with(&emulator, GLOBAL, config).await.unwrap());
        let code = mqtt.connect("device-01", &dps_user("device-01"), "").await;
        assert_eq!(code, Some(Success));
    }
}

#[tokio::test]
async fn another_devices_certificate_without_its_key_does_not_get_in() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let mut thief = pki.device("device-01");
    thief.key = pki.device("device-02").key;
    for version in [&TLS12, &TLS13] {
        let config = config(&emulator, Some(&thief), &[version]);
        // With TLS 1.3 the client is through before the server has judged it.
        if let Ok(stream) = tls_with(&emulator, GLOBAL, config).await {
            assert_eq!(Mqtt::new(stream).next().await, None);
        }
    }
    assert!(emulator.recorded().iter().all(|entry| entry.packet != "CONNECT"));
}

#[tokio::test]
async fn the_server_carries_the_name_of_everything_it_stands_for() {
    let emulator =
        Emulator::builder().hub("localhost").hub("HUB.example.net").start().await.unwrap();
    let host = emulator.dps_host();
    for name in [GLOBAL, &host, "localhost", "hub.example.net", "127.0.0.1", "::1"] {
        tls(&emulator, name, None).await;
    }
    let other = config(&emulator, None, rustls::ALL_VERSIONS);
    assert!(tls_with(&emulator, "other.example.net", other).await.is_err());
    assert_eq!(emulator.hubs(), ["localhost", "HUB.example.net"]);
}

#[tokio::test]
async fn nobody_answers_under_the_name_of_another() {
    let hubs = [HUB, "contoso-hub-3.azure-devices.net"];
    let builder = Emulator::builder().hub(hubs[0]).hub(hubs[1]).hub("localhost");
    let (emulator, pki) = prepared(builder).await;
    let identity = pki.device("device-01");
    let state = register(&emulator, "device-01", &identity).await;
    let own = state["assignedHub"].as_str().unwrap();
    let other = hubs.into_iter().find(|hub| *hub != own).unwrap();
    let own_user = hub_user("device-01").replacen(HUB, own, 1);
    let dps_host = emulator.dps_host();
    for (name, user, code) in [
        (HUB, dps_user("device-01"), NotAuthorized),
        ("localhost", dps_user("device-01"), Success),
        (GLOBAL, own_user.clone(), NotAuthorized),
        (&dps_host, own_user.clone(), NotAuthorized),
        (other, own_user.clone(), NotAuthorized),
        (own, own_user.clone(), Success),
        ("localhost", own_user, Success),
        ("127.0.0.1", dps_user("device-01"), Success),
    ] {
        let mut mqtt = Mqtt::new(tls(&emulator, name, Some(&identity)).await);
        assert_eq!(mqtt.connect("device-01", &user, "").await, Some(code), "{name} {user}");
    }
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_an_error() {
    for builder in [
        Emulator::builder().hub("not a host"),
        Emulator::builder().hub("https://hub.example.net"),
        Emulator::builder().id_scope(""),
        Emulator::builder().id_scope("a/b"),
        Emulator::builder().dps_name("a.b"),
        Emulator::builder().listen("127.0.0.1:99999"),
        Emulator::builder().listen(":8883"),
        Emulator::builder().listen(""),
    ] {
        let error = builder.start().await.unwrap_err();
        assert!(matches!(error, EmulatorError::InvalidSetting(_)), "{error}");
    }
    let taken = Emulator::builder().listen("127.0.0.1:0").listen("[::1]:0").start().await.unwrap();
    assert_eq!(taken.endpoints().len(), 2);
    let error = Emulator::builder().listen(taken.connect_to()).start().await.unwrap_err();
    assert!(error.to_string().contains(&taken.connect_to()), "{error}");
}

#[tokio::test]
async fn who_stays_silent_is_sent_away() {
    let (emulator, pki) = prepared(Emulator::builder()).await;
    let identity = pki.device("device-01");
    let mut mute = TcpStream::connect(emulator.connect_to()).await.unwrap();
    let mut mute_in_tls = tls(&emulator, GLOBAL, None).await;
    let mut sleeper = Mqtt::new(tls(&emulator, GLOBAL, Some(&identity)).await);
    let mut connect = Connect::new("device-01");
    connect.keep_alive = 2;
    connect.set_login(dps_user("device-01"), "");
    sleeper.send([Packet::Connect(connect)]).await;
    assert!(matches!(sleeper.next().await, Some(Packet::ConnAck(_))));

    // From here on the clock jumps to the next deadline whenever nothing else is left to do.
    tokio::time::pause();
    let begun = Instant::now();
    assert_eq!(sleeper.stream.read(&mut [0]).await.unwrap_or(0), 0);
    let keep_alive = begun.elapsed().as_secs_f32();
    assert!((3.0..4.0).contains(&keep_alive), "{keep_alive}");
    assert_eq!(mute.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(mute_in_tls.read(&mut [0]).await.unwrap_or(0), 0);
    let silence = begun.elapsed().as_secs_f32();
    assert!((29.0..32.0).contains(&silence), "{silence}");
}
