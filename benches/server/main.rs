//! A server for the clients of the benchmarks. Ends when its standard input does.
#![forbid(unsafe_code)]

mod sink;

use std::{fs, path::PathBuf};

use dps_benches::{HUB, LOCAL_HUB, Outcome, Service, Site, argument, raise_file_limit, tell};
use dps_core::key::KeyType;
use dps_emulator::{Action, Cut, Emulator, Fault, Step};
use dps_tests::{Hierarchy, cloud::Cloud};
use tokio::io::{AsyncReadExt as _, stdin};

#[tokio::main]
async fn main() -> Outcome<()> {
    raise_file_limit()?;
    match argument()? {
        Service::Emulator { folder, devices, listen, cut_at } => {
            emulator(folder, devices, listen, cut_at).await
        }
        Service::Sink { folder, devices, listen } => {
            let (connect_to, root) = sink::start(listen).await?;
            let roots = folder.join("sink-root.pem");
            fs::write(&roots, root)?;
            let (id_scope, hub) = (String::new(), HUB.to_owned());
            tell(&Site { connect_to, id_scope, hub, roots, devices })?;
            end().await
        }
    }
}

/// Assigns at once, so that a registration is one request and one answer.
async fn emulator(
    folder: PathBuf,
    devices: usize,
    listen: Option<String>,
    cut_at: Option<u32>,
) -> Outcome<()> {
    let hub = if listen.is_some() { LOCAL_HUB } else { HUB };
    let mut builder = Emulator::builder().hub(hub).polls(0);
    if let Some(address) = listen {
        builder = builder.listen(address);
    }
    if let Some(message) = cut_at {
        builder =
            builder.faults(Fault::new(Step::Telemetry, Action::Cut(Cut::Before))?.nth(message));
    }
    let cloud = Cloud::start_with(builder).await;
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    cloud.enroll(&hierarchy, true, "enabled").await;
    let emulator = cloud.emulator();
    let site = Site {
        connect_to: emulator.connect_to(),
        id_scope: emulator.id_scope().to_owned(),
        hub: hub.to_owned(),
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
