//! Where `dps register` goes, whom it trusts there, and what it tells the service.

use std::fs;

use dps_emulator::{Direction, Role};
use dps_tests::{openssl, text};
use serde_json::{Value, json};

use crate::{
    article,
    world::{HUB, Run, World, run},
};

/// A world that lets `device-01` in, with its files.
pub(crate) async fn world() -> World {
    let world = World::with_verified_certificates().await;
    world.run(article::CREATE).done();
    let (chain, key) = world.chain.device("device-01");
    world.write("chain.pem", chain.as_bytes());
    world.write("key.pem", key.as_bytes());
    world
}

impl World {
    fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    fn register_device(&self, environment: &[&str], more: &[&str]) -> Run {
        let environment: Vec<_> = self
            .environment
            .iter()
            .filter(|(name, _)| environment.contains(&name.as_str()))
            .cloned()
            .collect();
        let scope = self.emulator.id_scope();
        let options =
            ["--id-scope", scope, "--cert", "chain.pem", "--key", "key.pem", "--deadline", "20"];
        run(self.files.path(), &environment, "dps register", &[&options, more].concat())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_the_one_whose_name_the_server_must_prove() {
    let world = world().await;
    let environment = ["DPS_CONNECT_TO", "SSL_CERT_FILE"];
    let own = world.emulator.dps_host();
    let run = world.register_device(&environment, &["--host", &own]);
    assert!(run.done().contains(&format!("{HUB}, deviceId: device-01")), "{}", run.stdout);

    let other = "another-dps.azure-devices-provisioning.net";
    let run = world.register_device(&environment, &["--host", other]);
    run.failed(1, other);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roots_are_those_of_the_file_and_no_others() {
    let world = world().await;
    let run = world.register_device(&["DPS_CONNECT_TO"], &["--roots", "emulator.pem"]);
    assert!(run.done().contains(&format!("{HUB}, deviceId: device-01")), "{}", run.stdout);

    // Also against the environment, which names the right ones.
    let environment = ["DPS_CONNECT_TO", "SSL_CERT_FILE"];
    world.register_device(&environment, &["--roots", "root.pem"]).failed(1, "certificate");
    world.register_device(&environment, &["--roots", "nowhere.pem"]).failed(1, "nowhere.pem");
}

/// What `openssl rehash` makes of a folder is how a system keeps its roots.
#[tokio::test(flavor = "multi_thread")]
async fn the_roots_are_those_of_the_system_where_no_file_is_named() {
    let mut world = world().await;
    let store = world.files.path().join("store");
    fs::create_dir(&store).unwrap();
    fs::copy(world.files.path().join("emulator.pem"), store.join("emulator.pem")).unwrap();
    openssl(&["rehash", text(&store)]);
    world.set("SSL_CERT_DIR", text(&store));
    let environment = ["DPS_CONNECT_TO", "SSL_CERT_DIR"];
    let run = world.register_device(&environment, &["--send", "Hello world"]);
    assert!(run.done().contains("Message acknowledged by the hub"), "{}", run.stdout);

    // A file that is named stands for the whole system.
    world.set("SSL_CERT_FILE", "root.pem");
    let run = world.register_device(&["DPS_CONNECT_TO", "SSL_CERT_DIR", "SSL_CERT_FILE"], &[]);
    run.failed(1, "root.pem (SSL_CERT_FILE)");

    // An empty variable names nothing.
    world.set("SSL_CERT_FILE", "");
    let run = world.register_device(&["DPS_CONNECT_TO", "SSL_CERT_DIR", "SSL_CERT_FILE"], &[]);
    run.done();

    let empty = world.files.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (folder, kind, words) in [
        (text(&empty), "DPS_WRONG_FILE_CONTENT", "openssl rehash"),
        ("nowhere", "DPS_FILE_NOT_READABLE", "nowhere: No such file"),
    ] {
        world.set("SSL_CERT_DIR", folder);
        let run = world.register_device(&environment, &[]);
        run.failed(1, kind);
        assert!(run.stderr.contains("SSL_CERT_DIR"), "{}", run.stderr);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

/// By the variable, as the guide has it: the emulator's address is nobody's name.
#[tokio::test(flavor = "multi_thread")]
async fn the_handshakes_ask_for_the_real_names_wherever_the_connections_go() {
    let world = world().await;
    world.emulator.clear_recorded();
    let environment = ["DPS_CONNECT_TO", "SSL_CERT_FILE"];
    world.register_device(&environment, &["--send", "Hello world"]).done();
    world.run("dps enrollment list").done();
    world.run("dps hub device list").done();
    let own = world.emulator.dps_host();
    let recorded = world.emulator.recorded();
    let asked: Vec<_> = recorded
        .iter()
        .filter(|entry| ["CONNECT", "REQUEST"].contains(&entry.packet.as_str()))
        .map(|entry| (entry.role, entry.server_name.as_deref().unwrap()))
        .collect();
    let expected = [
        (Some(Role::Dps), "global.azure-devices-provisioning.net"),
        (Some(Role::Hub), HUB),
        (None, own.as_str()),
        (None, HUB),
    ];
    assert_eq!(asked, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_payload_reaches_the_service_as_it_was_given() {
    let world = world().await;
    let environment = ["DPS_CONNECT_TO", "SSL_CERT_FILE"];
    let payload = r#"{"modelId": "dtmi:contoso:pump;1", "site": "Zürich", "lines": [1, 2.5]}"#;
    world.register_device(&environment, &["--payload", payload]).done();
    let sent: Vec<Value> = world
        .emulator
        .recorded()
        .iter()
        .filter(|entry| entry.direction == Direction::In)
        .filter(|entry| {
            entry.topic.as_ref().is_some_and(|topic| topic.contains("/PUT/iotdps-register/"))
        })
        .map(|entry| serde_json::from_slice(&entry.payload).unwrap())
        .collect();
    let payload: Value = serde_json::from_str(payload).unwrap();
    assert_eq!(sent, [json!({ "registrationId": "device-01", "payload": payload })]);

    let run = world.register_device(&environment, &["--payload", "{site: Zürich}"]);
    run.failed(64, "--payload is not JSON");
}
