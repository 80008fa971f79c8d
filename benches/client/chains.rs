//! Certificates: made by the batch, read, shown and verified. No network.

use std::{hint::black_box, path::Path, time::SystemTime};

use dps_benches::{Keys, Meter, Outcome, Reading};
use dps_core::{
    RegistrationId,
    chain::{Authority, Batch, Folder, Inspection, RegistrationIdRange, Validity, verify as judge},
    key::{KeyType, PrivateKey},
};

/// How many certificates are looked at before the measured ones.
const WARM_UP: usize = 20;

/// A root, an intermediate and a device, as the tutorial makes them.
struct Chain {
    root: Authority,
    intermediate: Authority,
    full_chain: String,
}

impl Chain {
    fn new(key_type: KeyType) -> Outcome<Self> {
        let key = || PrivateKey::generate(key_type);
        let root = Authority::create_root("root", key()?, Validity::days(30))?;
        let intermediate = root.create_intermediate("intermediate", key()?, Validity::days(30))?;
        let id = RegistrationId::parse("device-00000")?;
        let device =
            intermediate.issue_device(&id, key()?.public_key_info(), Validity::days(30))?;
        let certificates = [&device, intermediate.certificate(), root.certificate()];
        let full_chain = certificates.map(|certificate| certificate.to_pem()).concat();
        Ok(Self { root, intermediate, full_chain })
    }

    fn of(keys: Keys) -> Outcome<Self> {
        Self::new(match keys {
            Keys::P256 => KeyType::EcP256,
            Keys::Rsa4096 => KeyType::Rsa(4096),
        })
    }
}

/// As `dps chain device --range` makes them, below a CA whose files are in the folder.
pub(crate) fn mint(devices: usize, folder: &Path) -> Outcome<Reading> {
    let Chain { root, intermediate, .. } = Chain::new(KeyType::EcP256)?;
    let folder = Folder::new(folder);
    for (name, authority) in [(Folder::ROOT, &root), (Folder::INTERMEDIATE, &intermediate)] {
        folder.write_public(&folder.certificate(name), authority.certificate().to_pem())?;
    }
    let meter = Meter::start()?;
    let batch = Batch::new(&folder, &intermediate, KeyType::EcP256, Validity::days(30))?;
    for id in RegistrationIdRange::parse(&format!("device-000001..device-{devices:06}"))? {
        batch.device(&id?)?;
    }
    meter.stop()
}

/// From the bytes of a full chain to the text that `dps chain inspect` prints.
pub(crate) fn inspect(keys: Keys, times: usize) -> Outcome<Reading> {
    let chain = Chain::of(keys)?;
    repeated(times, || {
        let inspection = Inspection::new(chain.full_chain.as_bytes(), None, SystemTime::now())?;
        black_box(inspection.to_string());
        Ok(())
    })
}

/// From the bytes of a full chain to the verdict on it, every signature of the path among it.
pub(crate) fn verify(keys: Keys, times: usize) -> Outcome<Reading> {
    let chain = Chain::of(keys)?;
    let trusted = [chain.root.certificate().clone()];
    repeated(times, || {
        let now = SystemTime::now();
        let inspection = Inspection::new(chain.full_chain.as_bytes(), None, now)?;
        let verdict = judge(inspection.certificates(), &trusted, now);
        match verdict.findings() {
            [] => Ok(()),
            findings => Err(format!("a good chain, but {findings:?}").into()),
        }
    })
}

fn repeated(times: usize, mut once: impl FnMut() -> Outcome<()>) -> Outcome<Reading> {
    for _ in 0..WARM_UP {
        once()?;
    }
    let meter = Meter::start()?;
    for _ in 0..times {
        once()?;
    }
    meter.stop()
}
