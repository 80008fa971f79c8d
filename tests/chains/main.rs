//! Chains and keys against the openssl command, both ways, and the tutorial's own chain.

mod forms;
mod issuing;

use std::{collections::HashSet, fs, sync::Arc};

use dps_core::{
    CertificateChain, Credential, ErrorKind, RegistrationId,
    chain::{Authority, Certificate, Validity, certificates_from_pem},
    key::{KeyType, Passphrase, PrivateKey},
};
use dps_tests::{Hierarchy, openssl, text, tutorial_certificate, tutorial_folder, tutorial_key};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

const ROOT: &str = "azure-iot-test-only.root.ca";
const INTERMEDIATE: &str = "azure-iot-test-only.intermediate";

#[test]
fn the_tutorials_chain_is_read_and_opened() {
    for device in ["device-01", "device-02"] {
        let file = tutorial_certificate(&format!("{device}-full-chain"));
        let chain = CertificateChain::from_pem_file(&file).unwrap();
        let names: Vec<_> = chain.certificates().iter().map(Certificate::subject).collect();
        assert_eq!(
            names,
            [
                format!("CN={device}").as_str(),
                "CN=Azure IoT Hub Intermediate Cert Test Only",
                "CN=Azure IoT Hub CA Cert Test Only"
            ]
        );
        assert!(chain.warnings().is_empty());
        let identity = Credential::pem_files(&file, tutorial_key(device)).open().unwrap();
        assert_eq!(identity.registration_id().unwrap().as_str(), device);
        identity.check(std::time::SystemTime::now()).unwrap();
    }
}

#[test]
fn thumbprints_serial_and_dates_are_those_that_openssl_prints() {
    let file = tutorial_certificate("device-01");
    let certificate = certificates_from_pem(&fs::read(&file).unwrap()).unwrap().remove(0);
    for (algorithm, ours) in
        [("-sha1", certificate.sha1_thumbprint()), ("-sha256", certificate.sha256_thumbprint())]
    {
        let printed = openssl(&["x509", "-noout", "-fingerprint", algorithm, "-in", text(&file)]);
        assert_eq!(printed.trim().split_once('=').unwrap().1.replace(':', ""), ours);
    }
    let serial = openssl(&["x509", "-noout", "-serial", "-in", text(&file)]);
    let ours: String = certificate.serial().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(
        serial.trim().trim_start_matches("serial=").trim_start_matches('0'),
        ours.trim_start_matches('0')
    );
    let days = (certificate.not_after() - certificate.not_before()).whole_days();
    assert_eq!(days, 30);
}

#[test]
fn our_certificates_carry_the_tutorials_extensions_byte_for_byte() {
    // With the same keys, even the key identifiers must be equal.
    let passphrase = Passphrase::new("1234");
    let key = |name: &str, passphrase| {
        Arc::new(PrivateKey::from_pem(&fs::read(tutorial_key(name)).unwrap(), passphrase).unwrap())
    };
    let validity = Validity::days(30);
    let root = Authority::create_root(
        "Azure IoT Hub CA Cert Test Only",
        key(ROOT, Some(&passphrase)),
        validity,
    )
    .unwrap();
    let intermediate = root
        .create_intermediate(
            "Azure IoT Hub Intermediate Cert Test Only",
            key(INTERMEDIATE, Some(&passphrase)),
            validity,
        )
        .unwrap();
    let device_key = key("device-01", None);
    let device = intermediate
        .issue_device(
            &RegistrationId::parse("device-01").unwrap(),
            device_key.public_key_info(),
            validity,
        )
        .unwrap();
    for (name, ours) in [
        (ROOT, root.certificate()),
        (INTERMEDIATE, intermediate.certificate()),
        ("device-01", &device),
    ] {
        let theirs =
            &certificates_from_pem(&fs::read(tutorial_certificate(name)).unwrap()).unwrap()[0];
        assert_eq!(extensions(ours), extensions(theirs), "{name}");
        assert_eq!(ours.subject(), theirs.subject());
        assert_eq!(ours.issuer(), theirs.issuer());
        assert_eq!(ours.public_key_info(), theirs.public_key_info());
    }
    // A CA that openssl made can go on in our hands.
    let theirs = certificates_from_pem(&fs::read(tutorial_certificate(INTERMEDIATE)).unwrap())
        .unwrap()
        .remove(0);
    let continued = Authority::new(theirs, key(INTERMEDIATE, Some(&passphrase))).unwrap();
    let leaf = continued
        .issue_device(
            &RegistrationId::parse("device-03").unwrap(),
            device_key.public_key_info(),
            validity,
        )
        .unwrap();
    verify_with_openssl(
        &leaf.to_pem(),
        &fs::read_to_string(tutorial_certificate(INTERMEDIATE)).unwrap(),
        &fs::read_to_string(tutorial_certificate(ROOT)).unwrap(),
    );
}

