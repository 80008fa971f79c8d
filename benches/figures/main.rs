//! Runs every benchmark and writes docs/figures.md.
#![forbid(unsafe_code)]

mod machine;
mod openssl;
mod process;
mod spread;

use std::{fmt::Write as _, fs, path::Path};

use dps_benches::{By, Outcome, Reading, Service, Site, Task};

use crate::{
    process::{Server, client},
    spread::{Spread, ratio},
};

/// How often each measurement is made. What is compared takes turns.
const RUNS: usize = 9;

/// Registrations are compared in short turns and many, so that what else the machine does comes
/// upon all alike.
const REGISTRATION_RUNS: usize = 31;
const REGISTRATIONS: usize = 100;
const DEVICE_MESSAGES: usize = 10;

/// What the CPU time of a short process mostly is.
/// (aws-lc-rs, "Resources", entropy configuration)
const ENTROPY: &str = match option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY") {
    Some(_) => "AWS-LC is built without its entropy from CPU jitter.",
    None => {
        "Most of the CPU is AWS-LC's, which gathers entropy from CPU jitter once in each process, \
         the bare one too, unless it is built with `AWS_LC_SYS_NO_JITTER_ENTROPY=1`."
    }
};

const FLEETS: [usize; 3] = [10, 100, 1000];
const MINTED: usize = 1000;

fn main() -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let most = FLEETS.iter().max().copied().unwrap_or_default();
    // One more than the largest fleet, which warms the process up.
    let emulator = Service::Emulator { folder: folder.path().to_owned(), devices: most + 1 };
    let emulator = Server::start(&emulator)?;
    let sink =
        Service::Sink { folder: folder.path().to_owned(), devices: emulator.site.devices.clone() };
    let sink = Server::start(&sink)?;

    let mut page = String::new();
    head(&mut page)?;
    registration(&mut page, &emulator.site)?;
    device(&mut page, &emulator.site, folder.path())?;
    telemetry(&mut page, &sink.site, &emulator.site)?;
    fleets(&mut page, &emulator.site)?;
    minting(&mut page, &emulator.site)?;
    writeln!(page, "Load average at the end: {}.", machine::load_average()?)?;
    emulator.stop()?;
    sink.stop()?;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/figures.md");
    fs::write(path, &page)?;
    eprint!("{page}");
    Ok(())
}

fn head(page: &mut String) -> Outcome<()> {
    writeln!(
        page,
        "# Figures\n\n\
         Written by `make bench`; every number here was measured by that run, against servers on \
         the same machine. It says what dps-core costs, not how fast Azure is.\n\n\
         {}\n\n\
         Each number is the median of {RUNS} runs, where nothing else is said, with \
         [least .. most]. Client and server are \
         processes of their own; CPU is that of the client's process, user and system. What stands \
         in one table took turns. \"Bare\" is tokio-rustls with the MQTT codec and nothing else: \
         the least that the same bytes on the wire can cost. TLS 1.3, EC P-256, a chain of leaf, \
         intermediate and root; one thread.\n",
        machine::describe()?
    )?;
    Ok(())
}

fn registration(page: &mut String, site: &Site) -> Outcome<()> {
    let (register, greet) =
        (Task::Register { times: REGISTRATIONS }, Task::Greet { times: REGISTRATIONS });
    let turns = [(By::Core, &register), (By::Bare, &greet), (By::Bare, &register)];
    let [ours, greeting, dialogue] = taking_turns(REGISTRATION_RUNS, turns, site)?;
    writeln!(
        page,
        "## A registration\n\n\
         A device that is assigned at once: the mean of {REGISTRATIONS}, {REGISTRATION_RUNS} times. \
         The budget compares it with its TLS handshake, CONNECT and SUBSCRIBE alone. The other \
         ratio is to the whole dialogue, request, answer and acknowledgements too, and so says what \
         dps-core itself adds. Each ratio is that of runs that were neighbours.\n\n\
         | | CPU each, µs | dps-core to this | budget |\n|---|---|---|---|"
    )?;
    let rows = [
        ("dps-core: `register()`", &ours, ""),
        ("bare: handshake, CONNECT, SUBSCRIBE", &greeting, "≤ 1.25"),
        ("bare: the whole dialogue", &dialogue, ""),
    ];
    for (what, readings, budget) in rows {
        let each = Spread::of(readings, |r| r.cpu / REGISTRATIONS as f64);
        let ratio = ratio(&ours, readings, |r| r.cpu);
        writeln!(page, "| {what} | {each:.0} | {ratio:.2} | {budget} |")?;
    }
    writeln!(page)?;
    Ok(())
}

