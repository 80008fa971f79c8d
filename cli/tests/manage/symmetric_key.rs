//! Devices without a certificate: their enrollments, their keys, and `dps register`.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    article,
    world::{HUB, Run, World, run},
};

/// The example of Microsoft, "Symmetric key attestation".
const GROUP_KEY: &str =
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
const DEVICE: &str = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
const DEVICE_KEY: &str = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=";

impl World {
    fn register_keyed(&self, id: &str, more: &[&str]) -> Run {
        let scope = self.emulator.id_scope().to_owned();
        let options = ["--id-scope", &scope, "--registration-id", id];
        self.run_with("dps register", &[&options, more].concat())
    }

    fn keys_of(&self, kind: &str, id: &str) -> Value {
        let shown = self.run(&format!("dps {kind} show --eid {id} --show-keys")).json();
        assert_eq!(shown["attestation"]["type"], "symmetricKey");
        shown["attestation"]["symmetricKey"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_a_certificate_has_keys() {
    let world = World::with_verified_certificates().await;
    let created = world.run("dps enrollment-group create --enrollment-id keyed").json();
    assert_eq!(created["attestation"]["type"], "symmetricKey");
    let hidden = world.run("dps enrollment-group show --eid keyed").json();
    assert_eq!(hidden["attestation"], json!({ "type": "symmetricKey" }));
    let keys = world.keys_of("enrollment-group", "keyed");
    assert_eq!(keys, created["attestation"]["symmetricKey"]);
    assert_eq!(keys["primaryKey"].as_str().map(str::len), Some(88), "64 bytes in base64");

    // An update leaves them as they are.
    let update = "dps enrollment-group update --eid keyed --provisioning-status disabled";
    assert_eq!(world.run(update).json()["provisioningStatus"], "disabled");
    assert_eq!(world.keys_of("enrollment-group", "keyed"), keys);

    let given = ["--primary-key", GROUP_KEY];
    let command = "dps enrollment-group create --enrollment-id given";
    world.run_with(command, &given).done();
    let keys = world.keys_of("enrollment-group", "given");
    assert_eq!(keys["primaryKey"], GROUP_KEY);
    assert_eq!(keys["secondaryKey"].as_str().map(str::len), Some(88));

    world.run(article::CREATE).done();
    let shown = world.run("dps enrollment-group show --eid my-device-group --show-keys");
    assert_eq!(shown.json()["attestation"]["type"], "x509");
    assert!(shown.stderr.contains("--show-keys is for symmetric keys"), "{}", shown.stderr);
    world
        .run("dps enrollment-group create --eid both --ca-name a --certificate-path b.pem")
        .failed(64, "cannot be used with");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_key_is_computed_from_a_key_or_from_the_group_that_holds_it() {
    let world = World::with_verified_certificates().await;
    let keys = ["--primary-key", GROUP_KEY];
    world.run_with("dps enrollment-group create --eid keyed", &keys).done();
    let compute = "dps enrollment-group compute-device-key --registration-id";
    let computed = world.run(&format!("{compute} {DEVICE} --enrollment-id keyed"));
    assert_eq!(computed.done(), format!("{DEVICE_KEY}\n"));

    // With the key itself nothing is called, so nothing of a service need be known.
    let directory = TempDir::new().unwrap();
    let alone = run(directory.path(), &[], &format!("{compute} {DEVICE}"), &["--key", GROUP_KEY]);
    assert_eq!(alone.done(), format!("{DEVICE_KEY}\n"));
    for json in [["--json", "--key", GROUP_KEY], ["--output=json", "--key", GROUP_KEY]] {
        let alone = run(directory.path(), &[], &format!("{compute} {DEVICE}"), &json);
        assert_eq!(alone.done(), format!("\"{DEVICE_KEY}\"\n"));
    }
    run(directory.path(), &[], &format!("{compute} a --eid keyed"), &[]).failed(64, "DPS_LOGIN");

    world.run(article::CREATE).done();
    world.run(&format!("{compute} a --eid my-device-group")).failed(
        1,
        "Error: Requested enrollment group has an attestation type of 'x509'. Currently, \
         compute-device-key is only supported for enrollment groups with symmetric key \
         attestation type.",
    );
    world.run(&format!("{compute} a --eid none")).failed(1, "DPS_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_with_its_own_key_or_with_that_of_its_group() {
    let mut world = World::new().await;
    let keys = ["--primary-key", GROUP_KEY];
    world.run_with("dps enrollment-group create --eid keyed", &keys).done();
    // As an editor leaves it.
    let device_key = world.write("device.key", format!("{DEVICE_KEY}\r\n").as_bytes());
    let group_key = world.write("group.key", GROUP_KEY.as_bytes());
    for more in [
        ["--symmetric-key-file", device_key.to_str().unwrap(), "--send", "hello"],
        ["--group-key-file", group_key.to_str().unwrap(), "--send", "hello again"],
    ] {
        let printed = world.register_keyed(DEVICE, &more).done().to_owned();
        let assigned = format!(
            "Registration Information received from service: {HUB}, deviceId: {DEVICE}\n\
             Message acknowledged by the hub\n"
        );
        assert!(printed.ends_with(&assigned), "{printed}");
    }
    let device = world.run(&format!("dps hub device show --device-id {DEVICE}")).json();
    assert_eq!(device["authentication"]["type"], "sas");
    assert_eq!(device["authentication"]["symmetricKey"]["primaryKey"], DEVICE_KEY);

    world.environment.push(("DPS_SYMMETRIC_KEY".to_owned(), DEVICE_KEY.to_owned()));
    let assigned = world.register_keyed(DEVICE, &["--json"]).json();
    assert_eq!(assigned["assignedHub"], HUB);
    // What is named comes before what is in the environment.
    let file = ["--symmetric-key-file", group_key.to_str().unwrap()];
    let refused = world.register_keyed(DEVICE, &file);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    for words in ["errorCode 401002", "The group's key itself is not accepted"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_individual_device_registers_under_its_own_device_id() {
    let world = World::new().await;
    let created = world
        .run("dps enrollment create --enrollment-id meter-1 --attestation-type symmetricKey --device-id pump-7")
        .json();
    let keys = world.keys_of("enrollment", "meter-1");
    assert_eq!(created["attestation"]["symmetricKey"], keys);
    let key = world.write("meter.key", keys["secondaryKey"].as_str().unwrap().as_bytes());
    let file = ["--symmetric-key-file", key.to_str().unwrap(), "--json", "--send", "hello"];
    let assigned = world.register_keyed("meter-1", &file).json();
    assert_eq!(assigned["deviceId"], "pump-7");
    assert_eq!(assigned["messageAcknowledged"], true);

    world.run("dps enrollment delete --enrollment-id meter-1").prints_nothing();
    world
        .run("dps enrollment create --enrollment-id meter-1 --at symmetrickey --ps disabled")
        .done();
    let keys = world.keys_of("enrollment", "meter-1");
    fs::write(&key, keys["primaryKey"].as_str().unwrap()).unwrap();
    let barred = world.register_keyed("meter-1", &file[..2]);
    assert_eq!(barred.code, 1, "{}", barred.stderr);
    assert!(barred.stderr.contains("DPS_ENROLLMENT_DISABLED"), "{}", barred.stderr);
}

#[test]
fn what_is_missing_or_wrong_is_told_before_anything_is_sent() {
    let directory = TempDir::new().unwrap();
    for (name, content) in
        [("empty.key", ""), ("quoted.key", "\"c2VjcmV0\""), ("short.key", "c2VjcmV0")]
    {
        fs::write(directory.path().join(name), content).unwrap();
    }
    // Nobody listens there: a command that sent something would exit with 75.
    let environment = [("DPS_CONNECT_TO".to_owned(), "127.0.0.1:9".to_owned())];
    let register = "dps register --id-scope 0ne00000A0A";
    for (more, code, words) in [
        ("", 64, "--symmetric-key-file"),
        ("--symmetric-key-file short.key", 64, "--registration-id is missing"),
        ("--registration-id a --symmetric-key-file none.key", 1, "none.key"),
        ("--registration-id a --symmetric-key-file empty.key", 1, "empty.key: the symmetric key"),
        ("--registration-id a --symmetric-key-file quoted.key", 1, "without quotes"),
        ("--registration-id a --group-key-file short.key", 1, "short.key: the enrollment group's"),
        ("--registration-id a. --group-key-file short.key", 64, "DPS_REGISTRATION_ID_INVALID"),
        ("--cert a.pem", 1, "a.pem: No such file"),
        ("--ca a.pem --registration-id a", 64, "--cert"),
        ("--ca a.pem --symmetric-key-file short.key", 64, "cannot be used with"),
        ("--cert a --key b --symmetric-key-file c", 64, "cannot be used with"),
        ("--symmetric-key-file b --group-key-file c", 64, "cannot be used with"),
    ] {
        let run = run(directory.path(), &environment, &format!("{register} {more}"), &[]);
        run.failed(code, words);
        assert!(!run.stderr.contains("c2VjcmV0"), "{}", run.stderr);
    }
    let environment = [("DPS_SYMMETRIC_KEY".to_owned(), "c2VjcmV0".to_owned())];
    let run = run(directory.path(), &environment, &format!("{register} --registration-id a"), &[]);
    run.failed(1, "DPS_SYMMETRIC_KEY: the symmetric key cannot be used: it has 6 bytes");
    assert!(!run.stderr.contains("c2VjcmV0"), "{}", run.stderr);
}
