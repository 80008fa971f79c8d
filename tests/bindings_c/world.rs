//! An emulator and devices, described to programs of C by their environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{
    CertificateChain, RegistrationId,
    chain::Validity,
    key::{KeyType, Passphrase, PrivateKey},
    symmetric_key::{SymmetricKey, derive_device_key},
};
use dps_tests::{Device, Hierarchy, assert_success, cloud::Cloud};
use serde_json::json;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

/// The longest that a program may take, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(180);

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    folder: TempDir,
    environment: Vec<(&'static str, String)>,
}

impl World {
    /// device-01 (P-256; also as PKCS#12), one that has expired, the same with RSA and P-384 keys under other names, and symmetric keys.
    pub(crate) async fn new() -> Self {
        let hierarchy = Hierarchy::new(KeyType::EcP256);
        let cloud = Cloud::with_group(&hierarchy).await;
        let mut world =
            Self { cloud, folder: tempfile::tempdir().expect("a folder"), environment: Vec::new() };
        let emulator = world.cloud.emulator();
        let (connect_to, id_scope) = (emulator.connect_to(), emulator.id_scope().to_owned());
        let root = emulator.root_pem().to_owned();
        world.set("DPS_CONNECT_TO", &connect_to);
        world.set("ID_SCOPE", &id_scope);
        world.write("SSL_CERT_FILE", "emulator-root.pem", &root);

        let device = hierarchy.device("device-01");
        world.write("CHAIN", "device-01.pem", &hierarchy.full_chain(&device));
        world.write("KEY", "device-01.key.pem", &device.key_pem());
        let encrypted = device.key.to_encrypted_pem(&Passphrase::new("1234")).expect("a PEM key");
        world.write("ENCRYPTED_KEY", "device-01.encrypted.pem", &encrypted);
        world.write("OTHER_KEY", "other.key.pem", &hierarchy.device("device-03").key_pem());
        let full_chain = hierarchy.full_chain(&device);
        let chain = CertificateChain::from_pem(full_chain.as_bytes()).expect("a chain");
        let pfx = chain.to_pkcs12(&device.key, &Passphrase::new("1234")).expect("a PFX file");
        world.write_bytes("PFX", "device-01.pfx", &pfx);
        world.write("AUTHORITIES", "root.pem", &hierarchy.root.certificate().to_pem());
        let day = |ago: u64| SystemTime::now() - Duration::from_secs(ago * 24 * 3600);
        let last_week = Validity::between(day(7), day(2)).expect("a validity");
        let expired = hierarchy.device_valid("device-old", last_week);
        world.write("EXPIRED_CHAIN", "expired.pem", &hierarchy.full_chain(&expired));
        world.write("EXPIRED_KEY", "expired.key.pem", &expired.key_pem());
        let second = hierarchy.device("device-02");
        world.write("SECOND_CHAIN", "device-02.pem", &hierarchy.full_chain(&second));
        world.write("SECOND_KEY", "device-02.key.pem", &second.key_pem());
        for (name, key_type) in [("RSA", KeyType::Rsa(2048)), ("P384", KeyType::EcP384)] {
            let device = issued(&hierarchy, &format!("device-{name}"), key_type);
            let (chain, key) = match name {
                "RSA" => ("RSA_CHAIN", "RSA_KEY"),
                _ => ("P384_CHAIN", "P384_KEY"),
            };
            world.write(chain, &format!("{name}.pem"), &hierarchy.full_chain(&device));
            world.write(key, &format!("{name}.key.pem"), &device.key_pem());
        }

        let group_key = BASE64_STANDARD.encode([7; 32]);
        let keys =
            json!({ "primaryKey": group_key, "secondaryKey": BASE64_STANDARD.encode([8; 32]) });
        let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
        let group = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
        world.cloud.put_group("meters", &group).await;
        let id = RegistrationId::parse("device-hsm").expect("a registration ID");
        let key = SymmetricKey::from_base64(&group_key).expect("a key");
        world.set("GROUP_KEY", &group_key);
        world.set("SYMMETRIC_ID", id.as_str());
        world.set("SYMMETRIC_KEY", &derive_device_key(&key, &id).to_base64());

        let own_key = BASE64_STANDARD.encode([9; 32]);
        let keys =
            json!({ "primaryKey": own_key, "secondaryKey": BASE64_STANDARD.encode([10; 32]) });
        let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
        let enrollment = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
        world.cloud.put_enrollment("meter-individual", &enrollment).await;
        world.set("INDIVIDUAL_ID", "meter-individual");
        world.set("INDIVIDUAL_KEY", &own_key);
        world
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.environment.push((name, value.to_owned()));
    }

    /// Writes a file and names it in the environment.
    pub(crate) fn write(&mut self, name: &'static str, file: &str, content: &str) {
        self.write_bytes(name, file, content.as_bytes());
    }

    pub(crate) fn write_bytes(&mut self, name: &'static str, file: &str, content: &[u8]) {
        let path = self.folder.path().join(file);
        fs::write(&path, content).expect("a file is written");
        self.set(name, path.to_str().expect("a path in UTF-8"));
    }

    /// The value of a name in the environment of the programs.
    pub(crate) fn get(&self, name: &str) -> &str {
        let found = self.environment.iter().find(|(other, _)| *other == name);
        &found.expect("a name of the environment").1
    }

    /// Runs a program to its end and returns what it printed; fails the test if it fails.
    pub(crate) async fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let output = self.outcome(program, arguments).await;
        assert_success(&program.display().to_string(), &output);
        String::from_utf8(output.stdout).expect("the program prints text")
    }

    /// As [`run`](Self::run), for a program that may fail.
    pub(crate) async fn outcome(&self, program: &Path, arguments: &[&str]) -> Output {
        let running = Command::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        timeout(DEADLINE, running)
            .await
            .unwrap_or_else(|_| panic!("{} did not end", program.display()))
            .expect("the program runs")
    }
}

/// A device whose key is of this type.
fn issued(hierarchy: &Hierarchy, name: &str, key_type: KeyType) -> Device {
    let key = Arc::new(PrivateKey::generate(key_type).expect("a key"));
    let id = RegistrationId::parse(name).expect("a registration ID");
    let certificate = hierarchy
        .intermediate
        .issue_device(&id, key.public_key_info(), Validity::days(30))
        .expect("a device certificate");
    Device { certificate, key }
}

/// A copy of the sample HSM with this identity in it, edited as the tutorial has it: the constants
/// are what its `sed` command prints.
pub(crate) fn edited_hsm(folder: &Path, name: &str, chain: &Path, key: &Path) -> PathBuf {
    let sample = crate::library::root().join("samples/c/custom_hsm_example.c");
    let mut source = fs::read_to_string(sample).expect("the sample");
    let c_string = |path: &Path| {
        let printed = std::process::Command::new("sed")
            .args(["-e", r#"s/^/"/;$ !s/$/""\\n"/;$ s/$/"/"#])
            .arg(path)
            .output()
            .expect("sed runs");
        assert_success("the tutorial's sed command", &printed);
        String::from_utf8(printed.stdout).expect("text")
    };
    for (placeholder, value) in [
        ("\"<Enter common name>\"", format!("\"{name}\"")),
        ("\"<Enter full chain>\"", c_string(chain)),
        ("\"<Enter private key>\"", c_string(key)),
    ] {
        assert!(source.contains(placeholder), "{placeholder} is in the sample");
        source = source.replace(placeholder, value.trim_end());
    }
    let path = folder.join("custom_hsm_example.c");
    fs::write(&path, source).expect("the edited sample is written");
    path
}
