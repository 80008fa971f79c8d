//! What a registration costs above the handshake that it cannot do without.

use dps_benches::{By, Outcome, Reading, Site, Task};

use crate::{
    bench::{Bench, rust},
    spread::{Spread, ratio},
    table::{Column, Row, Table, column, plotted},
    turns::{Contender, take_turns},
};

/// Short turns and many: the differences are small.
const RUNS: usize = 31;
const TIMES: usize = 160;

/// How many devices a gateway registers at the same time.
const DEVICES: usize = 16;

const BUDGET: f64 = 1.25;

pub(crate) fn tables(bench: &Bench) -> Outcome<Vec<Table>> {
    let emulator = bench.emulator(DEVICES)?;
    Ok(vec![abreast(bench, &emulator.site)?, alone(bench, &emulator.site)?])
}

fn abreast(bench: &Bench, site: &Site) -> Outcome<Table> {
    let register = Task::Register { devices: DEVICES, times: TIMES };
    let handshake = Task::Handshake { devices: DEVICES, times: TIMES, pause: 0 };
    let contenders = [
        rust(By::Core, "dps-core: `register()`", &register, site),
        rust(By::Bare, "bare: the TLS handshake alone", &handshake, site),
        rust(By::Bare, "bare: the whole dialogue", &register, site),
    ];
    let mut rows = rows(bench, &contenders)?;
    rows[1].at_most(1, BUDGET, "");
    Ok(Table {
        slug: "registration",
        title: "Registrations, many at a time",
        text: format!(
            "{DEVICES} devices in one process, each assigned at once, in Rust: the mean of {TIMES} \
             registrations, {RUNS} times. Beside them their TLS handshakes alone, by tokio-rustls \
             and nothing else, which the budget compares with; and the whole dialogue by \
             tokio-rustls and the MQTT codec, so that the last ratio is what dps-core itself adds. \
             Each ratio is that of runs that were neighbours."
        ),
        columns: columns(),
        rows,
    })
}

fn alone(bench: &Bench, site: &Site) -> Outcome<Table> {
    let register = Task::Register { devices: 1, times: TIMES };
    let hurried = Task::Handshake { devices: 1, times: TIMES, pause: 0 };
    let pause = pause(bench, site, &register, &hurried)?;
    let paced = Task::Handshake { devices: 1, times: TIMES, pause };
    let contenders = [
        rust(By::Core, "dps-core: `register()`", &register, site),
        rust(By::Bare, "bare: the TLS handshake alone, at this pace", &paced, site),
        rust(By::Bare, "bare: the TLS handshake alone, without a pause", &hurried, site),
        rust(By::Bare, "bare: the whole dialogue", &register, site),
    ];
    let mut rows = rows(bench, &contenders)?;
    rows[1].at_most(1, BUDGET, "");
    Ok(Table {
        slug: "registration-alone",
        title: "A registration, one at a time",
        text: format!(
            "The same for one device that registers again and again. It sleeps while the service \
             works, and after a sleep the caches are cold, which makes its next handshake dearer. \
             So the budget compares it with handshakes at the same pace, with a pause of {pause} µs \
             before the end of each. The third row is without the pause: its handshakes find warm \
             caches, as no registration does, and it has no budget."
        ),
        columns: columns(),
        rows,
    })
}

/// How long dps-core sleeps in a registration, beyond what it sleeps in the handshake.
fn pause(bench: &Bench, site: &Site, register: &Task, handshake: &Task) -> Outcome<u64> {
    let contenders =
        [rust(By::Core, "register", register, site), rust(By::Bare, "handshake", handshake, site)];
    let readings = take_turns(bench.runs(RUNS), &contenders)?;
    let slept = |of: &[Reading]| Spread::of(of, |r| (r.wall - r.cpu) / TIMES as f64).median();
    Ok((slept(&readings[0]) - slept(&readings[1])) as u64)
}

fn columns() -> Vec<Column> {
    vec![plotted("CPU each, µs", 0), plotted("dps-core to this", 2), column("on the wall, µs", 0)]
}

fn rows(bench: &Bench, contenders: &[Contender<'_>]) -> Outcome<Vec<Row>> {
    let readings: Vec<Vec<Reading>> = take_turns(bench.runs(RUNS), contenders)?;
    let rows = contenders.iter().zip(&readings).map(|(contender, theirs)| {
        let each = Spread::of(theirs, |r| r.cpu / TIMES as f64);
        let ours = ratio(&readings[0], theirs, |r| r.cpu);
        let wall = Spread::of(theirs, |r| r.wall / TIMES as f64);
        Row::new(contender.who, contender.label.clone(), [Some(each), Some(ours), Some(wall)])
    });
    Ok(rows.collect())
}
