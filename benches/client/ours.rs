//! The work as a user of dps-core writes it.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use dps_benches::{HUB, MESSAGE_SIZE, Meter, Outcome, Reading, Site, Task};
use dps_core::{
    Assignment, HubClient, Identity, ProvisioningClient, RegistrationId,
    chain::{Authority, Folder, Validity},
    hub::ConnectionState,
    key::{KeyType, PrivateKey},
    transport::Network,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::task::JoinSet;

/// How many registrations go before the measured ones.
const WARM_UP: usize = 20;

/// How many devices of a fleet register at the same time.
pub(crate) const ABREAST: usize = 32;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(task: Task, site: &Site) -> Outcome<Reading> {
    match task {
        Task::Register { times } => register(site, times).await,
        Task::Device { messages } => device(site, messages).await,
        Task::Telemetry { messages, at_once } => telemetry(site, messages, at_once).await,
        Task::Fleet { devices } => fleet(site, devices).await,
        Task::Mint { devices, folder } => mint(devices, &folder),
        Task::Greet { .. } => Err("dps-core does not connect without registering".into()),
    }
}

async fn register(site: &Site, times: usize) -> Outcome<Reading> {
    let identity = site.identity(0)?;
    let client = ProvisioningClient::new(&site.id_scope, &identity).network(site.network());
    for _ in 0..WARM_UP {
        client.register().await?;
    }
    let meter = Meter::start()?;
    for _ in 0..times {
        client.register().await?;
    }
    meter.stop()
}

/// As samples/rust/src/provision_x509.rs.
async fn device(site: &Site, messages: usize) -> Outcome<Reading> {
    let meter = Meter::of_process()?;
    let identity = site.identity(0)?;
    let client = ProvisioningClient::new(&site.id_scope, &identity).network(site.network());
    let hub = client.register().await?.connect(&identity).await?;
    for number in 0..messages {
        hub.send(format!("message {number}")).await?;
    }
    hub.close(PATIENCE).await?;
    meter.stop()
}

async fn telemetry(site: &Site, messages: usize, at_once: usize) -> Outcome<Reading> {
    let identity = site.identity(0)?;
    let hub = HubClient::builder(HUB, &Site::device_id(0), &identity);
    let hub = hub.network(site.network()).connect().await?;
    send(&hub, messages / 10, at_once).await?;
    let meter = Meter::start()?;
    send(&hub, messages, at_once).await?;
    let reading = meter.stop()?;
    hub.close(PATIENCE).await?;
    Ok(reading)
}

/// Sends from as many tasks as messages are to wait at once, each of which sends one at a time.
async fn send(hub: &HubClient, messages: usize, at_once: usize) -> Outcome<()> {
    let payload = Bytes::from(vec![b'x'; MESSAGE_SIZE]);
    let mut senders: JoinSet<dps_core::Result<()>> = JoinSet::new();
    for _ in 0..at_once {
        let (hub, payload) = (hub.clone(), payload.clone());
        senders.spawn(async move {
            for _ in 0..messages / at_once {
                hub.send(payload.clone()).await?;
            }
            Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    Ok(())
}

async fn fleet(site: &Site, devices: usize) -> Outcome<Reading> {
    let network = site.network();
    let one_more = connected(site, &network, devices).await?;
    let meter = Meter::start()?;
    let fleet: Vec<_> = stream::iter(0..devices)
        .map(|number| connected(site, &network, number))
        .buffer_unordered(ABREAST)
        .try_collect()
        .await?;
    let reading = meter.stop()?;
    for (.., hub) in fleet.iter().chain([&one_more]) {
        if hub.state() != ConnectionState::Connected {
            return Err(format!("a device did not stay connected: {hub:?}").into());
        }
    }
    Ok(reading)
}

/// All that an application would keep of a device.
async fn connected(
    site: &Site,
    network: &Network,
    number: usize,
) -> dps_core::Result<(Identity, Assignment, HubClient)> {
    let identity = site.identity(number)?;
    let client = ProvisioningClient::new(&site.id_scope, &identity).network(network.clone());
    let assignment = client.register().await?;
    let hub = assignment.connect(&identity).await?;
    Ok((identity, assignment, hub))
}

fn mint(devices: usize, folder: &Path) -> Outcome<Reading> {
    let key = || PrivateKey::generate(KeyType::EcP256);
    let root = Authority::create_root("root", key()?, Validity::days(30))?;
    let intermediate = root.create_intermediate("intermediate", key()?, Validity::days(30))?;
    let above = intermediate.certificate().to_pem() + &root.certificate().to_pem();
    let folder = Folder::new(folder);
    let meter = Meter::start()?;
    for number in 0..devices {
        let id = RegistrationId::parse(&Site::device_id(number))?;
        let key = key()?;
        let certificate =
            intermediate.issue_device(&id, key.public_key_info(), Validity::days(30))?;
        let pem = certificate.to_pem();
        folder.write_private(&folder.key(id.as_str()), &key.to_pem()?)?;
        folder.write_public(&folder.full_chain(id.as_str()), &(pem.clone() + &above))?;
        folder.write_public(&folder.certificate(id.as_str()), &pem)?;
    }
    meter.stop()
}
