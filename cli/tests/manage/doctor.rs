//! What `dps doctor` finds on the wire and at the service, and what it makes of the errors of
//! `dps register`.

use std::net::TcpListener;

use dps_core::key::{KeyType, PrivateKey};
use serde_json::Value;

use crate::{
    register,
    world::{Run, World, run},
};

const GOOD: [&str; 4] = ["--cert", "chain.pem", "--key", "key.pem"];

impl World {
    fn doctor(&self, more: &[&str]) -> Run {
        self.run_with("dps doctor", &[&GOOD, more].concat())
    }

    /// As if the environment said so; what it says in other names is not changed.
    fn elsewhere(&self, name: &str, value: &str, command: &str, more: &[&str]) -> Run {
        let mut environment = self.environment.clone();
        environment.retain(|(other, _)| other != name);
        environment.push((name.to_owned(), value.to_owned()));
        run(self.files.path(), &environment, command, more)
    }
}

/// Ends with this exit code, and finds this alone.
#[track_caller]
fn finds(run: &Run, code: i32, id: &str) {
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["exitCode"], code);
    let ids: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| &f["id"]).collect();
    assert_eq!(ids, [id], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wire_is_examined_from_name_to_clock() {
    let world = register::world().await;
    let well = world.doctor(&["--ca", "root.pem", "--wire"]);
    let text = well.done();
    assert_eq!(well.stderr, "");
    let report = world.doctor(&["--ca", "root.pem", "--wire", "--json"]).json();
    assert_eq!((&report["exitCode"], &report["findings"]), (&0.into(), &Value::Array(vec![])));
    let seen = report["seen"].to_string();
    let host = "global.azure-devices-provisioning.net";
    for words in [
        format!("{host}:8883 at {}: TLSv1_3, TLS13_", world.emulator.connect_to()),
        "up to the root \\\"CN=dps-emulator root".to_owned(),
        format!("certificates sent to {host}: 3"),
        format!("the WebSocket upgrade on {host}:443"),
        "this device's clock, against the server's".to_owned(),
    ] {
        assert!(seen.contains(&words), "{words:?} is missing in {seen}");
        assert!(text.contains(&words.replace('\\', "")), "{words:?} is missing in {text}");
    }
    // It registers nobody.
    assert!(world.emulator.recorded().iter().all(|packet| packet.topic.is_none()));

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let wire = [&GOOD[..], &["--wire", "--json"]].concat();
    finds(&world.elsewhere("DPS_CONNECT_TO", &free, "dps doctor", &wire), 2, "DPS-N003");
    finds(&world.elsewhere("SSL_CERT_FILE", "root.pem", "dps doctor", &wire), 2, "DPS-N006");
    finds(&world.doctor(&["--wire", "--json", "--host", "dps.example.com"]), 2, "DPS-N011");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_examined_by_registering() {
    let world = register::world().await;
    let scope = world.emulator.id_scope();
    let well = world.doctor(&["--register", "--id-scope", scope]);
    assert!(well.done().contains("the registration: assigned to "), "{}", well.stdout);
    let refused = world.doctor(&["--register", "--json", "--id-scope", "0neFFFFFFFF"]);
    finds(&refused, 2, "DPS-S004");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_registration_names_its_finding() {
    let world = register::world().await;
    let scope = world.emulator.id_scope();
    let chain = std::fs::read_to_string(world.files.path().join("chain.pem")).unwrap();
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    world.write("leaf.pem", leaf.as_bytes());
    for (more, id) in [
        (&["--cert", "leaf.pem", "--key", "key.pem", "--id-scope", scope][..], "DPS-S001"),
        (&["--cert", "chain.pem", "--key", "key.pem", "--id-scope", "0neFFFFFFFF"], "DPS-S004"),
        (
            &[&GOOD[..], &["--id-scope", scope, "--registration-id", "device-02"]].concat(),
            "DPS-C009",
        ),
        (&[&GOOD[..], &["--id-scope", scope, "--host", "dps.example.com"]].concat(), "DPS-N011"),
    ] {
        let run = world.run_with("dps register", more);
        assert_eq!(run.code, 1, "{id}: {}{}", run.stdout, run.stderr);
        assert!(run.stderr.contains(&format!("{id}: ")), "{id}: {}", run.stderr);
        let run = world.run_with("dps register", &[more, &["--json"]].concat());
        let error: Value = serde_json::from_str(&run.stderr).unwrap();
        let hint = error["error"]["hint"].as_str().unwrap_or_default();
        assert!(hint.starts_with(&format!("{id}: ")), "{error}");
        // The finding is the one that the doctor makes of the error's own words.
        let decoded = world.run_with("dps doctor", &["--error", &run.stderr, "--json"]);
        finds(&decoded, 2, id);
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let more = [&GOOD[..], &["--id-scope", scope, "--deadline", "1"]].concat();
    let run = world.elsewhere("DPS_CONNECT_TO", &free, "dps register", &more);
    assert_eq!(run.code, 75, "{}", run.stdout);
    assert!(run.stderr.contains("DPS-N003: "), "{}", run.stderr);

    // Nothing of it lasts.
    world.register("device-01").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_device_is_said_before_dialling() {
    let world = register::world().await;
    let key = PrivateKey::generate(KeyType::EcP256).unwrap().to_pem().unwrap();
    world.write("other.pem", key.as_bytes());
    let more = ["--cert", "chain.pem", "--key", "other.pem", "--wire", "--json"];
    finds(&world.run_with("dps doctor", &more), 2, "DPS-K006");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_to_explain_stands_alone() {
    let world = register::world().await;
    let explain = |more: &[&str]| world.run_with("dps doctor", &[&["--error"], more].concat());
    finds(&explain(&["401002 CA certificate not found", "--json"]), 2, "DPS-S001");
    let log = r#"2026-11-22T11:20:17.468296Z ERROR {"errorCode":401002,"message":"?"}"#;
    finds(&explain(&[log, "--json"]), 2, "DPS-S004");
    for nothing in ["", " \n"] {
        let run = explain(&[nothing]);
        assert!(run.code == 64 && run.stderr.contains("nothing to explain"), "{}", run.stderr);
    }
    // What would be ignored is refused.
    for more in [
        &["--ca", "root.pem"][..],
        &["--group-certificate", "root.pem"],
        &["--individual-certificate", "root.pem"],
        &["--registration-id", "device-01"],
        &["--id-scope", "0ne00000A0A"],
        &["--host", "dps.example.com"],
        &["--connect-to", "127.0.0.1:8883"],
        &["--roots", "root.pem"],
        &["--passphrase-file", "ca.pass"],
        &["--cert", "chain.pem"],
        &["--key", "key.pem"],
        &["--wire"],
        &["--register", "--id-scope", "0ne00000A0A"],
    ] {
        let run = explain(&[&["429001"], more].concat());
        let told = run.stderr.contains("cannot be used with") && run.stderr.contains(more[0]);
        assert!(run.code == 64 && told, "{more:?}: {} {}", run.code, run.stderr);
    }
}
