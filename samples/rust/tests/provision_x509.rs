//! The sample's output is the tutorial's.

use dps_core::key::KeyType;
use dps_tests::{Hierarchy, assert_success, cloud::Cloud};
use tokio::process::Command;

#[tokio::test]
async fn the_sample_prints_the_tutorials_lines_for_both_devices() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let roots = file("roots.pem", cloud.emulator().root_pem());
    for name in ["device-01", "device-02"] {
        let device = hierarchy.device(name);
        let output = Command::new(env!("CARGO_BIN_EXE_provision_x509"))
            .env("PROVISIONING_HOST", "global.azure-devices-provisioning.net")
            .env("PROVISIONING_IDSCOPE", cloud.emulator().id_scope())
            .env("PROVISIONING_REGISTRATION_ID", name)
            .env("CERTIFICATE_FILE", file("chain.pem", &hierarchy.full_chain(&device)))
            .env("KEY_FILE", file("key.pem", &device.key_pem()))
            .env("DPS_CONNECT_TO", cloud.emulator().connect_to())
            .env("SSL_CERT_FILE", &roots)
            .output()
            .await
            .unwrap();
        assert_success("the sample", &output);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(),
            [
                "registration succeeded",
                "assigned hub=contoso-hub-2.azure-devices.net",
                &format!("deviceId={name}"),
                "Client connected",
                "send status: MessageEnqueued",
            ]
        );
        let feed = cloud.feed("contoso-hub-2.azure-devices.net", name).await;
        assert_eq!(feed.len(), 1);
        assert_eq!(feed[0]["body"], "Hello world");
    }
    cloud.stop().await;
}
