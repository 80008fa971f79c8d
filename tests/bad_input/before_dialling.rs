//! Files, keys, dates and names: found without a connection.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use dps_core::{
    Credential, Error, ErrorKind, HubClient, Identity, ProvisioningClient,
    chain::{Authority, Certificate, CertificateChain, Validity},
    key::{KeyType, Passphrase, PrivateKey},
};
use dps_tests::{Device, Hierarchy, openssl, text};
use tempfile::TempDir;

use crate::assert_error;

struct Files {
    _folder: TempDir,
    chain: PathBuf,
    key: PathBuf,
}

fn hierarchy() -> &'static (Hierarchy, Device) {
    static MADE: OnceLock<(Hierarchy, Device)> = OnceLock::new();
    MADE.get_or_init(|| {
        let hierarchy = Hierarchy::new(KeyType::EcP256);
        let device = hierarchy.device("device-01");
        (hierarchy, device)
    })
}

/// A good pair of files, for a test to spoil one.
fn files() -> Files {
    let (hierarchy, device) = hierarchy();
    let folder = tempfile::tempdir().unwrap();
    let chain = folder.path().join("device-01-full-chain.cert.pem");
    let key = folder.path().join("device-01.key.pem");
    fs::write(&chain, hierarchy.full_chain(device)).unwrap();
    fs::write(&key, device.key_pem()).unwrap();
    Files { _folder: folder, chain, key }
}

impl Files {
    fn open(&self) -> Result<Identity, Error> {
        Credential::pem_files(&self.chain, &self.key).open()
    }

    fn error_with_chain(&self, chain: impl AsRef<[u8]>) -> Error {
        fs::write(&self.chain, chain).unwrap();
        self.open().unwrap_err()
    }

