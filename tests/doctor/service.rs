//! `DPS-S…`: refusals of the service, met in a registration or decoded from what the user has.

use std::time::{Duration, SystemTime};

use dps_core::{
    Assignment, Credential, Error, ErrorKind, ProvisioningClient,
    chain::{Certificate, Validity},
    doctor::{Check, Doctor, decode},
    key::KeyType,
    transport::Network,
};
use dps_emulator::{Emulator, Faults};
use dps_tests::{
    Device, Hierarchy,
    cloud::{Cloud, group},
};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{assert_nothing, assert_only};

#[test]
fn errors_that_users_have_are_decoded() {
    for (text, check, word) in [
        ("401002 CA certificate not found.", Check::CaNotFound, "full chain"),
        (
            r#"{"errorCode":401002,"trackingId":"t","message":"Invalid certificate."}"#,
            Check::CertificateRefused,
            "verify it",
        ),
        ("Signing certificate info did not match chain elements", Check::NotEnrolled, "made anew"),
        ("401000: Unauthorized", Check::Unauthorized, "ID scope"),
        ("[DPS_UNAUTHORIZED]", Check::Unauthorized, "ID scope"),
        ("400004 Invalid RegistrationId", Check::RegistrationIdRefused, "naming rule"),
        ("404201 Enrollment not found", Check::EnrollmentNotFound, "no enrollment"),
        ("status: disabled", Check::EnrollmentDisabled, "Enable"),
        ("401002 IotHubUnauthorizedAccess", Check::HubLinkBroken, "certificate is fine"),
        (
            "400207 Custom allocation failed with status code: 400",
            Check::AllocationRejected,
            "function",
        ),
        ("400208 no hub", Check::NoHub, "Link an IoT hub"),
        ("429001 Operations are being throttled", Check::Throttled, "later"),
        ("500001 Internal error", Check::ServiceFault, "later"),
        ("hub refused the connection (CONNACK 5)", Check::HubRefused, "Register the device again"),
        ("something new", Check::UnknownRefusal, "tracking ID"),
        // The digits of a tracking ID are no numbers of the service's.
        (
            "trackingId 450123f5-0451-4c1d-8429-500001000451: 404201",
            Check::EnrollmentNotFound,
            "no enrollment",
        ),
        // Nor are those of a time, a fraction or a name.
        (
            r#"2026-11-22T11:20:17.468296Z ERROR {"errorCode":401002,"message":"?"}"#,
            Check::Unauthorized,
            "ID scope",
        ),
        ("17.503296 device sn-412345: 429001 throttled", Check::Throttled, "later"),
        ("sn_500123, 500123b, 404201-7, 10.0.404201: 429001.", Check::Throttled, "later"),
        ("after 412345 ms: 404201", Check::EnrollmentNotFound, "no enrollment"),
        ("500123 requests later: errorCode 400208", Check::NoHub, "Link an IoT hub"),
        (r#"{"code":429001}"#, Check::Throttled, "later"),
        // Much may be disabled.
        ("session resumption disabled; 429001 throttled", Check::Throttled, "later"),
        ("session resumption disabled [DPS_HOST_NOT_FOUND]", Check::HostNotFound, "DNS"),
        (
            "the enrollment is disabled [DPS_ENROLLMENT_DISABLED]",
            Check::EnrollmentDisabled,
            "Enable",
        ),
        ("[DPS_ALLOCATION_FAILED]", Check::HubLinkBroken, "linked-hub"),
        // Errors of this SDK, by their names.
        ("register: given up [DPS_SERVICE_FAULT]", Check::ServiceFault, "later"),
        ("[DPS_CERTIFICATE_EXPIRED]", Check::Expired, "dps chain renew"),
        ("given up after 500.0 s [DPS_REQUEST_TIMEOUT]", Check::NoAnswer, "dps doctor --wire"),
        ("[DPS_HOST_NOT_FOUND]", Check::HostNotFound, "DNS"),
        ("[DPS_PASSPHRASE_REQUIRED]", Check::PassphraseMissing, "--passphrase-file"),
        ("[DPS_PROTOCOL_VIOLATION]", Check::AnswerUnknown, "dps doctor --wire"),
    ] {
        assert_only(&decode(text), check, &[word]);
    }
}

fn doctor(
    cloud: &Cloud,
    folder: &tempfile::TempDir,
    hierarchy: &Hierarchy,
    device: &Device,
) -> Doctor {
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, cloud.emulator().root_pem()).unwrap();
    Doctor::new()
        .certificate(hierarchy.full_chain(device))
        .key(device.key_pem())
        .connect_to(cloud.emulator().connect_to())
        .roots_file(roots)
        .id_scope(cloud.emulator().id_scope())
}

