//! What a process has used.

use std::{fs, time::Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// What was used between a start and an end. What a program does not tell is 0.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// CPU time of all threads, user and system, in microseconds.
    pub cpu: f64,
    /// Time on the wall, in microseconds.
    pub wall: f64,
    /// CPU time of the server meanwhile, in microseconds.
    pub server: f64,
    /// Resident memory at the start, in KiB.
    pub rss_before: f64,
    /// Resident memory at the end, in KiB.
    pub rss: f64,
    /// The most resident memory that the process ever had, in KiB.
    pub peak: f64,
    /// Threads at the end.
    pub threads: f64,
    /// How long each single thing took.
    pub latency: Latency,
}

/// How long things took that were done many times, in microseconds.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them no longer than this.
    pub p50: f64,
    /// Nine out of ten.
    pub p90: f64,
    /// All but one in a hundred.
    pub p99: f64,
    /// All but one in a thousand.
    pub p999: f64,
}

impl Latency {
    /// Of these times in microseconds, in any order.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let up_to = |share: f64| {
            let last = times.len().saturating_sub(1);
            times.get((share * last as f64).round() as usize).copied().unwrap_or_default()
        };
        Self { p50: up_to(0.5), p90: up_to(0.9), p99: up_to(0.99), p999: up_to(0.999) }
    }
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
            ..Reading::default()
        })
    }
}

/// Lets this process have as many open files as the system allows it: a connection is one.
pub fn raise_file_limit() -> Outcome<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
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
