//! What devices do with their secrets, well and badly. Every secret comes from a file, so that
//! this process holds no copy of its own.

use std::{
    error,
    fmt::{self, Write as _},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use dps_core::{
    ConnectionString, Credential, Error, HubClient, Identity, ProvisioningClient, SymmetricKey,
    doctor::Doctor,
    key::{Passphrase, PrivateKey},
    tls::Roots,
    transport::Network,
};
use serde_json::Value;
use zeroize::Zeroizing;

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the flows need to know, and what they said.
pub(crate) struct Stage {
    folder: PathBuf,
    settings: Value,
    /// Every error and everything that has a `Debug` form.
    pub(crate) said: String,
}

/// Everything that holds a secret or was made from one.
pub(crate) struct Held {
    identities: Vec<Identity>,
    clients: Vec<ProvisioningClient>,
    hubs: Vec<HubClient>,
    keys: Vec<PrivateKey>,
    symmetric_keys: Vec<SymmetricKey>,
    connection: ConnectionString,
}

impl Held {
    /// Closes every connection and lets go of everything.
    pub(crate) async fn drop(self) {
        for hub in &self.hubs {
            hub.close(PATIENCE).await.expect("closed");
        }
    }
}

impl Stage {
    pub(crate) fn new(folder: &Path) -> Self {
        let settings = fs::read(folder.join("settings.json")).expect("the settings");
        let settings = serde_json::from_slice(&settings).expect("JSON");
        Self { folder: folder.to_owned(), settings, said: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A secret's file as a text that is not copied on the way.
    fn secret(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).expect("a file")).expect("a text")
    }

    fn passphrase(&self, name: &str) -> Passphrase {
        Passphrase::new(self.secret(&format!("{name}.passphrase")))
    }

    fn setting(&self, name: &str) -> &str {
        self.settings[name].as_str().expect("a setting")
    }

    fn network(&self) -> Network {
        let roots = fs::read(self.path("root.pem")).expect("the emulator's root");
        Network::default().connect_to(self.setting("connectTo")).roots(Roots::pem(roots))
    }

    fn client(&self, identity: &Identity) -> ProvisioningClient {
        ProvisioningClient::new(self.setting("idScope"), identity)
            .network(self.network())
            .deadline(PATIENCE)
    }

    fn pem(&self, chain: &str, key: &str) -> Credential {
        Credential::pem_files(self.path(chain), self.path(key))
    }

    fn show(&mut self, what: &dyn fmt::Debug) {
        write!(self.said, "{what:?}\n{what:#?}\n").expect("a text grows");
    }

    /// What went wrong, in all its forms, down to its first cause.
    fn fail<T: fmt::Debug>(&mut self, what: &str, outcome: Result<T, Error>) {
        let Err(error) = outcome else { panic!("{what} does not fail: {outcome:?}") };
        self.show(&error);
        let mut cause: Option<&dyn error::Error> = Some(&error);
        while let Some(error) = cause {
            write!(self.said, "{error}\n{error:?}\n").expect("a text grows");
            cause = error.source();
        }
    }

    /// Registers, connects, and sends, with every form of secret there is.
    pub(crate) async fn succeed(&mut self) -> Held {
        let connection =
            ConnectionString::parse(&Zeroizing::new(self.secret("meter-1.connection-string")));
        let connection = connection.expect("a connection string");
        let credentials = [
            self.pem("plain.pem", "plain.key"),
            self.pem("encrypted.pem", "encrypted.key").passphrase(self.passphrase("encrypted")),
            self.pem("old.pem", "old.key").passphrase(self.passphrase("old")),
            Credential::pkcs12_file(self.path("pkcs12.pfx")).passphrase(self.passphrase("pkcs12")),
            Credential::symmetric_key("meter-1", self.secret("meter-1.symmetric-key")),
            Credential::group_key("meter-2", self.secret("group.symmetric-key")),
        ];
        let mut held = Held {
            identities: Vec::new(),
            clients: Vec::new(),
            hubs: Vec::new(),
            keys: Vec::new(),
            symmetric_keys: Vec::new(),
            connection,
        };
        for credential in credentials {
            self.show(&credential);
            let identity = credential.open().expect("an identity");
            let client = self.client(&identity);
            let assignment = client.register().await.expect("an assignment");
            let hub = assignment.connect(&identity).await.expect("a connection");
            // The third telemetry of each device is cut: it comes back with another token.
            for number in 0..4 {
                hub.send(number.to_string()).await.expect("acknowledged");
            }
            self.show(&(&identity, &client, &assignment, &hub));
            held.identities.push(identity);
            held.clients.push(client);
            held.hubs.push(hub);
        }
        let key = held.connection.shared_access_key().expect("a key").to_owned();
        let identity = Credential::symmetric_key(held.connection.device_id(), key).open();
        let identity = identity.expect("an identity");
        let hub = HubClient::builder(held.connection.host(), "meter-1", &identity);
        let hub = hub.network(self.network()).connect().await.expect("a connection");
        hub.send("by connection string").await.expect("acknowledged");
        self.show(&(&held.connection, &hub));
        held.hubs.push(hub);
        held.identities.push(identity);

        let key = fs::read(self.path("plain.key")).map(Zeroizing::new).expect("a key file");
        held.keys.push(PrivateKey::from_pem(&key, None).expect("a key"));
        let key = Zeroizing::new(self.secret("meter-1.symmetric-key"));
        held.symmetric_keys.push(SymmetricKey::from_base64(&key).expect("a key"));
        self.show(&(&held.keys, &held.symmetric_keys));
        // What is written is wiped as well.
        for written in
            [held.keys[0].to_pem(), held.keys[0].to_encrypted_pem(&self.passphrase("encrypted"))]
        {
            assert!(written.expect("a key").contains("PRIVATE KEY"));
        }
        held
    }

    /// Everything that can go wrong with a secret in hand.
    pub(crate) async fn stumble(&mut self) {
        for (what, credential) in [
            ("no passphrase", self.pem("encrypted.pem", "encrypted.key")),
            (
                "a wrong passphrase",
                self.pem("encrypted.pem", "encrypted.key").passphrase(self.passphrase("wrong")),
            ),
            (
                "a wrong passphrase of an old key",
                self.pem("old.pem", "old.key").passphrase(self.passphrase("wrong")),
            ),
            (
                "a wrong passphrase of PKCS#12",
                Credential::pkcs12_file(self.path("pkcs12.pfx"))
                    .passphrase(self.passphrase("wrong")),
            ),
            ("another device's key", self.pem("encrypted.pem", "plain.key")),
            ("a key in place of the chain", self.pem("plain.key", "plain.pem")),
            ("a damaged key", self.pem("plain.pem", "damaged.key")),
            ("a passphrase in place of a key", self.pem("plain.pem", "old.passphrase")),
            (
                "a malformed symmetric key",
                Credential::symmetric_key("meter-1", self.secret("malformed.symmetric-key")),
            ),
            (
                "a symmetric key in place of an ID",
                Credential::symmetric_key("meter-1", self.secret("plain.key")),
            ),
        ] {
            self.show(&credential);
            self.fail(what, credential.open());
        }
        let malformed = Zeroizing::new(self.secret("malformed.connection-string"));
        self.fail("a malformed connection string", ConnectionString::parse(&malformed));

        let wrong = Credential::symmetric_key("meter-1", self.secret("wrong.symmetric-key"));
        let wrong = wrong.open().expect("an identity");
        let refused = self.client(&wrong).register().await;
        self.fail("a key that DPS does not know", refused);
        let hub = HubClient::builder(self.setting("hub"), "meter-1", &wrong);
        let refused = hub.network(self.network()).connect().await;
        self.fail("a key that the hub does not know", refused);

        let pasted = self.pem("plain.pem", "pasted.key").open().expect("an identity");
        self.show(&pasted);
        let plain = self.pem("plain.pem", "plain.key").open().expect("an identity");
        for identity in [&plain, &wrong] {
            let roots = fs::read(self.path("other-root.pem")).expect("a root");
            let network = self.network().roots(Roots::pem(roots));
            let refused = self.client(identity).network(network).register().await;
            self.fail("a server that is not trusted", refused);
            let nobody = Network::default().connect_to("127.0.0.1:1");
            let client = self.client(identity).network(nobody).deadline(Duration::from_millis(10));
            let refused = client.register().await;
            self.fail("a server that is not there", refused);
        }

        for key in ["plain.key", "encrypted.key", "damaged.key", "pkcs12.pfx", "old.passphrase"] {
            let doctor = Doctor::new()
                .certificate_file(self.path("encrypted.pem"))
                .key_file(self.path(key))
                .passphrase(self.passphrase("wrong"));
            let report = doctor.offline().expect("a report");
            write!(self.said, "{report}\n{}\n", report.to_json()).expect("a text grows");
            self.show(&report);
        }
    }
}