#[tokio::test]
async fn a_device_that_registers_is_well() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let cloud = Cloud::with_group(&hierarchy).await;
    let folder = tempfile::tempdir().unwrap();
    let report = doctor(&cloud, &folder, &hierarchy, &device).service().await.unwrap();
    assert_nothing(&report);
    let seen = report.seen().join("\n");
    for words in [
        "TLS",
        "certificates sent to global.azure-devices-provisioning.net: 3",
        "up to the root",
        "WebSocket",
        "clock",
        "assigned to",
    ] {
        assert!(seen.contains(words), "{words:?} is missing in {seen}");
    }
    cloud.stop().await;
}

#[tokio::test]
async fn each_refusal_of_a_registration_is_explained() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let folder = tempfile::tempdir().unwrap();
    let root = hierarchy.root.certificate();
    let examine =
        async |cloud: &Cloud| doctor(cloud, &folder, &hierarchy, &device).service().await.unwrap();

    // What each of them is repaired to.
    let repaired = Cloud::with_group(&hierarchy).await;
    let cloud = Cloud::start().await;
    let words = ["sent 3 certificates", "CA Cert Test Only"];
    assert_only(&examine(&cloud).await, Check::CaNotFound, &words);
    cloud.enroll(&hierarchy, false, "enabled").await;
    assert_only(&examine(&cloud).await, Check::CertificateRefused, &["verify it"]);
    assert_nothing(&examine(&repaired).await);
    cloud.stop().await;

    let cloud = Cloud::start().await;
    cloud.put_certificate("my-root-ca", root, true).await;
    let words = ["None of them is the certificate"];
    assert_only(&examine(&cloud).await, Check::NotEnrolled, &words);
    cloud.put_group("my-device-group", &group(&hierarchy.intermediate, "enabled")).await;
    assert_nothing(&examine(&cloud).await);
    let unknown = doctor(&cloud, &folder, &hierarchy, &device).id_scope("0neFFFFFFFF");
    assert_only(&unknown.service().await.unwrap(), Check::Unauthorized, &["0neFFFFFFFF"]);
    assert_nothing(&examine(&cloud).await);
    cloud.stop().await;

    let cloud = Cloud::start().await;
    cloud.enroll(&hierarchy, true, "disabled").await;
    assert_only(&examine(&cloud).await, Check::EnrollmentDisabled, &["Enable"]);
    assert_nothing(&examine(&repaired).await);
    cloud.stop().await;

    let cloud = Cloud::start_with(Emulator::builder().retry_after(0).no_hubs()).await;
    cloud.enroll(&hierarchy, true, "enabled").await;
    assert_only(&examine(&cloud).await, Check::NoHub, &["Link an IoT hub"]);
    assert_nothing(&examine(&repaired).await);
    cloud.stop().await;
    repaired.stop().await;
}

/// DPS wants the chain up to a CA that it has: what is known here, and not sent, does not count.
#[tokio::test]
async fn a_known_ca_that_is_not_sent_is_refused() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let cloud = Cloud::with_group(&hierarchy).await;
    let folder = tempfile::tempdir().unwrap();
    let [root, intermediate] =
        [&hierarchy.root, &hierarchy.intermediate].map(|ca| ca.certificate());
    let leaf = device.certificate.to_pem();
    let doctor = |known: &Certificate| {
        doctor(&cloud, &folder, &hierarchy, &device).authorities(known.to_pem())
    };
    for (chain, known, sent) in [
        (leaf.clone(), intermediate, "sent only its leaf"),
        (leaf + &intermediate.to_pem(), root, "sent 2 certificates"),
    ] {
        let broken = doctor(known).certificate(chain.as_str());
        assert_only(&broken.offline().unwrap(), Check::EndsBelowKnown, &["is not in the file"]);
        let report = broken.service().await.unwrap();
        let found: Vec<_> = report.findings().iter().map(|finding| finding.check()).collect();
        assert_eq!(found, [Check::EndsBelowKnown, Check::CaNotFound], "{report}");
        assert!(report.findings()[1].evidence().contains(sent), "{report}");
        // Opening refuses no chain that may do elsewhere; what answers here is the service.
        let credential = Credential::pem(chain, device.key_pem()).authorities(known.to_pem());
        let refused = cloud.client(&credential.open().unwrap()).register().await.unwrap_err();
        assert_eq!(refused.service().unwrap().error_code, Some(401_002), "{refused}");
        assert_nothing(&doctor(known).service().await.unwrap());
    }
    cloud.stop().await;
}