#[test]
fn openssl_verifies_our_chains_of_every_key_type() {
    for key_type in [
        KeyType::Rsa(2048),
        KeyType::Rsa(3072),
        KeyType::Rsa(4096),
        KeyType::EcP256,
        KeyType::EcP384,
    ] {
        let hierarchy = Hierarchy::new(key_type);
        let device = hierarchy.device("device-01");
        verify_with_openssl(
            &device.certificate.to_pem(),
            &hierarchy.intermediate.certificate().to_pem(),
            &hierarchy.root.certificate().to_pem(),
        );
        Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
    }
}

#[test]
fn several_intermediates_and_a_verification_certificate_are_verified_too() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let lower = hierarchy
        .intermediate
        .create_intermediate(
            "Line 2",
            PrivateKey::generate(KeyType::EcP384).unwrap(),
            Validity::days(7),
        )
        .unwrap();
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    let code = "106A5SD242AF512B3498BD6098C4941E66R34H268DDB3288";
    let proof = lower.issue_verification(code, key.public_key_info(), Validity::days(1)).unwrap();
    assert_eq!(proof.common_name(), Some(code));
    let between = hierarchy.intermediate.certificate().to_pem() + &lower.certificate().to_pem();
    verify_with_openssl(&proof.to_pem(), &between, &hierarchy.root.certificate().to_pem());
}

#[test]
fn certificates_begin_minutes_ago_and_share_no_serial_number() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let devices = [(); 2].map(|()| hierarchy.device("device-01").certificate);
    let [first, second] = &devices;
    let all = [hierarchy.root.certificate(), hierarchy.intermediate.certificate(), first, second];
    for certificate in all {
        let begun = OffsetDateTime::now_utc() - certificate.not_before();
        assert!(begun > Duration::minutes(1) && begun < Duration::minutes(15), "{begun}");
    }
    let serials: HashSet<_> = all.map(Certificate::serial).into();
    assert_eq!(serials.len(), all.len());
}

#[test]
fn a_ca_key_is_encrypted_by_pbes2_with_aes_256_cbc() {
    let folder = tempfile::tempdir().unwrap();
    for (key_type, name) in [(KeyType::Rsa(2048), "rsa"), (KeyType::EcP256, "ec")] {
        let layout = dps_core::chain::Folder::new(folder.path());
        let file = layout.key(name);
        let key = PrivateKey::generate(key_type).unwrap();
        let pem = key.to_encrypted_pem(&Passphrase::new("1234")).unwrap();
        layout.write_private(&file, pem.as_bytes()).unwrap();
        let structure = openssl(&["asn1parse", "-in", text(&file)]);
        for part in [":PBES2", ":PBKDF2", ":aes-256-cbc"] {
            assert!(structure.contains(part), "{part} in {structure}");
        }
    }
}

#[test]
fn every_key_form_that_openssl_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (rsa, ec, p384) = (path("rsa"), path("ec"), path("p384"));
    openssl(&["genrsa", "-out", text(&rsa), "2048"]);
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-out", text(&ec)]);
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-out",
        text(&p384),
    ]);
    for (source, key_type) in
        [(&rsa, KeyType::Rsa(2048)), (&ec, KeyType::EcP256), (&p384, KeyType::EcP384)]
    {
        let out = path("converted");
        let plain = PrivateKey::from_pem(&fs::read(source).unwrap(), None).unwrap();
        assert_eq!(plain.key_type(), key_type);
        openssl(&["pkey", "-in", text(source), "-traditional", "-out", text(&out)]);
        let traditional = PrivateKey::from_pem(&fs::read(&out).unwrap(), None).unwrap();
        assert_eq!(traditional.public_key_info(), plain.public_key_info());
        for cipher in ["aes128", "aes256", "des3"] {
            for extra in
                [&["-v2prf", "hmacWithSHA256"][..], &["-v2prf", "hmacWithSHA1"], &["-scrypt"]]
            {
                let mut arguments = vec![
                    "pkcs8",
                    "-topk8",
                    "-in",
                    text(source),
                    "-passout",
                    "pass:1234",
                    "-out",
                    text(&out),
                    "-v2",
                    cipher,
                ];
                arguments.extend(extra);
                openssl(&arguments);
                let bytes = fs::read(&out).unwrap();
                let key = PrivateKey::from_pem(&bytes, Some(&Passphrase::new("1234"))).unwrap();
                assert_eq!(key.public_key_info(), plain.public_key_info(), "{cipher} {extra:?}");
            }
        }
        // And what we write is read by openssl, with its key unchanged.
        let encrypted = plain.to_encrypted_pem(&Passphrase::new("geheim")).unwrap();
        fs::write(&out, encrypted.as_bytes()).unwrap();
        let public = openssl(&["pkey", "-in", text(&out), "-passin", "pass:geheim", "-pubout"]);
        let (_, block) = x509_parser::pem::parse_x509_pem(public.as_bytes()).unwrap();
        assert_eq!(block.contents, plain.public_key_info());
        fs::write(&out, plain.to_pem().unwrap().as_bytes()).unwrap();
        openssl(&["pkey", "-in", text(&out), "-noout", "-check"]);
    }
}

