//! `DPS-S…`: refusals of the service, met in a registration or decoded from what the user has.

use std::time::{Duration, SystemTime};

use dps_core::{
    Credential,
    chain::Validity,
    doctor::{Check, Doctor, decode},
    key::KeyType,
};
use dps_emulator::Emulator;
use dps_tests::{
    Device, Hierarchy,
    cloud::{Cloud, group},
};

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
        ("400208 no hub", Check::NoHub, "link an IoT hub"),
        ("429001 Operations are being throttled", Check::Throttled, "later"),
        ("500001 Internal error", Check::ServiceFault, "later"),
        ("hub refused the connection (CONNACK 5)", Check::HubRefused, "Register the device again"),
        ("something new", Check::UnknownRefusal, "tracking ID"),
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

    let cloud = Cloud::start().await;
    let report = doctor(&cloud, &folder, &hierarchy, &device).service().await.unwrap();
    assert_only(&report, Check::CaNotFound, &["sent 3 certificates", "CA Cert Test Only"]);
    cloud.enroll(&hierarchy, false, "enabled").await;
    let report = doctor(&cloud, &folder, &hierarchy, &device).service().await.unwrap();
    assert_only(&report, Check::CertificateRefused, &["verify it"]);
    cloud.stop().await;

    let cloud = Cloud::start().await;
    cloud.put_certificate("my-root-ca", hierarchy.root.certificate(), true).await;
    let report = doctor(&cloud, &folder, &hierarchy, &device).service().await.unwrap();
    assert_only(&report, Check::NotEnrolled, &["None of them is the certificate"]);
    cloud.put_group("my-device-group", &group(&hierarchy.intermediate, "disabled")).await;
    let report = doctor(&cloud, &folder, &hierarchy, &device).service().await.unwrap();
    assert_only(&report, Check::EnrollmentDisabled, &["Enable"]);
    let unknown = doctor(&cloud, &folder, &hierarchy, &device).id_scope("0neFFFFFFFF");
    assert_only(&unknown.service().await.unwrap(), Check::Unauthorized, &["0neFFFFFFFF"]);
    cloud.stop().await;

    let cloud = Cloud::start_with(Emulator::builder().retry_after(0).no_hubs()).await;
    cloud.enroll(&hierarchy, true, "enabled").await;
    let report = doctor(&cloud, &folder, &hierarchy, &device).service().await.unwrap();
    assert_only(&report, Check::NoHub, &["link an IoT hub"]);
    cloud.stop().await;
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
    ] {
        let error = client.register().await.unwrap_err();
        let hint = error.hint().unwrap_or_default();
        assert!(hint.starts_with(&format!("{}: ", check.id())), "{error}");
        assert!(hint.len() > 20, "{error}");
    }
    cloud.stop().await;
}