/// What the service says, and nothing else is wrong: each is raised alone, and once the service
/// says it no more, nothing is found.
#[tokio::test]
async fn whatever_the_service_answers_is_told_apart() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::with_group(&hierarchy).await;
    let status = |code: u16, error_code: u32, message: &str| json!({ "status": { "code": code, "errorCode": error_code, "message": message } });
    for (step, action, check, word) in [
        (
            "register",
            status(400, 400_004, "Invalid RegistrationId."),
            Check::RegistrationIdRefused,
            "naming rule",
        ),
        (
            "register",
            status(404, 404_201, "Enrollment not found."),
            Check::EnrollmentNotFound,
            "0ne",
        ),
        (
            "poll",
            status(401, 401_002, "IotHubUnauthorizedAccess"),
            Check::HubLinkBroken,
            "certificate is fine",
        ),
        (
            "poll",
            status(400, 400_207, "Custom allocation failed with status code: 400"),
            Check::AllocationRejected,
            "function's own log",
        ),
        ("register", status(418, 418_001, "I am a teapot."), Check::UnknownRefusal, "tracking ID"),
        ("register", status(429, 429_001, "Throttled."), Check::Throttled, "later"),
        ("register", status(500, 500_001, "Oops."), Check::ServiceFault, "later"),
        ("register", json!({ "drop": true }), Check::NoAnswer, "an answer was awaited"),
        ("register", json!({ "body": "{" }), Check::AnswerUnknown, "not"),
        (
            "poll",
            json!({ "registrationStatus": "pondering" }),
            Check::AnswerUnknown,
            "\"pondering\"",
        ),
        ("connect", json!({ "refuse": 5 }), Check::Unauthorized, "ID scope"),
    ] {
        let rule = json!({ "step": step, "times": 0, "action": action });
        let examine = || async {
            let doctor = doctor(&cloud, &folder, &hierarchy, &device);
            doctor.deadline(Duration::from_secs(4)).service().await.unwrap()
        };
        cloud.emulator().faults().add(Faults::from_json(&rule.to_string()).unwrap());
        assert_only(&examine().await, check, &[word]);
        cloud.emulator().faults().clear();
        assert_nothing(&examine().await);
    }
    cloud.stop().await;
}

/// The hub keeps the thumbprint of the certificate that the device was registered with.
#[tokio::test]
async fn a_hub_that_refuses_the_device_after_a_renewal() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let (old, new) = (hierarchy.device("device-01"), hierarchy.device("device-01"));
    let cloud = Cloud::with_group(&hierarchy).await;
    let assignment = cloud.register(&hierarchy, &old).await.unwrap();
    let renewed = Credential::pem(hierarchy.full_chain(&new), new.key_pem()).open().unwrap();
    let refused = assignment.connect(&renewed).await.unwrap_err();
    let hint = refused.hint().unwrap();
    assert!(hint.starts_with(&format!("{}: ", Check::HubRefused.id())), "{refused}");
    assert_only(&decode(&refused.to_string()), Check::HubRefused, &["Register the device again"]);
    // Which repairs it.
    let assignment = cloud.register(&hierarchy, &new).await.unwrap();
    let hub = assignment.connect(&renewed).await.unwrap();
    hub.close(Duration::from_secs(10)).await.unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn without_what_a_registration_needs_nothing_is_dialled() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let cloud = Cloud::start().await;
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, cloud.emulator().root_pem()).unwrap();
    let chain = || Doctor::new().certificate(hierarchy.full_chain(&device)).roots_file(&roots);
    for (doctor, word) in [
        (chain().key(device.key_pem()), "ID scope"),
        (chain().id_scope("0ne00000A0A"), "private key"),
        // A warning is no reason not to say so.
        (chain().certificate(device.certificate.to_pem()).id_scope("0ne00000A0A"), "private key"),
    ] {
        let doctor = doctor.connect_to(cloud.emulator().connect_to());
        let error = doctor.service().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(word), "{error}");
    }
    assert!(cloud.emulator().recorded().is_empty());
    cloud.stop().await;
}

/// A network on which nobody listens.
fn nowhere() -> Network {
    Network::default().connect_to("127.0.0.1:1")
}

#[track_caller]
fn assert_hint(registered: &Result<Assignment, Error>, check: Check) {
    let Err(error) = registered else { panic!("{check:?}: it registered") };
    let hint = error.hint().unwrap_or_default();
    assert!(hint.starts_with(&format!("{}: ", check.id())), "{check:?}: {error}");
    assert!(hint.len() > 20, "{error}");
}

