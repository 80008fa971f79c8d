//! The tutorial from end to end through the built `dps` command, with the chain that the
//! tutorial's own OpenSSL commands make and with the chain that `dps chain` makes.

use std::{
    collections::HashSet,
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use dps_tests::{openssl, text, tutorial_folder};
use serde_json::Value;

const HUB: &str = "contoso-hub-2.azure-devices.net";

/// A running `dps emulator`, ended with the test.
struct Emulator {
    process: Child,
    ready: Value,
}

impl Emulator {
    fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut process = dps(&["emulator", "--listen", "127.0.0.1:0", "--json", "--root-out"])
            .arg(root)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line}"));
        Self { process, ready }
    }

    fn text(&self, field: &str) -> &str {
        self.ready[field].as_str().unwrap_or_else(|| panic!("{field} in {}", self.ready))
    }

    /// A `dps` that reaches this emulator.
    fn dps(&self, arguments: &[&str]) -> Command {
        let mut command = dps(arguments);
        command
            .env("DPS_CONNECT_TO", self.text("connectTo"))
            .env("SSL_CERT_FILE", self.text("rootCertificateFile"))
            .env("DPS_LOGIN", self.text("connectionString"))
            .env("DPS_HUB_LOGIN", self.ready["hubConnectionStrings"][HUB].as_str().unwrap());
        command
    }

    /// The tutorial's two portal steps.
    fn enroll(&self, folder: &Path) {
        let root = folder.join("certs/azure-iot-test-only.root.ca.cert.pem");
        let intermediate = folder.join("certs/azure-iot-test-only.intermediate.cert.pem");
        succeed(self.dps(&[
            "certificate",
            "create",
            "--certificate-name",
            "my-root-ca",
            "--path",
            text(&root),
            "--verified",
            "true",
        ]));
        succeed(self.dps(&[
            "enrollment-group",
            "create",
            "--enrollment-id",
            "my-device-group",
            "--certificate-path",
            text(&intermediate),
            "--provisioning-status",
            "enabled",
        ]));
    }

    fn register(&self, folder: &Path, device: &str, more: &[&str]) -> Output {
        let chain = folder.join(format!("certs/{device}-full-chain.cert.pem"));
        let key = folder.join(format!("private/{device}.key.pem"));
        let mut command = self.dps(&[
            "register",
            "--id-scope",
            self.text("idScope"),
            "--cert",
            text(&chain),
            "--key",
            text(&key),
        ]);
        command.args(more).output().unwrap()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_openssl_chain_provisions_both_devices() {
    let scratch = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(&scratch.path().join("root.pem"), &["--retry-after", "1"]);
    let folder = tutorial_folder();
    emulator.enroll(folder);
    for device in ["device-01", "device-02"] {
        let output = emulator.register(folder, device, &["--send", "Hello world"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(),
            [
                "Provisioning Status: PROV_DEVICE_REG_STATUS_CONNECTED",
                "Provisioning Status: PROV_DEVICE_REG_STATUS_ASSIGNING",
                &format!(
                    "Registration Information received from service: {HUB}, deviceId: {device}"
                ),
                "Message acknowledged by the hub",
            ]
        );
    }
    // "Confirm your device provisioning registration", in the article's own words.
    let records = succeed(emulator.dps(&[
        "enrollment-group",
        "registration",
        "list",
        "--enrollment-id",
        "my-device-group",
    ]));
    let records: Value = serde_json::from_str(&records).unwrap();
    let mut assigned: Vec<_> = records
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            (record["deviceId"].as_str().unwrap(), record["assignedHub"].as_str().unwrap())
        })
        .collect();
    assigned.sort_unstable();
    assert_eq!(assigned, [("device-01", HUB), ("device-02", HUB)]);
    let devices = succeed(emulator.dps(&["hub", "device", "list"]));
    let devices: Value = serde_json::from_str(&devices).unwrap();
    for device in devices.as_array().unwrap() {
        assert_eq!(device["status"], "enabled");
    }
    assert_eq!(devices.as_array().unwrap().len(), 2);

    // The C# sample's input: one file with the full chain and the key, under a passphrase.
    let pfx = scratch.path().join("device-02.pfx");
    openssl(&[
        "pkcs12",
        "-export",
        "-in",
        text(&folder.join("certs/device-02-full-chain.cert.pem")),
        "-inkey",
        text(&folder.join("private/device-02.key.pem")),
        "-passout",
        "pass:5678",
        "-out",
        text(&pfx),
    ]);
    let alone = ["register", "--id-scope", emulator.text("idScope"), "--cert", text(&pfx)];
    let mut command = emulator.dps(&alone);
    command.env("DPS_PASSPHRASE", "5678");
    assert!(succeed(command).contains(&format!("{HUB}, deviceId: device-02")));
    let locked = emulator.dps(&alone).output().unwrap();
    let said = String::from_utf8_lossy(&locked.stderr).into_owned();
    assert!(locked.status.code() == Some(64) && said.contains("DPS_PASSPHRASE_REQUIRED"), "{said}");
    let mut command =
        emulator.dps(&["doctor", "--register", "--id-scope", emulator.text("idScope")]);
    command.args(["--cert", text(&pfx)]).env("DPS_PASSPHRASE", "5678");
    assert!(succeed(command).contains("assigned to"));
    // A PEM file alone has no key.
    let chain = folder.join("certs/device-02-full-chain.cert.pem");
    let output = emulator.dps(&alone[..4]).arg(&chain).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("3 certificates") && said.contains("private key too"), "{said}");

    // A difference of case alone is warned about, where the user sees it.
    let output = emulator.register(folder, "device-01", &["--registration-id", "DEVICE-01"]);
    assert!(output.status.success());
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(warned.contains("\"DEVICE-01\"") && warned.contains("differ in case"), "{warned}");
    // The record and the hub's device are those of the first registration.
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("{HUB}, deviceId: device-01\n")), "{said}");
    // As JSON, that is a warning in a line of its own.
    let output =
        emulator.register(folder, "device-01", &["--registration-id", "DEVICE-01", "--json"]);
    let warned: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(warned["warning"].as_str().unwrap().contains("differ in case"), "{warned}");
}