#[test]
fn a_request_of_ours_is_verified_by_openssl() {
    let key = PrivateKey::generate(KeyType::EcP384).unwrap();
    let request = dps_core::chain::SubjectKey::from(key).certificate_request("device-01").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("csr");
    fs::write(&file, request).unwrap();
    let printed = openssl(&["req", "-verify", "-noout", "-subject", "-in", text(&file)]);
    assert!(printed.contains("CN = device-01"), "{printed}");
}

#[test]
fn a_wrong_passphrase_or_none_is_said() {
    let pem = fs::read(tutorial_key(ROOT)).unwrap();
    for (passphrase, kind) in [
        (None, ErrorKind::PassphraseRequired),
        (Some(Passphrase::new("4321")), ErrorKind::PassphraseWrong),
    ] {
        let error = PrivateKey::from_pem(&pem, passphrase.as_ref()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(!format!("{error:?}").contains("4321"));
    }
}

#[test]
fn the_folder_is_written_whole_with_the_tutorials_names_and_modes() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let layout = dps_core::chain::Folder::new(folder.path());
    layout.write_private(&layout.key("device-01"), "secret").unwrap();
    layout.write_public(&layout.full_chain("device-01"), "public").unwrap();
    for path in [layout.key("device-01"), layout.full_chain("device-01")] {
        let ours = path.strip_prefix(folder.path()).unwrap();
        assert!(tutorial_folder().join(ours).exists(), "{ours:?}");
    }
    for (stem, make) in [(ROOT, "root"), (INTERMEDIATE, "intermediate")] {
        for path in [layout.certificate(stem), layout.key(stem)] {
            let ours = path.strip_prefix(folder.path()).unwrap();
            assert!(tutorial_folder().join(ours).exists(), "{make}: {ours:?}");
        }
    }
    let mode = fs::metadata(layout.key("device-01")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let error = layout.write_private(&layout.key("device-01"), "other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FileNotWritable);
    assert_eq!(fs::read_to_string(layout.key("device-01")).unwrap(), "secret");
    layout.clone().overwrite(true).write_private(&layout.key("device-01"), "other").unwrap();
    assert_eq!(fs::read_to_string(layout.key("device-01")).unwrap(), "other");
    let left: Vec<_> = fs::read_dir(folder.path().join("private")).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left behind");
}

/// Object identifier, criticality and value of every extension, sorted.
fn extensions(certificate: &Certificate) -> Vec<(String, bool, Vec<u8>)> {
    let (_, parsed) = X509Certificate::from_der(certificate.der()).unwrap();
    let mut extensions: Vec<_> = parsed
        .extensions()
        .iter()
        .map(|extension| {
            (extension.oid.to_id_string(), extension.critical, extension.value.to_vec())
        })
        .collect();
    extensions.sort();
    extensions
}

fn verify_with_openssl(leaf: &str, intermediates: &str, root: &str) {
    let folder = tempfile::tempdir().unwrap();
    let files = ["leaf", "intermediates", "root"].map(|name| folder.path().join(name));
    for (file, pem) in files.iter().zip([leaf, intermediates, root]) {
        fs::write(file, pem).unwrap();
    }
    let printed = openssl(&[
        "verify",
        "-x509_strict",
        "-purpose",
        "sslclient",
        "-CAfile",
        text(&files[2]),
        "-untrusted",
        text(&files[1]),
        text(&files[0]),
    ]);
    assert!(printed.trim().ends_with(": OK"), "{printed}");
}
