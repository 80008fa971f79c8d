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
//!   (C011), version 1 (C012), SHA-1 (C020), little time left (C023), a known CA that the file does
//!   not hold (C027).

mod generate;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    ops::Range,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Instant, SystemTime},
};

use dps_core::{
    chain::{Certificate, CertificateChain, verify},
    doctor::Check,
};
use dps_tests::text;
use generate::{Generated, Generator};

const CHAINS: u64 = 4_000;

/// How many chains one openssl process judges: starting it takes longer than a verdict.
const AT_ONCE: u64 = 200;

#[test]
fn our_verdict_is_that_of_openssl() {
    let generator = Generator::new();
    let next = AtomicU64::new(0);
    let work = || {
        let folder = tempfile::tempdir().unwrap();
        let mut tally = Tally::default();
        loop {
            let first = next.fetch_add(AT_ONCE, Ordering::Relaxed);
            if first >= CHAINS {
                return tally;
            }
            tally.judge(folder.path(), &generator, first..first + AT_ONCE);
        }
    };
    let tally = thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(work));
        let tallies = workers.map(|worker| worker.join().unwrap());
        tallies.into_iter().reduce(Tally::and).unwrap()
    });
    let Tally { good, bad, seen } = tally;
    // The generator must not drift into one kind of chain.
    assert_eq!(good + bad, CHAINS);
    assert!(good > CHAINS / 5 && bad > CHAINS / 5, "{good} good, {bad} bad");
    for id in ["C002", "C003", "C005", "C013", "C014", "C015", "C016", "C017", "C018", "C019"] {
        let times = seen.get(format!("DPS-{id}").as_str()).copied().unwrap_or_default();
        assert!(times > 20, "{id} was seen {times} times: {seen:?}");
    }
}

/// How many chains openssl accepted and refused, and how often each of our findings was seen.
#[derive(Default)]
struct Tally {
    good: u64,
    bad: u64,
    seen: BTreeMap<&'static str, u32>,
}

impl Tally {
    fn judge(&mut self, folder: &Path, generator: &Generator, seeds: Range<u64>) {
        let chains: Vec<_> = seeds.map(|seed| (seed, generator.chain(seed))).collect();
        let (accepted, words) = openssl_accepts(folder, &chains);
        for (seed, chain) in &chains {
            let verification = verify(&chain.presented, &chain.trusted, SystemTime::now());
            for finding in verification.findings() {
                *self.seen.entry(finding.check().id()).or_default() += 1;
            }
            let ours =
                verification.findings().iter().all(|finding| !refused_by_openssl(finding.check()));
            let theirs = accepted.contains(seed);
            if ours != theirs && !chain.authority_without_constraints {
                let leaf = format!("leaf-{seed}:");
                let told: Vec<_> = words.lines().filter(|line| line.contains(&leaf)).collect();
                panic!(
                    "seed {seed}, made by {:?}:\nours: {:#?}\nopenssl: {told:#?}",
                    chain.mutations,
                    verification.findings()
                );
            }
            match theirs {
                true => self.good += 1,
                false => self.bad += 1,
            }
            assert_opening_agrees(*seed, chain);
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.good += other.good;
        self.bad += other.bad;
        for (id, times) in other.seen {
            *self.seen.entry(id).or_default() += times;
        }
        self
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

/// The seeds of the chains that openssl accepts, and what it says of the others.
fn openssl_accepts(folder: &Path, chains: &[(u64, Generated)]) -> (HashSet<u64>, String) {
    let pem = |certificates: &mut dyn Iterator<Item = &Certificate>| -> String {
        certificates.map(Certificate::to_pem).collect()
    };
    let [untrusted, trusted] = ["untrusted", "trusted"].map(|name| folder.join(name));
    let mut presented = chains.iter().flat_map(|(_, chain)| &chain.presented);
    fs::write(&untrusted, pem(&mut presented)).unwrap();
    fs::write(&trusted, pem(&mut chains.iter().flat_map(|(_, chain)| &chain.trusted))).unwrap();
    let mut command = Command::new("openssl");
    command
        .current_dir(folder)
        .args(["verify", "-partial_chain", "-purpose", "sslclient", "-no-CApath", "-no-CAstore"])
        .args(["-CAfile", text(&trusted), "-untrusted", text(&untrusted)]);
    for (seed, chain) in chains {
        let leaf = format!("leaf-{seed}");
        fs::write(folder.join(&leaf), chain.leaf.to_pem()).unwrap();
        command.arg(leaf);
    }
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let accepted = printed
        .lines()
        .filter_map(|line| line.strip_prefix("leaf-")?.strip_suffix(": OK")?.parse().ok())
        .collect();
    (accepted, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What opens without an error has no structural finding, and the other way round.
fn assert_opening_agrees(seed: u64, chain: &Generated) {
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
