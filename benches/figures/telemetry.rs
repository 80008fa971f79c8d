//! Messages of one device, at QoS 1.

use std::{process::Command, thread};

use dps_benches::{By, MESSAGE_SIZE, Outcome, Reading, Site, Task};

use crate::{
    bench::{Bench, rust},
    process::{Server, client, reading},
    programs::sink_hub,
    spread::{Spread, grouped},
    table::{Row, Table, Who, column, plotted},
    turns::{Contender, take_turns},
};

const RUNS: usize = 9;
/// The incumbents take seconds for each run.
const SCRIPT_RUNS: usize = 5;
const SCRIPT_MESSAGES: usize = 5000;

/// Of these many sends at once, in Rust.
const AT_ONCE: [(usize, usize); 3] = [(1000, 1_000_000), (100, 300_000), (1, 20_000)];
/// And in C.
const C_AT_ONCE: usize = 1000;

pub(crate) fn tables(bench: &Bench) -> Outcome<Vec<Table>> {
    let emulator = bench.emulator(1)?;
    bench.register(&emulator, 1)?;
    let sink = bench.sink(&emulator)?;
    let tables = vec![
        in_rust(bench, &sink.site, &emulator.site)?,
        in_python(bench, &sink, &emulator)?,
        in_node(bench, &sink, &emulator)?,
    ];
    Ok(tables)
}

fn in_rust(bench: &Bench, sink: &Site, emulator: &Site) -> Outcome<Table> {
    let mut rows = Vec::new();
    for (at_once, messages) in AT_ONCE {
        let task = Task::Telemetry { messages, at_once };
        let contenders = [
            rust(
                By::Core,
                &format!("{} at once: dps-core", grouped(at_once as f64, 0)),
                &task,
                sink,
            ),
            rust(By::Bare, &format!("{} at once: bare", grouped(at_once as f64, 0)), &task, sink),
        ];
        let readings = take_turns(bench.runs(RUNS), &contenders)?;
        for (contender, readings) in contenders.iter().zip(&readings) {
            let [cpu, rate] = each(readings, messages);
            rows.push(Row::new(contender.who, contender.label.clone(), [Some(cpu), Some(rate)]));
        }
    }
    rows[0].at_most(0, 2.0, " µs").at_least(1, 250_000.0, "/s");
    let in_c = |form: &'static str, site, messages: usize| {
        let mut command = bench.programs.c("telemetry", site);
        command.args([form, &site.hub, &Site::device_id(0)]).args([site.chain(0), site.key(0)]);
        reading(command.args([messages, C_AT_ONCE].map(|number| number.to_string())))
    };
    let messages = 200_000;
    let contenders =
        [("C, blocking calls", "blocking"), ("C, polling", "polling")].map(|(name, form)| {
            let label = format!("{} at once: {name}", grouped(C_AT_ONCE as f64, 0));
            Contender::new(Who::Ours, label, move |_| in_c(form, sink, messages))
        });
    let readings = take_turns(bench.runs(RUNS), &contenders)?;
    for (contender, readings) in contenders.iter().zip(&readings) {
        let [cpu, rate] = each(readings, messages);
        let mut row = Row::new(contender.who, contender.label.clone(), [Some(cpu), Some(rate)]);
        row.at_most(0, 2.0, " µs").at_least(1, 250_000.0, "/s");
        rows.push(row);
    }
    let (at_once, messages) = (1000, 100_000);
    let task = Task::Telemetry { messages, at_once };
    let label = |name| {
        format!(
            "{} at once: {name}, to the emulator, which stores each",
            grouped(at_once as f64, 0)
        )
    };
    let stored = [
        Contender::new(Who::Ours, label("dps-core"), |_| client(By::Core, &task, emulator)),
        Contender::new(Who::Ours, label("C, blocking calls"), |_| {
            in_c("blocking", emulator, messages)
        }),
    ];
    for (contender, readings) in stored.iter().zip(take_turns(bench.runs(RUNS), &stored)?) {
        let [cpu, rate] = each(&readings, messages);
        rows.push(Row::new(contender.who, contender.label.clone(), [Some(cpu), Some(rate)]));
    }
    Ok(Table {
        slug: "telemetry-rust",
        title: "Telemetry in Rust and C",
        text: format!(
            "One device sends messages of {MESSAGE_SIZE} bytes at QoS 1 to a hub that acknowledges \
             each and keeps none. So many `send`s wait for their acknowledgements at the same time, \
             each in a task of its own whose cost is counted too. With one at a time, what is \
             measured is mostly the way through the kernel and back. \"Bare\" is tokio-rustls with \
             the MQTT codec."
        ),
        columns: vec![plotted("CPU each, µs", 2), plotted("messages/s", 0)],
        rows,
    })
}

