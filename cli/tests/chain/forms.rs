//! Single certificates: shown, verified, converted, requested, signed and renewed.

use std::{fs, process::Command};

use dps_core::{
    CertificateChain, Credential,
    chain::certificates_from_pem,
    key::{KeyType, Passphrase, PrivateKey},
};

use crate::Folder;

const CHAIN: &str = "certs/device-01-full-chain.cert.pem";
const KEY: &str = "private/device-01.key.pem";
const LEAF: &str = "certs/device-01.cert.pem";
const INTERMEDIATE: &str = "certs/azure-iot-test-only.intermediate.cert.pem";
const ROOT: &str = "certs/azure-iot-test-only.root.ca.cert.pem";

fn with_device() -> Folder {
    let folder = Folder::new();
    folder.run(&["chain", "device", "device-01", "--key-type", "ec-p256"]);
    folder
}

fn openssl(folder: &Folder, arguments: &[&str]) -> String {
    let output =
        Command::new("openssl").args(arguments).current_dir(folder.path("")).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn inspect_shows_a_tree_from_root_to_leaf() {
    let folder = with_device();
    let tree = folder.run(&["chain", "inspect", CHAIN]);
    let names = ["CN=Azure IoT Hub CA", "└─ CN=Azure IoT Hub Intermediate", "   └─ CN=device-01"];
    let positions: Vec<_> = names.iter().map(|name| tree.find(name).unwrap()).collect();
    assert!(positions.is_sorted(), "{tree}");
    let leaf = &certificates_from_pem(folder.text(CHAIN).as_bytes()).unwrap()[0];
    for words in [
        "29 days left",
        "EC P-256",
        "clientAuth",
        "verify it in DPS",
        &leaf.sha1_thumbprint(),
        &leaf.sha256_thumbprint(),
    ] {
        assert!(tree.contains(words), "{words:?} is missing in {tree}");
    }
    let json = folder.json(&["chain", "inspect", "certs/device-01.cert.pem", ROOT, CHAIN]);
    let certificates = json["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 3, "each once");
    assert_eq!(certificates[0]["sha1Thumbprint"], leaf.sha1_thumbprint());
    assert_eq!((&certificates[0]["issuedBy"], &certificates[0]["ca"]), (&2.into(), &false.into()));
}

#[test]
fn pkcs12_and_der_are_shown_and_verified_like_pem() {
    let folder = with_device();
    folder.run(&["chain", "convert", CHAIN, "--key", KEY, "--to", "pkcs12", "--out", "d.pfx"]);
    openssl(&folder, &["x509", "-in", LEAF, "-outform", "DER", "-out", "leaf.der"]);
    openssl(&folder, &["pkey", "-in", KEY, "-outform", "DER", "-out", "key.der"]);

    let shown = folder.run(&["chain", "inspect", CHAIN]);
    assert_eq!(folder.run(&["chain", "inspect", "d.pfx"]), shown);
    assert_eq!(folder.run(&["chain", "inspect", "leaf.der", INTERMEDIATE, ROOT]), shown);
    assert_eq!(
        folder.json(&["chain", "inspect", "leaf.der"]),
        folder.json(&["chain", "inspect", LEAF])
    );
    let whole = folder.run(&["chain", "verify", "d.pfx", "--ca", ROOT]);
    assert_eq!(whole, "d.pfx: the chain holds\n");
    // Below the CA that the enrollment group lists, the leaf alone may be enough or not.
    let below = ["chain", "verify", "leaf.der", "--ca", INTERMEDIATE, "--key", "key.der"];
    let said = folder.run(&below);
    assert!(said.contains("DPS-C027"), "{said}");
    assert!(said.ends_with("leaf.der: the chain holds, with 1 warning\n"), "{said}");
    let (code, words) = folder.fails(&["chain", "verify", "leaf.der", "--ca", ROOT]);
    assert!(code == 1 && words.contains("DPS-C002"), "{code} {words}");
    let key = ["--key", "private/azure-iot-test-only.root.ca.key.pem"];
    let (code, words) = folder.fails(&[&["chain", "verify", "d.pfx"][..], &key].concat());
    assert!(code == 1 && words.contains("DPS-K006"), "{code} {words}");

    let mut arguments = vec!["pkcs12", "-export", "-nomac", "-in", CHAIN, "-inkey", KEY];
    arguments.extend(["-passout", "pass:1234", "-out", "nomac.pfx"]);
    openssl(&folder, &arguments);
    for command in ["inspect", "verify"] {
        let (code, words) = folder.fails(&["chain", command, "nomac.pfx"]);
        assert!(code == 1 && words.contains("no MAC"), "{command}: {code} {words}");
    }
    let wrong =
        folder.command(&["chain", "inspect", "d.pfx"]).env("DPS_PASSPHRASE", "4321").output();
    let wrong = String::from_utf8(wrong.unwrap().stderr).unwrap();
    assert!(wrong.contains("DPS_PASSPHRASE_WRONG") && !wrong.contains("4321"), "{wrong}");
}

#[test]
fn a_pasted_value_is_understood_and_mentioned() {
    let folder = with_device();
    let flat = |name: &str| folder.text(name).trim_end().replace('\n', "\\n");
    let notes = ["byte order mark", "two characters \\n", "quotation marks"];
    fs::write(folder.path("pasted.pem"), format!("\u{feff}\"{}\"", flat(CHAIN))).unwrap();
    fs::write(folder.path("pasted.key"), format!("'{}'", flat(KEY))).unwrap();
    let shown = folder.run(&["chain", "inspect", "pasted.pem"]);
    let (tree, said) = shown.split_at(shown.find("Note: ").unwrap());
    assert_eq!(tree, folder.run(&["chain", "inspect", CHAIN]));
    let listed = folder.json(&["chain", "inspect", "pasted.pem"])["notes"].to_string();
    let (code, found) =
        folder.fails(&["doctor", "--cert", "pasted.pem", "--key", "pasted.key", "--ca", ROOT]);
    assert!(code == 1 && found.matches("DPS-C024 ").count() == 5, "{code} {found}");
    for note in notes {
        assert!(said.contains(note) && found.contains(note), "{note}: {said} {found}");
        assert!(listed.contains(&note.replace('\\', "\\\\")), "{note}: {listed}");
    }
    // What the finding says to do does it.
    folder.run(&["chain", "convert", "pasted.pem", "--to", "pem", "--out", "clean.pem"]);
    assert_eq!(folder.text("clean.pem"), folder.text(CHAIN));
    assert_eq!(folder.run(&["chain", "inspect", "clean.pem"]), tree);
    fs::write(folder.path("windows.pem"), folder.text(CHAIN).replace('\n', "\r\n")).unwrap();
    assert!(folder.run(&["chain", "inspect", "windows.pem"]).starts_with(tree));
}

#[test]
fn the_certificate_of_the_enrollment_is_compared() {
    let folder = with_device();
    folder.run(&["chain", "renew", "device-01"]);
    let other = with_device();
    fs::write(folder.path("other.pem"), other.text(INTERMEDIATE)).unwrap();
    let (group, individual) = ("--group-certificate", "--individual-certificate");
    for (option, file, id) in [
        (group, INTERMEDIATE, None),
        (group, ROOT, None),
        (group, LEAF, Some("DPS-C025")),
        (group, "other.pem", Some("DPS-S003")),
        (individual, LEAF, None),
        (individual, INTERMEDIATE, Some("DPS-C025")),
        (individual, "certs/device-01-renewed.cert.pem", Some("DPS-C026")),
    ] {
        let (code, words) = folder.fails(&[
            "doctor", "--cert", CHAIN, "--key", KEY, "--ca", ROOT, option, file, "--json",
        ]);
        let report: serde_json::Value = serde_json::from_str(&words).unwrap();
        let found: Vec<_> =
            report["findings"].as_array().unwrap().iter().map(|f| f["id"].as_str()).collect();
        let expected: Vec<_> = id.iter().map(|id| Some(*id)).collect();
        assert_eq!((code, found), (if id.is_some() { 2 } else { 0 }, expected), "{option} {file}");
    }
}

#[test]
fn verify_and_doctor_end_with_their_codes() {
    let folder = with_device();
    folder.run(&["chain", "verify", CHAIN, "--ca", ROOT, "--key", KEY]);
    let (code, words) =
        folder.fails(&["chain", "verify", "certs/device-01.cert.pem", "--ca", ROOT]);
    assert!(code == 1 && words.contains("DPS-C002"), "{code} {words}");

    let doctor = |arguments: &[&str]| {
        let (code, words) = folder.fails(&[&["doctor"], arguments].concat());
        (code, words)
    };
    assert_eq!(doctor(&["--cert", CHAIN, "--key", KEY, "--ca", ROOT]).0, 0);
    let (code, words) = doctor(&["--cert", "certs/device-01.cert.pem"]);
    assert!(code == 1 && words.contains("DPS-C006"), "{words}");
    let (code, words) =
        doctor(&["--cert", CHAIN, "--key", "private/azure-iot-test-only.root.ca.key.pem"]);
    assert!(code == 2 && words.contains("DPS-K006"), "{words}");
    let (code, words) = doctor(&["--cert", CHAIN, "--ca", "nowhere.pem"]);
    assert!(code == 3 && words.contains("nowhere.pem"), "{code} {words}");
    assert_eq!(doctor(&[]).0, 64);
    assert_eq!(doctor(&["--cert", CHAIN, "--register"]).0, 64, "--register needs --id-scope");
    let (code, words) = doctor(&["--error", "401002 CA certificate not found", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&words).unwrap();
    assert_eq!((code, &json["findings"][0]["id"]), (2, &"DPS-S001".into()));
}

#[test]
fn conversions_are_read_by_openssl_and_by_us() {
    let folder = with_device();
    let to = |file: &str, form: &str, out: &str| {
        folder.run(&["chain", "convert", file, "--to", form, "--out", out]);
    };
    folder.run(&["chain", "convert", CHAIN, "--key", KEY, "--to", "pkcs12", "--out", "d.pfx"]);
    openssl(&folder, &["pkcs12", "-in", "d.pfx", "-passin", "pass:1234", "-nodes"]);
    let opened = Credential::pkcs12_file(folder.path("d.pfx")).passphrase(Passphrase::new("1234"));
    assert_eq!(opened.open().unwrap().registration_id().unwrap().as_str(), "device-01");
    // The Windows store's root.pfx and intermediate.pfx, from keys under the same passphrase.
    for (pfx, stem) in [("root.pfx", "root.ca"), ("intermediate.pfx", "intermediate")] {
        let [certificate, key] =
            ["certs/azure-iot-test-only.STEM.cert.pem", "private/azure-iot-test-only.STEM.key.pem"]
                .map(|path| path.replace("STEM", stem));
        folder.run(&[
            "chain",
            "convert",
            &certificate,
            "--key",
            &key,
            "--to",
            "pkcs12",
            "--out",
            pfx,
        ]);
        let opened = ["pkcs12", "-in", pfx, "-passin", "pass:1234"];
        let held = openssl(&folder, &[&opened[..], &["-nokeys"]].concat());
        let only = certificates_from_pem(held.as_bytes()).unwrap();
        assert_eq!(only, certificates_from_pem(folder.text(&certificate).as_bytes()).unwrap());
        let held = openssl(&folder, &[&opened[..], &["-nocerts", "-nodes"]].concat());
        fs::write(folder.path("held.key"), held).unwrap();
        assert_eq!(
            openssl(&folder, &["pkey", "-in", "held.key", "-pubout"]),
            openssl(&folder, &["pkey", "-in", &key, "-passin", "pass:1234", "-pubout"]),
            "{pfx}"
        );
        let info = folder.path(pfx);
        let info = Command::new("openssl")
            .args(["pkcs12", "-info", "-noout", "-passin", "pass:1234", "-in"])
            .arg(&info)
            .output()
            .unwrap();
        let info = String::from_utf8(info.stderr).unwrap();
        assert!(info.contains("MAC: sha256") && info.contains("AES-256-CBC"), "{info}");
    }
    to("d.pfx", "pem", "all.pem");
    let both = folder.text("all.pem");
    Credential::pem(both.as_bytes(), both.as_bytes()).open().unwrap();
    to(CHAIN, "der", "leaf.der");
    openssl(&folder, &["x509", "-inform", "DER", "-in", "leaf.der", "-noout"]);
    to("leaf.der", "pem", "leaf.pem");
    assert_eq!(folder.text("leaf.pem"), folder.text("certs/device-01.cert.pem"));
    to(KEY, "der", "key.der");
    openssl(&folder, &["pkey", "-inform", "DER", "-in", "key.der", "-noout"]);
    to(KEY, "encrypted-pem", "key.enc");
    openssl(&folder, &["pkey", "-in", "key.enc", "-passin", "pass:1234", "-noout"]);
    let (code, words) = folder.fails(&["chain", "convert", KEY, "--to", "der", "--out", "key.der"]);
    assert!(code == 1 && words.contains("exists already") && words.contains("--force"), "{words}");

    for (name, script) in [
        ("c-string", r#"s/^/"/;$ !s/$/""\\n"/;$ s/$/"/"#),
        ("java-string", r#"s/^/"/;$ !s/$/\\n" +/;$ s/$/"/"#),
    ] {
        let sed =
            Command::new("sed").args(["-e", script]).arg(folder.path(CHAIN)).output().unwrap();
        assert_eq!(folder.run(&["chain", name, CHAIN]).as_bytes(), sed.stdout);
    }
}

#[test]
fn a_request_made_elsewhere_is_signed_under_our_profile() {
    let folder = Folder::new();
    fs::write(
        folder.path("req.cnf"),
        "[req]\ndistinguished_name=dn\nreq_extensions=ext\nattributes=attr\nprompt=no\n\
         [dn]\nO=Contoso\nCN=device-07\n[attr]\nchallengePassword=secret\n\
         [ext]\nbasicConstraints=critical,CA:TRUE\nsubjectAltName=DNS:evil.example\n",
    )
    .unwrap();
    let mut arguments = vec!["req", "-new", "-nodes", "-config", "req.cnf", "-newkey", "ec"];
    arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", "k.pem", "-out", "r.pem"]);
    openssl(&folder, &arguments);
    let output = folder.output(&["chain", "sign", "r.pem", "--json"]);
    let warnings = String::from_utf8(output.stderr).unwrap();
    for words in [
        "subject organizationName=Contoso",
        "critical extension basicConstraints",
        "subjectAltName",
        "challengePassword",
    ] {
        assert!(warnings.contains(words), "{words} is missing in {warnings}");
    }
    let chain = folder.text("certs/device-07-full-chain.cert.pem");
    let chain = CertificateChain::from_pem(chain.as_bytes()).unwrap();
    assert_eq!((chain.leaf().subject(), chain.leaf().is_ca()), ("CN=device-07", false));
    Credential::pem(chain.to_pem(), folder.text("k.pem")).open().unwrap();
    let printed = openssl(&folder, &["x509", "-in", "certs/device-07.cert.pem", "-noout", "-text"]);
    assert!(!printed.contains("evil.example"), "{printed}");

    // A request whose signature is not its key's.
    let damaged = openssl(&folder, &["req", "-in", "r.pem", "-outform", "DER", "-out", "r.der"]);
    assert!(damaged.is_empty());
    let mut der = fs::read(folder.path("r.der")).unwrap();
    let last = der.len() - 1;
    der[last] ^= 1;
    fs::write(folder.path("r.der"), der).unwrap();
    let (code, words) = folder.fails(&["chain", "sign", "r.der", "--force"]);
    assert!(code == 1 && words.contains("r.der") && words.contains("signature"), "{words}");
}

#[test]
fn our_own_requests_are_signed_and_certificates_renewed_with_the_same_or_a_new_key() {
    let folder = Folder::new();
    folder.run(&["chain", "request", "device-08", "--key-type", "ec-p384"]);
    folder.run(&["chain", "sign", "csr/device-08.csr.pem"]);
    let open = |stem: &str, key: &str| {
        Credential::pem_files(
            folder.path(&format!("certs/{stem}-full-chain.cert.pem")),
            folder.path(&format!("private/{key}.key.pem")),
        )
        .open()
        .unwrap()
    };
    open("device-08", "device-08");
    folder.run(&["chain", "renew", "device-08"]);
    let renewed = open("device-08-renewed", "device-08");
    assert_eq!(renewed.registration_id().unwrap().as_str(), "device-08");

    // The newest is renewed each time, and nothing that is in service is touched.
    let before: Vec<_> = ["device-08", "device-08-renewed"]
        .map(|stem| folder.text(&format!("certs/{stem}-full-chain.cert.pem")))
        .into();
    let first_key = folder.text("private/device-08.key.pem");
    folder.run(&["chain", "renew", "device-08", "--new-key"]);
    open("device-08-renewed-2", "device-08-renewed-2");
    let key = folder.text("private/device-08-renewed-2.key.pem");
    let key = PrivateKey::from_pem(key.as_bytes(), None).unwrap();
    assert_eq!(key.key_type(), KeyType::EcP384, "that of the old one");
    let again = folder.json(&["chain", "renew", "device-08"]);
    assert_eq!(again[0]["key"], "./private/device-08-renewed-2.key.pem");
    assert_eq!(again[0]["certificate"], "./certs/device-08-renewed-3.cert.pem");
    open("device-08-renewed-3", "device-08-renewed-2");
    // An interrupted one left its key; a device may bear the name of a renewal.
    fs::write(folder.path("private/device-08-renewed-4.key.pem"), &first_key).unwrap();
    folder.run(&["chain", "device", "device-08-renewed-5", "--key-type", "ec-p256"]);
    folder.run(&["chain", "renew", "device-08", "--new-key", "--key-type", "ec-p256"]);
    open("device-08-renewed-6", "device-08-renewed-6");
    for (stem, before) in ["device-08", "device-08-renewed"].iter().zip(&before) {
        assert_eq!(&folder.text(&format!("certs/{stem}-full-chain.cert.pem")), before);
    }
    assert_eq!(folder.text("private/device-08.key.pem"), first_key);

    for (name, words) in [
        ("device-08-renewed", "dps chain renew device-08"),
        ("azure-iot-test-only.intermediate", "dps chain intermediate --keep-key"),
    ] {
        let (code, said) = folder.fails(&["chain", "renew", name]);
        assert!(code == 64 && said.contains(words), "{code} {said}");
    }
}

#[test]
fn a_ca_is_issued_again_with_its_key_and_what_it_issued_stays_good() {
    let folder = with_device();
    let keys = ["root.ca", "intermediate"]
        .map(|stem| format!("private/azure-iot-test-only.{stem}.key.pem"));
    let keys_before = keys.each_ref().map(|key| folder.text(key));
    let old = [ROOT, INTERMEDIATE].map(|file| folder.text(file));
    folder.run(&["chain", "root", "--keep-key", "--days", "3650"]);
    folder.run(&["chain", "intermediate", "--keep-key", "--days", "1000"]);
    for ((file, old), days) in [ROOT, INTERMEDIATE].iter().zip(&old).zip([3650, 1000]) {
        let [old, new] = [old.clone(), folder.text(file)]
            .map(|pem| certificates_from_pem(pem.as_bytes()).unwrap().remove(0));
        assert_eq!((new.subject(), new.issuer()), (old.subject(), old.issuer()));
        assert_eq!((new.not_after() - new.not_before()).whole_days(), days);
        assert_ne!(new.serial(), old.serial());
    }
    assert_eq!(keys.each_ref().map(|key| folder.text(key)), keys_before);
    // The device's leaf is the old one; openssl finds its way by names and key identifiers.
    let verify = ["verify", "-x509_strict", "-CAfile", ROOT, "-untrusted", INTERMEDIATE, LEAF];
    openssl(&folder, &verify);
    folder.run(&["chain", "renew", "device-01"]);
    let chain = folder.text("certs/device-01-renewed-full-chain.cert.pem");
    assert!(chain.ends_with(&(folder.text(INTERMEDIATE) + &folder.text(ROOT))));
    let other = Folder::new();
    fs::copy(other.path(ROOT), folder.path(ROOT)).unwrap();
    fs::copy(other.path(&keys[0]), folder.path(&keys[0])).unwrap();
    let before = folder.text(INTERMEDIATE);
    let (code, said) = folder.fails(&["chain", "intermediate", "--keep-key"]);
    assert!(code == 64 && said.contains("was not issued by"), "{code} {said}");
    assert_eq!(folder.text(INTERMEDIATE), before);
}

#[test]
fn an_option_that_would_do_nothing_is_refused() {
    let folder = Folder(tempfile::tempdir().unwrap());
    for arguments in [
        &["chain", "sign", "r.pem", "--key-type", "ec-p256"][..],
        &["chain", "request", "device-01", "--days", "3"],
        &["chain", "request", "device-01", "--passphrase-file", "ca.pass"],
        &["chain", "renew", "device-01", "--key-type", "ec-p256"],
        &["chain", "renew", "device-01", "--force"],
        &["chain", "root", "--keep-key", "--key-type", "ec-p256"],
        &["chain", "root", "--keep-key", "--force"],
        &["chain", "intermediate", "--keep-key", "--name", "Line 1"],
    ] {
        let (code, said) = folder.fails(arguments);
        assert!(code == 64 && said.contains("Usage: "), "{arguments:?}: {code} {said}");
    }
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), 0);
}

#[test]
fn an_empty_variable_is_no_passphrase() {
    let folder = Folder::new();
    let mut command = folder.command(&["chain", "device", "device-01", "--key-type", "ec-p256"]);
    let output = command.env("DPS_PASSPHRASE", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("set DPS_PASSPHRASE") && !said.contains("WRONG"), "{said}");
}

#[test]
fn a_key_that_is_named_is_the_leafs_or_nothing_is_written() {
    let folder = with_device();
    folder.run(&["chain", "device", "device-02", "--key-type", "ec-p256"]);
    let bad = folder.text(KEY).replacen("MI", "M!", 1);
    fs::write(folder.path("bad.key"), &bad).unwrap();
    for form in ["pem", "der", "pkcs12", "encrypted-pem"] {
        for (key, name) in [
            ("bad.key", "DPS_KEY_MALFORMED"),
            (CHAIN, "DPS_WRONG_FILE_CONTENT"),
            ("private/device-02.key.pem", "DPS_KEY_MISMATCH"),
        ] {
            let arguments = ["chain", "convert", CHAIN, "--key", key, "--to", form, "--out", "o"];
            let (code, said) = folder.fails(&arguments);
            assert!(code == 1 && said.contains(name) && said.contains(key), "{form}: {said}");
            assert!(!folder.path("o").exists(), "{form} {key}");
        }
    }
    let arguments = ["chain", "convert", CHAIN, "--key", KEY, "--to", "pem", "--out", "both.pem"];
    folder.run(&arguments);
    assert_eq!(folder.text("both.pem"), folder.text(CHAIN) + &folder.text(KEY));
    // Nor is a part of a file left out because it is damaged.
    for (content, name) in [
        (folder.text(CHAIN) + &bad, "DPS_"),
        (folder.text(CHAIN).replacen("MI", "M!", 1) + &folder.text(KEY), "DPS_"),
    ] {
        fs::write(folder.path("both.pem"), content).unwrap();
        let (code, said) =
            folder.fails(&["chain", "convert", "both.pem", "--to", "pem", "--out", "o"]);
        assert!(code == 1 && said.contains(name) && said.contains("both.pem"), "{said}");
        assert!(!folder.path("o").exists());
    }
}

#[test]
fn a_name_that_cannot_be_one_is_a_usage_mistake_where_it_is_typed() {
    let folder = Folder::new();
    for arguments in [
        &["chain", "device", "a/b"][..],
        &["chain", "device", ""],
        &["chain", "device", "verification-code"],
        &["chain", "device", "a_1", "a:1"],
        &["chain", "device", "--range", "a 1..a 2"],
        &["chain", "request", "device."],
        &["chain", "verification", ""],
        &["register", "--id-scope", "0ne00000A0A", "--registration-id", "a b"],
    ] {
        let (code, said) = folder.fails(arguments);
        assert_eq!(code, 64, "{arguments:?}: {said}");
    }
    // In a file it is the file that is wrong.
    fs::write(folder.path("devices.csv"), "a b\n").unwrap();
    let (code, said) = folder.fails(&["chain", "device", "--from", "devices.csv"]);
    assert!(code == 1 && said.contains("DPS_REGISTRATION_ID_INVALID"), "{code} {said}");
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let folder = Folder::new();
    let evil = "../../evil";
    for arguments in [
        &["chain", "intermediate", "--stem", evil][..],
        &["chain", "device", "device-01", "--issuer", evil],
        &["chain", "verification", "CODE", "--issuer", ".."],
    ] {
        let (code, words) = folder.fails(arguments);
        assert!(code == 64 && words.contains("the stem of file names"), "{code} {words}");
    }
    for arguments in [["chain", "renew", evil], ["chain", "request", evil]] {
        let (code, words) = folder.fails(&arguments);
        assert!(code == 64 && words.contains("DPS_REGISTRATION_ID_INVALID"), "{code} {words}");
    }
}

#[test]
fn what_a_ca_file_holds_too_much_or_wrong_is_said_by_its_name() {
    let folder = with_device();
    let intermediate = "certs/azure-iot-test-only.intermediate.cert.pem";
    let own = folder.text(intermediate);
    fs::write(folder.path(intermediate), own.clone() + &folder.text(ROOT)).unwrap();
    let made = folder.output(&["chain", "device", "device-02", "--key-type", "ec-p256"]);
    assert!(made.status.success());
    let said = String::from_utf8(made.stderr).unwrap();
    assert!(said.contains(intermediate) && said.contains("of its 2 certificates"), "{said}");
    folder.run(&["chain", "verify", "certs/device-02-full-chain.cert.pem", "--ca", ROOT]);
    let damaged = own.replacen("MII", "MI!", 1);
    for (content, words) in [(damaged.as_str(), "base64"), ("hello", "a text without")] {
        fs::write(folder.path(intermediate), content).unwrap();
        let (code, said) = folder.fails(&["chain", "device", "d-3", "--key-type", "ec-p256"]);
        assert!(code == 1 && said.contains(intermediate) && said.contains(words), "{code} {said}");
    }
    // What a wrong file holds is counted, not listed.
    let (_, said) = folder.fails(&["doctor", "--cert", CHAIN, "--key", CHAIN]);
    assert!(said.contains("but this is 3 certificates."), "{said}");
}

#[test]
fn a_key_under_an_old_encryption_is_told_apart_from_a_bad_key() {
    let folder = with_device();
    let mut arguments = vec!["pkcs8", "-topk8", "-in", KEY, "-passout", "pass:1234"];
    arguments.extend(["-v1", "PBE-SHA1-3DES", "-out", "old.key"]);
    openssl(&folder, &arguments);
    let (code, said) = folder.fails(&["doctor", "--cert", CHAIN, "--key", "old.key"]);
    assert!(code == 2 && said.contains("DPS-K005"), "{code} {said}");
    assert!(said.contains("is encrypted with") && said.contains("-v2 aes256"), "{said}");
    assert!(!said.contains("P-384"), "nothing is wrong with its type: {said}");
}

#[test]
fn path_lengths_are_kept_right() {
    let folder = Folder(tempfile::tempdir().unwrap());
    folder.run(&["chain", "root", "--key-type", "ec-p256", "--path-length", "1"]);
    folder.run(&["chain", "intermediate", "--key-type", "ec-p256"]);
    let text = openssl(
        &folder,
        &["x509", "-in", "certs/azure-iot-test-only.intermediate.cert.pem", "-noout", "-text"],
    );
    assert!(text.contains("CA:TRUE, pathlen:0"), "{text}");
    let below = [
        "chain",
        "intermediate",
        "--issuer",
        "azure-iot-test-only.intermediate",
        "--stem",
        "line-1",
        "--key-type",
        "ec-p256",
    ];
    let (code, words) = folder.fails(&below);
    assert!(code == 64 && words.contains("pathlen:0"), "{code} {words}");
    assert!(!folder.path("certs/line-1.cert.pem").exists());
    folder.run(&["chain", "device", "device-01", "--key-type", "ec-p256"]);
    folder.run(&["chain", "verify", CHAIN, "--ca", ROOT, "--key", KEY]);
    // Possession of an intermediate is proved like that of a root.
    let arguments = [
        "chain",
        "verification",
        "CODE1",
        "--key-type",
        "ec-p256",
        "--issuer",
        "azure-iot-test-only.intermediate",
    ];
    folder.run(&arguments);
    openssl(
        &folder,
        &[
            "verify",
            "-partial_chain",
            "-CAfile",
            "certs/azure-iot-test-only.intermediate.cert.pem",
            "certs/verification-code.cert.pem",
        ],
    );
}
