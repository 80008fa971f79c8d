//! Passphrases that a person types at a terminal.

use std::process::{Command, Output};

use dps_tests::{openssl, text};

use crate::{Folder, file_names};

const PASSPHRASE: &str = "correct horse";
const NEW_KEY: &str = "Passphrase for the new CA key: ";
const AGAIN: &str = "The same again: ";

impl Folder {
    /// Types a line at each prompt of a command; its output is all that the terminal showed.
    fn typed(&self, lines: &[&str], arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chain/typed.py"))
            .args(lines)
            .args(["--", env!("CARGO_BIN_EXE_dps")])
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("DPS_PASSPHRASE")
            .env("TERM", "xterm")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&stderr), "");
        (status.code().unwrap(), String::from_utf8(stdout).unwrap())
    }
}

#[test]
fn a_typed_passphrase_is_taken_and_never_shown() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let root = ["chain", "root", "--key-type", "ec-p256"];
    let (code, shown) = folder.typed(&[PASSPHRASE, PASSPHRASE], &root);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains(NEW_KEY) && shown.contains(AGAIN), "{shown}");
    assert!(!shown.contains(PASSPHRASE), "{shown}");
    let key = folder.path("private/azure-iot-test-only.root.ca.key.pem");
    let secret = format!("pass:{PASSPHRASE}");
    openssl(&["pkey", "-in", text(&key), "-passin", &secret, "-noout"]);

    // A key that exists is asked for once.
    let verification = ["chain", "verification", "C0DE", "--key-type", "ec-p256"];
    let (code, shown) = folder.typed(&["wrong horse"], &verification);
    assert!(code == 1 && shown.contains("passphrase"), "{code}: {shown}");
    let (code, shown) = folder.typed(&[PASSPHRASE], &verification);
    assert_eq!(code, 0, "{shown}");
    let prompt = "Passphrase of ./private/azure-iot-test-only.root.ca.key.pem: ";
    assert!(shown.starts_with(prompt), "{shown}");
    assert!(!shown.contains(AGAIN) && !shown.contains(PASSPHRASE), "{shown}");
}

#[test]
fn two_typed_passphrases_that_differ_make_no_key() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let root = ["chain", "root", "--key-type", "ec-p256"];
    for (lines, words) in [
        ([PASSPHRASE, "wrong horse"], "the two passphrases differ"),
        (["", ""], "a CA key needs a passphrase"),
    ] {
        let (code, shown) = folder.typed(&lines, &root);
        assert_eq!(code, 64, "{shown}");
        assert!(shown.contains(words) && !shown.contains("horse"), "{shown}");
    }
    assert_eq!(file_names(folder.0.path()), [""; 0]);
}

#[test]
fn a_batch_shows_its_progress_at_a_terminal_and_nowhere_else() {
    let folder = Folder::new();
    let batch = |range| ["chain", "device", "--range", range, "--key-type", "ec-p256"];
    let (code, shown) = folder.typed(&["1234"], &batch("d-001..d-300"));
    assert_eq!(code, 0, "{shown}");
    // Each state is written over the one before it, and the last is taken away.
    let states: Vec<_> =
        shown.split('\r').filter(|state| state.contains("/300 devices, ")).collect();
    assert!(states.len() > 1, "{shown:?}");
    let at = |state: &&str| -> u32 {
        let count =
            state.split('/').next().unwrap().trim_start_matches(|c: char| !c.is_ascii_digit());
        count.split(|c: char| !c.is_ascii_digit()).next_back().unwrap().parse().unwrap()
    };
    assert!(states.iter().map(at).is_sorted(), "{states:?}");
    assert!(states.iter().all(|state| state.contains("/s, ") && state.contains(" left")));
    let last = shown.split('\r').rfind(|state| !state.trim().is_empty()).unwrap();
    assert_eq!(last, "\u{1b}[2K300 devices made in ., 0 were there already", "{shown:?}");

    let output = folder.output(&batch("d-301..d-400"));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "100 devices made in ., 0 were there already\n");
}