fn in_python(bench: &Bench, sink: &Server, emulator: &Server) -> Outcome<Table> {
    let forms = [
        (Who::Bare, "gather", "bare: gathering coroutines that do nothing"),
        (Who::Ours, "gather", "dps-core: asyncio, all gathered"),
        (Who::Ours, "batch", "dps-core: asyncio, `send_messages`"),
        (Who::Ours, "one", "dps-core: asyncio, one at a time"),
        (Who::Ours, "threads", "dps-core: blocking, 20 threads"),
        (Who::Ours, "blocking", "dps-core: blocking, one at a time"),
        (Who::Theirs, "gather", "azure-iot-device: asyncio, all gathered"),
        (Who::Theirs, "one", "azure-iot-device: asyncio, one at a time"),
        (Who::Theirs, "threads", "azure-iot-device: blocking, 20 threads"),
        (Who::Theirs, "blocking", "azure-iot-device: blocking, one at a time"),
    ];
    let measure = |who, form: &str, hub: &str, site: &Site| {
        let mut command = bench.programs.python_script(who, "telemetry.py", site);
        reading(device(command.args([form, hub]), site))
    };
    let mut rows = in_scripts(bench, &forms, measure, sink, emulator)?;
    let limit = python_limit(&rows)?;
    rows[1]
        .at_most(0, 15.0, " µs")
        .at_least(2, 20.0, "×")
        .at_least(5, 20.0, "× to the emulator")
        .limited_by(limit);
    Ok(Table {
        slug: "telemetry-python",
        title: "Telemetry in Python",
        text: scripts_text("azure-iot-device"),
        columns: columns(),
        rows,
    })
}

/// What holds up coroutines that are gathered, in the figures of this run.
fn python_limit(rows: &[Row]) -> Outcome<String> {
    let bare = median(rows, 0, 0)?;
    let emulator = emulator_limit(rows, 20.0)?;
    Ok(format!(
        "most of the CPU is the interpreter's own: a coroutine, a task and a context for each \
         message, and their collection, {bare:.1} µs in the first row. {emulator} `send_messages` \
         has no task for each message."
    ))
}

/// What holds up promises that are settled one by one, in the figures of this run.
fn node_limit(rows: &[Row]) -> Outcome<String> {
    let emulator = emulator_limit(rows, 6.0)?;
    Ok(format!(
        "Node's event loop wakes up for each burst of acknowledgements, and the emulator, which stores \
         a burst before it acknowledges it, has more and smaller ones than the hub that keeps nothing. \
         {emulator}"
    ))
}

/// How far the emulator's own CPU decides a rate of so many `times` the incumbent's.
fn emulator_limit(rows: &[Row], times: f64) -> Outcome<String> {
    let cores = thread::available_parallelism()?.get() as f64;
    let [rate, ratio, server] = [median(rows, 1, 4)?, median(rows, 1, 5)?, median(rows, 1, 6)?];
    let budget = cores * 1e6 / (rate / ratio * times);
    Ok(format!(
        "To the emulator, its CPU decides too: at {times} times the incumbent's rate the {cores} \
         cores, which the two share, have {budget:.1} µs for each message, of which the emulator \
         takes {server:.1} µs to store it."
    ))
}

fn median(rows: &[Row], row: usize, column: usize) -> Outcome<f64> {
    Ok(rows[row].cells[column].as_ref().map(Spread::median).ok_or("a figure is missing")?)
}

fn in_node(bench: &Bench, sink: &Server, emulator: &Server) -> Outcome<Table> {
    let forms = [
        (Who::Bare, "all", "bare: awaiting functions that do nothing"),
        (Who::Ours, "all", "dps-core: all at once"),
        (Who::Ours, "one", "dps-core: one at a time"),
        (Who::Theirs, "all", "azure-iot-device-mqtt: all at once"),
        (Who::Theirs, "one", "azure-iot-device-mqtt: one at a time"),
    ];
    let measure = |who, form: &str, hub: &str, site: &Site| {
        let mut command = bench.programs.node_script(who, "telemetry.js", site);
        reading(device(command.args([form, hub]), site))
    };
    let mut rows = in_scripts(bench, &forms, measure, sink, emulator)?;
    let limit = node_limit(&rows)?;
    rows[1]
        .at_most(0, 10.0, " µs")
        .at_least(2, 6.0, "×")
        .at_least(5, 6.0, "× to the emulator")
        .limited_by(limit);
    Ok(Table {
        slug: "telemetry-node",
        title: "Telemetry in Node",
        text: scripts_text("the azure-iot packages"),
        columns: columns(),
        rows,
    })
}

