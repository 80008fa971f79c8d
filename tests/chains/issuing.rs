//! What a CA issues from: keys that sign elsewhere, requests made elsewhere, certificates that run
//! out; and how far down it lets others issue.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dps_core::{
    Credential, ErrorKind, RegistrationId, SignRequest, SignatureAlgorithm, Signer, SignerError,
    chain::{Authority, Certificate, CertificateRequest, SubjectKey, Validity},
    key::{KeyType, PrivateKey},
};
use dps_tests::{Hierarchy, openssl, text};

use crate::verify_with_openssl;

/// A key that stays where it is; how often it signed is counted.
struct Token {
    key: PrivateKey,
    signed: AtomicUsize,
}

impl Token {
    fn new(key_type: KeyType) -> Arc<Self> {
        let key = PrivateKey::generate(key_type).unwrap();
        Arc::new(Self { key, signed: AtomicUsize::new(0) })
    }

    fn subject(self: &Arc<Self>) -> SubjectKey {
        SubjectKey::signer(Arc::clone(self) as Arc<dyn Signer>, self.key.public_key_info().to_vec())
    }
}

impl Signer for Token {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        self.key.algorithms()
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        self.signed.fetch_add(1, Ordering::Relaxed);
        self.key.sign(request)
    }
}

fn holds(hierarchy: &Hierarchy, certificate: &Certificate) {
    verify_with_openssl(
        &certificate.to_pem(),
        &hierarchy.intermediate.certificate().to_pem(),
        &hierarchy.root.certificate().to_pem(),
    );
}

#[test]
fn a_request_of_a_key_that_signs_elsewhere_becomes_a_credential() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("csr");
    for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::Rsa(2048)] {
        let token = Token::new(key_type);
        let pem = token.subject().certificate_request("device-09").unwrap();
        assert_eq!(token.signed.load(Ordering::Relaxed), 1, "one signature for {key_type}");
        fs::write(&file, &pem).unwrap();
        let shown = openssl(&["req", "-verify", "-noout", "-subject", "-in", text(&file)]);
        assert!(shown.contains("CN = device-09"), "{shown}");

        let request = CertificateRequest::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(request.registration_id().as_str(), "device-09");
        assert_eq!(request.public_key_info(), token.key.public_key_info());
        assert!(request.ignored().is_empty(), "{:?}", request.ignored());
        let issued = hierarchy.intermediate.issue_requested(&request, Validity::days(7)).unwrap();
        holds(&hierarchy, &issued);
        let identity = Credential::signer(issued.to_pem(), token).open().unwrap();
        assert_eq!(identity.registration_id().unwrap().as_str(), "device-09");
    }
}

#[test]
fn a_ca_whose_key_signs_elsewhere_issues() {
    let token = Token::new(KeyType::EcP384);
    let root = Authority::create_root("Root", token.subject(), Validity::days(30)).unwrap();
    let between = Token::new(KeyType::Rsa(2048));
    let intermediate =
        root.create_intermediate("Line 1", between.subject(), Validity::days(30)).unwrap();
    let hierarchy = Hierarchy { root, intermediate };
    let before = between.signed.load(Ordering::Relaxed);
    let device = hierarchy.device("device-01");
    assert_eq!(between.signed.load(Ordering::Relaxed), before + 1, "one for the certificate");
    holds(&hierarchy, &device.certificate);
}

