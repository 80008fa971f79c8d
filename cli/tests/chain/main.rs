//! `dps chain` and `dps doctor` as a user runs them.

mod batch;
mod forms;
mod prompt;
mod refusals;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with a root and an intermediate.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for ca in ["root", "intermediate"] {
            folder.run(&["chain", ca, "--key-type", "ec-p256"]);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dps"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("DPS_PASSPHRASE", "1234")
            .env_remove("SSL_CERT_FILE")
            .env_remove("DPS_CONNECT_TO")
            .stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command printed, which must succeed.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {words}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// The exit code of a command, and what it printed on both of its outputs.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.output(arguments);
        let words = [stdout, stderr].concat();
        (status.code().unwrap_or(-1), String::from_utf8_lossy(&words).into_owned())
    }
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