fn device<'a>(command: &'a mut Command, site: &Site) -> &'a mut Command {
    let count = SCRIPT_MESSAGES.to_string();
    command.arg(Site::device_id(0)).args([site.chain(0), site.key(0)]).arg(count)
}

/// Each form against the sink and, where that is not the same, the emulator.
fn in_scripts(
    bench: &Bench,
    forms: &[(Who, &'static str, &'static str)],
    measure: impl Fn(Who, &str, &str, &Site) -> Outcome<Reading>,
    sink: &Server,
    emulator: &Server,
) -> Outcome<Vec<Row>> {
    let measure = &measure;
    let mut contenders = Vec::new();
    for &(who, form, label) in forms {
        contenders.push(Contender::new(who, label, move |_| {
            measure(who, form, sink_hub(who, &sink.site), &sink.site)
        }));
    }
    for &(who, form, label) in forms.iter().filter(|(who, ..)| *who != Who::Bare) {
        contenders.push(Contender::new(who, format!("{label}, to the emulator"), move |_| {
            let before = emulator.cpu()?;
            let reading = measure(who, form, &emulator.site.hub, &emulator.site)?;
            Ok(Reading { server: emulator.cpu()? - before, ..reading })
        }));
    }
    let readings = take_turns(bench.runs(SCRIPT_RUNS), &contenders)?;
    let (to_sink, stored) = readings.split_at(forms.len());
    let stored_forms: Vec<_> =
        forms.iter().filter(|(who, ..)| *who != Who::Bare).copied().collect();
    let (best, best_stored) = (best_rates(forms, to_sink), best_rates(&stored_forms, stored));
    let mut stored = stored.iter();
    let rows = forms.iter().zip(to_sink).map(|(&(who, _, label), readings)| {
        let [cpu, rate] = each(readings, SCRIPT_MESSAGES).map(Some);
        if who == Who::Bare {
            return Row::new(who, label, [cpu, rate, None, None, None, None, None]);
        }
        let times = Some(to_the_best(readings, &best));
        let stored = stored.next().map(|readings| {
            let [cpu, rate] = each(readings, SCRIPT_MESSAGES);
            let server = Spread::of(readings, |r| r.server / SCRIPT_MESSAGES as f64);
            [cpu, rate, to_the_best(readings, &best_stored), server]
        });
        let [stored_cpu, stored_rate, stored_times, server] = match stored {
            Some(cells) => cells.map(Some),
            None => [None, None, None, None],
        };
        Row::new(who, label, [cpu, rate, times, stored_cpu, stored_rate, stored_times, server])
    });
    Ok(rows.collect())
}

/// How many times the incumbent's best rate, in each run.
fn to_the_best(readings: &[Reading], best: &[f64]) -> Spread {
    Spread::new(readings.iter().map(per_second).zip(best).map(|(rate, best)| rate / best).collect())
}

/// The incumbent's best rate in each run.
fn best_rates(forms: &[(Who, &str, &str)], readings: &[Vec<Reading>]) -> Vec<f64> {
    let theirs = forms.iter().zip(readings).filter(|((who, ..), _)| *who == Who::Theirs);
    let rates: Vec<Vec<f64>> =
        theirs.map(|(_, readings)| readings.iter().map(per_second).collect()).collect();
    let runs = rates.first().map_or(0, Vec::len);
    (0..runs).map(|run| rates.iter().map(|rates| rates[run]).fold(0.0, f64::max)).collect()
}

fn per_second(reading: &Reading) -> f64 {
    SCRIPT_MESSAGES as f64 / reading.wall * 1e6
}

/// CPU of each message in microseconds, and messages a second.
fn each(readings: &[Reading], messages: usize) -> [Spread; 2] {
    let messages = messages as f64;
    [Spread::of(readings, |r| r.cpu / messages), Spread::of(readings, |r| messages / r.wall * 1e6)]
}

fn columns() -> Vec<crate::table::Column> {
    vec![
        plotted("CPU each, µs", 1),
        plotted("messages/s", 0),
        column("to the incumbent's best", 2),
        column("to the emulator: CPU each, µs", 1),
        column("messages/s", 0),
        column("to the incumbent's best", 2),
        column("the emulator's own CPU each, µs", 1),
    ]
}

fn scripts_text(incumbent: &str) -> String {
    format!(
        "One device sends {} messages of {MESSAGE_SIZE} bytes at QoS 1, to the hub that \
         acknowledges each and keeps none, and to the emulator, which stores each; {SCRIPT_RUNS} \
         runs. CPU is that of all threads of the process. The ratio is to the best rate of \
         {incumbent}, in whatever form, in the same run.",
        grouped(SCRIPT_MESSAGES as f64, 0)
    )
}
