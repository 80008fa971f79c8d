//! What a registration costs above the handshake that it cannot do without.

use dps_benches::{By, Outcome, Task};

use crate::{
    bench::{Bench, rust},
    spread::{Spread, ratio},
    table::{Row, Table, plotted},
    turns::take_turns,
};

/// Short turns and many: the difference is small.
const RUNS: usize = 31;
const REGISTRATIONS: usize = 100;

pub(crate) fn tables(bench: &Bench) -> Outcome<Vec<Table>> {
    let emulator = bench.emulator(1)?;
    let times = REGISTRATIONS;
    let [register, greet, handshake] =
        [Task::Register { times }, Task::Greet { times }, Task::Handshake { times }];
    let contenders = [
        rust(By::Core, "dps-core: `register()`", &register, &emulator.site),
        rust(By::Bare, "bare: handshake, CONNECT, SUBSCRIBE", &greet, &emulator.site),
        rust(By::Bare, "bare: the TLS handshake alone", &handshake, &emulator.site),
        rust(By::Bare, "bare: the whole dialogue", &register, &emulator.site),
    ];
    let readings = take_turns(bench.runs(RUNS), &contenders)?;
    let mut rows: Vec<Row> = contenders
        .iter()
        .zip(&readings)
        .map(|(contender, alone)| {
            let each = Spread::of(alone, |r| r.cpu / REGISTRATIONS as f64);
            let ours = ratio(&readings[0], alone, |r| r.cpu);
            Row::new(contender.who, contender.label.clone(), [Some(each), Some(ours)])
        })
        .collect();
    rows[2].at_most(1, 1.25, "").limited_by(
        "the dialogue itself, whose packets are encrypted, sent and decrypted by whoever has it: a \
         bare client with the same dialogue, in the last row, is as far above its own handshake, and \
         leaves to dps-core what its ratio is above 1.",
    );
    Ok(vec![Table {
        slug: "registration",
        title: "A registration",
        text: format!(
            "A device that is assigned at once, in Rust: the mean of {REGISTRATIONS}, {RUNS} times. \
             The budget compares it with its TLS handshake alone, by tokio-rustls and nothing else. \
             The second row adds CONNECT and SUBSCRIBE with the MQTT codec, which is what a \
             connection to DPS is before anything is asked of it. The last ratio is to the whole \
             dialogue, request, answer and acknowledgements too, and so says what dps-core itself \
             adds. Each ratio is that of runs that were neighbours."
        ),
        columns: vec![plotted("CPU each, µs", 0), plotted("dps-core to this", 2)],
        rows,
    }])
}
