//! An emulator, and a folder with the credentials of devices that it knows.

use std::{fs, path::Path};

use aws_lc_rs::rand::fill;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::{
    Credential, RegistrationId, SymmetricKey,
    key::{KeyType, Passphrase},
    symmetric_key::derive_device_key,
};
use dps_tests::{Device, Hierarchy, cloud::Cloud, openssl, text};
use serde_json::json;
use tempfile::TempDir;

use crate::needle::Needles;

const HUB: &str = "contoso-hub-2.azure-devices.net";

/// The start of a P-256 private key of 32 bytes (RFC 5915, section 3).
const SCALAR: &[u8] = &[0x02, 0x01, 0x01, 0x04, 0x20];

pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) needles: Needles,
    folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let hierarchy = Hierarchy::new(KeyType::EcP256);
        let cloud = Cloud::with_group(&hierarchy).await;
        let folder = tempfile::tempdir().expect("a folder");
        let mut world = Self { cloud, needles: Needles::new(), folder };
        world.settings(&hierarchy);

        let device = world.device(&hierarchy, "plain");
        world.write("plain.key", device.key_pem().as_bytes());
        world.write("damaged.key", damaged(&device.key_pem()).as_bytes());
        // What follows the key makes a text grow that was not sized for it.
        let pasted = device.key_pem() + &"It belongs to the device plain.\n".repeat(2000);
        let pasted = pasted.replace('\n', "\\r\\n");
        world.write("pasted.key", format!("\"{pasted}\"").as_bytes());

        let device = world.device(&hierarchy, "encrypted");
        let passphrase = world.passphrase("encrypted");
        let key = device.key.to_encrypted_pem(&Passphrase::new(passphrase)).expect("a key");
        world.write("encrypted.key", key.as_bytes());

        let device = world.device(&hierarchy, "old");
        world.write("old.plain", device.key_pem().as_bytes());
        world.passphrase("old");
        openssl(&[
            "ec",
            "-aes256",
            "-in",
            text(&world.path("old.plain")),
            "-passout",
            &format!("file:{}", text(&world.path("old.passphrase"))),
            "-out",
            text(&world.path("old.key")),
        ]);
        fs::remove_file(world.path("old.plain")).expect("it is there");

        let device = world.device(&hierarchy, "pkcs12");
        let passphrase = world.passphrase("pkcs12");
        let identity = Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open();
        let chain = identity.expect("an identity").chain().expect("a chain").clone();
        let pfx = chain.to_pkcs12(&device.key, &Passphrase::new(passphrase)).expect("a PFX file");
        world.write("pkcs12.pfx", &pfx);
        world.passphrase("wrong");

        let own = world.symmetric_key("meter-1");
        let keys = json!({ "primaryKey": own, "secondaryKey": null });
        let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
        let enrollment = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
        world.cloud.put_enrollment("meter-1", &enrollment).await;
        let group = world.symmetric_key("group");
        let keys = json!({ "primaryKey": group, "secondaryKey": null });
        let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
        let enrollment = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
        world.cloud.put_group("meters", &enrollment).await;
        let group = SymmetricKey::from_base64(&group).expect("a key");
        let id = RegistrationId::parse("meter-2").expect("an ID");
        let derived = derive_device_key(&group, &id).to_base64();
        let derived = BASE64_STANDARD.decode(derived.as_str()).expect("base64");
        world.needles.key("the derived key", &derived);
        let connection = format!("HostName={HUB};DeviceId=meter-1;SharedAccessKey={own}");
        world.write("meter-1.connection-string", connection.as_bytes());
        let wrong = world.symmetric_key("wrong");
        world.write(
            "malformed.symmetric-key",
            format!("{} {}", &wrong[..20], &wrong[20..]).as_bytes(),
        );
        let malformed = connection.replace("SharedAccessKey=", "SharedAccessKey ");
        world.write("malformed.connection-string", malformed.as_bytes());
        world
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Ends the emulator.
    pub(crate) async fn end(self) {
        self.cloud.stop().await;
    }

    fn settings(&self, hierarchy: &Hierarchy) {
        let emulator = self.cloud.emulator();
        let settings = json!({
            "connectTo": emulator.connect_to(),
            "idScope": emulator.id_scope(),
            "hub": HUB,
        });
        self.write("settings.json", settings.to_string().as_bytes());
        self.write("root.pem", emulator.root_pem().as_bytes());
        self.write("other-root.pem", hierarchy.root.certificate().to_pem().as_bytes());
    }

    fn device(&mut self, hierarchy: &Hierarchy, name: &str) -> Device {
        let device = hierarchy.device(name);
        self.write(&format!("{name}.pem"), hierarchy.full_chain(&device).as_bytes());
        let der = device.key.to_der().expect("a key");
        let at = der.windows(SCALAR.len()).position(|window| window == SCALAR);
        let at = at.expect("a P-256 key") + SCALAR.len();
        self.needles.key(&format!("the private key {name:?}"), &der[at..at + 32]);
        device
    }

    fn passphrase(&mut self, name: &str) -> String {
        let mut random = [0; 12];
        fill(&mut random).expect("random bytes");
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let passphrase = format!("{name} pass-{digits}");
        self.needles.text(&format!("the passphrase {name:?}"), digits.as_bytes());
        self.write(&format!("{name}.passphrase"), passphrase.as_bytes());
        passphrase
    }

    fn symmetric_key(&mut self, name: &str) -> String {
        let mut key = [0; 32];
        fill(&mut key).expect("random bytes");
        let encoded = BASE64_STANDARD.encode(key);
        self.needles.key(&format!("the symmetric key {name:?}"), &key);
        self.write(&format!("{name}.symmetric-key"), encoded.as_bytes());
        encoded
    }

    fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).expect("a file is written");
    }
}

/// A key whose base64 has a character that is none, near its end.
fn damaged(pem: &str) -> String {
    let end = pem.find("-----END").expect("an END line");
    format!("{}*{}", &pem[..end - 8], &pem[end - 7..])
}
