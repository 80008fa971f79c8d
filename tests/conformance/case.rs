//! A case as its JSON says it, and the flags that a shim is given for it.

use std::{collections::BTreeMap, fs, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Deserialize;
use serde_json::Value;

use crate::{password, world::World};

/// One case. README.md says what each member means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) server: Server,
    /// What a scripted server answers.
    #[serde(default)]
    pub(crate) script: Script,
    #[serde(default)]
    pub(crate) enrollment: Enrollment,
    /// Members of the enrollment beside its attestation.
    #[serde(default)]
    pub(crate) terms: serde_json::Map<String, Value>,
    #[serde(default)]
    pub(crate) polls: Option<u32>,
    #[serde(default)]
    pub(crate) retry_after: u32,
    #[serde(default)]
    pub(crate) hubs: Option<Vec<String>>,
    /// The emulator's own fault rules.
    #[serde(default)]
    pub(crate) faults: Vec<Value>,
    #[serde(default)]
    pub(crate) credential: Credential,
    /// Flags before the steps, in their order.
    #[serde(default)]
    pub(crate) options: Vec<(String, String)>,
    /// Flags that do something, in their order; `send` alone is `["send", "1"]`.
    pub(crate) steps: Vec<Step>,
    /// The starts of lines of the wire, in their order, or `accept`: when the last has been said,
    /// the shim's input ends.
    #[serde(default)]
    pub(crate) cancel_at: Vec<String>,
    /// Lines that the shim must print, and such as it must not (null).
    pub(crate) expect: BTreeMap<String, Option<Expected>>,
    #[serde(default)]
    pub(crate) wire: Option<Vec<String>>,
    /// Bodies of the messages that the hub holds, without repetitions.
    #[serde(default)]
    pub(crate) feed: Option<Vec<String>>,
    /// Milliseconds after which the shim must have ended.
    #[serde(default = "patience")]
    pub(crate) within: u64,
    /// Lines that are not the same in every language, and why; not the error, nor its hint.
    #[serde(default)]
    pub(crate) differs: BTreeMap<String, String>,
    /// Why how far the client comes, and how often it says the same, is a matter of time.
    #[serde(default)]
    pub(crate) timed: Option<String>,
}

/// What a scripted server answers: for each connection, what it says after each packet. The last
/// connection stands for all that follow. `script.rs` has the words.
pub(crate) type Script = Vec<BTreeMap<String, Vec<String>>>;

fn patience() -> u64 {
    20_000
}

/// What listens.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Server {
    #[default]
    Emulator,
    /// Nobody.
    Closed,
    /// Accepts and says nothing.
    Silent,
    /// Speaks no TLS.
    Plain,
    /// Its certificate has expired.
    Expired,
    /// Answers every greeting with the alert that there is no common parameter.
    Refusing,
    /// Speaks TLS 1.1 and nothing later.
    Old,
    /// Accepts no device's certificate, and says so by an alert of TLS.
    Mistrustful,
    /// TLS, and then MQTT as the case's script has it.
    Scripted,
}

/// What the device is enrolled by.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Enrollment {
    #[default]
    Group,
    /// As the group, but the root is not verified.
    Unverified,
    Individual,
    /// The group lists another intermediate.
    OtherGroup,
    SymmetricGroup,
    SymmetricIndividual,
    None,
}

/// What the device proves itself by.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Credential {
    pub(crate) form: String,
    /// The device's own name where there is no certificate.
    #[serde(default)]
    pub(crate) id: Option<String>,
    #[serde(default)]
    pub(crate) chain: Option<String>,
    #[serde(default)]
    pub(crate) key: Option<String>,
    #[serde(default)]
    pub(crate) passphrase: Option<String>,
}

impl Default for Credential {
    fn default() -> Self {
        Self { form: "pem-files".into(), id: None, chain: None, key: None, passphrase: None }
    }
}

/// Forms of a symmetric key.
const KEYED: &[&str] = &["symmetric-key", "group-key", "hsm-key", "token-signer"];

