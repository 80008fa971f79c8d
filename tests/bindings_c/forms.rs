//! The device's chain and key as openssl and the clipboard hand them on.

use std::fs;

use dps_tests::{openssl, text};

use crate::{
    library::{Link, compile, source},
    world::World,
};

impl World {
    /// Of device-01: the certificates of its chain one by one, its key in older forms and in DER, a
    /// PKCS#12 file without a MAC, and what became of chain and key in an environment variable; of
    /// device-02 its own certificate.
    pub(crate) fn write_forms(&mut self) {
        let folder = tempfile::tempdir().expect("a folder");
        let made = |command: &[&str]| {
            let out = folder.path().join("out");
            openssl(&[command, &["-out", text(&out)]].concat());
            fs::read(out).expect("what openssl wrote")
        };
        let [chain, key] = ["CHAIN", "KEY"].map(|name| self.get(name).to_owned());
        let legacy = made(&["ec", "-in", &key, "-aes256", "-passout", "pass:1234"]);
        let shown = String::from_utf8(legacy.clone()).expect("a key in PEM");
        assert!(shown.contains("Proc-Type: 4,ENCRYPTED"), "{shown}");
        self.write_bytes("LEGACY_KEY", "legacy.key.pem", &legacy);
        self.write_bytes("DER_KEY", "key.der", &made(&["ec", "-in", &key, "-outform", "DER"]));
        let export = ["pkcs12", "-export", "-nomac", "-in", &chain, "-inkey", &key];
        let no_mac = made(&[&export[..], &["-passout", "pass:1234"]].concat());
        self.write_bytes("NO_MAC", "no-mac.pfx", &no_mac);

        let [chain, key] = [chain, key].map(|path| fs::read_to_string(path).expect("a PEM file"));
        let flat = |text: &str| text.trim_end().replace('\n', "\\n");
        self.write("PASTED_CHAIN", "pasted.pem", &format!("\u{feff}\"{}\"", flat(&chain)));
        self.write("PASTED_KEY", "pasted.key.pem", &format!("'{}'", flat(&key)));
        let certificates = chain.split_inclusive("-----END CERTIFICATE-----\n");
        for (name, certificate) in ["LEAF", "INTERMEDIATE"].into_iter().zip(certificates) {
            self.write(name, &format!("{name}.pem"), certificate);
        }
        let leaf = made(&["x509", "-in", self.get("SECOND_CHAIN")]);
        self.write_bytes("OTHER_LEAF", "OTHER_LEAF.pem", &leaf);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_opened_in_every_form_in_which_it_is_kept() {
    let mut world = World::new().await;
    world.write_forms();
    let program = compile("forms", &[source("forms.c")], Link::Static, &[]);
    assert_eq!(world.run(&program, &[]).await, "done\n");
}
