//! What all trials share: certificates, keys and files, and how each language's shim is called.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{
    RegistrationId,
    chain::{Authority, Validity},
    key::{KeyType, Passphrase, PrivateKey},
};
use dps_tests::{Device, Hierarchy, assert_success, openssl, text};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{password, wire::Fragments};

/// The emulator's hub, and its ID scope here.
pub(crate) const HUB: &str = "contoso-hub-2.azure-devices.net";
pub(crate) const SCOPE: &str = "0ne00000A0A";

/// The name of every device with a certificate, unless a case says otherwise.
const DEVICE: &str = "device-01";

/// A published derivation: a group's key, a registration ID, and the device's key. (Microsoft,
/// "Symmetric key attestation", derive a device key)
const GROUP_KEY: &str =
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
const MEMBER: &str = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6";
const DERIVED_KEY: &str = "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=";

/// A language and its shim.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Language {
    Rust,
    C,
    Python,
    Node,
}

impl Language {
    pub(crate) const ALL: [Self; 4] = [Self::Rust, Self::C, Self::Python, Self::Node];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::Node => "node",
        }
    }
}

/// A row of `errors.json`: the catalogue as it was published.
#[derive(Debug, Deserialize)]
pub(crate) struct Kind {
    pub(crate) code: u32,
    pub(crate) name: String,
    pub(crate) retryable: bool,
}

pub(crate) struct World {
    pub(crate) hierarchy: Hierarchy,
    /// Has the names of the first, and other keys.
    pub(crate) stranger: Hierarchy,
    pub(crate) device: Device,
    pub(crate) fragments: Fragments,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) group_key: String,
    pub(crate) key: String,
    words: BTreeMap<&'static str, String>,
    folder: TempDir,
    c_shim: OnceLock<PathBuf>,
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the workspace around the suite")
}

