//! What a package costs before it does anything, and the whole process of a simple device.

use std::{fs, process::Command};

use dps_benches::{By, Outcome, Reading, Site, Task};

use crate::{
    bench::{Bench, cpu_ms, peak_mb, wall_ms},
    process::{client_command, whole},
    spread::Spread,
    table::{Row, Table, Who, column, plotted},
    turns::{Contender, take_turns},
};

const RUNS: usize = 9;
const MESSAGES: usize = 10;

const NODE_REQUIRES: &str = "require('azure-iot-device'); require('azure-iot-device-mqtt'); \
                             require('azure-iot-provisioning-device'); \
                             require('azure-iot-provisioning-device-mqtt'); \
                             require('azure-iot-security-x509')";

/// What a program costs that does nothing but load the package.
pub(crate) fn import(bench: &Bench) -> Outcome<Vec<Table>> {
    let python = |who, label: &str, code: &str| {
        let mut command = bench.programs.python(who);
        command.args(["-c", code]);
        process(who, label, command)
    };
    let node = |who, label: &str, code: &str| {
        let mut command = bench.programs.node(who);
        command.args(["-e", code]);
        process(who, label, command)
    };
    let contenders = [
        python(Who::Bare, "Python: `pass`", "pass"),
        python(Who::Ours, "Python: `import dps_core`", "import dps_core"),
        python(Who::Theirs, "Python: `import azure.iot.device`", "import azure.iot.device"),
        python(Who::Bare, "Python: `import asyncio`", "import asyncio"),
        python(Who::Ours, "Python: `import dps_core.aio`", "import dps_core.aio"),
        python(Who::Theirs, "Python: `import azure.iot.device.aio`", "import azure.iot.device.aio"),
        node(Who::Bare, "Node: `0`", "0"),
        node(Who::Ours, "Node: `require('dps-core')`", "require('dps-core')"),
        node(Who::Theirs, "Node: the five packages for MQTT and X.509", NODE_REQUIRES),
    ];
    let mut rows = rows(&contenders, bench.runs(RUNS))?;
    for (ours, bare) in [(1, 0), (7, 6)] {
        let [floor] = floors(&rows, bare, [0]);
        rows[ours].at_most_above(&floor, 0, 15.0, " ms above bare");
    }
    Ok(vec![Table {
        slug: "import",
        title: "Loading the package",
        text: "A whole process that loads the package and ends, from its start to its end. \
               Memory is the most that was ever resident, the interpreter included."
            .to_owned(),
        columns: vec![plotted("CPU, ms", 1), column("time, ms", 1), plotted("memory, MB", 1)],
        rows,
    }])
}

