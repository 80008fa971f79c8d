//! Every form in which a chain or a key is kept: what openssl writes is read, what is written is
//! read by openssl, and the tutorial's `sed` steps give the same bytes.

use std::{fs, path::Path, process::Command, time::SystemTime};

use dps_core::{
    CertificateChain, Credential, ErrorKind, Identity,
    chain::{Inspection, c_string, certificates_from_file, java_string},
    key::{Passphrase, PrivateKey},
};
use dps_tests::{openssl, text, tutorial_certificate, tutorial_folder, tutorial_key};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};

use crate::{INTERMEDIATE, ROOT};

fn passphrase() -> Passphrase {
    Passphrase::new("1234")
}

fn tutorial_chain() -> Vec<u8> {
    fs::read(tutorial_certificate("device-01-full-chain")).unwrap()
}

fn tutorial_device_key() -> Vec<u8> {
    fs::read(tutorial_key("device-01")).unwrap()
}

fn assert_is_device_01(identity: &Identity) {
    let expected = CertificateChain::from_pem(&tutorial_chain()).unwrap();
    assert_eq!(identity.chain().unwrap().to_pem(), expected.to_pem());
}

#[test]
fn the_tutorials_pfx_files_are_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let pfx = folder.path().join("device-01-full-chain.cert.pfx");
    let (key, chain) = (tutorial_key("device-01"), tutorial_certificate("device-01-full-chain"));
    // The tutorial's own command for C#, and the forms of older and other OpenSSL.
    for extra in [
        &[][..],
        &["-legacy"],
        &["-legacy", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES"],
        &["-keypbe", "AES-128-CBC", "-certpbe", "AES-192-CBC", "-macalg", "sha1"],
        &["-keypbe", "NONE", "-certpbe", "NONE", "-macalg", "sha512"],
        &["-name", "Gerät 1 – Süd"],
    ] {
        let mut arguments = vec!["pkcs12", "-inkey", text(&key), "-in", text(&chain), "-export"];
        arguments.extend(["-passin", "pass:1234", "-passout", "pass:1234", "-out", text(&pfx)]);
        arguments.extend(extra);
        openssl(&arguments);
        assert_is_device_01(
            &Credential::pkcs12_file(&pfx).passphrase(passphrase()).open().unwrap(),
        );
        // Wherever a credential is accepted, in place of either file.
        let bytes = fs::read(&pfx).unwrap();
        for credential in [
            Credential::pkcs12(bytes.clone()),
            Credential::pem_files(&pfx, &pfx),
            Credential::pem_files(&pfx, &key),
            Credential::pem(tutorial_chain(), bytes),
        ] {
            assert_is_device_01(&credential.passphrase(passphrase()).open().unwrap());
        }
    }
    // The Windows store's root.pfx and intermediate.pfx.
    for stem in [ROOT, INTERMEDIATE] {
        let (key, certificate) = (tutorial_key(stem), tutorial_certificate(stem));
        let mut arguments = vec!["pkcs12", "-inkey", text(&key), "-in", text(&certificate)];
        arguments.extend(["-export", "-passin", "pass:1234", "-passout", "pass:1234"]);
        arguments.extend(["-out", text(&pfx)]);
        openssl(&arguments);
        Credential::pkcs12_file(&pfx).passphrase(passphrase()).open().unwrap();
    }
}

#[test]
fn a_pfx_of_ours_is_read_by_openssl_and_by_us() {
    let folder = tempfile::tempdir().unwrap();
    let pfx = folder.path().join("ours.pfx");
    let chain = CertificateChain::from_pem(&tutorial_chain()).unwrap();
    let key = PrivateKey::from_pem(&tutorial_device_key(), None).unwrap();
    let secret = "Pass phräse 1234";
    let bytes = chain.to_pkcs12(&key, &Passphrase::new(secret)).unwrap();
    fs::write(&pfx, &bytes).unwrap();
    let passin = format!("pass:{secret}");
    let printed = openssl(&["pkcs12", "-in", text(&pfx), "-passin", &passin, "-nodes"]);
    let read = CertificateChain::from_pem(printed.as_bytes()).unwrap();
    assert_eq!(read.to_pem(), chain.to_pem());
    let read = PrivateKey::from_pem(printed.as_bytes(), None).unwrap();
    assert_eq!(read.public_key_info(), key.public_key_info());
    let ours = Credential::pkcs12(bytes.to_vec()).passphrase(Passphrase::new(secret)).open();
    assert_is_device_01(&ours.unwrap());

    let other = PrivateKey::generate(dps_core::key::KeyType::EcP256).unwrap();
    let error = chain.to_pkcs12(&other, &passphrase()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyMismatch);
}

