//! What the tests run in: an emulator, a folder, a chain, and the command itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use dps_core::{
    Assignment, Credential, Error, Identity, ProvisioningClient, RegistrationId,
    chain::{Authority, Validity},
    key::{KeyType, PrivateKey},
    tls::Roots,
    transport::Network,
};
use dps_emulator::Emulator;
use serde_json::Value;
use tempfile::TempDir;

/// The one hub that the emulator links by default.
pub(crate) const HUB: &str = "contoso-hub-2.azure-devices.net";

/// An emulator with the names of the article, a folder to work in, and a CA.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) files: TempDir,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) chain: Chain,
}

impl World {
    pub(crate) async fn new() -> Self {
        let emulator = Emulator::builder().polls(0).start().await.unwrap();
        let files = TempDir::new().unwrap();
        let root = files.path().join("emulator.pem");
        fs::write(&root, emulator.root_pem()).unwrap();
        let environment = [
            ("DPS_LOGIN", emulator.connection_string()),
            ("DPS_HUB_LOGIN", emulator.hub_connection_string(HUB)),
            ("DPS_CONNECT_TO", emulator.connect_to()),
            ("SSL_CERT_FILE", root.to_string_lossy().into_owned()),
        ];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { emulator, files, environment, chain: Chain::new() }
    }

    pub(crate) async fn with_verified_certificates() -> Self {
        let world = Self::new().await;
        world.write("root.pem", world.chain.root.certificate().to_pem().as_bytes());
        world
            .run("dps certificate create --dps-name my-dps-x509 -n my-root-ca -p root.pem --verified true")
            .done();
        world.upload("my-intermediate-ca", &world.chain, true);
        world
    }

    pub(crate) fn upload(&self, name: &str, chain: &Chain, verified: bool) {
        let path = self.write("upload.pem", chain.intermediate.certificate().to_pem().as_bytes());
        let (path, verified) = (path.to_string_lossy(), verified.to_string());
        let options = ["--name", name, "--path", &path, "--verified", &verified];
        self.run_with("dps certificate create", &options).done();
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn run(&self, command: &str) -> Run {
        self.run_with(command, &[])
    }

    pub(crate) fn run_with(&self, command: &str, more: &[&str]) -> Run {
        run(self.files.path(), &self.environment, command, more)
    }

    pub(crate) async fn register(&self, device: &str) -> Result<Assignment, Error> {
        let (chain, key) = self.chain.device(device);
        self.register_with(&chain, &key).await
    }

    pub(crate) async fn register_with(&self, chain: &str, key: &str) -> Result<Assignment, Error> {
        let identity = Credential::pem(chain, key).open().unwrap();
        self.client(&identity).register().await
    }

    pub(crate) fn client(&self, identity: &Identity) -> ProvisioningClient {
        let network = Network::default()
            .connect_to(self.emulator.connect_to())
            .roots(Roots::pem(self.emulator.root_pem()));
        ProvisioningClient::new(self.emulator.id_scope(), identity).network(network)
    }
}

pub(crate) struct Chain {
    pub(crate) root: Authority,
    pub(crate) intermediate: Authority,
}

impl Chain {
    pub(crate) fn new() -> Self {
        let validity = Validity::days(1);
        let root = Authority::create_root("Test Root", key(), validity).unwrap();
        let intermediate = root.create_intermediate("Test Intermediate", key(), validity).unwrap();
        Self { root, intermediate }
    }

    /// A device's full chain and its key, both PEM.
    pub(crate) fn device(&self, name: &str) -> (String, String) {
        let key = key();
        let id = RegistrationId::parse(name).unwrap();
        let validity = Validity::days(1);
        let leaf = self.intermediate.issue_device(&id, key.public_key_info(), validity).unwrap();
        let authorities = [&self.intermediate, &self.root].map(|ca| ca.certificate().to_pem());
        (leaf.to_pem() + &authorities.concat(), key.to_pem().unwrap().to_string())
    }

    /// A verification certificate of the intermediate CA.
    pub(crate) fn proof(&self, code: &str) -> String {
        let key = key();
        let validity = Validity::days(1);
        self.intermediate
            .issue_verification(code, key.public_key_info(), validity)
            .unwrap()
            .to_pem()
    }
}

fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap())
}

/// What a command did.
pub(crate) struct Run {
    command: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// What it printed, having succeeded.
    pub(crate) fn done(&self) -> &str {
        assert_eq!(self.code, 0, "{}\n{}", self.command, self.stderr);
        &self.stdout
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.done()).unwrap()
    }

    pub(crate) fn prints_nothing(&self) {
        assert_eq!(self.done(), "", "{}", self.command);
        assert_eq!(self.stderr, "", "{}", self.command);
    }

    pub(crate) fn failed(&self, code: i32, words: &str) {
        assert_eq!(self.code, code, "{}\n{}{}", self.command, self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "{}", self.command);
        let told = if words.starts_with("Error: ") {
            self.stderr.starts_with(words)
        } else {
            self.stderr.contains(words)
        };
        assert!(told, "{}\n{words:?} is not in {:?}", self.command, self.stderr);
    }
}

/// Runs a command line of the article, or one of ours, with further arguments.
pub(crate) fn run(
    directory: &Path,
    environment: &[(String, String)],
    command: &str,
    more: &[&str],
) -> Run {
    let line = command
        .replace("az iot dps", "dps")
        .replace('`', " ")
        .replace("$dpsName", "my-dps-x509")
        .replace("$resourceGroup", "iot-x509-demo-rg");
    let mut words = words(&line);
    assert_eq!(words.remove(0), "dps", "{command}");
    let mut process = Command::new(env!("CARGO_BIN_EXE_dps"));
    for name in [
        "DPS_LOGIN",
        "DPS_HUB_LOGIN",
        "DPS_CONNECT_TO",
        "DPS_SYMMETRIC_KEY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        process.env_remove(name);
    }
    process.args(words).args(more).current_dir(directory);
    process.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = process.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        command: command.to_owned(),
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Splits at spaces outside of double quotes, as both shells do with the article's lines.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted) = (None::<String>, false);
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
