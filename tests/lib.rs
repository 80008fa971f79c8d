//! What the cross-room tests share: the tutorial's chain, the openssl command, chains of our own.

pub mod cloud;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, OnceLock},
};

use dps_core::{
    RegistrationId,
    chain::{Authority, Certificate, Validity},
    key::{KeyType, PrivateKey},
};
use tempfile::TempDir;

/// The folder that the tutorial's own OpenSSL commands make, once per test process.
pub fn tutorial_folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tutorial");
            for file in ["openssl_root_ca.cnf", "openssl_device_intermediate_ca.cnf"] {
                std::fs::copy(here.join(file), folder.path().join(file))
                    .expect("the configuration");
            }
            let made = Command::new("sh")
                .arg(here.join("make-chain.sh"))
                .current_dir(folder.path())
                .output()
                .expect("sh runs");
            assert_success("the tutorial's commands", &made);
            folder
        })
        .path()
}

/// The path of `certs/NAME.cert.pem` in the tutorial's folder.
pub fn tutorial_certificate(name: &str) -> PathBuf {
    tutorial_folder().join("certs").join(format!("{name}.cert.pem"))
}

/// The path of `private/NAME.key.pem` in the tutorial's folder.
pub fn tutorial_key(name: &str) -> PathBuf {
    tutorial_folder().join("private").join(format!("{name}.key.pem"))
}

/// Runs the openssl command and returns what it printed; fails the test if it fails.
pub fn openssl(arguments: &[&str]) -> String {
    let output =
        Command::new("openssl").args(arguments).output().expect("the openssl command is installed");
    assert_success(&format!("openssl {}", arguments.join(" ")), &output);
    String::from_utf8(output.stdout).expect("openssl prints text")
}

/// Fails the test with what the command printed, unless it succeeded.
pub fn assert_success(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A path as an argument of a command.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// A root and an intermediate of our own making, with small keys.
pub struct Hierarchy {
    /// The root.
    pub root: Authority,
    /// The intermediate, issued by the root.
    pub intermediate: Authority,
}

/// A device's certificate and key.
pub struct Device {
    /// The leaf.
    pub certificate: Certificate,
    /// The leaf's private key.
    pub key: Arc<PrivateKey>,
}

impl Hierarchy {
    /// A root and an intermediate with the tutorial's names and keys of this type.
    pub fn new(key_type: KeyType) -> Self {
        let key = || PrivateKey::generate(key_type).expect("a key");
        let root =
            Authority::create_root("Azure IoT Hub CA Cert Test Only", key(), Validity::days(30))
                .expect("a root");
        let intermediate = root
            .create_intermediate(
                "Azure IoT Hub Intermediate Cert Test Only",
                key(),
                Validity::days(30),
            )
            .expect("an intermediate");
        Self { root, intermediate }
    }

    /// A device certificate with this common name, issued by the intermediate.
    pub fn device(&self, name: &str) -> Device {
        self.device_valid(name, Validity::days(30))
    }

    /// As [`device`](Self::device), with a validity of its own.
    pub fn device_valid(&self, name: &str, validity: Validity) -> Device {
        let key = Arc::new(PrivateKey::generate(KeyType::EcP256).expect("a key"));
        let id = RegistrationId::parse(name).expect("a registration ID");
        let certificate = self
            .intermediate
            .issue_device(&id, key.public_key_info(), validity)
            .expect("a device certificate");
        Device { certificate, key }
    }

    /// Leaf, intermediate and root as PEM.
    pub fn full_chain(&self, device: &Device) -> String {
        [&device.certificate, self.intermediate.certificate(), self.root.certificate()]
            .map(Certificate::to_pem)
            .concat()
    }
}

impl Device {
    /// The key as PEM.
    pub fn key_pem(&self) -> String {
        self.key.to_pem().expect("a PEM key").to_string()
    }
}
