//! Coming back after a cut.

use std::process::Command;

use dps_benches::{By, Outcome, Site, Task};

use crate::{
    bench::Bench,
    process::{client, reading},
    spread::Spread,
    table::{Row, Table, Who, plotted},
    turns::{Contender, take_turns},
};

const RUNS: usize = 15;
/// Each is cut once.
const DEVICES: usize = 6 * RUNS;

pub(crate) fn tables(bench: &Bench) -> Outcome<Vec<Table>> {
    // The first message of each device goes through.
    let emulator = bench.emulator_that_cuts(DEVICES, 2)?;
    bench.register(&emulator, DEVICES)?;
    let site = &emulator.site;
    let script = move |mut command: Command, device: usize| {
        command.arg(&site.hub).arg(Site::device_id(device));
        reading(command.args([site.chain(device), site.key(device)]))
    };
    let contenders = [
        Contender::new(Who::Ours, "Rust: dps-core", |run| {
            client(By::Core, &Task::Reconnect { device: run }, site)
        }),
        Contender::new(Who::Ours, "Python: dps-core", |run| {
            script(bench.programs.python_script(Who::Ours, "reconnect.py", site), RUNS + run)
        }),
        Contender::new(Who::Theirs, "Python: azure-iot-device", |run| {
            script(bench.programs.python_script(Who::Theirs, "reconnect.py", site), 2 * RUNS + run)
        }),
        Contender::new(Who::Ours, "Node: dps-core", |run| {
            script(bench.programs.node_script(Who::Ours, "reconnect.js", site), 3 * RUNS + run)
        }),
        Contender::new(Who::Theirs, "Node: azure-iot-device-mqtt", |run| {
            script(bench.programs.node_script(Who::Theirs, "reconnect.js", site), 4 * RUNS + run)
        }),
        Contender::new(Who::Ours, "C: dps-core", |run| {
            script(bench.programs.c("reconnect", site), 5 * RUNS + run)
        }),
    ];
    let readings = take_turns(bench.runs(RUNS), &contenders)?;
    let rows = contenders.iter().zip(&readings).map(|(contender, readings)| {
        let time = Some(Spread::of(readings, |r| r.wall / 1000.0));
        Row::new(contender.who, contender.label.clone(), [time])
    });
    Ok(vec![Table {
        slug: "reconnect",
        title: "Coming back after a cut",
        text: format!(
            "The server cuts the connection when a message arrives, before it is handled. The time is \
             that of the one call, from the send to the acknowledgement over the next connection: \
             noticing, waiting, TLS handshake, CONNECT, the message again. Most of it is the wait \
             before the first attempt: dps-core's is at random up to a ceiling, so that a fleet that \
             lost its hub does not come back in one instant; the incumbent's in Python is none. {RUNS} \
             runs."
        ),
        columns: vec![plotted("time, ms", 1)],
        rows: rows.collect(),
    }])
}
