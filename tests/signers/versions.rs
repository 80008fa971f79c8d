//! Both versions of TLS with each kind of signature, by a key in memory and by one elsewhere.

use std::sync::{Arc, atomic::Ordering};

use dps_core::{
    Credential, ErrorKind, Identity, RegistrationId, SignatureAlgorithm,
    chain::Validity,
    key::{KeyType, PrivateKey},
};
use dps_emulator::{Builder, Emulator, Role, TlsVersion};
use dps_tests::{Device, Hierarchy, cloud::Cloud};

use crate::{Hsm, PATIENCE, open};

const GLOBAL: &str = "global.azure-devices-provisioning.net";

/// The same key in two places, as one device each.
struct Twins {
    in_memory: Identity,
    elsewhere: Identity,
    hsm: Arc<Hsm>,
}

impl Twins {
    const IN_MEMORY: &str = "in-memory";
    const ELSEWHERE: &str = "elsewhere";

    /// The signer elsewhere offers this algorithm alone.
    fn new(hierarchy: &Hierarchy, algorithm: SignatureAlgorithm) -> Self {
        let key_type = match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => KeyType::EcP256,
            SignatureAlgorithm::EcdsaP384Sha384 => KeyType::EcP384,
            _ => KeyType::Rsa(2048),
        };
        let key = Arc::new(PrivateKey::generate(key_type).unwrap());
        let device = |name| {
            let id = RegistrationId::parse(name).unwrap();
            let info = key.public_key_info();
            let certificate =
                hierarchy.intermediate.issue_device(&id, info, Validity::days(1)).unwrap();
            Device { certificate, key: Arc::clone(&key) }
        };
        let local = device(Self::IN_MEMORY);
        let in_memory = Credential::pem(hierarchy.full_chain(&local), local.key_pem()).open();
        let remote = device(Self::ELSEWHERE);
        let mut hsm = Hsm::new(&remote, |_| Ok(()));
        hsm.algorithms = vec![algorithm];
        let hsm = Arc::new(hsm);
        let elsewhere = open(hierarchy, &remote, Arc::clone(&hsm));
        Self { in_memory: in_memory.unwrap(), elsewhere: elsewhere.unwrap(), hsm }
    }

    fn each(&self) -> [(&'static str, &Identity); 2] {
        [(Self::IN_MEMORY, &self.in_memory), (Self::ELSEWHERE, &self.elsewhere)]
    }
}

async fn start(hierarchy: &Hierarchy, settings: impl FnOnce(Builder) -> Builder) -> Cloud {
    let cloud = Cloud::start_with(settings(Emulator::builder().retry_after(0))).await;
    cloud.enroll(hierarchy, true, "enabled").await;
    cloud
}

/// Registers and sends a message.
async fn provision(cloud: &Cloud, identity: &Identity) -> Result<(), dps_core::Error> {
    let assignment = cloud.client(identity).register().await?;
    let hub = assignment.connect(identity).await?;
    hub.send("signed for").await?;
    hub.close(PATIENCE).await
}

/// What the service and the hub saw of the device's handshakes. They are reached by an address;
/// the names that the device asks for are theirs all the same.
fn assert_handshakes(cloud: &Cloud, id: &str, version: TlsVersion, what: &str) {
    let hub = cloud.emulator().hubs()[0].as_str();
    for (role, name) in [(Role::Dps, GLOBAL), (Role::Hub, hub)] {
        let recorded = cloud.recorded(role, id);
        assert!(recorded.iter().any(|entry| entry.packet == "CONNECT"), "{what}: {role:?}");
        for entry in recorded {
            assert_eq!(entry.tls, Some(version), "{what}: {role:?}");
            assert_eq!(entry.server_name.as_deref(), Some(name), "{what}: {role:?}");
        }
    }
}

#[tokio::test]
async fn each_algorithm_signs_in_each_version_at_the_service_and_at_the_hub() {
    use SignatureAlgorithm as A;

    let hierarchy = Hierarchy::new(KeyType::EcP256);
    for (version, algorithms) in [
        (
            TlsVersion::V1_2,
            [A::EcdsaP256Sha256, A::EcdsaP384Sha384, A::RsaPssSha256, A::RsaPkcs1Sha256],
        ),
        // TLS 1.3 has no PKCS#1 v1.5 signatures (RFC 8446, section 4.2.3).
        (
            TlsVersion::V1_3,
            [A::EcdsaP256Sha256, A::EcdsaP384Sha384, A::RsaPssSha256, A::RsaPssSha512],
        ),
    ] {
        for algorithm in algorithms {
            let what = format!("{version:?}, {algorithm:?}");
            let cloud = start(&hierarchy, |builder| match algorithm {
                // The key in memory would prefer PSS.
                A::RsaPkcs1Sha256 => builder.tls(version).without_rsa_pss(),
                _ => builder.tls(version),
            })
            .await;
            let twins = Twins::new(&hierarchy, algorithm);
            for (id, identity) in twins.each() {
                let what = format!("{what}, {id}");
                provision(&cloud, identity).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_handshakes(&cloud, id, version, &what);
                let hub = &cloud.emulator().hubs()[0];
                assert_eq!(cloud.feed(hub, id).await[0]["body"], "signed for", "{what}");
            }
            // The test signature at open, the service and the hub.
            assert_eq!(*twins.hsm.used.lock().unwrap(), [algorithm; 3], "{what}");
            cloud.stop().await;
        }
    }
}

/// It would come to a TLS 1.3 server without its certificate.
#[tokio::test]
async fn a_signer_of_pkcs1_signatures_alone_goes_no_higher_than_tls_1_2() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = start(&hierarchy, |builder| builder).await;
    let twins = Twins::new(&hierarchy, SignatureAlgorithm::RsaPkcs1Sha256);
    for (identity, id, version) in [
        (&twins.in_memory, Twins::IN_MEMORY, TlsVersion::V1_3),
        (&twins.elsewhere, Twins::ELSEWHERE, TlsVersion::V1_2),
    ] {
        provision(&cloud, identity).await.unwrap();
        assert_handshakes(&cloud, id, version, id);
    }
    cloud.stop().await;

    let modern = start(&hierarchy, |builder| builder.tls(TlsVersion::V1_3)).await;
    let error = provision(&modern, &twins.elsewhere).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TlsRefused, "{error}");
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    assert_eq!(twins.hsm.signed.load(Ordering::SeqCst), 3, "nothing was signed for it");
    modern.stop().await;
}
