//! A device that was throttled remembers it from one registration to the next.

use std::time::Duration;

use dps_core::{Credential, ErrorKind, key::KeyType};
use dps_emulator::{Action, Fault, Step};
use dps_tests::{Hierarchy, cloud::Cloud};

#[tokio::test]
async fn a_registration_that_is_called_again_too_early_sends_nothing_and_later_succeeds() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let identity = Credential::pem(hierarchy.full_chain(&device), device.key_pem()).open().unwrap();
    let throttled = Action::Status {
        code: 429,
        retry_after: None,
        error_code: Some(429_001),
        message: Some("Operations are being throttled for this tenant.".into()),
    };
    cloud.emulator().faults().add(Fault::new(Step::Register, throttled).unwrap().times(0));
    let short = cloud.client(&identity).deadline(Duration::from_secs(2));
    assert_eq!(short.register().await.unwrap_err().kind(), ErrorKind::Throttled);
    assert!(!cloud.emulator().recorded().is_empty());

    // Another client of the same identity, before the next attempt is due.
    cloud.emulator().clear_recorded();
    let again = cloud.client(&identity.clone()).deadline(Duration::from_millis(100));
    let error = again.register().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert_eq!(error.service().unwrap().error_code, Some(429_001));
    assert!(cloud.emulator().recorded().is_empty(), "{:?}", cloud.emulator().recorded());

    // With time enough it waits until then; once accepted, nothing is remembered.
    cloud.emulator().faults().clear();
    cloud.client(&identity).register().await.unwrap();
    cloud.client(&identity).deadline(Duration::from_secs(10)).register().await.unwrap();
    cloud.stop().await;
}