#[tokio::test]
async fn the_error_of_a_failed_registration_carries_its_finding_as_hint() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let cloud = Cloud::with_group(&hierarchy).await;
    let identity = |chain: String| Credential::pem(chain, device.key_pem()).open().unwrap();
    let whole = || identity(hierarchy.full_chain(&device));
    let past =
        Validity::between(SystemTime::UNIX_EPOCH, SystemTime::now() - Duration::from_secs(9));
    let expired = hierarchy.device_valid("device-01", past.unwrap());
    let expired =
        Credential::pem(hierarchy.full_chain(&expired), expired.key_pem()).open().unwrap();
    for (client, check) in [
        (cloud.client(&identity(device.certificate.to_pem())), Check::CaNotFound),
        (cloud.client(&expired), Check::Expired),
        (cloud.client(&whole()).registration_id("device-02"), Check::RegistrationIdDiffers),
        (cloud.client(&whole()).host("https://example.com"), Check::HostInvalid),
        (cloud.client(&whole()).host("dps.example.com"), Check::ServerCertificateInvalid),
        (cloud.client(&whole()).registration_id("a b"), Check::NoRegistrationId),
        (cloud.client(&whole()).port(1).network(nowhere()), Check::MqttPortClosed),
    ] {
        assert_hint(&client.deadline(Duration::from_secs(1)).register().await, check);
    }
    for (step, action, check) in [
        ("connect", json!({ "refuse": 3 }), Check::ServiceFault),
        ("connect", json!({ "refuse": 2 }), Check::UnknownRefusal),
        ("connect", json!({ "refuse": 5 }), Check::Unauthorized),
        ("subscribe", json!({ "drop": true }), Check::NoAnswer),
        ("register", json!({ "cut": "before" }), Check::NoAnswer),
        ("register", json!({ "status": { "code": 429 } }), Check::Throttled),
        ("register", json!({ "status": { "code": 403 } }), Check::UnknownRefusal),
        ("register", json!({ "body": "{" }), Check::AnswerUnknown),
        ("poll", json!({ "registrationStatus": "disabled" }), Check::EnrollmentDisabled),
        ("poll", json!({ "registrationStatus": "failed" }), Check::HubLinkBroken),
        ("poll", json!({ "wrongRid": true }), Check::AnswerUnknown),
    ] {
        let rule = json!({ "step": step, "times": 0, "action": action });
        cloud.emulator().faults().add(Faults::from_json(&rule.to_string()).unwrap());
        let client = cloud.client(&whole()).deadline(Duration::from_secs(1));
        assert_hint(&client.register().await, check);
        cloud.emulator().faults().clear();
    }
    cloud.stop().await;
}

/// What had not come when time ran out is told by what it was.
#[tokio::test]
async fn a_deadline_that_passes_says_what_was_missing() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let chain = hierarchy.full_chain(&device);
    let identity = Credential::pem(chain, device.key_pem()).open().unwrap();
    let deadline = Duration::from_secs(1);

    // Nobody reads what the device says.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let client = ProvisioningClient::new("0ne00000A0A", &identity).deadline(deadline);
    let to_silence = client.network(Network::default().connect_to(address.to_string()));
    let registered = to_silence.register().await;
    assert_hint(&registered, Check::MqttPortClosed);
    let told = registered.unwrap_err().to_string();
    let unaccepted = "the service had not accepted the connection";
    for words in [unaccepted, &address.to_string(), "the emulator running"] {
        assert!(told.contains(words), "{words:?} is missing in: {told}");
    }
    assert!(
        !told.contains("was reached") && !told.contains(":8883") && !told.contains(" 8883"),
        "{told}"
    );

    let cloud = Cloud::start_with(Emulator::builder().retry_after(1).polls(1000)).await;
    cloud.enroll(&hierarchy, true, "enabled").await;
    let registered = cloud.client(&identity).deadline(deadline).register().await;
    assert_hint(&registered, Check::NoAnswer);
    let told = registered.unwrap_err().to_string();
    for words in ["still assigning", "Give a longer deadline"] {
        assert!(told.contains(words), "{words:?} is missing in: {told}");
    }
    assert!(!told.contains("was reached"), "{told}");
    cloud.stop().await;
}

#[tokio::test]
async fn a_port_that_is_closed_is_the_one_that_was_dialled() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    let chain = hierarchy.full_chain(&device);
    let identity = Credential::pem(chain, device.key_pem()).open().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = || {
        ProvisioningClient::new("0ne00000A0A", &identity)
            .deadline(Duration::from_secs(1))
            .port(closed.port())
    };
    let direct = client().host("127.0.0.1").register().await;
    assert_hint(&direct, Check::MqttPortClosed);
    let told = direct.unwrap_err().to_string();
    let words = format!(
        "Have outgoing TCP to {closed} allowed; test it: nc -vz 127.0.0.1 {}",
        closed.port()
    );
    assert!(told.contains(&words) && !told.contains(":8883") && !told.contains(" 8883"), "{told}");

    let network = Network::default().connect_to(closed.to_string());
    let elsewhere = client().network(network).register().await;
    assert_hint(&elsewhere, Check::MqttPortClosed);
    let told = elsewhere.unwrap_err().to_string();
    let words = format!("connect_to sends every connection to {closed}: is the emulator running");
    assert!(told.contains(&words) && !told.contains("nc -vz"), "{told}");
}
