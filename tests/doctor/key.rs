//! `DPS-K…`: private keys and signers.

use std::sync::Arc;

use dps_core::{
    SignRequest, SignatureAlgorithm, Signer, SignerError,
    doctor::{Check, Doctor},
    key::{KeyType, Passphrase, PrivateKey},
};
use dps_tests::{Device, Hierarchy, openssl, text};

use crate::assert_offline;

fn world() -> (Hierarchy, Device) {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    (hierarchy, device)
}

fn with_key(hierarchy: &Hierarchy, device: &Device, key: &str) -> Doctor {
    Doctor::new().certificate(hierarchy.full_chain(device)).key(key)
}

#[test]
fn a_key_file_that_holds_something_else() {
    let (hierarchy, device) = world();
    let repaired = || with_key(&hierarchy, &device, &device.key_pem());
    let chain = hierarchy.full_chain(&device);
    for (wrong, word) in [("hello", "a text without"), (&chain, "3 certificates"), ("", "empty")] {
        assert_offline(
            with_key(&hierarchy, &device, wrong),
            repaired(),
            Check::KeyWrongContent,
            &["the private key", word],
        );
    }
    assert_offline(
        Doctor::new().certificate(device.key_pem()).key(hierarchy.full_chain(&device)),
        repaired(),
        Check::KeyWrongContent,
        &["they are swapped"],
    );
    let folder = tempfile::tempdir().unwrap();
    assert_offline(
        repaired().key_file(folder.path().join("nowhere.key.pem")),
        repaired(),
        Check::KeyWrongContent,
        &["nowhere.key.pem", "No such file"],
    );
}

#[test]
fn a_damaged_key() {
    let (hierarchy, device) = world();
    let mut damaged = device.key_pem();
    damaged.replace_range(60..61, "!");
    assert_offline(
        with_key(&hierarchy, &device, &damaged),
        with_key(&hierarchy, &device, &device.key_pem()),
        Check::KeyDamaged,
        &["base64"],
    );
    // One that was cut off is no key under an encryption of its own.
    let encrypted = device.key.to_encrypted_pem(&Passphrase::new("1234")).unwrap();
    let lines: Vec<_> = encrypted.lines().collect();
    let damaged = [&lines[..2], &lines[lines.len() - 1..]].concat().join("\n");
    let doctor = |key: &str| with_key(&hierarchy, &device, key).passphrase(Passphrase::new("1234"));
    let damage = ["the PKCS#8 private key cannot be parsed"];
    assert_offline(doctor(&damaged), doctor(&encrypted), Check::KeyDamaged, &damage);
}

#[test]
fn an_encrypted_key() {
    let (hierarchy, device) = world();
    let encrypted = device.key.to_encrypted_pem(&Passphrase::new("1234")).unwrap();
    let doctor = || with_key(&hierarchy, &device, &encrypted);
    let repaired = || doctor().passphrase(Passphrase::new("1234"));
    assert!(doctor().needs_passphrase() && !repaired().needs_passphrase());
    assert_offline(doctor(), repaired(), Check::PassphraseMissing, &["--passphrase-file"]);
    let wrong = doctor().passphrase(Passphrase::new("4321"));
    assert_offline(wrong, repaired(), Check::PassphraseWrong, &["does not decrypt"]);
    // The same in a PKCS#12 file, which holds both.
    let chain = dps_core::CertificateChain::from_pem(hierarchy.full_chain(&device).as_bytes());
    let pfx = chain.unwrap().to_pkcs12(&device.key, &Passphrase::new("1234")).unwrap();
    let doctor = || Doctor::new().certificate(pfx.to_vec());
    let repaired = || doctor().passphrase(Passphrase::new("1234"));
    assert_offline(doctor(), repaired(), Check::PassphraseMissing, &["PKCS#12"]);
    let wrong = doctor().passphrase(Passphrase::new("4321"));
    assert_offline(wrong, repaired(), Check::PassphraseWrong, &["MAC"]);
}

#[test]
fn a_pkcs12_file_that_lacks_a_half_or_its_mac() {
    let (hierarchy, device) = world();
    let folder = tempfile::tempdir().unwrap();
    let [chain, key, pfx] = ["chain", "key", "pfx"].map(|name| folder.path().join(name));
    std::fs::write(&chain, hierarchy.full_chain(&device)).unwrap();
    std::fs::write(&key, device.key_pem()).unwrap();
    let export = |extra: &[&str]| {
        let mut arguments = vec!["pkcs12", "-export", "-passout", "pass:1234", "-out", text(&pfx)];
        arguments.extend(extra);
        openssl(&arguments);
        let pfx = std::fs::read(&pfx).unwrap();
        Doctor::new().certificate(pfx).passphrase(Passphrase::new("1234"))
    };
    let (chain, key) = (text(&chain), text(&key));
    let repaired = || export(&["-in", chain, "-inkey", key]);
    for (extra, check, word) in [
        (&["-in", chain, "-nokeys"][..], Check::KeyWrongContent, "no private key"),
        (&["-in", key, "-inkey", key, "-nocerts"], Check::ChainUnreadable, "no certificate"),
        (&["-in", chain, "-inkey", key, "-nomac"], Check::ChainUnreadable, "no MAC"),
    ] {
        assert_offline(export(extra), repaired(), check, &["PKCS#12", word]);
    }
}

#[test]
fn a_key_that_cannot_be_used() {
    let (hierarchy, device) = world();
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
    let mut arguments = vec!["req", "-x509", "-nodes", "-subj", "/CN=device-01", "-newkey", "ec"];
    arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-521", "-addext"]);
    arguments.extend(["basicConstraints=critical,CA:FALSE", "-extensions", "none"]);
    arguments.extend(["-keyout", text(&key), "-out", text(&certificate)]);
    let config = folder.path().join("config");
    std::fs::write(&config, "[req]\ndistinguished_name=dn\n[dn]\n[none]\n").unwrap();
    arguments.extend(["-config", text(&config)]);
    openssl(&arguments);
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    assert_offline(
        Doctor::new().certificate(read(&certificate)).key(read(&key)),
        with_key(&hierarchy, &device, &device.key_pem()),
        Check::KeyUnsupported,
        &["1.3.132.0.35", "EC P-384"],
    );
}

#[test]
fn a_key_of_another_certificate() {
    let (hierarchy, device) = world();
    let other = PrivateKey::generate(KeyType::EcP384).unwrap().to_pem().unwrap();
    assert_offline(
        with_key(&hierarchy, &device, &other),
        with_key(&hierarchy, &device, &device.key_pem()),
        Check::KeyMismatch,
        &["EC P-384", "not the key of \"CN=device-01\"", "openssl pkey"],
    );
}

/// A token that is not there.
struct Unplugged;

impl Signer for Unplugged {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        &[SignatureAlgorithm::EcdsaP256Sha256]
    }

    fn sign(&self, _: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        Err(SignerError::new("CKR_DEVICE_REMOVED").with_code(0x32))
    }
}

#[test]
fn a_signer_that_fails() {
    let (hierarchy, device) = world();
    let doctor = || Doctor::new().certificate(hierarchy.full_chain(&device));
    assert_offline(
        doctor().signer(Arc::new(Unplugged)),
        doctor().signer(Arc::clone(&device.key) as Arc<dyn Signer>),
        Check::SignerFailed,
        &["CKR_DEVICE_REMOVED", "code 50"],
    );
}
