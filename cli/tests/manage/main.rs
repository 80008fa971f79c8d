//! The management verbs of the built `dps` command against the emulator: each command of the
//! enrollment group article, and the other tutorial's clean-up.

mod answers;
mod article;
mod doctor;
mod register;
mod symmetric_key;
mod world;

use std::{fs, time::Duration};

use dps_core::{Credential, ErrorKind, Message};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{Chain, HUB, World, run};

#[tokio::test(flavor = "multi_thread")]
async fn both_certificates_are_ready() {
    let world = World::with_verified_certificates().await;
    assert_eq!(
        world.run(article::CERTIFICATES_ARE_READY).done(),
        "Name                Verified\n\
         ------------------  --------\n\
         my-intermediate-ca  True\n\
         my-root-ca          True\n"
    );
    let names = world.run(article::CERTIFICATES).json();
    assert_eq!(names["value"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_created_as_the_article_prints_it() {
    let world = World::with_verified_certificates().await;
    let run = world.run(article::CREATE);
    let printed = run.done().to_owned();
    let group = run.json();
    assert_eq!(run.stderr, "");
    for (field, value) in [
        ("allocationPolicy", json!("hashed")),
        (
            "attestation",
            json!({ "type": "x509", "x509": { "caReferences": { "primary": "my-intermediate-ca" } } }),
        ),
        ("enrollmentGroupId", json!("my-device-group")),
        ("provisioningStatus", json!("enabled")),
    ] {
        assert_eq!(group[field], value, "{field} of {printed}");
    }
    assert!(group["etag"].as_str().is_some_and(|etag| !etag.is_empty()), "{printed}");
    // The lines of the article, each as it stands there; the etag is another one.
    for line in [
        "{\n  \"allocationPolicy\": \"hashed\",\n",
        "  \"attestation\": {\n    \"type\": \"x509\",\n    \"x509\": {\n      \"caReferences\": {\n        \
         \"primary\": \"my-intermediate-ca\"\n      }\n    }\n  },\n",
        "  \"enrollmentGroupId\": \"my-device-group\",\n  \"etag\": \"",
        "  \"provisioningStatus\": \"enabled\"\n}\n",
    ] {
        assert!(printed.contains(line), "{line}is not in\n{printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_created_with_an_allocation_policy() {
    let world = World::with_verified_certificates().await;
    assert_eq!(world.run(article::CREATE_WITH_POLICY).json()["allocationPolicy"], "hashed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_initial_twin_comes_from_the_file() {
    let world = World::with_verified_certificates().await;
    let twin = json!({
        "tags": { "environment": "production", "location": "factory-floor" },
        "properties": { "desired": { "telemetryInterval": 60, "firmware": "1.0.0" } },
    });
    // As PowerShell's Set-Content writes it.
    world.write("twin-config.json", format!("\u{feff}{twin:#}\r\n").as_bytes());
    world.run(article::CREATE_WITH_TWIN).done();
    let shown = world.run(article::SHOW).json();
    assert_eq!(shown["initialTwin"]["tags"], twin["tags"]);
    assert_eq!(shown["initialTwin"]["properties"]["desired"], twin["properties"]["desired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_shown_and_listed() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    for command in [article::SHOW, article::SHOW_AS_JSON] {
        let group = world.run(command).json();
        assert_eq!(group["enrollmentGroupId"], "my-device-group");
        assert_eq!(group["attestation"]["type"], "x509");
        assert_eq!(group["attestation"]["x509"]["caReferences"]["primary"], "my-intermediate-ca");
        assert_eq!(group["provisioningStatus"], "enabled");
        assert_eq!(group["allocationPolicy"], "hashed");
    }
    assert_eq!(
        world.run(article::LIST).done(),
        "EnrollmentID     CA                  Status\n\
         ---------------  ------------------  -------\n\
         my-device-group  my-intermediate-ca  enabled\n"
    );
    assert_eq!(
        world.run("dps enrollment-group list -o table").done(),
        "EnrollmentID     Attestation  CA                  Status   AllocationPolicy\n\
         ---------------  -----------  ------------------  -------  ----------------\n\
         my-device-group  x509         my-intermediate-ca  enabled  hashed\n"
    );
    assert_eq!(
        world.run("dps enrollment-group list --query [].enrollmentGroupId").json(),
        json!(["my-device-group"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_is_named_and_nothing_else() {
    let world = World::with_verified_certificates().await;
    world.write("twin-config.json", br#"{"firmware":"1.0.0"}"#);
    world.run(article::CREATE_WITH_TWIN).done();
    let before = world.run(article::SHOW).json();

    let disabled = world.run(article::DISABLE).json();
    assert_eq!(disabled["provisioningStatus"], "disabled");

    let run = world.run(article::CHANGE_POLICY);
    assert_eq!(run.json()["allocationPolicy"], "geoLatency");
    assert!(run.stderr.starts_with("Warning: "), "{}", run.stderr);
    assert!(run.stderr.contains("hashed"), "{}", run.stderr);

    let after = world.run(article::SHOW).json();
    assert_eq!(after["provisioningStatus"], "disabled");
    assert_eq!(after["allocationPolicy"], "geoLatency");
    for field in ["attestation", "initialTwin", "createdDateTimeUtc", "enrollmentGroupId"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_ne!(after["etag"], before["etag"]);

    let stale = before["etag"].as_str().unwrap();
    let run = world.run_with(
        "dps enrollment-group update --enrollment-id my-device-group --provisioning-status enabled",
        &["--etag", stale],
    );
    run.failed(1, "DPS_PRECONDITION_FAILED");
    world
        .run("dps enrollment-group update --eid my-device-group")
        .failed(64, "nothing was named that is to be changed");
    world
        .run("dps enrollment-group update --eid my-device-group --allocation-policy static")
        .failed(64, "static allocation needs a hub");
    let fixed = world
        .run("dps enrollment-group update --eid my-device-group --reprovision-policy never --iot-hub-host-name contoso-hub-2.azure-devices.net")
        .json();
    assert_eq!(fixed["allocationPolicy"], "static");
    assert_eq!(fixed["iotHubs"], json!([HUB]));
    assert_eq!(
        fixed["reprovisionPolicy"],
        json!({ "updateHubAssignment": false, "migrateDeviceData": false })
    );
}

/// The article disables "the entire enrollment group" without saying which: no guess is made.
#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_names_no_group_changes_none_and_says_how_to_name_it() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    let before = world.run(article::SHOW).json();
    let run = world.run(article::REVOKE);
    run.failed(64, "required arguments were not provided:\n  --enrollment-id <ID>");
    assert_eq!(world.run(article::SHOW).json(), before);
    world.run_with(article::REVOKE, &["--enrollment-id", "my-device-group"]).done();
    let refused = world.register("device-01").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::EnrollmentDisabled, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_groups_may_share_a_certificate_with_a_warning() {
    let world = World::with_verified_certificates().await;
    world.upload("customer-a-intermediate-ca", &Chain::new(), true);
    assert_eq!(world.run(article::SENSORS).stderr, "");
    let gateways = world.run(article::GATEWAYS);
    gateways.done();
    assert!(gateways.stderr.starts_with("Warning: "), "{}", gateways.stderr);
    assert!(gateways.stderr.contains("sensor-devices"), "{}", gateways.stderr);
    let customer = world.run(article::CUSTOMER_A);
    customer.done();
    assert_eq!(customer.stderr, "");
    let listed = world.run("dps enrollment-group list --query length(@)").json();
    assert_eq!(listed, 3);
    let listed = world.run("dps enrollment-group list --top 2 --query length(@)").json();
    assert_eq!(listed, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_devices_has_no_registrations() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    assert_eq!(world.run(article::REGISTRATIONS).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_individual_enrollment_bars_one_device() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    let run = world.run(article::BLACKLIST);
    let enrollment = run.json();
    assert_eq!(enrollment["registrationId"], "device-001");
    assert_eq!(enrollment["provisioningStatus"], "disabled");
    assert!(run.stderr.starts_with("Warning: "), "{}", run.stderr);

    let refused = world.register("device-001").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::EnrollmentDisabled, "{refused}");
    world.register("device-002").await.unwrap();

    assert_eq!(
        world.run("dps enrollment list --query [].registrationId").json(),
        json!(["device-001"])
    );
    let shown = world.run("dps enrollment show --enrollment-id device-001").json();
    assert_eq!(shown["attestation"]["type"], "x509");
    world.run(article::BLACKLIST).failed(1, "Error: Enrollment 'device-001' already exists");
    world.run("dps enrollment delete --enrollment-id device-001").prints_nothing();
    world.run("dps enrollment show --enrollment-id device-001").failed(1, "DPS_NOT_FOUND");
    world.register("device-001").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_individual_enrollment_has_its_own_certificate_and_device_id() {
    let world = World::with_verified_certificates().await;
    let (chain, key) = world.chain.device("robot-7");
    let leaf = dps_core::CertificateChain::from_pem(chain.as_bytes()).unwrap().leaf().to_pem();
    world.write("robot-7.cert.pem", leaf.as_bytes());
    let created = world
        .run("dps enrollment create --enrollment-id robot-7 --attestation-type X509 --certificate-path robot-7.cert.pem --device-id robot")
        .json();
    assert_eq!(created["deviceId"], "robot");
    let assigned = world.register_with(&leaf, &key).await.unwrap();
    assert_eq!(assigned.device_id(), "robot");
    world.write("chain.pem", chain.as_bytes());
    world
        .run("dps enrollment create --enrollment-id robot-8 --attestation-type x509 --certificate-path chain.pem")
        .failed(1, "one certificate was expected, but there are 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_common_errors_have_the_words_of_the_article() {
    let world = World::new().await;
    let run = world.run(article::CREATE);
    run.failed(1, "Error: Certificate 'my-intermediate-ca' not found");
    assert!(run.stderr.contains("dps certificate list"), "{}", run.stderr);

    world.upload("my-intermediate-ca", &world.chain, false);
    let run = world.run(article::CREATE);
    run.failed(1, "Error: Certificate must be verified before use in enrollment");
    assert!(run.stderr.contains("dps certificate verify"), "{}", run.stderr);
    world.run("dps enrollment-group show --eid my-device-group").failed(1, "DPS_NOT_FOUND");

    world.run("dps certificate delete --certificate-name my-intermediate-ca").prints_nothing();
    world.upload("my-intermediate-ca", &world.chain, true);
    world.run(article::CREATE).done();
    let run = world.run(article::CREATE);
    run.failed(1, "Error: Enrollment group 'my-device-group' already exists");
    assert!(run.stderr.contains("dps enrollment-group update"), "{}", run.stderr);
    assert!(run.stderr.contains("409201"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn possession_is_proved_by_the_verification_code() {
    let world = World::new().await;
    world.upload("my-root-ca", &world.chain, false);
    let run = world.run(
        "dps certificate generate-verification-code --dps-name my-dps-x509 -g rg --name my-root-ca",
    );
    let code = run.json()["properties"]["verificationCode"].as_str().unwrap().to_owned();
    assert_eq!(code.len(), 48);

    // A certificate for the code that another key signed proves nothing.
    world.write("proof.pem", Chain::new().proof(&code).as_bytes());
    world.run("dps certificate verify -n my-root-ca --path proof.pem").failed(1, "DPS_BAD_REQUEST");
    let shown = world.run("dps certificate show -n my-root-ca").json();
    assert_eq!(shown["properties"]["isVerified"], false);

    world.write("proof.pem", world.chain.proof(&code).as_bytes());
    let etag = shown["etag"].as_str().unwrap();
    let verified =
        world.run_with("dps certificate verify -n my-root-ca -p proof.pem", &["-e", etag]);
    assert_eq!(verified.json()["properties"]["isVerified"], true);
    world
        .run_with("dps certificate delete -n my-root-ca", &["-e", etag])
        .failed(1, "DPS_PRECONDITION_FAILED");

    world.write("root.pem", world.chain.intermediate.certificate().to_pem().as_bytes());
    world
        .run("dps certificate create -n my-root-ca -p root.pem")
        .failed(1, "Error: Certificate 'my-root-ca' already exists");
    world.run("dps certificate delete -n other").failed(1, "Error: Certificate 'other' not found");
    world.write("root.der", world.chain.intermediate.certificate().der());
    world.run("dps certificate create -n from-der -p root.der -v").done();
    world.run("dps certificate create -n x -p missing.pem").failed(1, "missing.pem");
    world.write("text.pem", b"hello");
    world.run("dps certificate create -n x -p text.pem").failed(1, "text.pem");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_cleaned_up_in_the_order_of_the_tutorial() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    for device in ["device-01", "device-02"] {
        let assigned = world.register(device).await.unwrap();
        assert_eq!(assigned.assigned_hub(), HUB);
    }
    let registered = world.run("dps enrollment-group registration list --enrollment-id my-device-group -o table --query [].{Device:deviceId,Hub:assignedHub,Status:status}");
    assert_eq!(
        registered.done(),
        "Device     Hub                              Status\n\
         ---------  -------------------------------  --------\n\
         device-01  contoso-hub-2.azure-devices.net  assigned\n\
         device-02  contoso-hub-2.azure-devices.net  assigned\n"
    );
    let shown = world.run("dps enrollment-group registration show --registration-id device-01");
    assert_eq!(shown.json()["assignedHub"], HUB);
    assert_eq!(
        world.run("dps hub device list --hub-name contoso-hub-2 -o table").done(),
        "DeviceID   Status   ConnectionState  Authentication\n\
         ---------  -------  ---------------  --------------\n\
         device-01  enabled  Disconnected     selfSigned\n\
         device-02  enabled  Disconnected     selfSigned\n"
    );

    // Deleting the group alone leaves the records and the hub's devices.
    world.run("dps enrollment-group delete --enrollment-id my-device-group").prints_nothing();
    world.run(article::SHOW).failed(1, "DPS_NOT_FOUND");
    assert_eq!(world.run(article::REGISTRATIONS).json().as_array().unwrap().len(), 2);

    world.run("dps enrollment-group registration delete --rid device-01").prints_nothing();
    world.run("dps enrollment-group registration show --rid device-01").failed(1, "DPS_NOT_FOUND");
    let all = "dps enrollment-group registration delete --enrollment-id my-device-group --all";
    world.run(all).prints_nothing();
    assert_eq!(world.run(article::REGISTRATIONS).json(), json!([]));
    world.run(all).prints_nothing();

    for name in ["my-intermediate-ca", "my-root-ca"] {
        world.run_with("dps certificate delete --certificate-name", &[name]).prints_nothing();
    }
    assert_eq!(world.run(article::CERTIFICATES).json()["value"], json!([]));

    for device in ["device-01", "device-02"] {
        let shown = world.run_with("dps hub device show --device-id", &[device]).json();
        assert_eq!(shown["status"], "enabled");
        world.run_with("dps hub device delete -n contoso-hub-2 -d", &[device]).prints_nothing();
    }
    assert_eq!(world.run("dps hub device list").json(), json!([]));
    assert_eq!(world.run("dps hub device list -o table").done(), "");
    world.run("dps hub device delete -d device-01").failed(1, "DeviceNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_that_the_emulator_received_is_listed() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    let (chain, key) = world.chain.device("device-01");
    let identity = Credential::pem(chain, key).open().unwrap();
    let assigned = world.client(&identity).register().await.unwrap();
    let hub = assigned.connect(&identity).await.unwrap();
    hub.send(Message::new("21.5 °C").property("room", "hall")).await.unwrap();
    hub.close(Duration::from_secs(10)).await.unwrap();

    let feed = world.run("dps hub device messages --device-id device-01").json();
    assert_eq!(feed["messages"][0]["body"], "21.5 °C");
    assert_eq!(feed["messages"][0]["properties"], json!({ "room": "hall" }));
    let bodies =
        world.run("dps hub device messages -d device-01 -o table --query messages[].{Body:body}");
    assert_eq!(bodies.done(), "Body\n-------\n21.5 °C\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_encoded_in_paths() {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    world.register("urn:robot:7").await.unwrap();
    let shown = world.run("dps enrollment-group registration show --rid urn:robot:7").json();
    assert_eq!(shown["deviceId"], "urn:robot:7");
    world
        .run("dps enrollment-group registration delete --rid a/../urn:robot:7")
        .failed(1, "DPS_NOT_FOUND");
    world.run("dps enrollment-group registration delete --rid urn:robot:7").prints_nothing();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_hold_the_certificate_itself() {
    let world = World::with_verified_certificates().await;
    let pem = world.chain.intermediate.certificate().to_pem();
    world.write("intermediate.pem", pem.as_bytes());
    let created = world
        .run("dps enrollment-group create --eid own --cp intermediate.pem --iot-hubs contoso-hub-2.azure-devices.net")
        .json();
    let info = &created["attestation"]["x509"]["signingCertificates"]["primary"]["info"];
    assert_eq!(
        info["sha256Thumbprint"],
        world.chain.intermediate.certificate().sha256_thumbprint()
    );
    // What is read back is without the certificate, and is sent so.
    let updated =
        world.run("dps enrollment-group update --eid own --provisioning-status DISABLED").json();
    assert_eq!(updated["attestation"], created["attestation"]);
    assert_eq!(updated["provisioningStatus"], "disabled");
}

/// The service takes both, and then lets nobody in.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_wrong_kind_is_enrolled_with_the_doctors_warning() {
    let world = World::with_verified_certificates().await;
    let (chain, _) = world.chain.device("device-01");
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    world.write("leaf.pem", leaf.as_bytes());
    let ca = world.chain.intermediate.certificate().to_pem();
    world.write("ca.pem", ca.as_bytes());
    let group = "dps enrollment-group create --eid own --cp";
    let single = "dps enrollment create --eid device-01 --at x509 --cp";
    for (command, file, words) in [
        (group, "leaf.pem", "\"CN=device-01\" is a device's certificate"),
        (single, "ca.pem", "\"CN=Test Intermediate\" is a CA's certificate"),
        ("dps enrollment-group update --eid own --cp", "leaf.pem", "is a device's certificate"),
    ] {
        let run = world.run_with(command, &[file]);
        run.done();
        assert!(run.stderr.starts_with("Warning: DPS-C025 "), "{command}: {}", run.stderr);
        assert!(run.stderr.contains(words), "{command}: {}", run.stderr);
    }
    for (command, file) in [
        ("dps enrollment-group create --eid fit --cp", "ca.pem"),
        ("dps enrollment create --eid device-02 --at x509 --cp", "leaf.pem"),
    ] {
        let run = world.run_with(command, &[file]);
        run.done();
        assert!(!run.stderr.contains("DPS-C025"), "{}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_proof_says_how_to_get_a_code_and_its_certificate() {
    let world = World::new().await;
    world.upload("my-root-ca", &world.chain, false);
    world.write("proof.pem", world.chain.proof("ANOTHERC0DE").as_bytes());
    let verify = "dps certificate verify -n my-root-ca --path proof.pem";
    for step in ["before a code exists", "with another code's certificate"] {
        let refused = world.run(verify);
        refused.failed(1, "DPS_BAD_REQUEST");
        for words in [
            "dps certificate generate-verification-code --certificate-name my-root-ca",
            "dps chain verification CODE",
        ] {
            assert!(refused.stderr.contains(words), "{step}: {}", refused.stderr);
        }
        world.run("dps certificate generate-verification-code -n my-root-ca").done();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_by_the_service() {
    let world = World::new().await;
    let login = "HostName=my-dps-x509.azure-devices-provisioning.net;\
                 SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=d3Jvbmcga2V5";
    let run = world.run_with("dps certificate list --json", &["--login", login]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let error: Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(error["error"]["name"], "DPS_UNAUTHORIZED");
    assert_eq!(error["error"]["service"]["status"], 401);
    assert!(!run.stderr.contains("d3Jvbmcga2V5"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_that_is_gone_is_a_failure_for_now() {
    let world = World::new().await;
    let World { emulator, ref files, ref environment, .. } = world;
    emulator.stop().await;
    run(files.path(), environment, "dps certificate list", &[]).failed(75, "DPS_CONNECTION_FAILED");
}

#[test]
fn azure_gives_no_certificates_and_no_telemetry_for_a_connection_string() {
    let directory = TempDir::new().unwrap();
    let environment = [
        (
            "DPS_LOGIN".to_owned(),
            "HostName=mine.azure-devices-provisioning.net;SharedAccessKeyName=p;SharedAccessKey=a2V5"
                .to_owned(),
        ),
        (
            "DPS_HUB_LOGIN".to_owned(),
            "HostName=mine.azure-devices.net;SharedAccessKeyName=p;SharedAccessKey=a2V5".to_owned(),
        ),
    ];
    let chain = Chain::new();
    fs::write(directory.path().join("root.pem"), chain.root.certificate().to_pem()).unwrap();
    fs::write(directory.path().join("proof.pem"), chain.proof("C0DE")).unwrap();
    for verb in [
        "create -n my-root-ca --path root.pem --verified true",
        "list",
        "show -n my-root-ca",
        "generate-verification-code -n my-root-ca",
        "verify -n my-root-ca --path proof.pem",
        "delete -n my-root-ca",
    ] {
        let command = format!("dps certificate {verb} --json");
        let refused = run(directory.path(), &environment, &command, &[]);
        refused.failed(1, "management plane");
        let error: Value = serde_json::from_str(&refused.stderr).unwrap();
        assert_eq!(error["error"]["name"], "DPS_UNSUPPORTED", "{command}");
        let hint = error["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("az iot dps certificate"), "{command}: {hint}");
    }
    let messages = run(directory.path(), &environment, "dps hub device messages -d d", &[]);
    messages.failed(1, "DPS_UNSUPPORTED");
}

#[test]
fn usage_mistakes_are_told_before_anything_is_sent() {
    let directory = TempDir::new().unwrap();
    let key = "c2VjcmV0IGtleQ==";
    let login = |host: &str| format!("HostName={host};SharedAccessKeyName=p;SharedAccessKey={key}");
    let environment = [
        // Nobody listens there: a command that sent something would exit with 75.
        ("DPS_CONNECT_TO".to_owned(), "127.0.0.1:9".to_owned()),
        ("DPS_LOGIN".to_owned(), login("mine.azure-devices-provisioning.net")),
        ("DPS_HUB_LOGIN".to_owned(), login("mine.azure-devices.net")),
    ];
    for (command, words) in [
        ("dps enrollment-group create", "--enrollment-id"),
        ("dps enrollment-group create --enrollment-id a --allocation-policy custom", "hashed"),
        ("dps enrollment-group create --enrollment-id a --allocation-policy static", "needs a hub"),
        (
            "dps enrollment-group create --enrollment-id a --iot-hub-host-name a:1",
            "DPS_HOST_INVALID",
        ),
        ("dps enrollment-group create --enrollment-id a --iot-hubs https://a", "DPS_HOST_INVALID"),
        ("dps enrollment-group create --enrollment-id a --provisioning-status on", "enabled"),
        ("dps enrollment-group create --enrollment-id a --initial-twin-tags {", "is not JSON"),
        ("dps enrollment-group list --query [].{", "--query, column"),
        ("dps enrollment-group list --json -o table", "exclude each other"),
        ("dps enrollment-group list --json -o tsv", "exclude each other"),
        ("dps enrollment-group list --top 0", "--top"),
        ("dps enrollment-group list --dps-name other", "--dps-name is \"other\""),
        ("dps enrollment-group list --login nonsense", "connection string"),
        ("dps enrollment-group registration delete", "--registration-id"),
        ("dps enrollment-group registration delete --all", "--enrollment-id"),
        ("dps enrollment-group registration delete --enrollment-id a", "--all"),
        ("dps enrollment create --enrollment-id a", "--attestation-type"),
        (
            "dps enrollment create --enrollment-id a --at x509 --primary-key c2VjcmV0IGtleQ==",
            "--attestation-type symmetrickey only",
        ),
        (
            "dps enrollment create --enrollment-id a --at symmetrickey --cp a.pem",
            "--attestation-type x509 only",
        ),
        (
            "dps enrollment create --enrollment-id a --at symmetrickey --sk c2VjcmV0IGtleQ==",
            "--secondary-key: the symmetric key cannot be used: it has 10 bytes",
        ),
        ("dps enrollment-group create --eid a --pk secret", "--primary-key: the symmetric key"),
        (
            "dps enrollment-group create --eid a --ca-name b --pk c2VjcmV0IGtleSBvZiB0aGUgZ3JvdXA=",
            "not by both",
        ),
        ("dps enrollment-group compute-device-key --rid a", "--enrollment-id or --key"),
        ("dps enrollment-group compute-device-key --rid a --key x --eid b", "cannot be used with"),
        ("dps enrollment-group compute-device-key --rid a. --key x", "its last character"),
        ("dps enrollment-group compute-device-key --rid a --key x", "not base64"),
        ("dps enrollment create --enrollment-id a --attestation-type tpm", "x509"),
        ("dps hub device list --hub-name other", "--hub-name is \"other\""),
        ("dps hub device list --top 1001", "--top"),
        ("dps certificate show", "--certificate-name"),
    ] {
        let run = run(directory.path(), &environment, command, &[]);
        run.failed(64, words);
        assert!(!run.stderr.contains(key), "{}", run.stderr);
    }
    let login = login("mine.azure-devices-provisioning.net");
    run(directory.path(), &environment, "dps hub device list", &["--login", &login])
        .failed(64, "that of a DPS instance");
    let (_, login) = &environment[2];
    for command in ["dps enrollment-group list", "dps certificate list"] {
        run(directory.path(), &environment, command, &["--login", login])
            .failed(64, "that of a hub");
    }
}

#[test]
fn the_help_of_every_command_ends_with_an_example_and_shows_no_key() {
    let directory = TempDir::new().unwrap();
    let environment = [
        ("DPS_LOGIN".to_owned(), "HostName=h;SharedAccessKey=c2VjcmV0".to_owned()),
        ("DPS_HUB_LOGIN".to_owned(), "HostName=h;SharedAccessKey=c2VjcmV0".to_owned()),
    ];
    for command in [
        "certificate create",
        "certificate list",
        "certificate show",
        "certificate generate-verification-code",
        "certificate verify",
        "certificate delete",
        "enrollment-group create",
        "enrollment-group show",
        "enrollment-group list",
        "enrollment-group update",
        "enrollment-group delete",
        "enrollment-group compute-device-key",
        "enrollment-group registration list",
        "enrollment-group registration show",
        "enrollment-group registration delete",
        "enrollment create",
        "enrollment show",
        "enrollment list",
        "enrollment delete",
        "hub device list",
        "hub device show",
        "hub device delete",
        "hub device messages",
    ] {
        let help = run(directory.path(), &environment, &format!("dps {command} --help"), &[]);
        let (_, example) = help.done().rsplit_once("\nExample").unwrap();
        assert!(example.contains(&format!("\n  dps {command}")), "{example}");
        assert!(!help.stdout.contains("c2VjcmV0"), "{}", help.stdout);
    }
}
