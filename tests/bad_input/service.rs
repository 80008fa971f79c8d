//! What the service refuses, and how: the emulator attests as DPS does.

use std::time::Duration;

use dps_core::{Credential, Error, ErrorKind, ProvisioningClient, key::KeyType};
use dps_emulator::{Action, Cut, Emulator, Fault, Role, Step};
use dps_tests::{
    Hierarchy,
    cloud::{Cloud, group},
};

use crate::{assert_error, logged::Logged};

async fn error_of(cloud: &Cloud, hierarchy: &Hierarchy) -> Error {
    cloud.register(hierarchy, &hierarchy.device("device-01")).await.unwrap_err()
}

fn assert_401002(error: &Error, message: &str, hint: &[&str]) {
    assert_error(error, ErrorKind::Unauthorized, hint);
    let service = error.service().unwrap();
    assert_eq!((service.status, service.error_code), (Some(401), Some(401_002)), "{error}");
    assert_eq!(service.message.as_deref(), Some(message));
    assert!(service.tracking_id.is_some());
}

#[tokio::test]
async fn a_leaf_alone_is_refused_and_the_missing_issuer_named() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let identity = Credential::pem(device.certificate.to_pem(), device.key_pem()).open().unwrap();
    let error = cloud.client(&identity).register().await.unwrap_err();
    assert_401002(
        &error,
        "CA certificate not found.",
        &["sent only its leaf", "CN=Azure IoT Hub Intermediate Cert Test Only", "is missing"],
    );
    cloud.stop().await;
}

#[tokio::test]
async fn a_root_that_is_not_verified_is_refused() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::start().await;
    cloud.enroll(&hierarchy, false, "enabled").await;
    let error = error_of(&cloud, &hierarchy).await;
    let words =
        ["DPS-S002: ", "Upload the root \"CN=Azure IoT Hub CA Cert Test Only\"", "verify it"];
    assert_401002(&error, "Invalid certificate.", &words);
    cloud.stop().await;
}

#[tokio::test]
async fn a_chain_that_nobody_enrolled_is_refused() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let error = error_of(&cloud, &Hierarchy::new(KeyType::EcP256)).await;
    let words =
        ["DPS-S001: ", "sent 3 certificates", "none of their issuers is in the DPS instance"];
    assert_401002(&error, "CA certificate not found.", &words);
    cloud.stop().await;
}

#[tokio::test]
async fn an_unknown_id_scope_is_refused() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let identity = Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
    let client = ProvisioningClient::new("0neFFFFFFFF", &identity).network(cloud.network());
    let error = client.register().await.unwrap_err();
    assert_401002(&error, "Unauthorized", &["Check the ID scope 0neFFFFFFFF"]);
    cloud.stop().await;
}

#[tokio::test]
async fn a_disabled_group_and_a_disabled_device_are_said_to_be_that() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::start().await;
    cloud.enroll(&hierarchy, true, "disabled").await;
    let error = error_of(&cloud, &hierarchy).await;
    assert_error(&error, ErrorKind::EnrollmentDisabled, &["disabled", "Enable"]);
    cloud.stop().await;

    let cloud = Cloud::with_group(&hierarchy).await;
    let (blocked, free) = (hierarchy.device("device-01"), hierarchy.device("device-02"));
    cloud.put_individual("device-01", &blocked.certificate, "disabled").await;
    let error = cloud.register(&hierarchy, &blocked).await.unwrap_err();
    assert_error(&error, ErrorKind::EnrollmentDisabled, &["disabled"]);
    cloud.register(&hierarchy, &free).await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn no_linked_hub_is_not_the_certificates_fault() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::start_with(Emulator::builder().retry_after(0).no_hubs()).await;
    cloud.enroll(&hierarchy, true, "enabled").await;
    let error = error_of(&cloud, &hierarchy).await;
    let words = ["certificate is fine", "Link an IoT hub", "400208"];
    assert_error(&error, ErrorKind::AllocationFailed, &words);
    cloud.stop().await;
}

