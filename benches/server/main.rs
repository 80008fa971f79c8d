//! A server for the clients of the benchmarks. Ends when its standard input does.
#![forbid(unsafe_code)]

mod sink;

use std::{fs, path::PathBuf};

use dps_benches::{HUB, Outcome, Service, Site, argument, tell};
use dps_core::key::KeyType;
use dps_emulator::Emulator;
use dps_tests::{Hierarchy, cloud::Cloud};
use tokio::io::{AsyncReadExt as _, stdin};

#[tokio::main]
async fn main() -> Outcome<()> {
    match argument()? {
        Service::Emulator { folder, devices } => emulator(folder, devices).await,
        Service::Sink { folder, devices } => {
            let (connect_to, root) = sink::start().await?;
            let roots = folder.join("sink-root.pem");
            fs::write(&roots, root)?;
            tell(&Site { connect_to, id_scope: String::new(), roots, devices })?;
            end().await
        }
    }
}

/// Assigns at once, so that a registration is one request and one answer.
async fn emulator(folder: PathBuf, devices: usize) -> Outcome<()> {
    let cloud = Cloud::start_with(Emulator::builder().hub(HUB).polls(0)).await;
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    cloud.enroll(&hierarchy, true, "enabled").await;
    let emulator = cloud.emulator();
    let site = Site {
        connect_to: emulator.connect_to(),
        id_scope: emulator.id_scope().to_owned(),
        roots: folder.join("emulator-root.pem"),
        devices: folder,
    };
    fs::write(&site.roots, emulator.root_pem())?;
    for number in 0..devices {
        let device = hierarchy.device(&Site::device_id(number));
        fs::write(site.chain(number), hierarchy.full_chain(&device))?;
        fs::write(site.key(number), device.key_pem())?;
    }
    tell(&site)?;
    end().await?;
    cloud.stop().await;
    Ok(())
}

async fn end() -> Outcome<()> {
    stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}
