//! What the `dps` command prints.

use std::{
    path::Path,
    process::{Command, Output},
};

use dps_tests::{assert_success, text};

use crate::world::World;

/// The command, built once more than `cargo test` may have done.
fn dps() -> std::path::PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "dps-cli", "--message-format=json"])
        .current_dir(workspace)
        .output()
        .unwrap();
    assert_success("cargo build", &built);
    let executable = String::from_utf8(built.stdout).unwrap().lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(message["executable"].as_str()?.into())
    });
    executable.expect("cargo names what it has built")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_printed() {
    let world = World::new().await;
    let dps = dps();
    let emulator = world.cloud.emulator();
    let (connect_to, id_scope) = (emulator.connect_to(), emulator.id_scope().to_owned());
    let login = emulator.connection_string();
    let owner = login.split_once("SharedAccessKey=").unwrap().1;
    let mut needles = crate::needle::Needles::new();
    needles.text("the owner's key", owner.as_bytes());
    let path = |name: &str| text(&world.path(name)).to_owned();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| -> (Output, String) {
        let output = Command::new(&dps)
            .args(arguments)
            .env("DPS_CONNECT_TO", &connect_to)
            .env("SSL_CERT_FILE", path("root.pem"))
            .env("DPS_LOGIN", &login)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let said = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        (output, said)
    };
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();

    let certificate = |chain: &str, key: &str| {
        let (chain, key) = (path(chain), path(key));
        ["register", "--id-scope", &id_scope, "--cert", &chain, "--key", &key, "--send", "x"]
            .map(str::to_owned)
            .to_vec()
    };
    let symmetric = |id: &str, option: &str, file: &str| {
        let mut arguments = ["register", "--id-scope", &id_scope, "--registration-id", id]
            .map(str::to_owned)
            .to_vec();
        if !option.is_empty() {
            arguments.extend([option.to_owned(), path(file)]);
        }
        arguments
    };
    let with_passphrase = |mut arguments: Vec<String>, file: &str| {
        arguments.extend(["--passphrase-file".to_owned(), path(file)]);
        arguments
    };
    let doctor = |key: &str, rest: &[&str]| {
        let (chain, key) = (path("encrypted.pem"), path(key));
        let passphrase = path("encrypted.passphrase");
        let mut arguments =
            vec!["doctor", "--cert", &chain, "--key", &key, "--passphrase-file", &passphrase];
        arguments.extend(rest);
        arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let manage = ["enrollment-group", "list"].map(str::to_owned).to_vec();

    let mut wrong_login = login.clone();
    wrong_login.truncate(login.len() - owner.len());
    wrong_login.push_str(&read("wrong.symmetric-key"));
    let malformed_login = login.replace("SharedAccessKey=", "SharedAccessKey ");
    let wrong_passphrase = read("wrong.passphrase");
    let malformed_key = read("malformed.symmetric-key");
    let own_key = read("meter-1.symmetric-key");
    for (works, arguments, environment) in [
        (
            true,
            with_passphrase(certificate("encrypted.pem", "encrypted.key"), "encrypted.passphrase"),
            None,
        ),
        (
            false,
            with_passphrase(certificate("encrypted.pem", "encrypted.key"), "wrong.passphrase"),
            None,
        ),
        (
            false,
            certificate("encrypted.pem", "encrypted.key"),
            Some(("DPS_PASSPHRASE", &wrong_passphrase)),
        ),
        (false, certificate("plain.key", "plain.pem"), None),
        (false, certificate("plain.pem", "damaged.key"), None),
        (false, certificate("encrypted.pem", "plain.key"), None),
        (true, symmetric("meter-1", "--symmetric-key-file", "meter-1.symmetric-key"), None),
        (true, symmetric("meter-1", "", ""), Some(("DPS_SYMMETRIC_KEY", &own_key))),
        (false, symmetric("meter-1", "", ""), Some(("DPS_SYMMETRIC_KEY", &malformed_key))),
        (true, symmetric("meter-2", "--group-key-file", "group.symmetric-key"), None),
        (false, symmetric("meter-1", "--symmetric-key-file", "wrong.symmetric-key"), None),
        (false, symmetric("meter-1", "--symmetric-key-file", "malformed.symmetric-key"), None),
        (false, symmetric("meter-1", "--symmetric-key-file", "plain.key"), None),
        (false, doctor("plain.key", &[]), None),
        (false, doctor("damaged.key", &["--json"]), None),
        (false, doctor("wrong.passphrase", &[]), None),
        (true, manage.clone(), None),
        (false, manage.clone(), Some(("DPS_LOGIN", &wrong_login))),
        (false, manage, Some(("DPS_LOGIN", &malformed_login))),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let (output, said) = run(&arguments, &environment);
        assert_eq!(output.status.success(), works, "dps {arguments:?}: {said}");
        let what = format!("the output of dps {arguments:?}");
        world.needles.assert_absent(&what, &said);
        needles.assert_absent(&what, &said);
    }
    world.end().await;
}
