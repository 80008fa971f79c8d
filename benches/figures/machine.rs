//! Where and when the figures were measured.

use std::{fs, process::Command, thread::available_parallelism};

use dps_benches::Outcome;
use time::{OffsetDateTime, macros::format_description};

pub(crate) fn describe() -> Outcome<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("of an unknown model", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let rustc = said("rustc", &["--version"])?;
    let openssl = said("openssl", &["version"])?;
    let python = said("python3", &["--version"])?;
    let node = said("node", &["--version"])?;
    let today = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]"))?;
    Ok(format!(
        "{today}; {} cores ({model}); Linux {}; {rustc}; {openssl}; {python}; Node {node}; {}; \
         release profile, and for Python, Node and C what `make dist-…` builds. Load average at the \
         start: {}.",
        available_parallelism()?,
        kernel.trim(),
        incumbents().join(", "),
        load_average()?
    ))
}

fn said(program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(arguments).output()?.stdout;
    Ok(String::from_utf8_lossy(&output).trim().to_owned())
}

/// Microsoft's SDKs with their versions.
fn incumbents() -> Vec<String> {
    let python = include_str!("../../tests/interop/python/requirements.txt");
    let node = include_str!("../../tests/interop/node/package.json");
    let mut all: Vec<String> = python.lines().map(|line| line.replace("==", " ")).collect();
    let pins = node.lines().filter(|line| line.trim_start().starts_with("\"azure-iot-"));
    all.extend(pins.map(|line| line.trim().replace(['"', ',', ':'], "")));
    all
}

/// Over the last minute: what else the machine was doing.
pub(crate) fn load_average() -> Outcome<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split_whitespace().next().unwrap_or_default().to_owned())
}