fn device(page: &mut String, site: &Site, folder: &Path) -> Outcome<()> {
    writeln!(
        page,
        "## One device's process\n\n\
         From its start to its end: opens its credential, registers, connects to its hub, sends \
         {DEVICE_MESSAGES} messages one at a time, closes. Memory is the most that was ever \
         resident, the program itself included. {ENTROPY}\n\n\
         | | memory, MB | CPU, ms | threads | budget |\n|---|---|---|---|---|"
    )?;
    let task = Task::Device { messages: DEVICE_MESSAGES };
    let mut row = |what: &str, readings: &[Reading], budget: &str| {
        writeln!(
            page,
            "| {what} | {:.1} | {:.1} | {:.0} | {budget} |",
            Spread::of(readings, |r| r.peak / 1024.0),
            Spread::of(readings, |r| r.cpu / 1000.0),
            Spread::of(readings, |r| r.threads),
        )
    };
    let [ours, bare] = side_by_side(&task, site)?;
    row("dps-core", &ours, "≤ 15 MB")?;
    row("bare", &bare, "")?;
    // What a device that trusts the platform's roots holds, with the emulator's among them.
    if let Ok(platform) = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt") {
        let roots = folder.join("many-roots.pem");
        fs::write(&roots, fs::read_to_string(&site.roots)? + &platform)?;
        let count = platform.matches("-----BEGIN CERTIFICATE-----").count();
        let site = Site { roots, ..site.clone() };
        let [ours, bare] = side_by_side(&task, &site)?;
        row(&format!("dps-core, with the platform's {count} roots"), &ours, "≤ 15 MB")?;
        row("bare, with them", &bare, "")?;
    }
    writeln!(page)?;
    Ok(())
}

fn telemetry(page: &mut String, sink: &Site, emulator: &Site) -> Outcome<()> {
    writeln!(
        page,
        "## Telemetry\n\n\
         One device sends messages of {} bytes at QoS 1 to a hub that acknowledges each and keeps \
         none. So many `send`s wait for their acknowledgements at the same time, each in a task of \
         its own whose cost is counted too. With one at a time, what is measured is mostly the way \
         through the kernel and back.\n\n\
         | at the same time | | CPU each, µs | messages/s | budget |\n|---|---|---|---|---|",
        dps_benches::MESSAGE_SIZE
    )?;
    for (at_once, messages) in [(1000, 1_000_000), (100, 300_000), (1, 20_000)] {
        let task = Task::Telemetry { messages, at_once };
        let [ours, bare] = side_by_side(&task, sink)?;
        let budget = if at_once == 1000 { "≤ 2 µs, ≥ 250,000/s" } else { "" };
        for (who, readings, budget) in [("dps-core", &ours, budget), ("bare", &bare, "")] {
            row(page, &format!("{at_once} | {who}"), readings, messages, budget)?;
        }
    }
    let (at_once, messages) = (1000, 100_000);
    let task = Task::Telemetry { messages, at_once };
    let stored = repeat(|| client(By::Core, &task, emulator))?;
    let what = format!("{at_once} | dps-core, to the emulator, which stores each");
    row(page, &what, &stored, messages, "")?;
    writeln!(page)?;
    Ok(())
}