/// A step: a flag alone, or with its value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Step {
    Flag(String),
    Valued(String, String),
}

/// What a line must be.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Expected {
    /// Exactly this; after `~`, something that contains this.
    Text(String),
    /// All of these.
    All(Vec<String>),
}

impl Expected {
    pub(crate) fn fits(&self, value: &str, world: &World) -> bool {
        let fits = |text: &String| match text.strip_prefix('~') {
            Some(part) => value.contains(&world.filled(part)),
            None => value == world.filled(text),
        };
        match self {
            Self::Text(text) => fits(text),
            Self::All(texts) => texts.iter().all(fits),
        }
    }
}

/// Every case of a folder, in the order of the files' names.
pub(crate) fn load(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the cases")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a file of cases");
        let of_file: Vec<Case> = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.extend(of_file);
    }
    for case in &cases {
        let same = ["error", "code", "retryable", "hint", "service-status", "service-code"];
        let differs = case.differs.keys().find(|name| same.contains(&name.as_str()));
        assert_eq!(differs, None, "{}: what no language may have for itself", case.name);
    }
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two cases have one name");
    }
    cases
}

impl Case {
    /// The key by which the device signs its tokens, where it has one.
    pub(crate) fn token_key(&self, world: &World) -> Option<Vec<u8>> {
        let decoded = |text: &str| BASE64_STANDARD.decode(world.filled(text)).unwrap_or_default();
        let key = decoded(self.credential.key.as_deref().unwrap_or("{key}"));
        match self.credential.form.as_str() {
            "group-key" => Some(password::derived(&key, self.id())),
            form if KEYED.contains(&form) => Some(key),
            _ => None,
        }
    }

    /// The device's name.
    pub(crate) fn id(&self) -> &str {
        self.credential.id.as_deref().unwrap_or("device-01")
    }

    /// Whether the shim ends with its hub client open.
    pub(crate) fn leaves_its_hub(&self) -> bool {
        let has = |wanted: &str| {
            self.steps.iter().any(|step| match step {
                Step::Flag(flag) | Step::Valued(flag, _) => flag == wanted,
            })
        };
        (has("connect") || has("connection-string")) && !has("close")
    }

    /// The lifetime of tokens that the case asks for, in whole seconds.
    pub(crate) fn token_lifetime(&self) -> Option<u64> {
        let mut options = self.options.iter();
        let (_, millis) = options.find(|(name, _)| name == "token-lifetime")?;
        millis.parse::<u64>().ok().map(|millis| millis.div_ceil(1000))
    }

    /// The flags of a shim, but for those of the server.
    pub(crate) fn flags(&self, world: &World) -> Vec<String> {
        let Credential { form, id: _, chain, key, passphrase } = &self.credential;
        let mut flags = Vec::new();
        let mut add = |name: &str, value: &str| {
            flags.push(format!("--{name}"));
            flags.push(world.filled(&value.replace("{folder}/", &world.path(""))));
        };
        add("id", self.id());
        if KEYED.contains(&form.as_str()) {
            add("key", key.as_deref().unwrap_or("{key}"));
        } else {
            let chain = chain.as_deref().unwrap_or("device-01.pem");
            add("chain", &world.path(chain));
            add("key", &world.path(key.as_deref().unwrap_or("device-01.key.pem")));
        }
        if let Some(passphrase) = passphrase {
            add("passphrase", passphrase);
        }
        for (name, value) in &self.options {
            add(name, value);
        }
        add("credential", form);
        for step in &self.steps {
            match step {
                Step::Flag(name) => match name.as_str() {
                    "register" => add(name, "{scope}"),
                    "connect" => add(name, "assigned"),
                    "close" => add(name, "10000"),
                    "send" => add(name, "1"),
                    _ => add(name, "-"),
                },
                Step::Valued(name, value) => add(name, value),
            }
        }
        flags
    }
}
