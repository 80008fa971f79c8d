//! `DPS-C…` and `DPS-T…`: chains, names and clocks.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dps_core::{
    chain::{Authority, CertificateChain, Validity},
    doctor::{Check, Doctor},
    key::{KeyType, PrivateKey},
};
use dps_tests::{
    Device, Hierarchy, openssl, text, tutorial_certificate, tutorial_folder, tutorial_key,
};
use rcgen::{
    BasicConstraints, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyUsagePurpose,
};

use crate::{
    assert_nothing, assert_offline,
    lab::{INTERMEDIATE, LEAF, Lab, ROOT},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn hierarchy() -> (Hierarchy, Device) {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let device = hierarchy.device("device-01");
    (hierarchy, device)
}

fn good(hierarchy: &Hierarchy, device: &Device) -> Doctor {
    with_chain(hierarchy, device, &hierarchy.full_chain(device))
}

fn with_chain(hierarchy: &Hierarchy, device: &Device, chain: &str) -> Doctor {
    Doctor::new()
        .certificate(chain)
        .key(device.key_pem())
        .authorities(hierarchy.root.certificate().to_pem())
}

/// A mutation of the lab's chain that raises one finding.
#[track_caller]
fn assert_lab(check: Check, words: &[&str], break_it: impl FnOnce(&mut Lab)) {
    let mut lab = Lab::new();
    let repaired = lab.doctor();
    break_it(&mut lab);
    assert_offline(lab.doctor(), repaired, check, words);
}

#[test]
fn the_tutorials_chain_and_chains_of_every_key_type_are_well() {
    for device in ["device-01", "device-02"] {
        let doctor = Doctor::new()
            .certificate_file(tutorial_certificate(&format!("{device}-full-chain")))
            .key_file(tutorial_key(device))
            .authorities_file(tutorial_certificate("azure-iot-test-only.root.ca"))
            .group_certificate_file(tutorial_certificate("azure-iot-test-only.intermediate"))
            .registration_id(device);
        assert_nothing(&doctor.offline().unwrap());
    }
    for key_type in [KeyType::Rsa(2048), KeyType::Rsa(3072), KeyType::EcP256, KeyType::EcP384] {
        let hierarchy = Hierarchy::new(key_type);
        let device = hierarchy.device("device-01");
        assert_nothing(&good(&hierarchy, &device).offline().unwrap());
    }
}

#[test]
fn a_file_that_holds_no_certificates() {
    let (hierarchy, device) = hierarchy();
    assert_offline(
        Doctor::new().certificate("hello").key(device.key_pem()),
        good(&hierarchy, &device),
        Check::ChainUnreadable,
        &["a text without any PEM block"],
    );
    let broken = Doctor::new().certificate_file(tutorial_folder().join("nowhere.pem"));
    crate::assert_only(
        &broken.offline().unwrap(),
        Check::ChainUnreadable,
        &["nowhere.pem", "No such file"],
    );
    // It has no end.
    let broken = Doctor::new().certificate_file("/dev/zero");
    let words = ["/dev/zero", "larger than 16 MiB"];
    crate::assert_only(&broken.offline().unwrap(), Check::ChainUnreadable, &words);
}

#[test]
fn a_missing_intermediate() {
    let (hierarchy, device) = hierarchy();
    let root = hierarchy.root.certificate().to_pem();
    let words = ["CN=device-01", "Azure IoT Hub Intermediate Cert Test Only", "not in the file"];
    for chain in [device.certificate.to_pem() + &root, device.certificate.to_pem()] {
        assert_offline(
            with_chain(&hierarchy, &device, &chain),
            good(&hierarchy, &device),
            Check::IssuerMissing,
            &words,
        );
    }
}

#[test]
fn a_ca_that_was_made_anew() {
    let (hierarchy, device) = hierarchy();
    let other = Hierarchy::new(KeyType::EcP256);
    let chain = [
        device.certificate.to_pem(),
        other.intermediate.certificate().to_pem(),
        hierarchy.root.certificate().to_pem(),
    ]
    .concat();
    let words = ["name of the issuer matches and the key does not", "made anew"];
    assert_offline(
        with_chain(&hierarchy, &device, &chain),
        good(&hierarchy, &device),
        Check::IssuerMadeAnew,
        &words,
    );
    // The same, at the root that DPS knows.
    let chain = hierarchy.full_chain(&device);
    assert_offline(
        with_chain(&other, &device, &chain),
        good(&hierarchy, &device),
        Check::IssuerMadeAnew,
        &["another key", "made anew"],
    );
}

fn stranger() -> Authority {
    let key = PrivateKey::generate(KeyType::EcP256).unwrap();
    Authority::create_root("Somebody Else", key, Validity::days(30)).unwrap()
}

#[test]
fn a_stranger_a_copy_and_an_unknown_root() {
    let (hierarchy, device) = hierarchy();
    let chain = hierarchy.full_chain(&device);
    let stranger = stranger().certificate().to_pem();
    let repaired = || good(&hierarchy, &device);
    assert_offline(
        with_chain(&hierarchy, &device, &(chain.clone() + &stranger)),
        repaired(),
        Check::Stranger,
        &["CN=Somebody Else", "Remove it"],
    );
    let twice = chain.clone() + &hierarchy.intermediate.certificate().to_pem();
    assert_offline(
        with_chain(&hierarchy, &device, &twice),
        repaired(),
        Check::Duplicate,
        &["Intermediate", "twice"],
    );
    assert_offline(
        Doctor::new().certificate(chain).key(device.key_pem()).authorities(stranger),
        repaired(),
        Check::RootUnknown,
        &["CN=Azure IoT Hub CA Cert Test Only", "CN=Somebody Else", "az iot dps certificate"],
    );
}

#[test]
fn a_leaf_alone() {
    let (hierarchy, device) = hierarchy();
    assert_offline(
        Doctor::new().certificate(device.certificate.to_pem()).key(device.key_pem()),
        Doctor::new().certificate(hierarchy.full_chain(&device)).key(device.key_pem()),
        Check::LeafAlone,
        &["would not be sent", "CN=device-01"],
    );
    // Which is right where that very certificate is enrolled.
    let alone = Doctor::new().certificate(device.certificate.to_pem()).key(device.key_pem());
    let enrolled = alone.individual_certificate(device.certificate.to_pem());
    assert_nothing(&enrolled.offline().unwrap());
}

#[test]
fn a_known_ca_that_is_not_sent() {
    let (hierarchy, device) = hierarchy();
    let [root, intermediate, leaf] =
        [hierarchy.root.certificate(), hierarchy.intermediate.certificate(), &device.certificate]
            .map(|certificate| certificate.to_pem());
    let without_root = leaf.clone() + &intermediate;
    let doctor = |chain: &str| Doctor::new().certificate(chain).key(device.key_pem());
    let below_intermediate = || doctor(&leaf).authorities(intermediate.as_str());
    assert_offline(
        below_intermediate(),
        doctor(&without_root).authorities(intermediate.as_str()),
        Check::EndsBelowKnown,
        &["CN=device-01", "CN=Azure IoT Hub Intermediate Cert Test Only", "is not in the file"],
    );
    let words = ["CN=Azure IoT Hub CA Cert Test Only", "cat ca.cert.pem >> full-chain.cert.pem"];
    assert_offline(
        doctor(&without_root).authorities(root.as_str()),
        good(&hierarchy, &device),
        Check::EndsBelowKnown,
        &words,
    );
    // The enrollment group's certificate is one that DPS knows, too.
    assert_offline(
        doctor(&without_root).group_certificate(root.as_str()),
        good(&hierarchy, &device).group_certificate(root.as_str()),
        Check::EndsBelowKnown,
        &words,
    );
    // An individual enrollment knows the very leaf.
    assert_nothing(&below_intermediate().individual_certificate(leaf).offline().unwrap());
}

#[test]
fn the_command_that_appends_the_known_ca_does_it() {
    let (hierarchy, device) = hierarchy();
    let folder = tempfile::tempdir().unwrap();
    let [chain, root] = ["chain.pem", "root.pem"].map(|name| folder.path().join(name));
    let below = device.certificate.to_pem() + &hierarchy.intermediate.certificate().to_pem();
    std::fs::write(&chain, below).unwrap();
    std::fs::write(&root, hierarchy.root.certificate().to_pem()).unwrap();
    let doctor =
        || Doctor::new().certificate_file(&chain).key(device.key_pem()).authorities_file(&root);
    let report = doctor().offline().unwrap();
    let command = format!("cat {} >> {}", root.display(), chain.display());
    crate::assert_only(&report, Check::EndsBelowKnown, &[&command]);
    let done = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(done.success());
    assert_nothing(&doctor().offline().unwrap());
}

/// A CA that was issued again with its key is another certificate, which DPS tells apart.
#[test]
fn a_known_ca_that_was_issued_again_with_its_key() {
    let key = Arc::new(PrivateKey::generate(KeyType::EcP256).unwrap());
    let create = || Authority::create_root("Root", Arc::clone(&key), Validity::days(30)).unwrap();
    let (old, new) = (create(), create());
    let intermediate = PrivateKey::generate(KeyType::EcP256).unwrap();
    let intermediate = old.create_intermediate("Line 1", intermediate, Validity::days(30)).unwrap();
    let hierarchy = Hierarchy { root: old, intermediate };
    let device = hierarchy.device("device-01");
    let chain = hierarchy.full_chain(&device);
    let doctor = |known: &Authority| {
        Doctor::new()
            .certificate(chain.as_str())
            .key(device.key_pem())
            .authorities(known.certificate().to_pem())
    };
    let words = ["CN=Line 1", "CN=Root", "in place of the one of its name"];
    assert_offline(doctor(&new), doctor(&hierarchy.root), Check::EndsBelowKnown, &words);
}

#[test]
fn a_common_name_that_is_no_registration_id() {
    for (name, word) in [("dev ice", "' '"), ("device@home", "'@'"), ("device-01.", "last")] {
        assert_lab(Check::NoRegistrationId, &[word, "registration ID"], |lab| {
            lab.params[LEAF].distinguished_name = DistinguishedName::new();
            lab.params[LEAF].distinguished_name.push(DnType::CommonName, name);
        });
    }
    assert_lab(Check::NoRegistrationId, &["no common name"], |lab| {
        lab.params[LEAF].distinguished_name = DistinguishedName::new();
        lab.params[LEAF].distinguished_name.push(DnType::OrganizationName, "Contoso");
    });
}

#[test]
fn a_registration_id_that_differs() {
    let (hierarchy, device) = hierarchy();
    let named = |id: &str| good(&hierarchy, &device).registration_id(id);
    assert_offline(
        named("device-02"),
        named("device-01"),
        Check::RegistrationIdDiffers,
        &["\"device-02\"", "\"device-01\""],
    );
    assert_offline(
        named("Device-01"),
        named("device-01"),
        Check::RegistrationIdCase,
        &["\"Device-01\"", "without regard to case"],
    );
}

#[test]
fn a_leaf_that_is_a_ca() {
    assert_lab(Check::LeafIsCa, &["CN=device-01", "CA:TRUE"], |lab| {
        lab.params[LEAF].is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
}

#[test]
fn an_issuer_that_may_not_issue() {
    assert_lab(Check::NotACa, &["CN=Intermediate", "is not a CA certificate"], |lab| {
        lab.params[INTERMEDIATE].is_ca = IsCa::ExplicitNoCa;
    });
    assert_lab(Check::PathTooLong, &["CN=Root", "pathlen:0", "there are 1"], |lab| {
        lab.params[ROOT].is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    assert_lab(Check::NoCertificateSigning, &["CN=Intermediate", "keyCertSign"], |lab| {
        lab.params[INTERMEDIATE].key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    assert_lab(Check::KeyIdDiffers, &["CN=device-01", "authorityKeyIdentifier"], |lab| {
        let mut other = lab.params[INTERMEDIATE].clone();
        other.key_identifier_method = KeyIdMethod::PreSpecified(vec![7; 20]);
        lab.issuer_params = Some(other);
    });
}

#[test]
fn a_leaf_that_may_not_authenticate() {
    assert_lab(Check::NoDigitalSignature, &["keyEncipherment", "without digitalSig"], |lab| {
        lab.params[LEAF].key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    });
    assert_lab(Check::NoClientAuth, &["serverAuth", "not for clientAuth"], |lab| {
        lab.params[LEAF].extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_lab(Check::BadExtension, &["1.2.3.4", "critical"], |lab| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        lab.params[LEAF].custom_extensions.push(extension);
    });
}

/// A device certificate that openssl issues below an RSA or EC root of its own.
fn openssl_chain(
    root_key: &[&str],
    sign: &[&str],
    extensions: bool,
) -> (Doctor, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (ca, ca_key) = (path("ca.pem"), path("ca.key"));
    let mut arguments = vec!["req", "-x509", "-nodes", "-subj", "/CN=Root", "-newkey"];
    arguments.extend(root_key);
    arguments.extend(["-keyout", text(&ca_key), "-out", text(&ca)]);
    arguments.extend(["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]);
    openssl(&arguments);
    let (csr, key, leaf) = (path("csr"), path("key"), path("leaf.pem"));
    let mut arguments = vec!["req", "-new", "-nodes", "-subj", "/CN=device-01", "-newkey", "ec"];
    arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", text(&key)]);
    arguments.extend(["-out", text(&csr)]);
    openssl(&arguments);
    let profile = path("profile");
    std::fs::write(
        &profile,
        "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n",
    )
    .unwrap();
    let mut arguments = vec!["x509", "-req", "-in", text(&csr), "-CA", text(&ca)];
    arguments.extend(["-CAkey", text(&ca_key), "-CAcreateserial", "-out", text(&leaf)]);
    arguments.extend(sign);
    if extensions {
        arguments.extend(["-extfile", text(&profile)]);
    }
    openssl(&arguments);
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let doctor =
        Doctor::new().certificate(read(&leaf) + &read(&ca)).key(read(&key)).authorities(read(&ca));
    (doctor, folder)
}

#[test]
fn what_openssl_issues_when_its_configuration_is_ignored() {
    let (version_1, _folder) = openssl_chain(&["rsa:2048"], &["-sha256"], false);
    let (sha_1, _folder) = openssl_chain(&["rsa:2048"], &["-sha1"], true);
    let p521 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
    let (unknown, _folder) = openssl_chain(&p521, &["-sha512"], true);
    let repaired = || openssl_chain(&["rsa:2048"], &["-sha256"], true).0;
    assert_offline(version_1, repaired(), Check::OldVersion, &["CN=device-01", "version 1"]);
    assert_offline(sha_1, repaired(), Check::WeakSignature, &["SHA-1 with RSA"]);
    assert_offline(unknown, repaired(), Check::SignatureUnsupported, &["cannot be verified"]);
}

#[test]
fn dates() {
    let (hierarchy, _) = hierarchy();
    let now = SystemTime::now();
    let between = |from, until| Validity::between(from, until).unwrap();
    for (validity, check, words) in [
        (between(now - 3 * DAY, now - DAY), Check::Expired, ["expired 1 day ago", "renew"]),
        (between(now - 9 * DAY, now + DAY), Check::ExpiresSoon, ["has 23 hours left", "renew"]),
        (
            between(now + DAY, now + 3 * DAY),
            Check::NotYetValid,
            ["not valid for another 23 hours", "timedatectl"],
        ),
    ] {
        let device = hierarchy.device_valid("device-01", validity);
        let repaired = hierarchy.device("device-01");
        assert_offline(
            good(&hierarchy, &device),
            good(&hierarchy, &repaired),
            check,
            &["CN=device-01", words[0], words[1]],
        );
    }
}

/// It is told by its own name, and is nothing that `dps chain renew` could issue again.
#[test]
fn dates_of_a_ca() {
    let (hierarchy, device) = hierarchy();
    let now = SystemTime::now();
    let between = |from, until| Validity::between(from, until).unwrap();
    let ever = || Validity::days(30);
    let (past, ending) =
        (between(now - 3 * DAY, now - DAY), between(now - 29 * DAY, now + 2 * DAY));
    let key = || PrivateKey::generate(KeyType::EcP256).unwrap();
    for (of_root, of_intermediate, check, words) in [
        (past, ever(), Check::Expired, ["CN=Old Root", "dps chain root --keep-key"]),
        (ever(), past, Check::Expired, ["CN=Line 1", "dps chain intermediate --keep-key"]),
        (ending, ever(), Check::ExpiresSoon, ["CN=Old Root", "dps chain root --keep-key"]),
        (ever(), ending, Check::ExpiresSoon, ["CN=Line 1", "dps chain intermediate --keep-key"]),
    ] {
        let root = Authority::create_root("Old Root", key(), of_root).unwrap();
        let intermediate = root.create_intermediate("Line 1", key(), of_intermediate).unwrap();
        let old = Hierarchy { root, intermediate };
        let of_old = old.device("device-01");
        assert_offline(good(&old, &of_old), good(&hierarchy, &device), check, &words);
        if check == Check::Expired {
            // The error of whoever does not ask the doctor says the same.
            let chain = CertificateChain::from_pem(old.full_chain(&of_old).as_bytes()).unwrap();
            let error = chain.check_validity(now).unwrap_err();
            assert!(error.hint().unwrap().contains(words[1]), "{error}");
        }
    }
}

#[test]
fn a_clock_that_was_never_set() {
    let (hierarchy, device) = hierarchy();
    assert_offline(
        good(&hierarchy, &device).clock(UNIX_EPOCH),
        good(&hierarchy, &device),
        Check::ClockBeforeBuild,
        &["1970-01-01", "timedatectl"],
    );
}

#[test]
fn pasted_text() {
    let (hierarchy, device) = hierarchy();
    let chain = hierarchy.full_chain(&device);
    let quoted = format!("\"{chain}\"");
    assert_offline(
        with_chain(&hierarchy, &device, &quoted),
        good(&hierarchy, &device),
        Check::Pasted,
        &["the certificate chain", "quotation marks"],
    );
    let flat = device.key_pem().trim_end().replace('\n', "\\n");
    assert_offline(
        good(&hierarchy, &device).key(flat),
        good(&hierarchy, &device).key(device.key_pem().replace('\n', "\r\n")),
        Check::Pasted,
        &["the private key", "two characters \\n"],
    );
    // Cut out of a YAML file.
    let indented: String = chain.lines().map(|line| format!("    {line}\n")).collect();
    let report = with_chain(&hierarchy, &device, &indented).offline().unwrap();
    crate::assert_only(&report, Check::Pasted, &["the certificate chain", "indented"]);
    assert_eq!(
        report.findings()[0].evidence(),
        "the certificate chain is not PEM as other programs expect it: its lines are indented, as \
         in YAML."
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, indented).unwrap();
    let read = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-in", text(file.path())])
        .output()
        .unwrap();
    assert!(!read.status.success(), "openssl reads it");
}

#[test]
fn the_wrong_certificate_in_an_enrollment() {
    let (hierarchy, device) = hierarchy();
    let intermediate = hierarchy.intermediate.certificate().to_pem();
    let leaf = device.certificate.to_pem();
    let doctor = || good(&hierarchy, &device);
    assert_offline(
        doctor().individual_certificate(intermediate.as_str()),
        doctor().individual_certificate(leaf.as_str()),
        Check::WrongEnrollment,
        &["is a CA's certificate", "enrollment group"],
    );
    assert_offline(
        doctor().group_certificate(leaf.as_str()),
        doctor().group_certificate(intermediate.as_str()),
        Check::WrongEnrollment,
        &["is a device's certificate", "individual enrollment"],
    );
    let renewed = hierarchy.device("device-01").certificate;
    assert_offline(
        doctor().individual_certificate(renewed.to_pem()),
        doctor().individual_certificate(leaf),
        Check::EnrolledDiffers,
        &[&renewed.sha1_thumbprint(), &device.certificate.sha1_thumbprint()],
    );
    // The group lists an intermediate that was made anew, or somebody else's.
    let other = Hierarchy::new(KeyType::EcP256);
    for (listed, word) in [
        (other.intermediate.certificate().to_pem(), "made anew"),
        (stranger().certificate().to_pem(), "none bears that name"),
    ] {
        assert_offline(
            doctor().group_certificate(listed),
            doctor().group_certificate(hierarchy.intermediate.certificate().to_pem()),
            Check::NotEnrolled,
            &["The enrollment group lists", word],
        );
    }
}