fn row(
    page: &mut String,
    what: &str,
    readings: &[Reading],
    messages: usize,
    budget: &str,
) -> Outcome<()> {
    let messages = messages as f64;
    writeln!(
        page,
        "| {what} | {:.2} | {:.0} | {budget} |",
        Spread::of(readings, |r| r.cpu / messages),
        Spread::of(readings, |r| messages / r.wall * 1e6),
    )?;
    Ok(())
}

fn fleets(page: &mut String, site: &Site) -> Outcome<()> {
    writeln!(
        page,
        "## Many devices in one process\n\n\
         Each opens its credential from files, registers, connects to its hub and stays. Memory is \
         what the process has grown by, for each device.\n\n\
         | devices | | CPU each, ms | memory each, KB | threads | budget |\n|---|---|---|---|---|---|"
    )?;
    for devices in FLEETS {
        let [ours, bare] = side_by_side(&Task::Fleet { devices }, site)?;
        let budget = if devices == 1000 { "≤ 2.5 ms, ≤ 48 KB" } else { "" };
        for (who, readings, budget) in [("dps-core", &ours, budget), ("bare", &bare, "")] {
            let each = devices as f64;
            writeln!(
                page,
                "| {devices} | {who} | {:.2} | {:.1} | {:.0} | {budget} |",
                Spread::of(readings, |r| r.cpu / 1000.0 / each),
                Spread::of(readings, |r| (r.rss - r.rss_before) / each),
                Spread::of(readings, |r| r.threads),
            )?;
        }
    }
    writeln!(page)?;
    Ok(())
}

fn minting(page: &mut String, site: &Site) -> Outcome<()> {
    writeln!(
        page,
        "## Making device certificates\n\n\
         A new EC P-256 key, its certificate, and three files: the key, the certificate, the full \
         chain. Each file is written under another name, forced to the disk, and renamed; on a disk \
         that is most of the time, as files of the same sizes alone show. One thread. Beside it the \
         `openssl` command, three times for each device (`genpkey`, `req`, `x509`), which forces \
         nothing to the disk.\n\n\
         | | devices/s | CPU each, µs | budget |\n|---|---|---|---|"
    )?;
    let memory = Path::new("/dev/shm");
    let places = [("to memory", memory), ("to the disk", Path::new(env!("CARGO_TARGET_TMPDIR")))];
    for (place, parent) in places.into_iter().filter(|(_, parent)| parent.is_dir()) {
        let (mut ours, mut files) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            for (by, readings) in [(By::Core, &mut ours), (By::Bare, &mut files)] {
                let folder = tempfile::tempdir_in(parent)?;
                let task = Task::Mint { devices: MINTED, folder: folder.path().to_owned() };
                readings.push(client(by, &task, site)?);
            }
        }
        for (what, readings, budget) in
            [("dps-core", &ours, "≥ 1,000/s"), ("the files alone", &files, "")]
        {
            writeln!(
                page,
                "| {what}, {place} | {:.0} | {:.0} | {budget} |",
                Spread::of(readings, |r| MINTED as f64 / r.wall * 1e6),
                Spread::of(readings, |r| r.cpu / MINTED as f64),
            )?;
        }
    }
    let rates = repeat(openssl::devices_per_second)?;
    writeln!(page, "| the `openssl` command | {:.0} | | |\n", Spread::new(rates))?;
    Ok(())
}

fn side_by_side(task: &Task, site: &Site) -> Outcome<[Vec<Reading>; 2]> {
    taking_turns(RUNS, [(By::Core, task), (By::Bare, task)], site)
}

fn taking_turns<const N: usize>(
    runs: usize,
    turns: [(By, &Task); N],
    site: &Site,
) -> Outcome<[Vec<Reading>; N]> {
    let mut readings = [(); N].map(|()| Vec::new());
    for _ in 0..runs {
        for ((by, task), readings) in turns.iter().zip(&mut readings) {
            readings.push(client(*by, task, site)?);
        }
    }
    Ok(readings)
}

fn repeat<T>(mut measure: impl FnMut() -> Outcome<T>) -> Outcome<Vec<T>> {
    (0..RUNS).map(|_| measure()).collect()
}
