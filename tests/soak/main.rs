//! The soak: a fleet that registers, sends and goes, while its connections are cut at random.
//!
//! Half a minute in `make test`, an hour by `make soak`. Three variables of the environment change
//! a run: `DPS_SOAK_SECONDS` (30), `DPS_SOAK_DEVICES` (24), and `DPS_SOAK_SEED`, which repeats the
//! decisions of an earlier run, though not its timing.
//!
//! The fleet runs in a process of its own, so that what it holds is its own alone. Here are the
//! emulator, the faults, and the ledger that compares what was acknowledged with what is stored.

mod fleet;
mod ledger;
mod vitals;
mod weather;

use std::{
    env,
    process::Stdio,
    str::FromStr,
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use dps_core::key::KeyType;
use dps_emulator::Emulator;
use dps_tests::{Hierarchy, cloud::Cloud};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::{interval, timeout},
};

use self::{ledger::Ledger, vitals::Watch, weather::Weather};

/// Marks the process of the fleet.
const FLEET: &str = "DPS_SOAK_FLEET";

/// How long everything that is under way when time is up may take to end.
const ENDING: Duration = Duration::from_secs(120);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    match env::var_os(FLEET) {
        Some(_) => runtime.block_on(fleet::run()),
        None => runtime.block_on(soak()),
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is {value:?}")))
}

async fn soak() {
    let seconds: u64 = setting("DPS_SOAK_SECONDS").unwrap_or(30);
    let devices: usize = setting("DPS_SOAK_DEVICES").unwrap_or(24);
    let seed = setting("DPS_SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("soak: {seconds} s, {devices} devices, DPS_SOAK_SEED={seed}");
    let cloud = Cloud::start_with(Emulator::builder().retry_after(0)).await;
    let orders = enroll(&cloud, devices, seed).await;

    let mut process = Command::new(env::current_exe().expect("this program"))
        .env(FLEET, "1")
        // The number of arenas decides how much the allocator keeps for later.
        .env("MALLOC_ARENA_MAX", "2")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the fleet's process");
    let mut orders_to = process.stdin.take().expect("a pipe");
    let mut reports = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let mut watch = Watch::new(process.id().expect("it runs"));
    let at_rest = next(&mut reports).await;
    assert_eq!(at_rest["ready"], true, "{at_rest}");
    watch.at_rest();
    orders_to.write_all(format!("{orders}\n").as_bytes()).await.expect("the fleet listens");

    let start = Instant::now();
    let run = Duration::from_secs(seconds);
    let mut weather = Weather::new(seed, devices, cloud.emulator().faults().clone());
    let mut ledger = Ledger::default();
    let (mut gusts, mut looks) = (interval(weather.pause()), interval(Duration::from_millis(250)));
    while start.elapsed() < run {
        tokio::select! {
            report = next(&mut reports) => ledger.enter(&cloud, &weather, &report).await,
            _ = gusts.tick() => weather.strike(),
            _ = looks.tick() => watch.look(start.elapsed().as_secs_f64() / run.as_secs_f64()),
        }
    }

    weather.clear_up();
    orders_to.write_all(b"\n").await.expect("the fleet listens");
    let ended = async {
        loop {
            let report = next(&mut reports).await;
            if report["ended"] == true {
                return report;
            }
            ledger.enter(&cloud, &weather, &report).await;
        }
    };
    let counts = timeout(ENDING, ended).await.expect("the fleet ends in time");
    ledger.close(&cloud, &weather).await;
    watch.wait_for_rest(ENDING).await;
    drop(orders_to);
    let status = timeout(ENDING, process.wait()).await.expect("in time").expect("its status");
    assert!(status.success(), "the fleet ended with {status}");
    cloud.stop().await;

    eprintln!("soak: {ledger}; {weather}; {watch}; {counts}");
    ledger.assert_exercised(devices, weather.cuts());
    watch.assert_flat();
}

/// Every other device has a certificate; the others have symmetric keys, so that tokens expire.
async fn enroll(cloud: &Cloud, devices: usize, seed: u64) -> Value {
    let hierarchy = Hierarchy::new(KeyType::EcP256);
    cloud.enroll(&hierarchy, true, "enabled").await;
    let group_key = BASE64_STANDARD.encode([7; 32]);
    let keys = json!({ "primaryKey": group_key, "secondaryKey": null });
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
    let group = json!({ "attestation": attestation, "provisioningStatus": "enabled" });
    cloud.put_group("meters", &group).await;
    let device = |number: usize| {
        let name = weather::device(number);
        if number.is_multiple_of(2) {
            let device = hierarchy.device(&name);
            json!({ "name": name, "chain": hierarchy.full_chain(&device), "key": device.key_pem() })
        } else {
            json!({ "name": name, "groupKey": group_key })
        }
    };
    json!({
        "connectTo": cloud.emulator().connect_to(),
        "root": cloud.emulator().root_pem(),
        "idScope": cloud.emulator().id_scope(),
        "seed": seed,
        "devices": (0..devices).map(device).collect::<Vec<_>>(),
    })
}

type Reports = tokio::io::Lines<BufReader<tokio::process::ChildStdout>>;

/// The fleet's next report. Cancel-safe.
async fn next(reports: &mut Reports) -> Value {
    let line = reports.next_line().await.expect("a line").expect("the fleet still runs");
    let report: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    assert!(report["violation"].is_null(), "{report}");
    report
}
