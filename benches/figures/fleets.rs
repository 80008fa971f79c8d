//! Many devices in one process.

use dps_benches::{By, Outcome, Reading, Task};

use crate::{
    bench::{Bench, rust},
    process::reading,
    spread::{Spread, grouped},
    table::{Row, Table, Who, column, plotted},
    turns::{Contender, take_turns},
};

/// Of the scripts.
const RUNS: usize = 5;
const FEW: usize = 100;
const MANY: usize = 1000;

/// In Rust: how many devices, and how often.
const GROWTH: [(usize, usize); 4] = [(10, 9), (100, 9), (1000, 9), (10_000, 3)];

/// In Python and Node, beside the incumbents, and in C.
pub(crate) fn gateways(bench: &Bench) -> Outcome<Vec<Table>> {
    let emulator = bench.emulator(MANY)?;
    let site = &emulator.site;
    let python = |who, label: &str, devices: usize| {
        Contender::new(who, label, move |_| {
            let mut command = bench.programs.python_script(who, "fleet.py", site);
            reading(command.arg(&site.id_scope).arg(&site.devices).arg(devices.to_string()))
        })
    };
    let node = |who, label: &str, devices: usize| {
        Contender::new(who, label, move |_| {
            let mut command = bench.programs.node_script(who, "fleet.js", site);
            reading(command.arg(&site.id_scope).arg(&site.devices).arg(devices.to_string()))
        })
    };
    let c = |label: &str, devices: usize| {
        Contender::new(Who::Ours, label, move |_| {
            let mut command = bench.programs.c("fleet", site);
            reading(command.arg(&site.id_scope).arg(&site.devices).arg(devices.to_string()))
        })
    };
    let contenders = [
        python(Who::Ours, "Python, 100 devices: dps-core", FEW),
        python(Who::Theirs, "Python, 100 devices: azure-iot-device", FEW),
        python(Who::Ours, "Python, 1,000 devices: dps-core", MANY),
        node(Who::Ours, "Node, 100 devices: dps-core", FEW),
        node(Who::Theirs, "Node, 100 devices: azure-iot-device-mqtt", FEW),
        node(Who::Ours, "Node, 1,000 devices: dps-core", MANY),
        c("C, 100 devices: dps-core", FEW),
        c("C, 1,000 devices: dps-core", MANY),
    ];
    let readings = take_turns(bench.runs(RUNS), &contenders)?;
    let devices = [FEW, FEW, MANY, FEW, FEW, MANY, FEW, MANY];
    let mut rows: Vec<Row> = contenders
        .iter()
        .zip(readings)
        .zip(devices)
        .map(|((contender, readings), devices)| {
            Row::new(contender.who, contender.label.clone(), cells(&readings, devices))
        })
        .collect();
    for ours in [2, 5] {
        rows[ours].at_most(0, 3.0, " ms").at_most(1, 48.0, " KB").limited_by(
            "part of the memory is no device's: the interpreter grows once, as the row of 100 devices \
             shows, among which the same growth is divided. Of Node's nearly 7 MB, most are pages of \
             its own code, for its compiler and its garbage collector, and V8's heap.",
        );
    }
    // In Python once: it may take the incumbent a minute, or for ever.
    for (place, runs, contender) in [
        (3, 1, python(Who::Theirs, "Python, 1,000 devices: azure-iot-device, once", MANY)),
        (7, 3, node(Who::Theirs, "Node, 1,000 devices: azure-iot-device-mqtt, 3 runs", MANY)),
    ] {
        let row = match take_turns(bench.runs(runs), std::slice::from_ref(&contender)) {
            Ok(readings) => Row::new(contender.who, contender.label, cells(&readings[0], MANY)),
            Err(error) => Row::new(contender.who, error.to_string(), [(); 4].map(|()| None)),
        };
        rows.insert(place, row);
    }
    Ok(vec![Table {
        slug: "devices",
        title: "Many devices in one process",
        text: format!(
            "Each opens its credential from files, registers, connects to its hub and stays, 32 at \
             the same time; {RUNS} runs. In C all of them are polled by one thread, which rests for 0.2 ms \
             after each round. Memory is what the process has grown by, for each device; \
             threads are those of the whole process at the end. Of Rust, see the next table."
        ),
        columns: columns(),
        rows,
    }])
}

/// From ten devices to ten thousand, in Rust.
pub(crate) fn growth(bench: &Bench) -> Outcome<Vec<Table>> {
    let most = GROWTH.iter().map(|(devices, _)| *devices).max().unwrap_or_default();
    let emulator = bench.emulator(most)?;
    let mut rows = Vec::new();
    for (devices, runs) in GROWTH {
        let task = Task::Fleet { devices };
        let contenders = [
            rust(
                By::Core,
                &format!("{} devices: dps-core", grouped(devices as f64, 0)),
                &task,
                &emulator.site,
            ),
            rust(
                By::Bare,
                &format!("{} devices: bare", grouped(devices as f64, 0)),
                &task,
                &emulator.site,
            ),
        ];
        let readings = take_turns(bench.runs(runs), &contenders)?;
        for (contender, readings) in contenders.iter().zip(&readings) {
            let label = contender.label.clone();
            rows.push(Row::new(contender.who, label, cells(readings, devices)));
        }
    }
    rows[4].at_most(0, 2.5, " ms").at_most(1, 48.0, " KB");
    // Flat: the last as little as the first, within what two runs of the same differ by.
    for column in [0, 1] {
        let first = rows[0].cells[column].clone();
        let unit =
            if column == 0 { " ms, as 10 devices and 5 %" } else { " KB, as 10 devices and 5 %" };
        if let Some(first) = first {
            rows[6].at_most(column, (first.median() * 105.0).round() / 100.0, unit);
        }
    }
    Ok(vec![Table {
        slug: "growth",
        title: "Growth, in Rust",
        text: "The same in Rust, from ten devices to ten thousand; of ten thousand, three runs. \
               \"Bare\" is tokio-rustls with the MQTT codec. What each device costs is to stay as it \
               is with ten."
            .to_owned(),
        columns: columns(),
        rows,
    }])
}

fn cells(readings: &[Reading], devices: usize) -> [Option<Spread>; 4] {
    let each = devices as f64;
    [
        Some(Spread::of(readings, |r| r.cpu / 1000.0 / each)),
        Some(Spread::of(readings, |r| (r.rss - r.rss_before) / each)),
        Some(Spread::of(readings, |r| r.threads)),
        Some(Spread::of(readings, |r| r.wall / 1e6)),
    ]
}

fn columns() -> Vec<crate::table::Column> {
    vec![
        plotted("CPU each, ms", 2),
        plotted("memory each, KB", 1),
        column("threads", 0),
        column("time for all, s", 2),
    ]
}