#[tokio::test]
async fn a_difference_of_case_alone_is_only_warned_about() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let identity = Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
    let logged = Logged::from_now_on();
    cloud.client(&identity).registration_id("device-01").register().await.unwrap();
    assert_eq!(logged.warnings(), [""; 0]);
    let assignment = cloud.client(&identity).registration_id("Device-01").register().await.unwrap();
    assert!(assignment.device_id().eq_ignore_ascii_case("device-01"));
    let [warning] = &logged.warnings()[..] else { panic!("{:?}", logged.warnings()) };
    for words in ["WARN", "\"Device-01\"", "\"device-01\"", "differ in case"] {
        assert!(warning.contains(words), "{words:?} is missing in: {warning}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn what_passes_is_retried() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let status = |code| Action::Status { code, retry_after: None, error_code: None, message: None };
    for (index, (step, action, said)) in [
        (Step::Register, status(429), "status 429"),
        (Step::Register, status(500), "status 500"),
        (Step::Poll, status(429), "status 429"),
        (Step::Poll, status(503), "status 503"),
        (Step::Connect, Action::Refuse(3), "CONNACK 3"),
        (Step::Tls, Action::Cut(Cut::Before), "DPS_CONNECTION_LOST"),
    ]
    .into_iter()
    .enumerate()
    {
        let device = hierarchy.device(&format!("device-{index}"));
        cloud.emulator().faults().add(Fault::new(step, action).unwrap());
        let logged = Logged::from_now_on();
        cloud.register(&hierarchy, &device).await.unwrap();
        let [retry] = &logged.warnings()[..] else { panic!("{step:?}: {:?}", logged.warnings()) };
        assert!(retry.contains(said) && retry.contains("trying again in"), "{step:?}: {retry}");
        cloud.emulator().faults().clear();
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_retry_after_is_waited_for() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let throttled = Action::Status {
        code: 429,
        retry_after: Some(1),
        error_code: Some(429_001),
        message: Some("Operations are being throttled for this tenant.".into()),
    };
    cloud.emulator().faults().add(Fault::new(Step::Register, throttled.clone()).unwrap());
    let before = std::time::Instant::now();
    cloud.register(&hierarchy, &hierarchy.device("device-01")).await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));

    // For ever: it ends at the deadline, with the service's own words.
    cloud.emulator().faults().add(Fault::new(Step::Register, throttled).unwrap().times(0));
    let device = hierarchy.device("device-02");
    let identity = Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
    let client = cloud.client(&identity).deadline(Duration::from_secs(3));
    let error = client.register().await.unwrap_err();
    let words = ["429001", "throttled for this tenant", "given up after"];
    assert_error(&error, ErrorKind::Throttled, &words);
    cloud.stop().await;
}

#[tokio::test]
async fn nonsense_from_the_service_is_a_typed_error() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let mut number = 0;
    for step in [Step::Register, Step::Poll] {
        for (action, kind, words) in [
            (Action::Body("{".into()), ErrorKind::ProtocolViolation, ["not a registration status"]),
            (Action::Body(String::new()), ErrorKind::ProtocolViolation, ["0 bytes"]),
            (
                Action::RegistrationStatus("pondering".into()),
                ErrorKind::UnknownStatus,
                ["\"pondering\""],
            ),
        ] {
            number += 1;
            let name = format!("device-{number}");
            let device = hierarchy.device(&name);
            cloud.emulator().faults().add(Fault::new(step, action).unwrap().device(name));
            let error = cloud.register(&hierarchy, &device).await.unwrap_err();
            assert_error(&error, kind, &words);
        }
    }
    cloud.stop().await;
}

#[tokio::test]
async fn an_oversized_answer_and_a_wrong_rid_end_within_the_deadline() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    for (action, kinds) in [
        (Action::Oversize(3_000_000), &[ErrorKind::ProtocolViolation][..]),
        (Action::WrongRid(true), &[ErrorKind::ProtocolViolation]),
        (Action::Drop(true), &[ErrorKind::DeadlineExceeded]),
    ] {
        cloud.emulator().faults().add(Fault::new(Step::Register, action.clone()).unwrap().times(0));
        let device = hierarchy.device("device-01");
        let identity =
            Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
        let client = cloud.client(&identity).deadline(Duration::from_secs(2));
        let registered = tokio::time::timeout(Duration::from_secs(10), client.register()).await;
        let error = registered.expect("it ends in time").unwrap_err();
        assert!(kinds.contains(&error.kind()), "{action:?}: {error}");
        if let Action::WrongRid(_) = action {
            assert_error(&error, ErrorKind::ProtocolViolation, &["$rid"]);
        }
        cloud.emulator().faults().clear();
    }
    cloud.stop().await;
}

#[tokio::test]
async fn a_group_whose_certificate_is_replaced_is_explained() {
    // The group lists a new intermediate of the same name; the devices still have the old one.
    let (old, new) = (Hierarchy::new(KeyType::EcP256), Hierarchy::new(KeyType::EcP256));
    let cloud = Cloud::start().await;
    cloud.put_certificate("my-root-ca", old.root.certificate(), true).await;
    cloud.put_group("my-device-group", &group(&new.intermediate, "enabled")).await;
    let error = error_of(&cloud, &old).await;
    let words =
        ["DPS-S003: ", "the intermediate was made anew", "az iot dps enrollment-group update"];
    assert_401002(&error, "Signing certificate info did not match chain elements", &words);
    // Which repairs it.
    cloud.put_certificate("new-root-ca", new.root.certificate(), true).await;
    cloud.register(&new, &new.device("device-01")).await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn a_payload_at_the_services_limit_passes_and_one_above_it_is_refused_before_dialling() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let identity = Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
    let client = cloud.client(&identity);
    let limit = 96 * 1024;
    let envelope = r#"{"payload":"","registrationId":"device-01"}"#.len();
    for size in [6 * 1024, 12 * 1024, limit - envelope] {
        client.clone().payload("x".repeat(size).into()).register().await.unwrap();
    }
    let dialled = cloud.recorded(Role::Dps, "device-01").len();
    let above = "x".repeat(limit - envelope + 1);
    let error = client.payload(above.into()).register().await.unwrap_err();
    assert_error(&error, ErrorKind::InvalidArgument, &["98305 bytes", "98304"]);
    assert_eq!(cloud.recorded(Role::Dps, "device-01").len(), dialled);
    cloud.stop().await;
}
