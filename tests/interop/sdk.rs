//! One device on one of the SDKs: a process that follows Microsoft's own sample.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use dps_core::{
    RegistrationId,
    chain::Validity,
    key::{KeyType, PrivateKey},
};
use dps_emulator::TlsVersion;
use dps_tests::{Device, Hierarchy, assert_success, cloud::Cloud};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::install;

/// The scripts give up by themselves before this.
const DEADLINE: Duration = Duration::from_secs(60);

/// One of Microsoft's device SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sdk {
    Python,
    Node,
}

/// How a device sends its ten messages.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    Parallel,
    OneByOne,
}

impl Sdk {
    /// The TLS version it agrees upon with a server that speaks 1.2 and 1.3. The Python SDK asks
    /// for 1.2 alone.
    pub(crate) fn tls_version(self) -> TlsVersion {
        match self {
            Self::Python => TlsVersion::V1_2,
            Self::Node => TlsVersion::V1_3,
        }
    }

    /// Runs a device with a certificate to its end.
    pub(crate) async fn run(
        self,
        cloud: &Cloud,
        id: &str,
        chain: &str,
        device: &Device,
        order: Order,
    ) -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let chain = write(&folder, "chain.pem", chain);
        let key = write(&folder, "key.pem", &device.key_pem());
        let proof = [
            ("DPS_X509_REGISTRATION_ID", id.into()),
            ("X509_CERT_FILE", chain.into()),
            ("X509_KEY_FILE", key.into()),
        ];
        self.run_with(cloud, id, &proof, order).await
    }

    /// Runs a device with a symmetric key to its end.
    pub(crate) async fn run_keyed(
        self,
        cloud: &Cloud,
        id: &str,
        key: &str,
        order: Order,
    ) -> Outcome {
        let proof = [
            ("PROVISIONING_REGISTRATION_ID", id.into()),
            ("PROVISIONING_SYMMETRIC_KEY", key.into()),
        ];
        self.run_with(cloud, id, &proof, order).await
    }

    /// Runs a device that is told by these variables, named as in Microsoft's samples, what to
    /// prove itself by.
    async fn run_with(
        self,
        cloud: &Cloud,
        id: &str,
        proof: &[(&str, OsString)],
        order: Order,
    ) -> Outcome {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let roots = write(&folder, "service-root.pem", cloud.emulator().root_pem());
        let mut command = self.command();
        command
            .arg(match order {
                Order::Parallel => "parallel",
                Order::OneByOne => "one-by-one",
            })
            .env_remove("PROVISIONING_SYMMETRIC_KEY")
            .env("PROVISIONING_HOST", "localhost")
            .env("PROVISIONING_IDSCOPE", cloud.emulator().id_scope())
            .env("SSL_CERT_FILE", &roots)
            .env("NODE_EXTRA_CA_CERTS", &roots)
            .envs(proof.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = timeout(DEADLINE, command.output())
            .await
            .unwrap_or_else(|_| panic!("{self:?} SDK, {id}: not done within {DEADLINE:?}"))
            .expect("the SDK's interpreter runs");
        assert_success(&format!("{self:?} SDK, {id}"), &output);
        let line = output.stdout.trim_ascii().rsplit(|byte| *byte == b'\n').next();
        let outcome = serde_json::from_slice(line.unwrap_or_default());
        Outcome(outcome.unwrap_or_else(|error| {
            panic!("{self:?} SDK, {id}: {error}: {}", String::from_utf8_lossy(&output.stdout))
        }))
    }

    fn command(self) -> Command {
        let installed = install::folder(self);
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
        match self {
            Self::Python => {
                let mut command = Command::new(installed.join("bin/python"));
                // Without -I, the user's own packages could take the place of those installed.
                command.arg("-I").arg(scripts.join("python/client.py"));
                command
            }
            Self::Node => {
                let mut command = Command::new("node");
                // The emulator is on 127.0.0.1, where localhost may be ::1 first.
                command
                    .arg("--dns-result-order=ipv4first")
                    .arg(scripts.join("node/client.js"))
                    .env("NODE_PATH", installed.join("node_modules"));
                command
            }
        }
    }
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, text).expect("a file is written");
    file
}

/// What the SDK told the script.
pub(crate) struct Outcome(Value);

impl Outcome {
    /// What the registration resulted in, one text each.
    pub(crate) fn registration(&self) -> Vec<&str> {
        self.texts("registration")
    }

    /// The message IDs whose delivery was confirmed, in that order.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.texts("sent").into_iter().map(str::to_owned).collect()
    }

    /// Why the registration failed, and the causes of that.
    pub(crate) fn errors(&self) -> Vec<&str> {
        self.texts("errors")
    }

    /// The service's own number for the failure, where the SDK hands it on.
    pub(crate) fn error_code(&self) -> &Value {
        &self.0["errorCode"]
    }

    fn texts(&self, name: &str) -> Vec<&str> {
        let texts = self.0[name].as_array().map(|texts| texts.iter().map(Value::as_str));
        texts.and_then(Iterator::collect).unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

/// As [`Hierarchy::device`], with an RSA key of 2048 bits.
pub(crate) fn rsa_device(hierarchy: &Hierarchy, id: &str) -> Device {
    let key = Arc::new(PrivateKey::generate(KeyType::Rsa(2048)).expect("a key"));
    let id = RegistrationId::parse(id).expect("a registration ID");
    let certificate = hierarchy
        .intermediate
        .issue_device(&id, key.public_key_info(), Validity::days(30))
        .expect("a device certificate");
    Device { certificate, key }
}
