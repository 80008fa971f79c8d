//! Runs every benchmark and writes docs/figures.md with its plots. Where sections are named, those
//! alone, into target/bench: `cargo bench --package dps-benches -- import telemetry`.
#![forbid(unsafe_code)]

mod bench;
mod capacity;
mod chains;
mod fleets;
mod machine;
mod openssl;
mod plot;
mod private_network;
mod process;
mod programs;
mod reconnect;
mod registration;
mod spread;
mod startup;
mod table;
mod telemetry;
mod turns;

use std::{env, fmt::Write as _, fs, path::Path, process::ExitCode};

use dps_benches::Outcome;

use crate::{bench::Bench, table::Table};

type Section = fn(&Bench) -> Outcome<Vec<Table>>;

const SECTIONS: [(&str, Section); 10] = [
    ("tutorial", startup::tutorial),
    ("import", startup::import),
    ("process", startup::device),
    ("telemetry", telemetry::tables),
    ("devices", fleets::gateways),
    ("growth", fleets::growth),
    ("reconnect", reconnect::tables),
    ("registration", registration::tables),
    ("capacity", capacity::tables),
    ("chains", chains::tables),
];

fn main() -> Outcome<ExitCode> {
    let named: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = named.iter().find(|name| SECTIONS.iter().all(|(n, _)| n != name)) {
        return Err(format!("there is no section {unknown}").into());
    }
    if let Some(status) = private_network::enter()? {
        return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let folder = tempfile::tempdir()?;
    let bench = Bench::new(folder.path().to_owned())?;
    let mut page = head(&bench)?;
    // Parts of the page are for whoever works on them.
    let docs = match named.as_slice() {
        [] => Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs"),
        _ => bench.programs.folder().to_owned(),
    };
    for (name, section) in SECTIONS {
        if !named.is_empty() && named.iter().all(|one| one != name) {
            continue;
        }
        for table in section(&bench).map_err(|error| format!("{name}: {error}"))? {
            eprint!("{table}");
            write!(page, "{table}")?;
            fs::write(docs.join(table.plot_name()), plot::draw(&table)?)?;
        }
    }
    page.push_str("## The C library\n\nIts sizes, memory and telemetry are in ");
    page.push_str("[figures-c.md](figures-c.md).\n\n");
    writeln!(page, "Load average at the end: {}.", machine::load_average()?)?;
    fs::write(docs.join("figures.md"), page)?;
    Ok(ExitCode::SUCCESS)
}

fn head(bench: &Bench) -> Outcome<String> {
    let runs = match bench.quick {
        true => "**A quick run: each measurement was made once, so that no number has a spread.**",
        false => {
            "Each number is the median of 9 runs, where nothing else is said, with [least .. most]."
        }
    };
    Ok(format!(
        "# Figures\n\n\
         Written by `make bench`; every number here was measured by that run, against servers on \
         the same machine. It says what dps-core costs, beside Microsoft's SDKs and beside the \
         floor; not how fast Azure is.\n\n\
         {}\n\n\
         {runs} Client and server are processes of their own; CPU is that of the client's process, \
         user and system. What stands in one table took turns, except where another table is \
         named. TLS, EC P-256, a chain of leaf, intermediate and root; devices are assigned at \
         once. Microsoft's SDKs are unmodified. A budget is judged by the median.\n\n",
        machine::describe()?
    ))
}
