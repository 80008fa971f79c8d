//! What every parser and machine must do with any bytes: end, without a panic, and keep what it
//! says.
//!
//! Plain functions, so that one text serves two drivers: `make test` runs them on stable Rust over
//! the committed corpus and over mutations of it, `fuzz/run.sh` under cargo-fuzz.

pub(crate) mod machines;
pub(crate) mod wire;

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dps_core::{
    CertificateChain, Credential, ErrorKind, RegistrationId,
    chain::{
        CertificateRequest, Inspection, RegistrationIdRange, c_string, certificates_from_pem,
        check_distinct, java_string, registration_ids_from_csv, verify,
    },
    doctor::{self, Doctor},
    key::{Passphrase, PrivateKey},
};

pub(crate) type Target = fn(&[u8]);

/// Each target by the name of its corpus.
pub(crate) const TARGETS: [(&str, Target); 12] = [
    ("pem", pem),
    ("chain", chain),
    ("key", key),
    ("pkcs12", pkcs12),
    ("request", request),
    ("devices", devices),
    ("doctor", examine),
    ("registration", machines::registration),
    ("answer", machines::answer),
    ("hub", machines::hub),
    ("packet", machines::packet),
    ("wire", wire::wire),
];

fn now() -> SystemTime {
    // Inside the life of the corpus' certificates.
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// PEM and what clipboards make of it. What is read is the same after it was written.
pub(crate) fn pem(data: &[u8]) {
    let Ok(certificates) = certificates_from_pem(data) else { return };
    let written: String = certificates.iter().map(|certificate| certificate.to_pem()).collect();
    assert_eq!(certificates_from_pem(written.as_bytes()).unwrap(), certificates);
    for constant in [c_string, java_string] {
        let constant = constant(written.as_bytes()).unwrap();
        assert_eq!(certificates_from_pem(constant.as_bytes()).unwrap(), certificates);
    }
}

/// Chains in PEM and DER. A chain that is opened has a path of all its certificates.
pub(crate) fn chain(data: &[u8]) {
    if let Ok(chain) = CertificateChain::from_pem(data) {
        let verification = verify(chain.certificates(), &[], now());
        assert_eq!(verification.path(), chain.certificates());
        assert_eq!(
            CertificateChain::from_pem(chain.to_pem().as_bytes()).unwrap().to_pem(),
            chain.to_pem()
        );
    }
    if let Ok(inspection) = Inspection::new(data, None, now()) {
        assert!(!inspection.to_string().is_empty());
        let shown = inspection.to_json();
        assert_eq!(
            shown["certificates"].as_array().unwrap().len(),
            inspection.certificates().len()
        );
        verify(inspection.certificates(), inspection.certificates(), now());
    }
}

/// Private keys in all their forms. A key that is read is the same after it was written.
pub(crate) fn key(data: &[u8]) {
    for passphrase in [None, Some(Passphrase::new("1234"))] {
        let Ok(key) = PrivateKey::from_pem(data, passphrase.as_ref()) else { continue };
        for written in [key.to_pem().unwrap().as_bytes(), &key.to_der().unwrap()] {
            let again = PrivateKey::from_pem(written, None).unwrap();
            assert_eq!(again.public_key_info(), key.public_key_info());
        }
    }
}

/// PKCS#12. Without its passphrase nothing is read but what has none.
pub(crate) fn pkcs12(data: &[u8]) {
    for passphrase in [None, Some(Passphrase::new("1234"))] {
        let chain = CertificateChain::from_pkcs12(data, passphrase.as_ref());
        let mut credential = Credential::pkcs12(data);
        if let Some(passphrase) = passphrase {
            credential = credential.passphrase(passphrase);
        }
        if let Ok(identity) = credential.open() {
            assert_eq!(identity.chain().unwrap().to_pem(), chain.unwrap().to_pem());
        }
    }
}

/// Certificate requests. One that is accepted has a registration ID as its name.
pub(crate) fn request(data: &[u8]) {
    if let Ok(request) = CertificateRequest::from_pem(data) {
        assert!(request.registration_id().as_str().len() <= 64);
        assert!(!request.public_key_info().is_empty());
    }
}

/// Lists and ranges of devices. An unreadable row is the last.
pub(crate) fn devices(data: &[u8]) {
    let mut unreadable = false;
    let mut listed = Vec::new();
    for id in registration_ids_from_csv(data) {
        assert!(!unreadable, "a row follows one that cannot be read");
        match id {
            Ok(id) => listed.push(id),
            Err(error) => unreadable = error.kind() == ErrorKind::WrongFileContent,
        }
    }
    assert_eq!(check_distinct(&listed).is_ok(), are_distinct(&listed));
    listed.extend_from_within(..);
    assert_eq!(check_distinct(&listed).is_ok(), listed.is_empty());
    if let Ok(range) = RegistrationIdRange::parse(&String::from_utf8_lossy(data)) {
        let remaining = range.remaining();
        let ids: Vec<_> = range.take(1000).collect();
        assert!(ids.iter().all(Result::is_ok));
        assert_eq!(ids.len() as u64, remaining.min(1000));
    }
}

/// As file systems tell names apart that ignore case and know no `:`.
fn are_distinct(ids: &[RegistrationId]) -> bool {
    let name = |id: &RegistrationId| id.as_str().to_ascii_lowercase().replace(':', "_");
    ids.iter().map(name).collect::<HashSet<_>>().len() == ids.len()
}

/// The doctor, given the same bytes as everything, and as an error of the service.
pub(crate) fn examine(data: &[u8]) {
    let report = Doctor::new().certificate(data).key(data).clock(now()).offline().unwrap();
    assert!(report.findings().iter().all(|finding| !finding.evidence().is_empty()));
    assert!(!report.to_string().is_empty());
    assert_eq!(doctor::decode(&String::from_utf8_lossy(data)).findings().len(), 1);
}
