//! Runs a program to its end and adds a line of JSON to what it prints: the CPU time that it used
//! and the most memory that it had.
//!
//! It is a program of its own because a process inherits the peak of the one that starts it
//! (getrusage(2), `ru_maxrss`), and this one is smaller than all that are measured.
#![forbid(unsafe_code)]

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use nix::sys::resource::{UsageWho, getrusage};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = env::args_os().skip(1);
    let program =
        words.next().ok_or("started by `cargo bench`, with a program and its arguments")?;
    let start = Instant::now();
    let status = Command::new(program).args(words).stdin(Stdio::null()).status()?;
    let wall = start.elapsed().as_secs_f64() * 1e6;
    if !status.success() {
        return Err(format!("the program ended with {status}").into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let times = [usage.user_time(), usage.system_time()];
    let cpu: i64 = times.iter().map(|time| time.tv_sec() * 1_000_000 + time.tv_usec()).sum();
    let peak = usage.max_rss();
    writeln!(io::stdout(), "{{\"cpu\": {cpu}, \"wall\": {wall}, \"peak\": {peak}}}")?;
    Ok(ExitCode::SUCCESS)
}