#[test]
fn der_and_old_encrypted_keys_of_openssl_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (rsa, ec, out) = (path("rsa"), path("ec"), path("out"));
    openssl(&["genrsa", "-traditional", "-out", text(&rsa), "2048"]);
    openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", text(&ec)]);
    for (source, command) in [(&rsa, "rsa"), (&ec, "ec")] {
        let plain = PrivateKey::from_pem(&fs::read(source).unwrap(), None).unwrap();
        let read = |passphrase: Option<&Passphrase>| {
            PrivateKey::from_pem(&fs::read(&out).unwrap(), passphrase)
        };
        let same = |key: PrivateKey| assert_eq!(key.public_key_info(), plain.public_key_info());
        // PKCS#1 or SEC1, PKCS#8, encrypted PKCS#8.
        openssl(&[command, "-in", text(source), "-outform", "DER", "-out", text(&out)]);
        same(read(None).unwrap());
        let pkcs8 = ["pkcs8", "-topk8", "-in", text(source), "-outform", "DER", "-out", text(&out)];
        openssl(&[&pkcs8[..], &["-nocrypt"]].concat());
        same(read(None).unwrap());
        openssl(&[&pkcs8[..], &["-passout", "pass:1234"]].concat());
        same(read(Some(&passphrase())).unwrap());
        assert_eq!(read(None).unwrap_err().kind(), ErrorKind::PassphraseRequired);
        // Proc-Type: 4,ENCRYPTED.
        for cipher in ["-aes128", "-aes192", "-aes256", "-des3", "-des"] {
            let mut arguments = vec![command, "-in", text(source), cipher, "-out", text(&out)];
            arguments.extend(["-passout", "pass:1234"]);
            arguments.extend((command == "rsa").then_some("-traditional"));
            if cipher == "-des" {
                arguments.extend(["-provider", "legacy", "-provider", "default"]);
            }
            openssl(&arguments);
            let text = fs::read_to_string(&out).unwrap();
            assert!(text.contains("Proc-Type: 4,ENCRYPTED"), "{text}");
            same(read(Some(&passphrase())).unwrap());
            assert_eq!(read(None).unwrap_err().kind(), ErrorKind::PassphraseRequired);
            for wrong in 0..20 {
                let error = read(Some(&Passphrase::new(format!("falsch{wrong}")))).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::PassphraseWrong, "{cipher}: {error}");
            }
        }
    }
}

#[test]
fn a_certificate_in_der_is_a_chain_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("device-01.der");
    let source = tutorial_certificate("device-01");
    openssl(&["x509", "-in", text(&source), "-outform", "DER", "-out", text(&out)]);
    let identity = Credential::pem_files(&out, tutorial_key("device-01")).open().unwrap();
    assert_eq!(identity.chain().unwrap().leaf().common_name(), Some("device-01"));
    // What is written as DER is what openssl wrote.
    assert_eq!(identity.chain().unwrap().leaf().der(), fs::read(&out).unwrap());
}

#[test]
fn what_openssl_calls_a_trusted_certificate_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("trusted.pem");
    let source = tutorial_certificate(ROOT);
    let mut arguments = vec!["x509", "-in", text(&source), "-trustout", "-out", text(&out)];
    arguments.extend(["-addtrust", "clientAuth", "-setalias", "the root"]);
    openssl(&arguments);
    assert!(fs::read_to_string(&out).unwrap().contains("BEGIN TRUSTED CERTIFICATE"));
    let trusted = certificates_from_file(&out, None).unwrap();
    assert_eq!(trusted, certificates_from_file(&source, None).unwrap());
}

