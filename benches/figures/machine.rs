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
    let rustc = Command::new("rustc").arg("--version").output()?.stdout;
    let openssl = Command::new("openssl").arg("version").output()?.stdout;
    let today = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]"))?;
    Ok(format!(
        "{today}; {} cores ({model}); Linux {}; {}; {}; release profile. Load average at the \
         start: {}.",
        available_parallelism()?,
        kernel.trim(),
        String::from_utf8_lossy(&rustc).trim(),
        String::from_utf8_lossy(&openssl).trim(),
        load_average()?
    ))
}

/// Over the last minute: what else the machine was doing.
pub(crate) fn load_average() -> Outcome<String> {
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(load.split_whitespace().next().unwrap_or_default().to_owned())
}