    fn error_with_key(&self, key: impl AsRef<[u8]>) -> Error {
        fs::write(&self.key, key).unwrap();
        self.open().unwrap_err()
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn a_chain_out_of_order_is_ordered_and_a_duplicate_dropped_with_a_warning() {
    let (hierarchy, device) = hierarchy();
    let [leaf, intermediate, root] =
        [&device.certificate, hierarchy.intermediate.certificate(), hierarchy.root.certificate()]
            .map(Certificate::to_pem);
    let expected = CertificateChain::from_pem(hierarchy.full_chain(device).as_bytes()).unwrap();
    for shuffled in [
        [&root, &intermediate, &leaf],
        [&intermediate, &leaf, &root],
        [&leaf, &root, &intermediate],
    ] {
        let text = shuffled.map(String::as_str).concat();
        let chain = CertificateChain::from_pem(text.as_bytes()).unwrap();
        assert_eq!(chain.to_pem(), expected.to_pem());
        assert!(chain.warnings().is_empty());
    }
    let twice = [leaf.as_str(), &intermediate, &intermediate, &root].concat();
    let chain = CertificateChain::from_pem(twice.as_bytes()).unwrap();
    assert_eq!(chain.certificates().len(), 3);
    let [warning] = chain.warnings() else { panic!("{:?}", chain.warnings()) };
    assert!(warning.contains("Intermediate") && warning.contains("twice"), "{warning}");
}

#[test]
fn a_stranger_in_the_chain_is_named() {
    let (hierarchy, device) = hierarchy();
    let stranger = Authority::create_root(
        "Somebody Else",
        PrivateKey::generate(KeyType::EcP256).unwrap(),
        Validity::days(1),
    )
    .unwrap();
    let files = files();
    let chain = hierarchy.full_chain(device) + &stranger.certificate().to_pem();
    let error = files.error_with_chain(chain);
    assert_error(
        &error,
        ErrorKind::CertificateNotInChain,
        &["CN=Somebody Else", name(&files.chain), "Remove it"],
    );
}

#[test]
fn a_missing_intermediate_is_named_when_the_root_is_known() {
    let (hierarchy, device) = hierarchy();
    let files = files();
    let leaf = device.certificate.to_pem();
    let root = hierarchy.root.certificate().to_pem();
    // The chain file itself holds the root.
    let error = files.error_with_chain(leaf.clone() + &root);
    let words = ["CN=Azure IoT Hub Intermediate Cert Test Only", "which issued", "CN=device-01"];
    assert_error(&error, ErrorKind::IssuerMissing, &words);
    // Or the caller names what DPS knows.
    fs::write(&files.chain, &leaf).unwrap();
    let error =
        Credential::pem_files(&files.chain, &files.key).authorities(root).open().unwrap_err();
    assert_error(
        &error,
        ErrorKind::IssuerMissing,
        &["CN=Azure IoT Hub Intermediate Cert Test Only", "missing", name(&files.chain)],
    );
    // Without any of them, nothing can be said before dialling.
    files.open().unwrap();
}

#[test]
fn a_ca_made_anew_under_the_same_name_is_called_that() {
    let (hierarchy, device) = hierarchy();
    let other = Hierarchy::new(KeyType::EcP256);
    let files = files();
    let chain = [
        device.certificate.to_pem(),
        other.intermediate.certificate().to_pem(),
        hierarchy.root.certificate().to_pem(),
    ]
    .concat();
    let error = files.error_with_chain(chain);
    assert_error(
        &error,
        ErrorKind::ChainBroken,
        &["name matches and the key does not", "made anew"],
    );

    fs::write(&files.chain, hierarchy.full_chain(device)).unwrap();
    let error = Credential::pem_files(&files.chain, &files.key)
        .authorities(other.root.certificate().to_pem())
        .open()
        .unwrap_err();
    assert_error(&error, ErrorKind::ChainBroken, &["name matches and the key does not"]);
}

#[test]
fn a_damaged_block_is_named_and_never_dropped() {
    let (hierarchy, device) = hierarchy();
    let files = files();
    let whole = hierarchy.full_chain(device);
    let second = whole.match_indices("-----BEGIN").nth(1).unwrap().0;
    let mut damaged = whole.clone();
    damaged.replace_range(second + 40..second + 41, "!");
    let error = files.error_with_chain(damaged);
    assert_error(
        &error,
        ErrorKind::CertificateMalformed,
        &[name(&files.chain), "PEM block 2 (CERTIFICATE", "base64"],
    );
    // Valid base64 that is no certificate.
    let mut swapped = whole.clone();
    swapped.replace_range(second + 28..second + 32, "AAAA");
    let error = files.error_with_chain(swapped);
    assert_error(&error, ErrorKind::CertificateMalformed, &[name(&files.chain), "PEM block 2"]);
    // CRLF, a byte order mark and text around the blocks are no damage.
    let dressed = format!("\u{feff}subject=CN = x\n{whole}issuer=CN = y\n").replace('\n', "\r\n");
    fs::write(&files.chain, dressed).unwrap();
    files.open().unwrap();
}

#[test]
fn the_key_of_another_certificate_is_refused() {
    let files = files();
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa(2048)] {
        let other = PrivateKey::generate(key_type).unwrap();
        let error = files.error_with_key(other.to_pem().unwrap().as_bytes());
        assert_error(
            &error,
            ErrorKind::KeyMismatch,
            &[name(&files.key), name(&files.chain), "CN=device-01", "does not belong"],
        );
    }
}

#[test]
fn an_encrypted_key_wants_its_passphrase() {
    let (_, device) = hierarchy();
    let files = files();
    let encrypted = device.key.to_encrypted_pem(&Passphrase::new("geheim")).unwrap();
    let error = files.error_with_key(encrypted.as_bytes());
    assert_error(&error, ErrorKind::PassphraseRequired, &[name(&files.key), "encrypted"]);
    let with = |passphrase: &str| {
        Credential::pem_files(&files.chain, &files.key)
            .passphrase(Passphrase::new(passphrase))
            .open()
    };
    let error = with("falsch").unwrap_err();
    assert_error(&error, ErrorKind::PassphraseWrong, &[name(&files.key)]);
    assert!(!format!("{error} {error:?}").contains("falsch"));
    with("geheim").unwrap();
}

#[test]
fn a_file_that_is_something_else_is_said_to_be_that() {
    let (hierarchy, device) = hierarchy();
    let files = files();
    let chain = hierarchy.full_chain(device);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("chain"), &chain).unwrap();
    fs::write(path("key"), device.key_pem()).unwrap();
    let request = folder.path().join("request");
    openssl(&[
        "req",
        "-new",
        "-subj",
        "/CN=device-01",
        "-key",
        text(&path("key")),
        "-outform",
        "DER",
        "-out",
        text(&request),
    ]);
    let request = fs::read(request).unwrap();