#[test]
fn two_cas_that_certify_each_other_are_shown() {
    let [a, b] = ["A", "B"].map(|name| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params, KeyPair::generate().unwrap())
    });
    let certify = |subject: &(CertificateParams, KeyPair),
                   issuer: &(CertificateParams, KeyPair)| {
        let issuer = Issuer::from_params(&issuer.0, &issuer.1);
        subject.0.signed_by(&subject.1, &issuer).unwrap().pem()
    };
    let both = certify(&a, &b) + &certify(&b, &a);
    let tree = Inspection::new(both.as_bytes(), None, SystemTime::now()).unwrap().to_string();
    assert!(tree.starts_with("CN=A\n") && tree.contains("\n└─ CN=B\n"), "{tree}");
}

#[test]
fn more_certificates_than_a_chain_or_a_store_has_are_not_compared_with_each_other() {
    let root = fs::read_to_string(tutorial_certificate(ROOT)).unwrap();
    let error = Inspection::new(root.repeat(301).as_bytes(), None, SystemTime::now()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongFileContent);
    assert!(error.message().contains("301 certificates"), "{error}");
}

#[test]
fn pasted_chains_and_keys_are_understood_and_mentioned() {
    let chain = String::from_utf8(tutorial_chain()).unwrap();
    let key = String::from_utf8(tutorial_device_key()).unwrap();
    let literal = |text: &str| text.trim_end().replace('\n', "\\n");
    for (dress, word) in [
        (&|text: &str| format!("\"{}\"", literal(text)) as String, "quotation marks"),
        (&|text: &str| literal(text), "two characters \\n"),
        (&|text: &str| format!("\u{feff}{text}"), "byte order mark"),
        (&|text: &str| text.trim_end().replace('\n', " "), "line ends are lost"),
        (&|text: &str| c_string(text.as_bytes()).unwrap().to_string(), "quotation marks"),
        (&|text: &str| java_string(text.as_bytes()).unwrap().to_string(), "quotation marks"),
    ] as [(&dyn Fn(&str) -> String, &str); 6]
    {
        let identity = Credential::pem(dress(&chain), dress(&key)).open().unwrap();
        assert_is_device_01(&identity);
        let warnings = identity.chain().unwrap().warnings().join("\n");
        assert!(warnings.contains(word), "{word}: {warnings}");
    }
    let windows = chain.replace('\n', "\r\n");
    let inspection = Inspection::new(windows.as_bytes(), None, SystemTime::now()).unwrap();
    assert!(inspection.notes().join("\n").contains("CRLF"), "{:?}", inspection.notes());
    let identity = Credential::pem(windows, key.replace('\n', "\r\n")).open().unwrap();
    assert!(identity.chain().unwrap().warnings().is_empty(), "CRLF is how Windows writes PEM");
}

#[test]
fn string_constants_are_the_bytes_of_the_tutorials_sed_lines() {
    let sed = |script: &str, file: &Path| {
        let output = Command::new("sed").args(["-e", script]).arg(file).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let mut files = vec![tutorial_certificate("device-01-full-chain"), tutorial_key("device-01")];
    files.extend(["device-01", ROOT, INTERMEDIATE].map(tutorial_certificate));
    for file in files {
        let file = tutorial_folder().join(file);
        let bytes = fs::read(&file).unwrap();
        let c = sed(r#"s/^/"/;$ !s/$/""\\n"/;$ s/$/"/"#, &file);
        assert_eq!(*c_string(&bytes).unwrap(), c);
        let java = sed(r#"s/^/"/;$ !s/$/\\n" +/;$ s/$/"/"#, &file);
        assert_eq!(*java_string(&bytes).unwrap(), java);
    }
    assert_eq!(c_string(b"hello").unwrap_err().kind(), ErrorKind::WrongFileContent);
}
