//! Certificates: making, reading, verifying.

use std::path::Path;

use dps_benches::{By, Keys, Outcome, Reading, Site, Task};

use crate::{
    bench::Bench,
    openssl,
    process::client,
    spread::Spread,
    table::{Row, Table, Who, column, plotted},
    turns::{Contender, take_turns},
};

const RUNS: usize = 9;
const LARGE_RUNS: usize = 3;
/// Each makes three keys first, which takes RSA a while.
const CHECK_RUNS: usize = 5;
const MINTED: usize = 1000;
const BATCHES: [usize; 2] = [10_000, 100_000];
const CHECKS: usize = 1000;

/// Where files cost no disk.
const MEMORY: &str = "/dev/shm";

pub(crate) fn tables(bench: &Bench) -> Outcome<Vec<Table>> {
    Ok(vec![minting(bench)?, batches(bench)?, checking(bench)?])
}

fn minting(bench: &Bench) -> Outcome<Table> {
    let places = [("to memory", MEMORY), ("to the disk", env!("CARGO_TARGET_TMPDIR"))];
    let mut contenders = Vec::new();
    let mut folders = Vec::new();
    for (place, parent) in places.into_iter().filter(|(_, parent)| Path::new(parent).is_dir()) {
        let folder = tempfile::tempdir_in(parent)?;
        let parent = folder.path().to_owned();
        folders.push(folder);
        for (who, by, what) in
            [(Who::Ours, By::Core, "dps-core"), (Who::Bare, By::Bare, "the files alone")]
        {
            let parent = parent.clone();
            let measure = move |_| mint(by, MINTED, &tempfile::tempdir_in(&parent)?.keep());
            contenders.push(Contender::new(who, format!("{what}, {place}"), measure));
        }
    }
    contenders.push(Contender::new(Who::Theirs, "the `openssl` command", |_| {
        openssl::a_device().map(|wall| Reading { wall: wall * MINTED as f64, ..Reading::default() })
    }));
    let readings = take_turns(bench.runs(RUNS), &contenders)?;
    let rows = contenders.iter().zip(&readings).map(|(contender, readings)| {
        let rate = Spread::of(readings, |r| MINTED as f64 / r.wall * 1e6);
        let cpu =
            (contender.who != Who::Theirs).then(|| Spread::of(readings, |r| r.cpu / MINTED as f64));
        let mut row = Row::new(contender.who, contender.label.clone(), [Some(rate), cpu]);
        if contender.who == Who::Ours {
            row.at_least(0, 1000.0, "/s");
        }
        row
    });
    Ok(Table {
        slug: "minting",
        title: "Making device certificates",
        text:
            "A new EC P-256 key, its certificate, and three files: the key, the certificate, the \
               full chain. As the batch makes them: each file is written under another name and \
               renamed. One thread. Beside it files of the same sizes alone, and the `openssl` \
               command, three times for each device (`genpkey`, `req`, `x509`). No file is removed \
               before the last is made: an ext4 without a journal looks for a free inode past each \
               one that was freed in the last minutes, which would be measured in place of ours."
                .to_owned(),
        columns: vec![plotted("devices/s", 0), plotted("CPU each, µs", 0)],
        rows: rows.collect(),
    })
}

fn batches(bench: &Bench) -> Outcome<Table> {
    let parent = if Path::new(MEMORY).is_dir() { MEMORY } else { env!("CARGO_TARGET_TMPDIR") };
    let contenders = BATCHES.map(|devices| {
        let label = format!("{} devices", crate::spread::grouped(devices as f64, 0));
        Contender::new(Who::Ours, label, move |_| {
            let folder = tempfile::tempdir_in(parent)?;
            mint(By::Core, devices, folder.path())
        })
    });
    let readings = take_turns(bench.runs(LARGE_RUNS), &contenders)?;
    let mut rows: Vec<Row> = contenders
        .iter()
        .zip(readings.iter().zip(BATCHES))
        .map(|(contender, (readings, devices))| {
            let rate = Spread::of(readings, |r| devices as f64 / r.wall * 1e6);
            let peak = Spread::of(readings, |r| r.peak / 1024.0);
            Row::new(contender.who, contender.label.clone(), [Some(rate), Some(peak)])
        })
        .collect();
    rows[1].at_least(0, 1000.0, "/s");
    if let Some(small) = rows[0].cells[1].clone() {
        rows[1].at_most_above(&small, 1, 1.0, " MB above the small batch");
    }
    Ok(Table {
        slug: "batch",
        title: "Large batches",
        text: format!(
            "The whole process of a batch, {LARGE_RUNS} runs; its files go to memory that is not \
             counted as its own. Memory is the most that was ever resident."
        ),
        columns: vec![plotted("devices/s", 0), plotted("memory, MB", 1)],
        rows,
    })
}

fn mint(by: By, devices: usize, folder: &Path) -> Outcome<Reading> {
    client(by, &Task::Mint { devices, folder: folder.to_owned() }, &Site::nowhere())
}

fn checking(bench: &Bench) -> Outcome<Table> {
    let check = |label: &str, task: Task| {
        Contender::new(Who::Ours, label, move |_| client(By::Core, &task, &Site::nowhere()))
    };
    let contenders = [
        check("inspect, EC P-256", Task::Inspect { keys: Keys::P256, times: CHECKS }),
        check("inspect, RSA-4096", Task::Inspect { keys: Keys::Rsa4096, times: CHECKS }),
        check("verify, EC P-256", Task::Verify { keys: Keys::P256, times: CHECKS }),
        check("verify, RSA-4096", Task::Verify { keys: Keys::Rsa4096, times: CHECKS }),
    ];
    let readings = take_turns(bench.runs(CHECK_RUNS), &contenders)?;
    let rows = contenders.iter().zip(&readings).map(|(contender, readings)| {
        let wall = Some(Spread::of(readings, |r| r.wall / CHECKS as f64));
        let cpu = Some(Spread::of(readings, |r| r.cpu / CHECKS as f64));
        let mut row = Row::new(contender.who, contender.label.clone(), [wall, cpu]);
        row.at_most(0, 1000.0, " µs");
        row
    });
    Ok(Table {
        slug: "checking",
        title: "Inspecting and verifying",
        text: format!(
            "A chain of leaf, intermediate and root: from the bytes of the PEM file to the text that \
             is shown, and to the verdict with every signature checked. The mean of {CHECKS}, in \
             process; {CHECK_RUNS} runs."
        ),
        columns: vec![plotted("time each, µs", 0), column("CPU each, µs", 0)],
        rows: rows.collect(),
    })
}