/// The folder of this suite's sources.
pub(crate) fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl World {
    pub(crate) fn new() -> Self {
        let hierarchy = Hierarchy::new(KeyType::EcP256);
        let device = hierarchy.device(DEVICE);
        let base64 = |byte| BASE64_STANDARD.encode([byte; 32]);
        let (group_key, key) = (GROUP_KEY.to_owned(), base64(3));
        let group = BASE64_STANDARD.decode(GROUP_KEY).expect("base64");
        let derived = BASE64_STANDARD.encode(password::derived(&group, MEMBER));
        assert_eq!(derived, DERIVED_KEY, "this suite's own derivation");
        let words = BTreeMap::from([
            ("scope", SCOPE.to_owned()),
            ("hub", HUB.to_owned()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("group-key", group_key.clone()),
            ("key", key.clone()),
            ("other-key", base64(9)),
            ("derived-key", DERIVED_KEY.to_owned()),
            ("member", MEMBER.to_owned()),
            ("255", "v".repeat(255)),
            ("22000 percents", "%".repeat(22_000)),
        ]);
        let world = Self {
            stranger: Hierarchy::new(KeyType::EcP256),
            fragments: json("wire.json"),
            kinds: json("errors.json"),
            words,
            folder: tempfile::tempdir().expect("a folder"),
            c_shim: OnceLock::new(),
            hierarchy,
            device,
            group_key,
            key,
        };
        world.write_files();
        world
    }

    fn write_files(&self) {
        let (hierarchy, device) = (&self.hierarchy, &self.device);
        let [leaf, intermediate, top] = [
            &device.certificate,
            hierarchy.intermediate.certificate(),
            hierarchy.root.certificate(),
        ]
        .map(|certificate| certificate.to_pem());
        let key = device.key_pem();
        let encrypted = device.key.to_encrypted_pem(&Passphrase::new("1234")).expect("a PEM key");
        self.write("device-01.pem", &hierarchy.full_chain(device));
        self.write("device-01.key.pem", &key);
        self.write("encrypted.key.pem", &encrypted);
        self.write("other.key.pem", &hierarchy.device("device-02").key_pem());
        self.write("leaf.pem", &leaf);
        self.write("root.pem", &top);
        self.write("without-root.pem", &[leaf.as_str(), &intermediate].concat());
        self.write("without-intermediate.pem", &[leaf.as_str(), &top].concat());
        self.write("reversed.pem", &[top.as_str(), &intermediate, &leaf].concat());
        self.write("windows.pem", &hierarchy.full_chain(device).replace('\n', "\r\n"));
        self.write("empty.pem", "");
        self.write("garbage.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let foreign = self.stranger.root.certificate().to_pem();
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let nobody =
            Authority::create_root("Nobody's CA", key, Validity::days(30)).expect("a root");
        let nobody = nobody.certificate().to_pem();
        self.write("with-stranger.pem", &[leaf.as_str(), &intermediate, &top, &nobody].concat());
        self.write("nobody.pem", &nobody);
        self.write("other-roots.pem", &foreign);
        for (name, key_type) in [("rsa", KeyType::Rsa(2048)), ("p384", KeyType::EcP384)] {
            let device = issued(hierarchy, DEVICE, key_type, Validity::days(30));
            self.write(&format!("{name}.pem"), &hierarchy.full_chain(&device));
            self.write(&format!("{name}.key.pem"), &device.key_pem());
        }
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        for (name, from, to) in
            [("expired", now - 9 * day, now - day), ("future", now + day, now + 9 * day)]
        {
            let validity = Validity::between(from, to).expect("a validity");
            let device = issued(hierarchy, DEVICE, KeyType::EcP256, validity);
            self.write(&format!("{name}.pem"), &hierarchy.full_chain(&device));
            self.write(&format!("{name}.key.pem"), &device.key_pem());
        }
        self.write_forms(hierarchy.full_chain(device), &device.key_pem());
    }

    /// The device's chain and key as openssl and the clipboard hand them on.
    fn write_forms(&self, chain: String, key: &str) {
        let (in_chain, in_key) = (self.path("device-01.pem"), self.path("device-01.key.pem"));
        for (name, passphrase, extra) in [
            ("device-01.p12", "pass:1234", None),
            ("no-passphrase.p12", "pass:", None),
            ("no-mac.p12", "pass:1234", Some("-nomac")),
        ] {
            let out = self.path(name);
            let mut arguments = vec!["pkcs12", "-export", "-in", &in_chain, "-inkey", &in_key];
            arguments.extend(["-passout", passphrase, "-out", &out]);
            arguments.extend(extra);
            openssl(&arguments);
        }
        let out = self.path("proc-type.key.pem");
        openssl(&["ec", "-in", &in_key, "-aes256", "-passout", "pass:1234", "-out", &out]);
        let legacy = fs::read_to_string(&out).expect("a key");
        assert!(legacy.contains("Proc-Type: 4,ENCRYPTED"), "{legacy}");
        let out = self.path("device-01.key.der");
        openssl(&["ec", "-in", &in_key, "-outform", "DER", "-out", &out]);
        let pasted = |text: &str| format!("\u{feff}\"{}\"", text.trim_end().replace('\n', "\\n"));
        self.write("pasted.pem", &pasted(&chain));
        self.write("pasted.key.pem", &(pasted(key) + "\r\n"));
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a file is written");
    }

    /// Where a file of the shared folder lies.
    pub(crate) fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    /// The text with what stands in braces put in.
    pub(crate) fn filled(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        if filled.contains('{') {
            for (name, value) in &self.words {
                filled = filled.replace(&format!("{{{name}}}"), value);
            }
        }
        filled
    }

    /// What differs between two runs or two languages by nature, given one name.
    pub(crate) fn leveled(&self, text: &str, address: &str) -> String {
        let text = text.replace(address, "{address}").replace(text_of(&self.folder), "{folder}");
        text.split(' ').map(leveled_word).collect::<Vec<_>>().join(" ")
    }

    /// The shim of a language, to be given flags.
    pub(crate) fn shim(&self, language: Language) -> Command {
        match language {
            Language::Rust => Command::new(beside("conformance-shim")),
            Language::C => Command::new(self.c_shim.get_or_init(|| compiled(self.folder.path()))),
            Language::Python => {
                let mut python = Command::new(python());
                // No bytecode beside the sources.
                python.args(["-I", "-B", text(&here().join("shim.py"))]);
                python
            }
            Language::Node => {
                let mut node = Command::new("node");
                node.arg(here().join("shim.mjs")).current_dir(node_project());
                node
            }
        }
    }
}

fn text_of(folder: &TempDir) -> &str {
    text(folder.path())
}

/// Durations and GUIDs.
fn leveled_word(word: &str) -> &str {
    let bare = word.trim_matches([',', ')', '(', ':', ';', '"', '.']);
    let guid = bare.len() == 36 && bare.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let seconds = bare.contains('.') && bare.parse::<f64>().is_ok();
    if guid || seconds { "{measured}" } else { word }
}

pub(crate) fn json<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let text = fs::read_to_string(here().join(name)).expect(name);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn issued(hierarchy: &Hierarchy, name: &str, key_type: KeyType, validity: Validity) -> Device {
    let key = Arc::new(PrivateKey::generate(key_type).expect("a key"));
    let id = RegistrationId::parse(name).expect("a registration ID");
    let issued = hierarchy.intermediate.issue_device(&id, key.public_key_info(), validity);
    Device { certificate: issued.expect("a device certificate"), key }
}

/// A program that cargo built beside this one.
fn beside(name: &str) -> PathBuf {
    let program = env::current_exe().expect("this program").with_file_name(name);
    assert!(program.exists(), "there is no {}: run `make test-conformance`", program.display());
    program
}

fn python() -> PathBuf {
    let python = root().join("target/python-tools/fresh/bin/python");
    assert!(python.exists(), "the wheel is not installed: run `make test-python` first");
    python
}

fn node_project() -> PathBuf {
    let project = root().join("target/node/project");
    let module = project.join("node_modules/dps-core");
    assert!(module.exists(), "the package is not installed: run `make test-node` first");
    project
}

/// The C shim, linked with the static library that stands beside this program; under the address and
/// leak sanitizers, so that a fault of memory ends it with a code of theirs, and fails the trial.
fn compiled(folder: &Path) -> PathBuf {
    let library = beside("libdps_core.a");
    let program = folder.join("shim-c");
    let output = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-g"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
        .arg("-I")
        .arg(root().join("bindings-c/include"))
        .arg("-I")
        .arg(root().join("samples/c"))
        .arg(here().join("shim.c"))
        .arg(library)
        .args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc", "-o"])
        .arg(&program)
        .output()
        .expect("a C compiler");
    assert_success("the C shim", &output);
    program
}