/// Of a request of the openssl command, the name and the key are taken, and no more.
#[test]
fn what_a_request_asks_for_beyond_its_name_and_key_is_listed_and_not_granted() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (config, key, csr, leaf) = (path("config"), path("key"), path("csr"), path("leaf"));
    fs::write(
        &config,
        "[req]\ndistinguished_name=dn\nreq_extensions=ext\nattributes=attr\nprompt=no\n\
         [dn]\nO=Contoso\nCN=device-07\n[attr]\nchallengePassword=secret\n\
         [ext]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n\
         subjectAltName=DNS:evil.example\n",
    )
    .unwrap();
    let mut arguments = vec!["req", "-new", "-nodes", "-config", text(&config), "-newkey", "ec"];
    arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", text(&key)]);
    arguments.extend(["-out", text(&csr)]);
    openssl(&arguments);

    let request = CertificateRequest::from_pem(&fs::read(&csr).unwrap()).unwrap();
    assert_eq!(
        request.ignored(),
        [
            "subject organizationName=Contoso",
            "attribute challengePassword",
            "critical extension basicConstraints",
            "extension keyUsage",
            "extension subjectAltName",
        ]
    );
    let issued = hierarchy.intermediate.issue_requested(&request, Validity::days(7)).unwrap();
    holds(&hierarchy, &issued);
    fs::write(&leaf, issued.to_pem()).unwrap();
    let shown = openssl(&["x509", "-in", text(&leaf), "-noout", "-text"]);
    assert!(shown.contains("Subject: CN = device-07\n"), "{shown}");
    for (granted, words) in [
        (true, "CA:FALSE"),
        (true, "TLS Web Client Authentication"),
        (false, "Certificate Sign"),
        (false, "evil.example"),
        (false, "Contoso"),
    ] {
        assert_eq!(shown.contains(words), granted, "{words}: {shown}");
    }
    Credential::pem(issued.to_pem(), fs::read(&key).unwrap()).open().unwrap();
}

#[test]
fn a_leaf_is_issued_again_with_its_own_key_or_with_a_new_one() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let old = hierarchy.device_valid("device-01", Validity::days(1));
    let issuer = &hierarchy.intermediate;
    let renewed = issuer.reissue_device(&old.certificate, None, Validity::days(30)).unwrap();
    let new_key = PrivateKey::generate(KeyType::EcP384).unwrap();
    let rekeyed = issuer
        .reissue_device(&old.certificate, Some(new_key.public_key_info()), Validity::days(30))
        .unwrap();
    for (certificate, key) in [(&renewed, &*old.key), (&rekeyed, &new_key)] {
        holds(&hierarchy, certificate);
        assert_eq!(certificate.subject(), "CN=device-01");
        assert_eq!(certificate.public_key_info(), key.public_key_info());
        assert_ne!(certificate.serial(), old.certificate.serial());
        assert!(certificate.not_after() > old.certificate.not_after());
        Credential::pem(certificate.to_pem(), key.to_pem().unwrap().as_bytes()).open().unwrap();
    }
    // A CA is not issued again by way of a device.
    let ca = hierarchy.root.certificate();
    let error = hierarchy.root.reissue_device(ca, None, Validity::days(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn each_ca_leaves_the_ones_below_it_one_less() {
    let key = || PrivateKey::generate(KeyType::EcP256).unwrap();
    let validity = Validity::days(30);
    let root = Authority::create_root_with_path_length("Root", key(), validity, 2).unwrap();
    let upper = root.create_intermediate("Line 1", key(), validity).unwrap();
    let lower = upper.create_intermediate("Line 2", key(), validity).unwrap();
    let lengths = [&root, &upper, &lower].map(|ca| ca.certificate().path_length());
    assert_eq!(lengths, [Some(2), Some(1), Some(0)]);
    let short = root.create_intermediate_with_path_length("Line 3", key(), validity, 0).unwrap();
    assert_eq!(short.certificate().path_length(), Some(0), "less than what is left");
    for (refused, words) in [
        (lower.create_intermediate("Line 4", key(), validity), "pathlen:0"),
        (
            upper.create_intermediate_with_path_length("Line 5", key(), validity, 1),
            "at most pathlen:0",
        ),
    ] {
        let error = refused.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    let without = Authority::create_root("Root", key(), validity).unwrap();
    let below = without.create_intermediate("Line 1", key(), validity).unwrap();
    assert_eq!(below.certificate().path_length(), None, "as the tutorial");

    // Devices are issued at every level, and openssl counts alike.
    let device = key();
    let id = RegistrationId::parse("device-01").unwrap();
    let leaf = lower.issue_device(&id, device.public_key_info(), validity).unwrap();
    let between = upper.certificate().to_pem() + &lower.certificate().to_pem();
    verify_with_openssl(&leaf.to_pem(), &between, &root.certificate().to_pem());
}
