//! A case as its JSON says it, and the flags that a shim is given for it.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;

use crate::world::World;

/// One case. README.md says what each member means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) server: Server,
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
    /// The start of the line of the wire, or `accept`, after which the shim's input ends.
    #[serde(default)]
    pub(crate) cancel_at: Option<String>,
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
    /// Why text, hint and operation of the error are not the same in every language.
    #[serde(default)]
    pub(crate) texts_differ: Option<String>,
}

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
    /// Wants a version of TLS that nobody speaks any more.
    Refusing,
    /// TLS, and then bytes that are no MQTT.
    NoMqtt,
    /// TLS, and then a CONNACK that claims to be endless.
    Endless,
    /// TLS, and then a SUBACK in place of the CONNACK.
    WrongPacket,
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
    let mut names: Vec<_> = cases.iter().map(|case| &case.name).collect();
    names.sort();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "two cases have one name");
    }
    cases
}

impl Case {
    /// The flags of a shim, but for those of the server.
    pub(crate) fn flags(&self, world: &World) -> Vec<String> {
        let Credential { form, id, chain, key, passphrase } = &self.credential;
        let mut flags = Vec::new();
        let mut add = |name: &str, value: &str| {
            flags.push(format!("--{name}"));
            flags.push(world.filled(&value.replace("{folder}/", &world.path(""))));
        };
        let keyed = matches!(form.as_str(), "symmetric-key" | "group-key");
        add("id", id.as_deref().unwrap_or("device-01"));
        if keyed {
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
