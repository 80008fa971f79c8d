//! What the command refuses, and what it then says to do.

use std::{fs, net::TcpListener, process::Command};

use tempfile::tempdir;

use crate::{Folder, file_names};

const ROOT: &str = "azure-iot-test-only.root.ca.cert.pem";
const INTERMEDIATE: &str = "azure-iot-test-only.intermediate.cert.pem";

/// An older device's full chain still holds the old root, which must not get into a new one.
#[test]
fn nothing_is_issued_below_a_ca_that_the_present_root_did_not_sign() {
    let folder = Folder::new();
    let device = |id| ["chain", "device", id, "--key-type", "ec-p256"];
    folder.run(&device("old"));
    folder.run(&["chain", "request", "signed", "--key-type", "ec-p256"]);
    folder.run(&["chain", "root", "--key-type", "ec-p256", "--force"]);
    let before = file_names(&folder.path("certs"));
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        for part in [ROOT, INTERMEDIATE, "DPS-C003", "dps chain intermediate --force"] {
            assert!(
                output.status.code() == Some(1) && words.contains(part),
                "{command:?}: {words}"
            );
        }
    };
    for command in [
        &device("new")[..],
        &["chain", "renew", "old", "--new-key"],
        &["chain", "sign", "csr/signed.csr.pem"],
    ] {
        // Before anybody is asked for the passphrase, and before a key is made.
        refused(folder.command(command).env_remove("DPS_PASSPHRASE"));
    }
    let range = ["chain", "device", "--range", "new-1..new-3", "--key-type", "ec-p256"];
    refused(&mut folder.command(&range));
    assert_eq!(file_names(&folder.path("certs")), before);

    folder.run(&["chain", "intermediate", "--key-type", "ec-p256", "--force"]);
    folder.run(&device("new"));
    let chain = folder.text("certs/new-full-chain.cert.pem");
    assert!(chain.ends_with(&folder.text(&format!("certs/{ROOT}"))));

    // A root that is kept elsewhere is missed by nobody.
    fs::remove_file(folder.path(&format!("certs/{ROOT}"))).unwrap();
    for id in ["old", "new"] {
        fs::remove_file(folder.path(&format!("certs/{id}-full-chain.cert.pem"))).unwrap();
    }
    folder.run(&device("alone"));
    let chain = folder.text("certs/alone-full-chain.cert.pem");
    assert_eq!(chain.matches("BEGIN CERTIFICATE").count(), 2);
}

#[test]
fn a_passphrase_file_is_read_as_windows_writes_it_or_refused() {
    let folder = Folder::new();
    let device =
        |id| ["chain", "device", id, "--key-type", "ec-p256", "--passphrase-file", "ca.pass"];
    fs::write(folder.path("ca.pass"), "\u{feff}1234\r\n").unwrap();
    folder.run(&device("device-01"));
    let utf16: Vec<u8> = "\u{feff}1234\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, words) in [(utf16, "in UTF-16"), (vec![b'a', 0xe4], "not text in UTF-8")] {
        fs::write(folder.path("ca.pass"), bytes).unwrap();
        let (code, said) = folder.fails(&device("device-02"));
        assert!(code == 1 && said.contains("ca.pass") && said.contains(words), "{code} {said}");
    }
}

#[test]
fn a_missing_passphrase_is_one_mistake_everywhere_and_names_the_file() {
    let folder = Folder::new();
    folder.run(&["chain", "device", "device-01", "--key-type", "ec-p256"]);
    let chain = "certs/device-01-full-chain.cert.pem";
    let key = ["--key", "private/device-01.key.pem"];
    let to = ["--to", "pkcs12", "--out", "device-01.pfx"];
    folder.run(&[&["chain", "convert", chain][..], &key, &to].concat());
    for (command, file) in [
        (&["chain", "device", "device-02"][..], "intermediate.key.pem"),
        (&["chain", "verification", "C0DE"], "root.ca.key.pem"),
        (&["chain", "inspect", "device-01.pfx"], "device-01.pfx"),
        (&["register", "--id-scope", "0ne", "--cert", "device-01.pfx"], "device-01.pfx"),
    ] {
        let output = folder.command(command).env_remove("DPS_PASSPHRASE").output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{command:?}: {words}");
        for part in [file, "DPS_PASSPHRASE_REQUIRED", "--passphrase-file"] {
            assert!(words.contains(part), "{command:?}: {words}");
        }
    }
    // What no passphrase would help comes first.
    for ca in ["intermediate", "device"] {
        let arguments = ["chain", ca, "--dir", "nowhere"];
        let id: &[&str] = if ca == "device" { &["device-01"] } else { &[] };
        let mut command = folder.command(&[&arguments[..], id].concat());
        let output = command.env_remove("DPS_PASSPHRASE").output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains("Make that CA first") && !words.contains("passphrase"), "{words}");
    }
}

