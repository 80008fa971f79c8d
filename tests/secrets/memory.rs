//! The memory of a process that has used its secrets and let go of them, searched from outside.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{BufRead as _, stdin},
    os::unix::fs::FileExt as _,
    path::Path,
    process::Stdio,
};

use dps_emulator::{Action, Cut, Fault, Step};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{flows::Stage, needle::Needles, world::World};

/// Names the folder of the flows to the process that is searched.
const FOLDER: &str = "DPS_SECRETS_FOLDER";

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// In one process the flows run; in the other, which starts itself again for that, its memory is
/// searched.
#[test]
fn nothing_is_left_in_memory_after_use() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match env::var_os(FOLDER) {
        Some(folder) => be_searched(runtime, folder.as_ref()),
        None => runtime.block_on(search_another_process()),
    }
}

async fn search_another_process() {
    let world = World::new().await;
    let cut = Fault::new(Step::Telemetry, Action::Cut(Cut::After)).unwrap().nth(3);
    world.cloud.emulator().faults().add(cut);
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "memory::nothing_is_left_in_memory_after_use", "--nocapture"])
        .env(FOLDER, world.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let id = process.id().unwrap();
    let mut orders = process.stdin.take().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut until = async |word: &str| {
        let reached = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(word) {
                    return;
                }
            }
            panic!("it ended before it said {word:?}");
        };
        timeout(PATIENCE, reached).await.expect("in time");
    };

    until("holding").await;
    let held = search(id, &world.needles);
    let held = held.expect("the memory of a child process must be readable under /proc");
    // Whoever finds nothing now would find nothing later.
    for live in ["the symmetric key \"meter-1\"", "the private key \"plain\"", "the derived key"] {
        assert!(
            held.keys().any(|(name, _)| name == live),
            "{live} is not found while it is in use"
        );
    }
    orders.write_all(b"\n").await.unwrap();
    until("dropped").await;
    let left = search(id, &world.needles).unwrap();
    drop(orders);
    assert!(process.wait().await.unwrap().success());
    world.end().await;
    assert!(left.is_empty(), "still in memory (secret, region, places): {left:#?}");
}

/// The places of each secret in each kind of writable memory; `None` where it cannot be read.
fn search(process: u32, needles: &Needles) -> Option<BTreeMap<(String, String), Vec<String>>> {
    let memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let name = fields.nth(3).unwrap_or("anonymous").to_owned();
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        if !rights.starts_with("rw") || name == "[vvar]" {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(end - start).ok()?];
        // A page that was never touched cannot be read, and holds nothing.
        let Ok(read) = memory.read_at(&mut bytes, start) else { continue };
        let mut last = 0;
        for find in needles.find(&bytes[..read]) {
            let places = found.entry((find.name.to_owned(), name.clone())).or_default();
            // One place for all the pieces of one copy.
            if places.is_empty() || find.at > last + 64 {
                let around = &bytes[find.at.saturating_sub(48)..read.min(find.at + 80)];
                places.push(format!("{:x}: {}", start + find.at as u64, around.escape_ascii()));
            }
            last = find.at;
        }
    }
    Some(found)
}

#[allow(clippy::print_stdout, reason = "the pipe to the process that searches")]
fn be_searched(runtime: Runtime, folder: &Path) {
    let mut stage = Stage::new(folder);
    let held = runtime.block_on(async {
        let held = stage.succeed().await;
        stage.stumble().await;
        held
    });
    println!("\nholding");
    let mut line = String::new();
    stdin().lock().read_line(&mut line).unwrap();
    runtime.block_on(held.drop());
    drop(runtime);
    println!("dropped");
    stdin().lock().read_line(&mut line).unwrap();
}
