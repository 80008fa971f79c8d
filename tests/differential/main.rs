//! Our verdict on a chain against that of `openssl verify`, over generated and mutated chains.
//!
//! Where the two differ, and why that is right:
//!
//! - An extended key usage without clientAuth: openssl refuses it for `-purpose sslclient`, we warn
//!   (DPS-C017), because DPS itself does not look at it.
//! - A CA without `basicConstraints` whose key usage has keyCertSign: openssl accepts it unless
//!   `-x509_strict` is given; RFC 5280, section 4.2.1.9, does not, and neither do we (DPS-C013).
//! - What DPS asks for beyond a valid path is no business of openssl's: a stranger in the file
//!   (C004), a certificate that stands twice (C007), the common name (C008), a CA as the leaf
//!   (C011), version 1 (C012), SHA-1 (C020), little time left (C023).

mod generate;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Instant, SystemTime},
};

use dps_core::{
    chain::{Certificate, CertificateChain, verify},
    doctor::Check,
};
use dps_tests::text;
use generate::{Generated, Generator};

const CHAINS: u64 = 2_500;

#[test]
fn our_verdict_is_that_of_openssl() {
    let folder = tempfile::tempdir().unwrap();
    let generator = Generator::new();
    let (mut good, mut bad) = (0, 0);
    let mut seen = BTreeMap::<&str, u32>::new();
    for seed in 0..CHAINS {
        let chain = generator.chain(seed);
        let verification = verify(&chain.presented, &chain.trusted, SystemTime::now());
        for finding in verification.findings() {
            *seen.entry(finding.check().id()).or_default() += 1;
        }
        let ours =
            verification.findings().iter().all(|finding| !refused_by_openssl(finding.check()));
        let (theirs, words) = openssl_accepts(folder.path(), &chain);
        if ours != theirs && !chain.authority_without_constraints {
            panic!(
                "seed {seed}, made by {:?}:\nours: {:#?}\nopenssl: {words}",
                chain.mutations,
                verification.findings()
            );
        }
        match theirs {
            true => good += 1,
            false => bad += 1,
        }
    }
    // The generator must not drift into one kind of chain.
    assert!(good > CHAINS / 5 && bad > CHAINS / 5, "{good} good, {bad} bad");
    for id in ["C002", "C003", "C005", "C013", "C014", "C015", "C016", "C017", "C018", "C019"] {
        let times = seen.get(format!("DPS-{id}").as_str()).copied().unwrap_or_default();
        assert!(times > 10, "{id} was seen {times} times: {seen:?}");
    }
}

/// The checks of a path, which openssl judges too.
fn refused_by_openssl(check: Check) -> bool {
    matches!(
        check,
        Check::IssuerMissing
            | Check::IssuerMadeAnew
            | Check::RootUnknown
            | Check::NotACa
            | Check::PathTooLong
            | Check::NoCertificateSigning
            | Check::NoDigitalSignature
            | Check::NoClientAuth
            | Check::KeyIdDiffers
            | Check::BadExtension
            | Check::SignatureUnsupported
            | Check::Expired
            | Check::NotYetValid
    )
}

fn openssl_accepts(folder: &Path, chain: &Generated) -> (bool, String) {
    let [leaf, untrusted, trusted] = ["leaf", "untrusted", "trusted"].map(|n| folder.join(n));
    let pem = |certificates: &[Certificate]| -> String {
        certificates.iter().map(Certificate::to_pem).collect()
    };
    fs::write(&leaf, chain.leaf.to_pem()).unwrap();
    fs::write(&untrusted, pem(&chain.presented)).unwrap();
    fs::write(&trusted, pem(&chain.trusted)).unwrap();
    let output = Command::new("openssl")
        .args(["verify", "-partial_chain", "-purpose", "sslclient", "-no-CApath", "-no-CAstore"])
        .args(["-CAfile", text(&trusted), "-untrusted", text(&untrusted), text(&leaf)])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), words)
}

#[test]
fn opening_a_chain_agrees_with_verifying_it() {
    // What opens without an error has no structural finding, and the other way round.
    let generator = Generator::new();
    for seed in 0..CHAINS {
        let chain = generator.chain(seed);
        let ders = chain.presented.iter().map(|certificate| certificate.der().to_vec());
        let opened = CertificateChain::from_der(ders);
        let verification = verify(&chain.presented, &[], SystemTime::now());
        let structural = |check: Check| {
            matches!(
                check,
                Check::IssuerMissing
                    | Check::IssuerMadeAnew
                    | Check::Stranger
                    | Check::ChainUnreadable
                    | Check::SignatureUnsupported
            )
        };
        let holds = verification.findings().iter().all(|finding| !structural(finding.check()));
        assert_eq!(
            opened.is_ok(),
            holds,
            "seed {seed}, made by {:?}: {opened:?}, {:#?}",
            chain.mutations,
            verification.findings()
        );
        if let Ok(opened) = opened {
            assert_eq!(opened.certificates(), verification.path(), "seed {seed}");
        }
    }
}

#[test]
fn one_chain_is_judged_in_less_than_a_blink() {
    // The figure of docs/figures.md is of a release build; this only guards against a square.
    let chain = Generator::new().sound();
    let start = Instant::now();
    for _ in 0..100 {
        assert!(verify(&chain.presented, &chain.trusted, SystemTime::now()).holds());
    }
    let each = start.elapsed() / 100;
    assert!(each.as_millis() < 50, "{each:?}");
}