#[test]
fn a_form_that_needs_a_key_says_so() {
    let folder = Folder::new();
    folder.run(&["chain", "device", "device-01", "--key-type", "ec-p256"]);
    let leaf = "certs/device-01.cert.pem";
    for (form, words) in [("pkcs12", "needs the key too"), ("encrypted-pem", "is of a key")] {
        let mut command =
            folder.command(&["chain", "convert", leaf, "--to", form, "--out", "device-01.out"]);
        // Nobody is asked for the passphrase of what cannot be made.
        for output in [command.output(), command.env_remove("DPS_PASSPHRASE").output()] {
            let output = output.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(leaf) && said.contains(words), "{said}");
        }
    }
}

/// As the shell hands over the JSON of `--query properties.verificationCode`.
#[test]
fn a_verification_code_in_quotation_marks_is_a_usage_mistake() {
    let folder = Folder::new();
    for code in ["\"C0DE\"", "", "C0 DE"] {
        let (status, words) = folder.fails(&["chain", "verification", code]);
        assert!(status == 64 && words.contains("-o tsv"), "{code:?}: {status} {words}");
    }
}

#[test]
fn a_folder_with_a_tutorial_in_it_takes_no_second_one() {
    let folder = Folder::new();
    let (code, words) = folder.fails(&["quickstart", "--dir", "."]);
    assert!(code == 1 && words.contains("exists already"), "{code} {words}");
    assert!(words.contains("another folder by --dir") && !words.contains("--force"), "{words}");
}

#[test]
fn the_emulators_root_overwrites_certificates_and_nothing_else() {
    let folder = Folder::new();
    let key = "private/azure-iot-test-only.root.ca.key.pem";
    let before = folder.text(key);
    // Where nobody may listen, so that none is left behind.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let emulator = ["emulator", "--listen", &address, "--root-out"];
    let (code, words) = folder.fails(&[&emulator[..], &[key]].concat());
    assert!(code == 1 && words.contains(key) && words.contains("--root-out"), "{code} {words}");
    assert_eq!(folder.text(key), before);

    let root = folder.text(&format!("certs/{ROOT}"));
    for content in [
        format!("-----BEGIN CERTIFICATE-----\n{before}"),
        format!("{root}{before}"),
        format!("{root}c3ltbWV0cmljIGtleQ==\n"),
    ] {
        fs::write(folder.path("mixed.pem"), &content).unwrap();
        let (code, words) = folder.fails(&[&emulator[..], &["mixed.pem"]].concat());
        assert!(code == 1 && words.contains("--root-out"), "{content}: {code} {words}");
    }

    fs::write(folder.path("empty.pem"), "").unwrap();
    fs::write(folder.path("crlf.pem"), root.replace('\n', "\r\n")).unwrap();
    for file in ["new.pem", "empty.pem", "crlf.pem", &format!("certs/{ROOT}")] {
        let (code, words) = folder.fails(&[&emulator[..], &[file]].concat());
        assert!(code == 75 && words.contains(&address), "{code} {words}");
        assert!(words.contains("another dps emulator") && words.contains("--listen"), "{words}");
    }
}

#[test]
fn a_data_file_that_cannot_be_made_is_named_once() {
    let folder = Folder(tempdir().unwrap());
    let emulator = ["emulator", "--listen", "127.0.0.1:0", "--data", "nodir/e.db"];
    let (code, words) = folder.fails(&emulator);
    assert!(code == 1 && words.contains("DPS_FILE_NOT_WRITABLE"), "{code} {words}");
    assert_eq!(words.matches("nodir/e.db").count(), 1, "{words}");
    assert!(words.contains("a folder that exists"), "{words}");
}