    for (bytes, what) in [
        (chain.as_bytes(), "3 certificates"),
        (b"", "an empty file"),
        (b"\0\x01\x02\xff", "a binary file"),
        (b"hello", "a text without any PEM block"),
        (&request, "a DER certificate request"),
        (device.certificate.der(), "a DER certificate"),
    ] {
        let error = files.error_with_key(bytes);
        let words = [name(&files.key), "a private key was expected, but this is", what];
        assert_error(&error, ErrorKind::WrongFileContent, &words);
    }
    fs::write(&files.key, device.key_pem()).unwrap();
    for (bytes, what) in [
        (device.key_pem().as_bytes(), "a private key"),
        (b"", "an empty file"),
        (b"\0\x01\x02\xff", "a binary file"),
        (&request, "a DER certificate request"),
    ] {
        let error = files.error_with_chain(bytes);
        let words = [name(&files.chain), "certificates were expected, but this is", what];
        assert_error(&error, ErrorKind::WrongFileContent, &words);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let files = files();
    let missing = files.chain.with_file_name("nowhere.pem");
    for credential in
        [Credential::pem_files(&missing, &files.key), Credential::pem_files(&files.chain, &missing)]
    {
        let error = credential.open().unwrap_err();
        assert_error(&error, ErrorKind::FileNotReadable, &["nowhere.pem", "No such file"]);
    }
}

#[test]
fn ciphers_that_are_not_read_come_with_the_command_that_converts_them() {
    let files = files();
    let out = files.key.with_file_name("old");
    let key = text(&files.key);
    openssl(&["ec", "-in", key, "-camellia128", "-passout", "pass:1234", "-out", text(&out)]);
    let error = files.error_with_key(fs::read(&out).unwrap());
    assert_error(&error, ErrorKind::KeyUnsupported, &["CAMELLIA-128-CBC", "openssl pkcs8"]);

    fs::write(&files.key, hierarchy().1.key_pem()).unwrap();
    let mut pkcs5_v1 = vec!["pkcs8", "-topk8", "-in", key, "-passout", "pass:1234"];
    pkcs5_v1.extend(["-v1", "PBE-SHA1-3DES", "-out", text(&out)]);
    openssl(&pkcs5_v1);
    let error = files.error_with_key(fs::read(&out).unwrap());
    assert_error(&error, ErrorKind::KeyUnsupported, &["PKCS#12 encryption", "openssl pkcs8"]);
}

#[test]
fn a_pkcs12_file_without_a_mac_is_refused_and_its_passphrase_wanted() {
    let files = files();
    let pfx = files.chain.with_file_name("device-01.pfx");
    let export = |extra: &[&str]| {
        let mut arguments = vec!["pkcs12", "-export", "-passout", "pass:1234"];
        arguments.extend(["-in", text(&files.chain), "-inkey", text(&files.key)]);
        arguments.extend(["-out", text(&pfx)]);
        arguments.extend(extra);
        openssl(&arguments);
    };
    let open = |passphrase: Option<&str>| {
        let credential = Credential::pkcs12_file(&pfx);
        match passphrase {
            Some(text) => credential.passphrase(Passphrase::new(text)).open(),
            None => credential.open(),
        }
    };
    export(&["-nomac"]);
    let error = open(Some("1234")).unwrap_err();
    assert_error(&error, ErrorKind::WrongFileContent, &["device-01.pfx", "no MAC"]);
    export(&["-nokeys"]);
    let error = open(Some("1234")).unwrap_err();
    assert_error(&error, ErrorKind::WrongFileContent, &["device-01.pfx", "no private key"]);
    export(&[]);
    assert_error(&open(None).unwrap_err(), ErrorKind::PassphraseRequired, &["device-01.pfx"]);
    let error = open(Some("falsch")).unwrap_err();
    assert_error(&error, ErrorKind::PassphraseWrong, &["device-01.pfx"]);
    assert!(!format!("{error} {error:?}").contains("falsch"));
    open(Some("1234")).unwrap();
    let whole = fs::read(&pfx).unwrap();
    fs::write(&pfx, &whole[..whole.len() - 1]).unwrap();
    let error = Credential::pkcs12_file(&pfx).open().unwrap_err();
    assert_error(&error, ErrorKind::WrongFileContent, &["device-01.pfx", "damaged"]);
}

#[test]
fn keys_that_tls_cannot_use_are_refused_by_name() {
    let files = files();
    let (key, certificate) = (files.key.with_file_name("k"), files.key.with_file_name("c"));
    for (new_key, named) in
        [("rsa:1024", "RSA-1024"), ("ec:secp521r1", "1.3.132.0.35"), ("ed25519", "1.3.101.112")]
    {
        let (kind, parameter) = new_key.split_once(':').unwrap_or((new_key, ""));
        let mut arguments = vec![
            "req",
            "-x509",
            "-nodes",
            "-subj",
            "/CN=device-01",
            "-keyout",
            text(&key),
            "-out",
            text(&certificate),
            "-newkey",
        ];
        let curve = format!("ec_paramgen_curve:{parameter}");
        match kind {
            "ec" => arguments.extend(["ec", "-pkeyopt", &curve]),
            _ => arguments.push(new_key),
        }
        openssl(&arguments);
        // The certificate's key is judged, whatever signs for it.
        let chain = fs::read(&certificate).unwrap();
        let error = Credential::pem(chain, hierarchy().1.key_pem()).open().unwrap_err();
        assert_error(&error, ErrorKind::KeyUnsupported, &[named]);
    }
}

#[tokio::test]
async fn expired_and_not_yet_valid_certificates_are_named_with_their_dates() {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let past = Validity::between(now - 3 * day, now - day).unwrap();
    let future = Validity::between(now + day, now + 3 * day).unwrap();
    let good = Hierarchy::new(KeyType::EcP256);
    for (validity, kind, word) in [
        (past, ErrorKind::CertificateExpired, "has expired"),
        (future, ErrorKind::CertificateNotYetValid, "is not valid yet"),
    ] {
        // The leaf.
        let device = good.device_valid("device-01", validity);
        let error = refused(&good.full_chain(&device), &device).await;
        let words = ["CN=device-01", word, "it is valid from 20", "this clock says 20"];
        assert_error(&error, kind, &words);

        // A CA.
        let root_key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let root = Authority::create_root("Old Root", root_key, validity).unwrap();
        let intermediate = root
            .create_intermediate(
                "Line 1",
                PrivateKey::generate(KeyType::EcP256).unwrap(),
                Validity::days(30),
            )
            .unwrap();
        let hierarchy = Hierarchy { root, intermediate };
        let device = hierarchy.device("device-01");
        let error = refused(&hierarchy.full_chain(&device), &device).await;
        assert_error(&error, kind, &["CN=Old Root", word]);
    }
}

#[test]
fn a_ca_name_that_no_certificate_can_hold_is_refused() {
    for name in ["", &"x".repeat(65), "two\nlines"] {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let error = Authority::create_root(name, key, Validity::days(1)).err().unwrap();
        assert_error(&error, ErrorKind::InvalidArgument, &[&format!("{name:?}"), "1 to 64"]);
    }
}

#[test]
fn a_clock_far_off_is_suspected() {
    let (hierarchy, device) = hierarchy();
    let identity = Credential::pem(hierarchy.full_chain(device), device.key_pem()).open().unwrap();
    let error = identity.check(SystemTime::UNIX_EPOCH).unwrap_err();
    assert_error(
        &error,
        ErrorKind::CertificateNotYetValid,
        &["this clock says 1970-01-01", "Set this device's clock"],
    );
}

#[tokio::test]
async fn a_registration_id_that_cannot_be_is_refused_with_the_rule() {
    let (hierarchy, device) = hierarchy();
    let identity = Credential::pem(hierarchy.full_chain(device), device.key_pem()).open().unwrap();
    let long = "x".repeat(65);
    for (id, kind, words) in [
        (
            "device-02",
            ErrorKind::RegistrationIdMismatch,
            ["device-02", "\"device-01\"", "common name"],
        ),
        ("dev ice", ErrorKind::RegistrationIdInvalid, ["dev ice", "' '", "letters, digits"]),
        ("device-01.", ErrorKind::RegistrationIdInvalid, ["last character", "'.'", "letter"]),
        (&long, ErrorKind::RegistrationIdInvalid, ["65 characters", "at most 64", "common name"]),
        ("", ErrorKind::RegistrationIdInvalid, ["empty", "registration ID", "not valid"]),
    ] {
        let client = ProvisioningClient::new("0ne00000A0A", &identity).registration_id(id);
        assert_error(&client.register().await.unwrap_err(), kind, &words);
    }
    let client = ProvisioningClient::new("my scope", &identity);
    let error = client.register().await.unwrap_err();
    assert_error(&error, ErrorKind::InvalidArgument, &["my scope", "ID scope"]);
}

/// The error of a registration that must not even be dialled: the host cannot be resolved.
async fn refused(chain: &str, device: &Device) -> Error {
    let identity = Credential::pem(chain, device.key_pem()).open().unwrap();
    let hub = HubClient::builder("hub.invalid", "device-01", &identity).connect().await;
    let at_dps = ProvisioningClient::new("0ne00000A0A", &identity)
        .host("dps.invalid")
        .register()
        .await
        .unwrap_err();
    assert_eq!(hub.unwrap_err().kind(), at_dps.kind(), "a stored assignment is no way around it");
    at_dps
}
