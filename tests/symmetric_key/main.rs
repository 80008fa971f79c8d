//! Devices without a certificate, from their enrollment to their telemetry.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{
    Credential, Error, ErrorKind, HubClient, RegistrationId, SignerError, SymmetricKey,
    TokenSigner, hub::ConnectionState, symmetric_key::derive_device_key,
};
use dps_emulator::{Action, Cut, Direction, Fault, Recorded, Role, Step};
use dps_tests::cloud::Cloud;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};

const HUB: &str = "contoso-hub-2.azure-devices.net";

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some 32 bytes in base64.
fn key(seed: u8) -> String {
    BASE64_STANDARD.encode([seed; 32])
}

fn keyed(primary: &str, provisioning_status: &str) -> Value {
    json!({
        "attestation": {
            "type": "symmetricKey",
            "symmetricKey": { "primaryKey": primary, "secondaryKey": null },
        },
        "provisioningStatus": provisioning_status,
    })
}

fn derived(group_key: &str, id: &str) -> String {
    let group_key = SymmetricKey::from_base64(group_key).unwrap();
    derive_device_key(&group_key, &RegistrationId::parse(id).unwrap()).to_base64().to_string()
}

/// A group with the key 1, and an individual enrollment of `meter-1` with the key 3.
async fn prepared() -> Cloud {
    let cloud = Cloud::start().await;
    cloud.put_group("meters", &keyed(&key(1), "enabled")).await;
    cloud.put_enrollment("meter-1", &keyed(&key(3), "enabled")).await;
    cloud
}

async fn refused(cloud: &Cloud, credential: Credential) -> Error {
    cloud.client(&credential.open().unwrap()).register().await.unwrap_err()
}

#[track_caller]
fn assert_unauthorized(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    let service = error.service().expect("the service's own words");
    assert_eq!((service.status, service.error_code), (Some(401), Some(401_002)), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is missing in: {error}");
    }
}

