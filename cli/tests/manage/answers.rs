//! What the management verbs print for scripts, and what they say of a refusal.

use tempfile::TempDir;

use crate::world::{Chain, HUB, World, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_values_without_quotation_marks() {
    let world = World::new().await;
    world.upload("my-root-ca", &world.chain, false);
    let code = world.run(
        "dps certificate generate-verification-code -n my-root-ca \
         --query properties.verificationCode -o tsv",
    );
    let bare = code.done().trim_end();
    assert!(bare.len() == 48 && bare.bytes().all(|b| b.is_ascii_alphanumeric()), "{bare}");
    world.write("proof.pem", world.chain.proof(bare).as_bytes());
    let verified = "dps certificate verify -n my-root-ca -p proof.pem -o tsv --query";
    assert_eq!(world.run(&format!("{verified} properties.isVerified")).done(), "true\n");
    let listed = "dps certificate list -o tsv --query \"value[].[name, properties.isVerified]\"";
    assert_eq!(world.run(listed).done(), "my-root-ca\tTrue\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_by_another_ca_is_told_from_one_for_another_code() {
    let world = World::new().await;
    world.upload("my-intermediate-ca", &world.chain, false);
    let code = world.run(
        "dps certificate generate-verification-code -n my-intermediate-ca -o tsv \
         --query properties.verificationCode",
    );
    world.write("proof.pem", Chain::new().proof(code.done().trim_end()).as_bytes());
    let verify = "dps certificate verify -n my-intermediate-ca --path proof.pem";
    let refused = world.run(verify);
    refused.failed(1, "dps chain verification CODE --issuer STEM --force");
    assert!(refused.stderr.contains("dps certificate delete"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("generate-verification-code"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("/subscriptions/"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_comes_with_the_list_of_what_is() {
    let world = World::new().await;
    let list = "dps enrollment-group list";
    for (command, words, fix) in [
        ("enrollment-group show --eid no", "Enrollment group 'no' not found", list),
        ("enrollment-group delete --eid no", "Enrollment group 'no' not found", list),
        ("enrollment-group update --eid no --ps enabled", "Enrollment group 'no' not found", list),
        ("enrollment show --eid no", "Enrollment 'no' not found", "dps enrollment list"),
        (
            "enrollment-group registration show --rid no",
            "Registration 'no' not found",
            "dps enrollment-group registration list",
        ),
        ("hub device show -d no", "Device 'no' not found", "dps hub device list"),
        ("hub device delete -d no", "Device 'no' not found", "dps hub device list"),
        ("certificate show -n no", "Certificate 'no' not found", "dps certificate list"),
    ] {
        let refused = world.run(&format!("dps {command}"));
        refused.failed(1, &format!("Error: {words}"));
        assert!(refused.stderr.contains(fix), "{command}: {}", refused.stderr);
        assert_eq!(refused.stderr.matches(words).count(), 1, "{command}: {}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_certificate_is_no_ca_and_where_it_belongs_is_said() {
    let world = World::new().await;
    let (chain, _) = world.chain.device("device-01");
    let leaf = &chain[..chain.find("-----END CERTIFICATE-----").unwrap() + 26];
    world.write("leaf.pem", leaf.as_bytes());
    let refused = world.run("dps certificate create -n device --path leaf.pem");
    refused.failed(1, "CN=device-01 is no CA");
    assert!(refused.stderr.contains("dps enrollment create"), "{}", refused.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_says_so_and_empty_json_is_a_list() {
    let world = World::new().await;
    for (command, what) in [
        ("dps enrollment-group list", "enrollment groups"),
        ("dps enrollment list", "enrollments"),
        ("dps hub device list", "devices"),
        ("dps certificate list", "certificates"),
    ] {
        let table = world.run(&format!("{command} -o table"));
        assert_eq!(table.done(), "");
        assert_eq!(table.stderr, format!("There are no {what} to show.\n"));
        let json = world.run(command);
        assert!(json.done().contains("[]") && json.stderr.is_empty(), "{}", json.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_is_not_linked_is_warned_of_before_a_device_fails() {
    let world = World::with_verified_certificates().await;
    let create = "dps enrollment-group create --ca-name my-root-ca --iot-hub-host-name";
    let warned = world.run(&format!("{create} nohub.azure-devices.net --eid wrong"));
    warned.done();
    assert!(warned.stderr.contains("nohub.azure-devices.net, which is not linked"));
    let linked =
        world.run(&format!("dps enrollment-group update --eid wrong --iot-hub-host-name {HUB}"));
    linked.done();
    assert_eq!(linked.stderr, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truth_value_may_be_written_as_python_does() {
    let world = World::new().await;
    let path = world.write("root.pem", world.chain.root.certificate().to_pem().as_bytes());
    let create = ["-n", "a", "--path", path.to_str().unwrap(), "--verified", "True"];
    let created = world.run_with("dps certificate create", &create).json();
    assert_eq!(created["properties"]["isVerified"], true);
}

#[test]
fn a_missing_login_is_told_alike_by_every_verb() {
    let directory = TempDir::new().unwrap();
    for (command, variable) in [
        ("dps hub device list", "DPS_HUB_LOGIN"),
        ("dps hub device messages -d device-01", "DPS_HUB_LOGIN"),
        ("dps enrollment-group list", "DPS_LOGIN"),
    ] {
        let refused = run(directory.path(), &[], &format!("{command} --json"), &[]);
        assert_eq!(refused.code, 64, "{}", refused.stderr);
        let error: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
        let hint = error["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("--login") && hint.contains(variable), "{command}: {hint}");
    }
}

#[test]
fn a_variable_that_cannot_be_used_is_called_by_its_name() {
    let directory = TempDir::new().unwrap();
    let login = "HostName=mine.azure-devices.net;SharedAccessKeyName=p;SharedAccessKey=a2V5";
    let environment = [("DPS_HUB_LOGIN", login), ("DPS_CONNECT_TO", "nonsense")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let refused = run(directory.path(), &environment, "dps hub device list", &[]);
    refused.failed(64, "DPS_CONNECT_TO is \"nonsense\"");
    let help = run(directory.path(), &environment, "dps hub device list --help", &[]);
    assert!(!help.done().contains("nonsense"), "{}", help.stdout);
}

#[test]
fn no_time_at_all_is_a_usage_mistake() {
    let directory = TempDir::new().unwrap();
    let register = "dps register --id-scope 0ne --cert a.pem --key b.pem --deadline 0";
    run(directory.path(), &[], register, &[]).failed(64, "--deadline");
}
