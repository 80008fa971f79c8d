//! What a process has used.

use std::{fs, time::Instant};

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// What was used between a start and an end.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Reading {
    /// CPU time of all threads, user and system, in microseconds.
    pub cpu: f64,
    /// Time on the wall, in microseconds.
    pub wall: f64,
    /// Resident memory at the start, in KiB.
    pub rss_before: f64,
    /// Resident memory at the end, in KiB.
    pub rss: f64,
    /// The most resident memory that the process ever had, in KiB.
    pub peak: f64,
    /// Threads at the end.
    pub threads: f64,
}

/// A measurement that has begun.
pub struct Meter {
    cpu: f64,
    rss: f64,
    start: Instant,
}

impl Meter {
    /// Begins now.
    pub fn start() -> Outcome<Self> {
        Ok(Self { cpu: cpu()?, rss: status("VmRSS:")?, start: Instant::now() })
    }

    /// Counts from the start of the process, its loading included.
    pub fn of_process() -> Outcome<Self> {
        Ok(Self { cpu: 0.0, ..Self::start()? })
    }

    /// Ends now.
    pub fn stop(self) -> Outcome<Reading> {
        let wall = self.start.elapsed().as_secs_f64() * 1e6;
        Ok(Reading {
            cpu: cpu()? - self.cpu,
            wall,
            rss_before: self.rss,
            rss: status("VmRSS:")?,
            peak: status("VmHWM:")?,
            threads: status("Threads:")?,
        })
    }
}

fn cpu() -> Outcome<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let times = [usage.user_time(), usage.system_time()];
    Ok(times.iter().map(|time| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64).sum())
}

/// A number out of the kernel's account of this process (proc_pid_status(5)).
fn status(name: &str) -> Outcome<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    Ok(value.ok_or_else(|| format!("/proc/self/status has no {name}"))?.parse()?)
}