#[tokio::test]
async fn each_kind_of_key_brings_a_device_to_its_hub() {
    struct Elsewhere(hmac::Key);

    impl TokenSigner for Elsewhere {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
            Ok(hmac::sign(&self.0, message).as_ref().to_vec())
        }
    }

    let cloud = prepared().await;
    cloud.put_enrollment("meter-4", &keyed(&key(4), "enabled")).await;
    let elsewhere = Elsewhere(hmac::Key::new(hmac::HMAC_SHA256, &[4; 32]));
    for (id, credential) in [
        ("meter-1", Credential::symmetric_key("meter-1", key(3))),
        ("meter-2", Credential::group_key("meter-2", key(1))),
        ("meter:3", Credential::symmetric_key("meter:3", derived(&key(1), "meter:3"))),
        ("meter-4", Credential::token_signer("meter-4", Arc::new(elsewhere))),
    ] {
        let identity = credential.open().unwrap();
        let assignment = cloud.client(&identity).register().await.unwrap();
        assert_eq!((assignment.assigned_hub(), assignment.device_id()), (HUB, id));
        let hub = assignment.connect(&identity).await.unwrap();
        hub.send(id).await.unwrap();
        hub.close(PATIENCE).await.unwrap();
        assert_eq!(cloud.feed(HUB, id).await[0]["body"], id);
        let (_, device) = cloud.hub_device(HUB, id).await;
        assert_eq!(device["authentication"]["type"], "sas");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_the_possible_reasons_are_told() {
    let cloud = prepared().await;
    for (id, wrong) in [
        ("meter-1", key(9)),
        // The group's, which only derives; and the derived one of a device that has its own.
        ("meter-2", key(1)),
        ("meter-1", derived(&key(1), "meter-1")),
        ("meter-2", derived(&key(1), "METER-2")),
    ] {
        let error = refused(&cloud, Credential::symmetric_key(id, wrong.clone())).await;
        assert_unauthorized(&error, &["Check the ID scope", "clock", "The group's key itself"]);
        assert!(!format!("{error:?}").contains(&wrong), "{error:?}");
        let (status, _) = cloud.registration(id).await;
        assert_eq!(status, 404, "{id} left a record");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused_by_dps_and_ends_the_connection_to_the_hub() {
    let cloud = prepared().await;
    let identity = Credential::symmetric_key("meter-1", key(3)).open().unwrap();
    let assignment = cloud.client(&identity).register().await.unwrap();
    let hub = assignment.connect(&identity).await.unwrap();
    let state = hub.state();
    assert_eq!(state, ConnectionState::Connected);

    // The service's clock, an hour and more ahead, finds every token expired.
    cloud.emulator().set_clock_skew(3700);
    let error = cloud.client(&identity).register().await.unwrap_err();
    assert_unauthorized(&error, &["clock"]);
    let closed = async {
        let mut state = state;
        while state != ConnectionState::Closed {
            state = hub.state_changed(&state).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("in time");
    let error = hub.send("late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("clock")), "{error}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_disabled_individual_enrollment_bars_a_device_of_an_enabled_group() {
    let cloud = Cloud::start().await;
    cloud.put_group("meters", &keyed(&key(1), "enabled")).await;
    cloud.put_enrollment("meter-1", &keyed(&key(3), "disabled")).await;
    for barred in
        [Credential::group_key("meter-1", key(1)), Credential::symmetric_key("meter-1", key(3))]
    {
        let error = refused(&cloud, barred).await;
        assert_eq!(error.kind(), ErrorKind::EnrollmentDisabled, "{error}");
        assert!(error.to_string().contains("individual enrollment"), "{error}");
    }
    let sister = Credential::group_key("meter-2", key(1)).open().unwrap();
    cloud.client(&sister).register().await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn tokens_are_renewed_while_telemetry_flows_and_nothing_is_lost_or_reordered() {
    const RENEWALS: usize = 4;

    let cloud = prepared().await;
    let identity = Credential::symmetric_key("meter-1", key(3)).open().unwrap();
    let assignment = cloud.client(&identity).register().await.unwrap();
    let builder = assignment.hub(&identity).token_lifetime(Duration::from_secs(1));
    let hub = builder.connect().await.unwrap();
    let connects = |recorded: &[Recorded]| count(recorded, "CONNECT");

    let mut sends = tokio::task::JoinSet::new();
    let mut pace = interval(Duration::from_millis(5));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0_u32;
    let sending = async {
        while connects(&cloud.recorded(Role::Hub, "meter-1")) <= RENEWALS {
            pace.tick().await;
            let hub = hub.clone();
            let number = sent;
            sends.spawn(async move { hub.send(number.to_string()).await });
            sent += 1;
        }
    };
    timeout(PATIENCE, sending).await.expect("renewed in time");
    while let Some(outcome) = timeout(PATIENCE, sends.join_next()).await.expect("in time") {
        outcome.unwrap().unwrap();
    }
    hub.close(PATIENCE).await.unwrap();

    let mut first_deliveries = Vec::new();
    for message in cloud.feed(HUB, "meter-1").await {
        let number: u32 = message["body"].as_str().unwrap().parse().unwrap();
        if !first_deliveries.contains(&number) {
            first_deliveries.push(number);
        }
    }
    assert_eq!(first_deliveries, (0..sent).collect::<Vec<_>>());
    // The device always left before the hub would have ended it.
    let recorded = cloud.recorded(Role::Hub, "meter-1");
    assert_eq!(count(&recorded, "DISCONNECT"), connects(&recorded));
    cloud.stop().await;
}

fn count(recorded: &[Recorded], packet: &str) -> usize {
    let incoming = recorded.iter().filter(|entry| entry.direction == Direction::In);
    incoming.filter(|entry| entry.packet == packet).count()
}

#[tokio::test]
async fn a_lost_connection_comes_back_with_a_token_of_its_own() {
    let cloud = prepared().await;
    let faults = cloud.emulator().faults();
    for step in [Step::Connect, Step::Subscribe, Step::Register, Step::Poll, Step::Telemetry] {
        faults.add(Fault::new(step, Action::Cut(Cut::After)).unwrap().device("meter-1"));
    }
    let identity = Credential::symmetric_key("meter-1", key(3)).open().unwrap();
    let registered = timeout(PATIENCE, cloud.client(&identity).register()).await;
    let hub = registered.expect("in time").unwrap().connect(&identity).await.unwrap();
    timeout(PATIENCE, hub.send("hello")).await.expect("in time").unwrap();
    hub.close(PATIENCE).await.unwrap();
    let recorded = [Role::Dps, Role::Hub].map(|role| cloud.recorded(role, "meter-1")).concat();
    let connects: Vec<_> = recorded.iter().filter(|entry| entry.packet == "CONNECT").collect();
    assert!(connects.len() > 2 && connects.iter().all(|entry| entry.has_password == Some(true)));
    cloud.stop().await;
}

#[tokio::test]
async fn what_cannot_work_is_told_before_dialling() {
    let cloud = Cloud::start().await;
    let identity = Credential::symmetric_key("meter-1", key(3)).open().unwrap();
    let client = cloud.client(&identity).registration_id("Meter-1");
    let error = client.register().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RegistrationIdMismatch, "{error}");
    assert!(error.to_string().contains("the symmetric key is for meter-1"), "{error}");

    for lifetime in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        let error = HubClient::builder(HUB, "meter-1", &identity)
            .network(cloud.network())
            .token_lifetime(lifetime)
            .connect()
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    assert!(cloud.emulator().recorded().is_empty(), "nothing was sent");
    cloud.stop().await;
}