/// Start, register, connect, ten messages, end.
pub(crate) fn device(bench: &Bench) -> Outcome<Vec<Table>> {
    let emulator = bench.emulator(1)?;
    let site = &emulator.site;
    let (chain, key) = (site.chain(0), site.key(0));
    let python = |who, label: &str, form: &str| {
        let mut command = bench.programs.python_script(who, "device.py", site);
        command.args([form, &site.id_scope, &Site::device_id(0)]).args([&chain, &key]);
        process(who, label, command)
    };
    let node = |who, label: &str| {
        let mut command = bench.programs.node_script(who, "device.js", site);
        command.args([&site.id_scope, &Site::device_id(0)]).args([&chain, &key]);
        process(who, label, command)
    };
    let bare_python = |label, code| {
        let mut command = bench.programs.python(Who::Bare);
        command.args(["-c", code]);
        process(Who::Bare, label, command)
    };
    let mut bare_node = bench.programs.node(Who::Bare);
    bare_node.arg("/dev/null");
    let mut c = bench.programs.c("device", site);
    c.arg(&site.id_scope).args([&chain, &key]);
    let task = Task::Device { messages: MESSAGES };
    let rust = |by, label: &str, site: &Site| -> Outcome<Contender<'_>> {
        let who = if by == By::Core { Who::Ours } else { Who::Bare };
        Ok(process(who, label, client_command(by, &task, site)?))
    };
    let mut contenders = vec![
        bare_python("Python: the interpreter alone", "pass"),
        python(Who::Ours, "Python, blocking: dps-core", "blocking"),
        python(Who::Theirs, "Python, blocking: azure-iot-device", "blocking"),
        bare_python("Python: `import asyncio` alone", "import asyncio"),
        python(Who::Ours, "Python, asyncio: dps-core", "asyncio"),
        python(Who::Theirs, "Python, asyncio: azure-iot-device", "asyncio"),
        process(Who::Bare, "Node: an empty program", bare_node),
        node(Who::Ours, "Node: dps-core"),
        node(Who::Theirs, "Node: azure-iot-device-mqtt"),
        process(Who::Ours, "C: dps-core", c),
        rust(By::Core, "Rust: dps-core", site)?,
        rust(By::Bare, "Rust: bare", site)?,
    ];
    // What a device that trusts the platform's roots holds, with the emulator's among them.
    if let Ok(platform) = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt") {
        let roots = site.devices.join("many-roots.pem");
        fs::write(&roots, fs::read_to_string(&site.roots)? + &platform)?;
        let count = platform.matches("-----BEGIN CERTIFICATE-----").count();
        let site = Site { roots, ..site.clone() };
        let label = format!("Rust: dps-core, with the platform's {count} roots");
        contenders.push(rust(By::Core, &label, &site)?);
        contenders.push(rust(By::Bare, "Rust: bare, with them", &site)?);
    }
    let mut rows = rows(&contenders, bench.runs(RUNS))?;
    rows[1].at_most(0, 30.0, " ms");
    rows[1].at_most(2, 16.0, " MB");
    let [cpu, memory] = floors(&rows, 3, [0, 2]);
    rows[4].at_most_above(&cpu, 0, 20.0, " ms above bare");
    rows[4].at_most_above(&memory, 2, 6.0, " MB above bare");
    rows[7].at_most(0, 70.0, " ms");
    rows[7].at_most(2, 46.0, " MB").limited_by(
        "nearly all is Node's own, as its row alone shows. Of the 7 MB above it, 5 are pages of our \
         library's file, which Linux maps 64 KB at a time around each that is touched: in ten \
         messages nearly all of its code. 1.5 are Node's own symbol tables, searched for the \
         functions that an addon calls; the rest V8's heap, and the stacks and heaps of two threads.",
    );
    rows[9].at_most(2, 6.0, " MB");
    rows[10].at_most(2, 15.0, " MB");
    Ok(vec![Table {
        slug: "process",
        title: "One device's process",
        text: format!(
            "From its start to its end: opens its credential from files, registers, connects to its \
             hub, sends {MESSAGES} messages, closes; the asyncio and Node programs send them \
             together, the others one at a time. Memory is the most that was ever resident, the \
             program itself included. \"Bare\" in Rust is tokio-rustls with the MQTT codec. More on C \
             is in [figures-c.md](figures-c.md)."
        ),
        columns: vec![plotted("CPU, ms", 1), column("time, ms", 1), plotted("memory, MB", 1)],
        rows,
    }])
}

/// The tutorial for two devices, by one command.
pub(crate) fn tutorial(bench: &Bench) -> Outcome<Vec<Table>> {
    let mut quickstart = bench.programs.dps();
    quickstart.arg("quickstart");
    let mut rows = rows(
        &[process(Who::Ours, "`dps quickstart`, as `make demo` builds it", quickstart)],
        bench.runs(RUNS),
    )?;
    rows[0].at_most(1, 20_000.0, " ms");
    Ok(vec![Table {
        slug: "tutorial",
        title: "The tutorial",
        text: "`make demo` once it is built: starts the emulator, makes four RSA-4096 keys and their \
               chain, proves possession of the root, enrols a group, registers two devices and sends \
               their telemetry. Nearly all of it is the search for the primes of the keys, which are \
               at random, and so is the time."
            .to_owned(),
        columns: vec![column("CPU, ms", 0), plotted("time, ms", 0), column("memory, MB", 1)],
        rows,
    }])
}

fn process<'a>(who: Who, label: &str, command: Command) -> Contender<'a> {
    Contender::new(who, label, move |_| whole(&command))
}

fn rows(contenders: &[Contender<'_>], runs: usize) -> Outcome<Vec<Row>> {
    let readings = take_turns(runs, contenders)?;
    let row = |(contender, readings): (&Contender<'_>, &Vec<Reading>)| {
        let cells = [cpu_ms, wall_ms, peak_mb].map(|value| Some(Spread::of(readings, value)));
        Row::new(contender.who, contender.label.clone(), cells)
    };
    Ok(contenders.iter().zip(&readings).map(row).collect())
}

fn floors<const N: usize>(rows: &[Row], row: usize, columns: [usize; N]) -> [Spread; N] {
    columns.map(|column| rows[row].cells[column].clone().unwrap_or_else(|| Spread::new(vec![0.0])))
}
