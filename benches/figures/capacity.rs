//! The emulator's own limits.

use dps_benches::{By, Outcome, Reading, Task};

use crate::{
    bench::{Bench, rust},
    spread::{Spread, grouped},
    table::{Row, Table, column, plotted},
    turns::take_turns,
};

const RUNS: usize = 5;
const DEVICES: usize = 2000;
const REGISTRATIONS_AT_ONCE: [usize; 3] = [1, 16, 128];
/// Devices, messages that each has under way, messages of each.
const MESSAGES: [(usize, usize, usize); 3] = [(1, 1, 5000), (1, 1000, 100_000), (100, 10, 1000)];

pub(crate) fn tables(bench: &Bench) -> Outcome<Vec<Table>> {
    let emulator = bench.emulator(DEVICES)?;
    let mut registrations = Vec::new();
    for at_once in REGISTRATIONS_AT_ONCE {
        let task = Task::Registrations { devices: DEVICES, at_once };
        let label = format!("{at_once} at once");
        let contenders = [rust(By::Core, &label, &task, &emulator.site)];
        let readings = take_turns(bench.runs(RUNS), &contenders)?;
        registrations.push(Row::new(contenders[0].who, label, cells(&readings[0], DEVICES)));
    }
    let mut messages = Vec::new();
    for (devices, at_once, each) in MESSAGES {
        let task = Task::Messages { devices, at_once, messages: each };
        let label = match devices {
            1 => format!("1 device, {} at once", grouped(at_once as f64, 0)),
            _ => format!("{devices} devices, {at_once} at once each"),
        };
        let contenders = [rust(By::Core, &label, &task, &emulator.site)];
        let readings = take_turns(bench.runs(RUNS), &contenders)?;
        messages.push(Row::new(contenders[0].who, label, cells(&readings[0], devices * each)));
    }
    Ok(vec![
        Table {
            slug: "capacity-registrations",
            title: "The emulator: registrations",
            text: format!(
                "{} devices register with dps-core, so many at the same time, the client on \
                 one thread beside the emulator on the same cores: what a test may expect of the \
                 emulator, not what DPS does. A latency is that of one `register()`, connection and \
                 farewell included. {RUNS} runs.",
                grouped(DEVICES as f64, 0)
            ),
            columns: columns("registrations/s"),
            rows: registrations,
        },
        Table {
            slug: "capacity-messages",
            title: "The emulator: messages",
            text: format!(
                "Messages of {} bytes, each stored before it is acknowledged. A latency is that of \
                 one `send`. {RUNS} runs.",
                dps_benches::MESSAGE_SIZE
            ),
            columns: columns("messages/s"),
            rows: messages,
        },
    ])
}

fn columns(rate: &'static str) -> Vec<crate::table::Column> {
    vec![
        plotted(rate, 0),
        column("half within, ms", 2),
        column("90 % within, ms", 2),
        plotted("99 % within, ms", 2),
        column("99.9 % within, ms", 2),
    ]
}

fn cells(readings: &[Reading], count: usize) -> [Option<Spread>; 5] {
    let latency = |value: fn(&Reading) -> f64| Some(Spread::of(readings, |r| value(r) / 1000.0));
    [
        Some(Spread::of(readings, |r| count as f64 / r.wall * 1e6)),
        latency(|r| r.latency.p50),
        latency(|r| r.latency.p90),
        latency(|r| r.latency.p99),
        latency(|r| r.latency.p999),
    ]
}