#[test]
fn our_chain_replaces_the_openssl_commands() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let passphrase = dir.join("ca.pass");
    fs::write(&passphrase, "1234\n").unwrap();
    let in_dir = |arguments: &[&str]| {
        let mut command = dps(arguments);
        command
            .current_dir(dir)
            .args(["--key-type", "ec-p256", "--passphrase-file"])
            .arg(&passphrase);
        command
    };
    succeed(in_dir(&["chain", "root"]));
    succeed(in_dir(&["chain", "intermediate"]));
    let printed = succeed(in_dir(&["chain", "device", "device-01", "device-02", "--json"]));
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(printed[1]["subject"], "CN=device-02");
    let [root, intermediate, leaf] =
        ["azure-iot-test-only.root.ca", "azure-iot-test-only.intermediate", "device-01"]
            .map(|stem| dir.join(format!("certs/{stem}.cert.pem")));
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        text(&root),
        "-untrusted",
        text(&intermediate),
        text(&leaf),
    ]);
    let full_chain = fs::read_to_string(dir.join("certs/device-01-full-chain.cert.pem")).unwrap();
    let parts = [&leaf, &intermediate, &root].map(|file| fs::read_to_string(file).unwrap());
    assert_eq!(full_chain, parts.concat());
    let encrypted = dir.join("private/azure-iot-test-only.root.ca.key.pem");
    openssl(&["pkey", "-in", text(&encrypted), "-passin", "pass:1234", "-noout"]);
    openssl(&["req", "-verify", "-noout", "-in", text(&dir.join("csr/device-01.csr.pem"))]);

    // A second run overwrites nothing.
    let again = in_dir(&["chain", "root"]).output().unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"));

    let scratch = tempfile::tempdir().unwrap();
    let emulator = Emulator::start(&scratch.path().join("root.pem"), &["--retry-after", "0"]);
    emulator.enroll(dir);
    let output = emulator.register(dir, "device-02", &["--json", "--ca", text(&root)]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["assignedHub"], &result["deviceId"]), (&HUB.into(), &"device-02".into()));

    // Manual proof of possession, as in the tutorial's optional section.
    succeed(emulator.dps(&[
        "certificate",
        "create",
        "--certificate-name",
        "manual",
        "--path",
        text(&root),
    ]));
    let shown: Value = serde_json::from_str(&succeed(emulator.dps(&[
        "certificate",
        "show",
        "--certificate-name",
        "manual",
    ])))
    .unwrap();
    assert_eq!(shown["properties"]["isVerified"], false);
    let etag = shown["etag"].as_str().unwrap();
    let coded: Value = serde_json::from_str(&succeed(emulator.dps(&[
        "certificate",
        "generate-verification-code",
        "--certificate-name",
        "manual",
        "--etag",
        etag,
    ])))
    .unwrap();
    let code = coded["properties"]["verificationCode"].as_str().unwrap();
    succeed(in_dir(&["chain", "verification", code]));
    let proof = dir.join("certs/verification-code.cert.pem");
    let verified: Value = serde_json::from_str(&succeed(emulator.dps(&[
        "certificate",
        "verify",
        "--certificate-name",
        "manual",
        "--path",
        text(&proof),
        "--etag",
        coded["etag"].as_str().unwrap(),
    ])))
    .unwrap();
    assert_eq!(verified["properties"]["isVerified"], true);
}

