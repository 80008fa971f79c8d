//! Keys that sign elsewhere: what core promises to a foreign signer, and what a bad one does.

mod versions;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use dps_core::{
    Credential, Error, ErrorKind, Identity, SignRequest, SignatureAlgorithm, Signer, SignerError,
    key::{KeyType, PrivateKey},
};
use dps_tests::{Device, Hierarchy, cloud::Cloud};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// A key behind a wall, with what happens at each signature.
struct Hsm {
    key: Arc<PrivateKey>,
    algorithms: Vec<SignatureAlgorithm>,
    before: Box<dyn Fn(usize) -> Result<(), SignerError> + Send + Sync>,
    signed: AtomicUsize,
    /// What it was asked for, in that order.
    used: Mutex<Vec<SignatureAlgorithm>>,
}

impl Hsm {
    fn new(
        device: &Device,
        before: impl Fn(usize) -> Result<(), SignerError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            key: Arc::clone(&device.key),
            algorithms: device.key.algorithms().to_vec(),
            before: Box::new(before),
            signed: AtomicUsize::new(0),
            used: Mutex::default(),
        }
    }
}

impl Signer for Hsm {
    fn algorithms(&self) -> &[SignatureAlgorithm] {
        &self.algorithms
    }

    fn sign(&self, request: &SignRequest<'_>) -> Result<Vec<u8>, SignerError> {
        (self.before)(self.signed.fetch_add(1, Ordering::SeqCst))?;
        self.used.lock().unwrap().push(request.algorithm());
        assert!(matches!(request.digest().len(), 32 | 48 | 64));
        self.key.sign(request)
    }
}

fn open(hierarchy: &Hierarchy, device: &Device, hsm: Arc<Hsm>) -> Result<Identity, Error> {
    Credential::signer(hierarchy.full_chain(device), hsm).open()
}

#[tokio::test]
async fn a_foreign_signer_registers_and_sends() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let hsm = Arc::new(Hsm::new(&device, |_| Ok(())));
    let identity = open(&hierarchy, &device, Arc::clone(&hsm)).unwrap();
    assert_eq!(hsm.signed.load(Ordering::SeqCst), 1, "one test signature at open");
    let assignment = cloud.client(&identity).register().await.unwrap();
    let hub = assignment.connect(&identity).await.unwrap();
    hub.send("signed elsewhere").await.unwrap();
    hub.close(PATIENCE).await.unwrap();
    assert!(hsm.signed.load(Ordering::SeqCst) >= 3, "DPS and hub were signed for");
    cloud.stop().await;
}

#[tokio::test]
async fn a_signer_of_another_key_is_refused_at_open() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let (device, other) = (hierarchy.device("device-01"), hierarchy.device("device-02"));
    let error = open(&hierarchy, &device, Arc::new(Hsm::new(&other, |_| Ok(())))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::KeyMismatch, "{error}");
}

#[tokio::test]
async fn a_failing_signer_fails_the_registration_with_its_own_words() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let hsm = Hsm::new(&device, |nth| match nth {
        0 => Ok(()),
        _ => Err(SignerError::new("the token was removed").with_code(0x32)),
    });
    let identity = open(&hierarchy, &device, Arc::new(hsm)).unwrap();
    let error = cloud.client(&identity).register().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Signer, "{error}");
    assert!(error.to_string().contains("the token was removed (code 50)"), "{error}");
    assert!(!error.retryable());
    cloud.stop().await;
}

#[tokio::test]
async fn a_panicking_signer_costs_its_own_registration_alone() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let (bad, good) = (hierarchy.device("device-01"), hierarchy.device("device-02"));
    let hsm = Hsm::new(&bad, |nth| {
        assert_eq!(nth, 0, "a defect of the HSM's driver");
        Ok(())
    });
    let identity = open(&hierarchy, &bad, Arc::new(hsm)).unwrap();
    let client = cloud.client(&identity).deadline(Duration::from_secs(2));
    let error = client.register().await.unwrap_err();
    assert_eq!((error.kind(), error.retryable()), (ErrorKind::Signer, false), "{error}");
    let identity = open(&hierarchy, &good, Arc::new(Hsm::new(&good, |_| Ok(())))).unwrap();
    cloud.client(&identity).register().await.unwrap();
    cloud.stop().await;
}

/// On one thread: were the slow signer called there, the other device could not finish, and so the
/// slow one would never be released.
#[tokio::test(flavor = "current_thread")]
async fn a_signer_that_takes_its_time_does_not_stall_another_device() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let (slow, quick) = (hierarchy.device("device-01"), hierarchy.device("device-02"));
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hsm = Hsm::new(&slow, move |nth| {
        if nth == 1 {
            released.lock().unwrap().recv_timeout(PATIENCE).expect("the other device goes first");
        }
        Ok(())
    });
    let slow = open(&hierarchy, &slow, Arc::new(hsm)).unwrap();
    let slow_client = cloud.client(&slow);
    let registering = tokio::spawn(async move { slow_client.register().await });
    cloud.register(&hierarchy, &quick).await.unwrap();
    release.send(()).unwrap();
    timeout(PATIENCE, registering).await.expect("in time").unwrap().unwrap();
    cloud.stop().await;
}

#[tokio::test]
async fn a_signer_that_never_answers_ends_at_the_deadline_and_frees_the_rest() {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    let cloud = Cloud::with_group(&hierarchy).await;
    let device = hierarchy.device("device-01");
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let hsm = Hsm::new(&device, move |nth| {
        if nth > 0 {
            // Ends with the test, when the sender is dropped.
            let _ = released.lock().unwrap().recv();
        }
        Ok(())
    });
    let identity = open(&hierarchy, &device, Arc::new(hsm)).unwrap();
    let client = cloud.client(&identity).deadline(Duration::from_secs(1));
    let registered = timeout(PATIENCE, client.register()).await.expect("in time");
    let error = registered.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    let hint = error.hint().unwrap_or_default();
    assert!(hint.starts_with("DPS-K007: What holds the key had not answered."), "{hint}");
    cloud.register(&hierarchy, &hierarchy.device("device-02")).await.unwrap();
    drop(release);
    cloud.stop().await;
}
