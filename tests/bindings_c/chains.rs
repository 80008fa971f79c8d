//! Chains made in C, and the openssl command's opinion of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dps_tests::{assert_success, openssl, text};

use crate::{
    library::{Link, compile, source},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn chains_made_in_c_hold_for_openssl() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    a_request_that_asks_for_more(&world, &at("foreign.csr.pem"));
    openssl(
        &[
            &["pkcs12", "-export", "-passout", "pass:1234", "-out", text(&at("foreign.pfx"))][..],
            &["-in", world.get("CHAIN"), "-inkey", world.get("KEY")],
        ]
        .concat(),
    );

    let program = compile("chains", &[source("chains.c")], Link::Static, &["-Wno-unused-function"]);
    assert_eq!(world.run(&program, &[text(folder.path())]).await, "done\n");

    let verified =
        Verified { root: at("certs/root.cert.pem"), intermediate: at("intermediate.pem") };
    for name in ["requested-01", "foreign", "renewed-01", "renewed-02"] {
        verified.verify(&at(&format!("{name}.pem")));
    }
    for (name, path_length) in [("certs/root.cert.pem", 1), ("limited.pem", 0)] {
        let shown = openssl(&["x509", "-in", text(&at(name)), "-noout", "-text"]);
        assert!(shown.contains(&format!("CA:TRUE, pathlen:{path_length}\n")), "{shown}");
    }
    for id in ["requested-01", "signed-01"] {
        let path = at(&format!("{id}.csr.pem"));
        let shown = openssl(&["req", "-in", text(&path), "-verify", "-noout", "-subject"]);
        assert_eq!(shown.trim(), format!("subject=CN = {id}"));
    }
    let foreign = openssl(&["x509", "-in", text(&at("foreign.pem")), "-noout", "-text"]);
    assert!(foreign.contains("Subject: CN = foreign-01\n"), "{foreign}");
    assert!(!foreign.contains("Alternative Name"), "{foreign}");

    possession_is_proved(&at);
    forms_are_what_openssl_reads(&at);
    constants_are_those_of_sed(&at);
    devices_of_the_batches_are_whole(folder.path(), &verified);
}

fn a_request_that_asks_for_more(world: &World, path: &Path) {
    openssl(
        &[
            &["req", "-new", "-key", world.get("OTHER_KEY"), "-out", text(path)][..],
            &["-subj", "/O=Contoso \"North\"/CN=foreign-01", "-addext", "subjectAltName=DNS:evil"],
        ]
        .concat(),
    );
}

/// Of both CAs: the certificate under the code is theirs, and the Windows store's file holds the CA
/// with its key.
fn possession_is_proved(at: &impl Fn(&str) -> PathBuf) {
    for (stem, certificate) in
        [("root", "certs/root.cert.pem"), ("intermediate", "intermediate.pem")]
    {
        let (certificate, proof) = (at(certificate), at(&format!("{stem}.proof.pem")));
        let below = ["verify", "-x509_strict", "-partial_chain", "-CAfile", text(&certificate)];
        openssl(&[&below[..], &[text(&proof)]].concat());
        let shown = openssl(&["x509", "-in", text(&proof), "-noout", "-subject"]);
        assert_eq!(shown.trim(), "subject=CN = 106A5SD242AF512B3498BD");

        let pfx = at(&format!("{stem}.pfx"));
        let opened = openssl(&["pkcs12", "-in", text(&pfx), "-passin", "pass:1234", "-nodes"]);
        assert_eq!(opened.matches("BEGIN CERTIFICATE").count(), 1, "{opened}");
        let held = at(&format!("{stem}.held.pem"));
        fs::write(&held, opened).expect("what the PKCS#12 file holds");
        assert_eq!(
            openssl(&["x509", "-in", text(&held), "-outform", "PEM"]),
            openssl(&["x509", "-in", text(&certificate), "-outform", "PEM"]),
        );
        assert_eq!(
            openssl(&["pkey", "-in", text(&held), "-pubout"]),
            openssl(&["x509", "-in", text(&held), "-noout", "-pubkey"]),
        );
    }
}

fn forms_are_what_openssl_reads(at: &impl Fn(&str) -> PathBuf) {
    let pfx = at("renewed-01.pfx");
    let opened = openssl(&["pkcs12", "-in", text(&pfx), "-passin", "pass:Pass-Phrase 1", "-nodes"]);
    assert_eq!(opened.matches("BEGIN CERTIFICATE").count(), 3, "{opened}");
    assert_eq!(opened.matches("BEGIN PRIVATE KEY").count(), 1, "{opened}");

    let with = |command: &[&str], name: &str, rest: &[&str]| {
        openssl(&[command, &["-inform", "DER", "-in", text(&at(name))], rest].concat())
    };
    let certificate = with(&["x509"], "renewed-01.der", &["-noout", "-pubkey"]);
    let key = with(&["pkey"], "renewed-01.key.der", &["-pubout"]);
    let public = with(&["pkey", "-pubin"], "renewed-01.pub.der", &["-pubout"]);
    assert!(certificate == key && key == public, "{certificate}{key}{public}");
}

fn constants_are_those_of_sed(at: &impl Fn(&str) -> PathBuf) {
    for (file, command) in [
        ("constant.c.txt", r#"s/^/"/;$ !s/$/""\\n"/;$ s/$/"/"#),
        ("constant.java.txt", r#"s/^/"/;$ !s/$/\\n" +/;$ s/$/"/"#),
    ] {
        let sed = Command::new("sed").args(["-e", command]).arg(at("constant.pem")).output();
        let sed = sed.expect("sed runs");
        assert_success("the tutorial's sed command", &sed);
        assert_eq!(fs::read(at(file)).expect("the constant"), sed.stdout, "{file}");
    }
}

/// Stopped, resumed and made over; and none of what was refused.
fn devices_of_the_batches_are_whole(folder: &Path, verified: &Verified) {
    let made = ["c-01", "c-02", "d-08", "d-09", "d-10", "d-11", "d-12"];
    for id in made {
        let chain = folder.join(format!("certs/{id}-full-chain.cert.pem"));
        let key = folder.join(format!("private/{id}.key.pem"));
        verified.verify(&chain);
        let count = fs::read_to_string(&chain).expect("a chain").matches("BEGIN CERT").count();
        assert_eq!(count, 3, "{id}: the CA above the issuer was found in the folder");
        assert_eq!(
            openssl(&["x509", "-in", text(&chain), "-noout", "-pubkey"]),
            openssl(&["pkey", "-in", text(&key), "-pubout"]),
            "{id}"
        );
    }
    let files = |name: &str| -> Vec<String> {
        let entries = fs::read_dir(folder.join(name)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names.map(|name| name.into_string().expect("UTF-8")).collect()
    };
    assert_eq!(files("certs").len(), 2 * made.len() + 1, "{:?}", files("certs"));
    let keys = files("private").iter().filter(|name| name.ends_with(".key.pem")).count();
    assert_eq!(keys, made.len(), "{:?}", files("private"));
}

struct Verified {
    root: PathBuf,
    intermediate: PathBuf,
}

impl Verified {
    fn verify(&self, leaf: &Path) {
        let (root, intermediate) = (text(&self.root), text(&self.intermediate));
        openssl(
            &[
                &["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root][..],
                &["-untrusted", intermediate, text(leaf)],
            ]
            .concat(),
        );
    }
}