#[test]
fn the_emulator_keeps_what_it_acknowledged_through_kill_9_and_ends_cleanly_on_sigterm() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, data) = (scratch.path().join("root.pem"), scratch.path().join("emulator.db"));
    let arguments = ["--data", text(&data), "--retry-after", "0"];
    let folder = tutorial_folder();
    let mut emulator = Emulator::start(&root, &arguments);
    emulator.enroll(folder);
    let output = emulator.register(folder, "device-01", &["--send", "before the cut"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    emulator.process.kill().unwrap();
    emulator.process.wait().unwrap();
    drop(emulator);

    let mut emulator = Emulator::start(&root, &arguments);
    let feed = succeed(emulator.dps(&["hub", "device", "messages", "--device-id", "device-01"]));
    assert!(feed.contains("before the cut"), "{feed}");
    let output = emulator.register(folder, "device-02", &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let pid = emulator.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(emulator.process.wait().unwrap().success(), "SIGTERM is a clean end");
}

#[test]
fn the_emulator_tells_people_where_it_is_and_does_as_its_options_say() {
    const OTHER_HUB: &str = "contoso-hub-3.azure-devices.net";
    let scratch = tempfile::tempdir().unwrap();
    let (root, data) = (scratch.path().join("root.pem"), scratch.path().join("emulator.db"));
    let mut options = vec!["--data", text(&data), "--hub", HUB, "--hub", OTHER_HUB];
    // The connection strings, which the data file keeps, are for programs.
    let ready = Emulator::start(&root, &options).ready.clone();
    fs::remove_file(&root).unwrap();

    options.extend(["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    options.extend(["--polls", "3", "--retry-after", "0", "--retention", "2"]);
    let mut process = dps(&["emulator", "--root-out", text(&root)])
        .args(&options)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut emulator = Emulator { process, ready };
    let (addresses, rest) =
        line.strip_prefix("Ready on ").and_then(|rest| rest.split_once(": ")).expect(&line);
    let addresses: Vec<SocketAddr> =
        addresses.split(", ").map(|address| address.parse().unwrap()).collect();
    assert!(addresses.len() == 2 && addresses[0] != addresses[1], "{line}");
    for words in [emulator.text("idScope"), HUB, OTHER_HUB, text(&root)] {
        assert!(rest.contains(words), "{words} in {line}");
    }

    // Each address serves; three registrations, three polls and a message each.
    emulator.ready["connectTo"] = addresses[1].to_string().into();
    emulator.enroll(tutorial_folder());
    let mut hub = None;
    for (address, message) in [(0, "first"), (1, "second"), (0, "third")] {
        emulator.ready["connectTo"] = addresses[address].to_string().into();
        let output = emulator.register(tutorial_folder(), "device-01", &["--send", message]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        // One after the registration, and one after each poll but that which tells the hub.
        assert_eq!(said.matches("PROV_DEVICE_REG_STATUS_ASSIGNING").count(), 3, "{said}");
        let assigned = [HUB, OTHER_HUB].into_iter().find(|hub| said.contains(hub)).expect(&said);
        assert_eq!(*hub.get_or_insert(assigned), assigned, "a device stays where it is");
    }
    let mut feed = emulator.dps(&["hub", "device", "messages", "--device-id", "device-01"]);
    let login = emulator.ready["hubConnectionStrings"][hub.unwrap()].as_str().unwrap();
    feed.env("DPS_HUB_LOGIN", login);
    let feed: Value = serde_json::from_str(&succeed(feed)).unwrap();
    let bodies = [&feed["messages"][0]["body"], &feed["messages"][1]["body"]];
    assert_eq!(bodies, ["second", "third"]);
    assert_eq!((&feed["retained"], &feed["dropped"]), (&2.into(), &1.into()));

    // Ctrl-C is how a person ends it, and no failure.
    let pid = emulator.process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(emulator.process.wait().unwrap().code(), Some(0));
    for address in addresses {
        TcpStream::connect(address).expect_err("nobody listens any more");
    }
}

#[test]
fn the_emulator_speaks_one_version_of_tls_alone_where_it_is_told_to() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root.pem");
    for (version, own, other) in [("1.2", "-tls1_2", "-tls1_3"), ("1.3", "-tls1_3", "-tls1_2")] {
        let emulator = Emulator::start(&root, &["--retry-after", "0", "--tls", version]);
        let client = |protocol| {
            let arguments = ["s_client", "-connect", emulator.text("connectTo"), protocol];
            Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap()
        };
        let agreed = client(own);
        let said = String::from_utf8_lossy(&agreed.stdout).into_owned();
        assert!(agreed.status.success() && said.contains(&format!("New, TLSv{version}")), "{said}");
        let refused = client(other);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("protocol version"), "{said}");

        emulator.enroll(tutorial_folder());
        let output = emulator.register(tutorial_folder(), "device-01", &["--send", "Hello world"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = dps(&["emulator", "--tls", "1.1"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(64) && said.contains("1.2, 1.3"), "{said}");
}

#[test]
fn quickstart_shows_on_a_terminal_how_many_keys_are_made_and_nowhere_else() {
    const PROGRESS: &str = "making RSA-4096 keys";
    let on_a_terminal = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chain/typed.py"))
        .args(["--", env!("CARGO_BIN_EXE_dps"), "quickstart"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    let shown = String::from_utf8(on_a_terminal.stdout).unwrap();
    assert!(on_a_terminal.status.success(), "{shown}");
    let count = |made: &str| shown.contains(&format!(" {made}/4")) && shown.contains(PROGRESS);
    assert!(count("0") && ["1", "2", "3"].into_iter().any(count), "{shown}");
    assert!(shown.trim_end().ends_with("enabled"), "{shown}");

    let elsewhere = dps(&["quickstart"]).output().unwrap();
    assert!(elsewhere.status.success());
    assert_eq!(String::from_utf8_lossy(&elsewhere.stderr), "");
    assert!(!String::from_utf8_lossy(&elsewhere.stdout).contains(PROGRESS));
}

#[test]
fn quickstart_makes_new_rsa_4096_keys_each_time_and_shows_what_the_service_holds() {
    let keys = ["azure-iot-test-only.root.ca", "azure-iot-test-only.intermediate"];
    let devices = ["device-01", "device-02"];
    let mut public_keys = HashSet::new();
    for _ in 0..2 {
        let folder = tempfile::tempdir().unwrap();
        let printed = succeed(dps(&["quickstart", "--json", "--dir", text(folder.path())]));
        for name in keys.into_iter().chain(devices) {
            let file = folder.path().join(format!("private/{name}.key.pem"));
            let open = ["pkey", "-in", text(&file), "-passin", "pass:1234", "-noout"];
            let shown = openssl(&[&open[..], &["-text_pub"]].concat());
            assert!(shown.starts_with("Public-Key: (4096 bit)"), "{name}: {shown}");
            assert!(shown.contains("Exponent: 65537"), "{name} is no RSA key: {shown}");
            assert!(public_keys.insert(shown), "{name} has another key's key");
        }
        // The hub's record of a device has the thumbprint of the certificate that it came with.
        let seen: Value = serde_json::from_str(&printed).unwrap();
        for device in seen["devices"].as_array().unwrap() {
            let name = device["deviceId"].as_str().unwrap();
            let file = folder.path().join(format!("certs/{name}.cert.pem"));
            let told = openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in", text(&file)]);
            let thumbprint = told.trim().split_once('=').unwrap().1.replace(':', "");
            let held = &device["authentication"]["x509Thumbprint"]["primaryThumbprint"];
            assert_eq!(held, &thumbprint, "{name}");
        }
        // What no client knows beforehand.
        for row in seen["registrations"].as_array().unwrap() {
            assert!(row["etag"].is_string() && row["createdDateTimeUtc"].is_string(), "{row}");
        }
        for row in seen["telemetry"].as_array().unwrap() {
            assert!(row["sequence"] == 1 && row["enqueuedTimeUtc"].is_string(), "{row}");
        }
    }
    assert_eq!(public_keys.len(), 8);
}

#[test]
fn quickstart_ends_with_both_devices_telemetry_records_and_hub_devices() {
    let folder = tempfile::tempdir().unwrap();
    let printed = succeed(dps(&["quickstart", "--json", "--dir", text(folder.path())]));
    let seen: Value = serde_json::from_str(&printed).unwrap();
    let column = |rows: &str, field: &str| {
        let mut column: Vec<String> = seen[rows]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row[field].as_str().unwrap().to_owned())
            .collect();
        column.sort();
        column
    };
    assert_eq!(column("telemetry", "body"), ["Hello from device-01", "Hello from device-02"]);
    assert_eq!(column("registrations", "deviceId"), ["device-01", "device-02"]);
    assert_eq!(column("registrations", "assignedHub"), [HUB, HUB]);
    assert_eq!(column("devices", "status"), ["enabled", "enabled"]);
    for file in ["certs/device-01-full-chain.cert.pem", "private/device-02.key.pem"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }

    // Without a folder, nothing is left.
    let temporary = tempfile::tempdir().unwrap();
    let mut command = dps(&["quickstart"]);
    command.env("TMPDIR", temporary.path());
    let text = succeed(command);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    for words in ["contoso-hub-2.azure-devices.net", "device-02", "enabled", "Hello from device-01"]
    {
        assert!(text.contains(words), "{words} in {text}");
    }
}

/// The keys of the devices lie in the clear there.
#[cfg(unix)]
#[test]
fn quickstart_that_is_interrupted_leaves_no_folder() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = dps(&["quickstart"]);
        command.env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "Create an X.509 certificate chain\n");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
        let pid = process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let ended = process.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code));
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}

/// As `dps quickstart | head -1` does it.
#[test]
fn a_reader_that_leaves_ends_the_command_without_a_word() {
    let mut command = dps(&["quickstart"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "Create an X.509 certificate chain\n");
    let ended = process.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn a_hub_that_never_acknowledges_does_not_hang_the_command() {
    let scratch = tempfile::tempdir().unwrap();
    let faults = scratch.path().join("faults.json");
    fs::write(&faults, r#"[{"step": "telemetry", "times": 0, "action": {"drop": true}}]"#).unwrap();
    let arguments = ["--retry-after", "0", "--faults", text(&faults)];
    let emulator = Emulator::start(&scratch.path().join("root.pem"), &arguments);
    let folder = tutorial_folder();
    emulator.enroll(folder);
    let output = emulator.register(folder, "device-01", &["--send", "hi", "--deadline", "3"]);
    assert_eq!(output.status.code(), Some(75), "{}", String::from_utf8_lossy(&output.stderr));
    // Nor does a deadline that no clock can count.
    let endless = u64::MAX.to_string();
    let output = emulator.register(folder, "device-02", &["--deadline", &endless]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn quickstart_overwrites_nobodys_keys() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("private/azure-iot-test-only.root.ca.key.pem");
    fs::create_dir(key.parent().unwrap()).unwrap();
    fs::write(&key, "mine").unwrap();
    let output = dps(&["quickstart", "--dir", text(folder.path())]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exists already"));
    assert_eq!(fs::read_to_string(&key).unwrap(), "mine");
}

#[test]
fn a_data_file_keeps_its_id_scope_and_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = tempfile::tempdir().unwrap();
    let (root, data) = (scratch.path().join("root.pem"), scratch.path().join("emulator.db"));
    let first = Emulator::start(&root, &["--data", text(&data), "--id-scope", "0neCUSTOM"]);
    assert_eq!(first.text("idScope"), "0neCUSTOM");
    for entry in fs::read_dir(scratch.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with("emulator.db") {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}", entry.file_name());
        }
    }
    drop(first);
    let again = Emulator::start(&root, &["--data", text(&data)]);
    assert_eq!(again.text("idScope"), "0neCUSTOM");
    drop(again);
    let other = dps(&[
        "emulator",
        "--data",
        text(&data),
        "--id-scope",
        "0neOTHER",
        "--listen",
        "127.0.0.1:0",
    ]);
    let output = { other }.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    fs::write(&data, "not a database").unwrap();
    let output =
        dps(&["emulator", "--data", text(&data), "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("emulator.db") && !said.contains("DPS_INTERNAL"), "{said}");
}

#[test]
fn failures_have_their_exit_codes_and_json() {
    let nothing = dps(&["register", "--id-scope", "0ne00000A0A"]).output().unwrap();
    assert_eq!(nothing.status.code(), Some(64), "a usage mistake");
    let missing = dps(&[
        "register",
        "--json",
        "--id-scope",
        "0ne00000A0A",
        "--cert",
        "/nowhere",
        "--key",
        "/nowhere",
    ])
    .output()
    .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let error: Value = serde_json::from_slice(&missing.stderr).unwrap();
    assert_eq!(error["error"]["name"], "DPS_FILE_NOT_READABLE");
    assert_eq!(error["error"]["retryable"], false);
    let folder = tutorial_folder();
    let chain = folder.join("certs/device-01-full-chain.cert.pem");
    let key = folder.join("private/device-01.key.pem");
    let closed = dps(&[
        "register",
        "--id-scope",
        "0ne00000A0A",
        "--cert",
        text(&chain),
        "--key",
        text(&key),
        "--connect-to",
        "127.0.0.1:1",
        "--deadline",
        "1",
    ])
    .output()
    .unwrap();
    assert_eq!(closed.status.code(), Some(75), "{}", String::from_utf8_lossy(&closed.stderr));
}

#[test]
fn with_json_every_line_of_standard_error_is_an_object_and_the_last_is_the_failure() {
    let folder = tutorial_folder();
    let chain = folder.join("certs/device-01-full-chain.cert.pem");
    let key = folder.join("private/device-01.key.pem");
    let mut arguments = vec!["register", "--json", "--id-scope", "0ne00000A0A", "--cert"];
    arguments.extend([text(&chain), "--key", text(&key), "--connect-to", "127.0.0.1:1"]);
    // Long enough for a second attempt.
    arguments.extend(["--deadline", "8"]);
    let output = dps(&arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, warnings) = lines.split_last().unwrap();
    assert_eq!(last["error"]["retryable"], true, "{said}");
    assert!(
        !warnings.is_empty() && warnings.iter().all(|line| line["warning"].is_string()),
        "{said}"
    );
}

#[test]
fn what_is_wrong_with_the_command_line_is_a_usage_mistake() {
    let folder = tutorial_folder();
    let chain = folder.join("certs/device-01-full-chain.cert.pem");
    let key = folder.join("private/device-01.key.pem");
    let scope =
        ["register", "--id-scope", "0ne00000A0A", "--cert", text(&chain), "--key", text(&key)];
    let more: [&[&str]; 6] = [
        &["--host", ""],
        &["--host", "a b"],
        &["--host", "https://global.azure-devices-provisioning.net"],
        &["--connect-to", "nowhere:port"],
        &["--registration-id", "a/b"],
        &["--payload", "{"],
    ];
    for more in more {
        let output = dps(&[&scope, more].concat()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{more:?}: {said}");
    }
    for options in [
        &["--hub", "localhost", "--hub", "LOCALHOST"][..],
        &["--hub", "my-dps.azure-devices-provisioning.net"],
    ] {
        let output = dps(&[&["emulator", "--listen", "127.0.0.1:0"], options].concat()).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{options:?}: {said}");
        assert!(said.contains(options[options.len() - 1]), "{said}");
    }
}

fn dps(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dps"));
    command.args(arguments).stdin(Stdio::null());
    for variable in
        ["DPS_CONNECT_TO", "SSL_CERT_FILE", "DPS_LOGIN", "DPS_HUB_LOGIN", "DPS_PASSPHRASE"]
    {
        command.env_remove(variable);
    }
    command
}

/// What the command printed; fails the test if the command fails.
#[track_caller]
fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
