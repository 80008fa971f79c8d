//! The work as a user of dps-core writes it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dps_benches::{Latency, MESSAGE_SIZE, Meter, Outcome, Reading, Site, Task};
use dps_core::{
    Assignment, HubClient, Identity, ProvisioningClient, hub::ConnectionState, transport::Network,
};
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use tokio::task::JoinSet;

use crate::chains;

/// How many registrations of a device go before the measured ones.
pub(crate) const WARM_UP: usize = 10;

/// How many devices of a fleet register at the same time.
pub(crate) const ABREAST: usize = 32;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(task: Task, site: &Site) -> Outcome<Reading> {
    match task {
        Task::Register { devices, times } => register(site, devices, times).await,
        Task::Device { messages } => device(site, messages).await,
        Task::Telemetry { messages, at_once } => telemetry(site, messages, at_once).await,
        Task::Fleet { devices } => fleet(site, devices).await,
        Task::Reconnect { device } => reconnect(site, device).await,
        Task::Registrations { devices, at_once } => registrations(site, devices, at_once).await,
        Task::Messages { devices, at_once, messages } => {
            messages_of(site, devices, at_once, messages).await
        }
        Task::Mint { devices, folder } => chains::mint(devices, &folder),
        Task::Inspect { keys, times } => chains::inspect(keys, times),
        Task::Verify { keys, times } => chains::verify(keys, times),
        Task::Handshake { .. } => Err("dps-core does not connect without registering".into()),
    }
}

async fn register(site: &Site, devices: usize, times: usize) -> Outcome<Reading> {
    let network = site.network();
    let clients = (0..devices).map(|number| {
        let client = ProvisioningClient::new(&site.id_scope, &site.identity(number)?);
        Ok(client.network(network.clone()))
    });
    let clients: Vec<_> = clients.collect::<dps_core::Result<_>>()?;
    let each = |times: usize| {
        try_join_all(clients.iter().map(move |client| async move {
            for _ in 0..times {
                client.register().await?;
            }
            dps_core::Result::<()>::Ok(())
        }))
    };
    each(WARM_UP).await?;
    let meter = Meter::start()?;
    each(times / devices).await?;
    meter.stop()
}

/// As samples/rust/src/provision_x509.rs.
async fn device(site: &Site, messages: usize) -> Outcome<Reading> {
    let meter = Meter::start()?;
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
    let hub = hub(site, 0).await?;
    send(&hub, messages / 10, at_once).await?;
    let meter = Meter::start()?;
    send(&hub, messages, at_once).await?;
    let reading = meter.stop()?;
    hub.close(PATIENCE).await?;
    Ok(reading)
}

async fn hub(site: &Site, number: usize) -> Outcome<HubClient> {
    let identity = site.identity(number)?;
    let hub = HubClient::builder(&site.hub, &Site::device_id(number), &identity);
    Ok(hub.network(site.network()).connect().await?)
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

/// From the call whose message is cut off to its acknowledgement over the next connection.
async fn reconnect(site: &Site, device: usize) -> Outcome<Reading> {
    let hub = hub(site, device).await?;
    hub.send("before").await?;
    let meter = Meter::start()?;
    hub.send("cut off").await?;
    let reading = meter.stop()?;
    hub.close(PATIENCE).await?;
    Ok(reading)
}

async fn registrations(site: &Site, devices: usize, at_once: usize) -> Outcome<Reading> {
    let network = site.network();
    let identities: dps_core::Result<Vec<_>> =
        (0..devices).map(|number| site.identity(number)).collect();
    let identities = identities?;
    let meter = Meter::start()?;
    let times: dps_core::Result<Vec<_>> = stream::iter(&identities)
        .map(|identity| async {
            let client = ProvisioningClient::new(&site.id_scope, identity);
            let client = client.network(network.clone());
            let start = Instant::now();
            client.register().await?;
            Ok(start.elapsed().as_secs_f64() * 1e6)
        })
        .buffer_unordered(at_once)
        .try_collect()
        .await;
    Ok(Reading { latency: Latency::of(times?), ..meter.stop()? })
}

async fn messages_of(
    site: &Site,
    devices: usize,
    at_once: usize,
    messages: usize,
) -> Outcome<Reading> {
    let network = site.network();
    let fleet: Vec<_> = stream::iter(0..devices)
        .map(|number| connected(site, &network, number))
        .buffer_unordered(ABREAST)
        .try_collect()
        .await?;
    let payload = Bytes::from(vec![b'x'; MESSAGE_SIZE]);
    let mut senders: JoinSet<dps_core::Result<Vec<f64>>> = JoinSet::new();
    let meter = Meter::start()?;
    for (.., hub) in &fleet {
        for _ in 0..at_once {
            let (hub, payload) = (hub.clone(), payload.clone());
            senders.spawn(async move {
                let mut times = Vec::new();
                for _ in 0..messages / at_once {
                    let start = Instant::now();
                    hub.send(payload.clone()).await?;
                    times.push(start.elapsed().as_secs_f64() * 1e6);
                }
                Ok(times)
            });
        }
    }
    let mut times = Vec::new();
    while let Some(sent) = senders.join_next().await {
        times.extend(sent??);
    }
    Ok(Reading { latency: Latency::of(times), ..meter.stop()? })
}
