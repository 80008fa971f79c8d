//! Servers and clients in processes of their own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use dps_benches::{By, Job, Outcome, Reading, Service, Site, Task};

/// A running server.
pub(crate) struct Server {
    /// Where it is.
    pub(crate) site: Site,
    process: Child,
}

impl Server {
    /// Starts it; it accepts connections when this returns.
    pub(crate) fn start(service: &Service) -> Outcome<Self> {
        let mut process = Command::new(env!("CARGO_BIN_EXE_dps-bench-server"))
            .arg(serde_json::to_string(service)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let out = process.stdout.take().ok_or("a server without an output")?;
        BufReader::new(out).read_line(&mut line)?;
        Ok(Self { site: serde_json::from_str(&line)?, process })
    }

    /// Ends it by closing its input, and waits for its end.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        drop(self.process.stdin.take());
        match self.process.wait()? {
            status if status.success() => Ok(()),
            status => Err(format!("a server ended with {status}").into()),
        }
    }
}

/// Lets a client do one job and says what it used.
pub(crate) fn client(by: By, task: &Task, site: &Site) -> Outcome<Reading> {
    let job = Job { task: task.clone(), by, site: site.clone() };
    let output = Command::new(env!("CARGO_BIN_EXE_dps-bench-client"))
        .arg(serde_json::to_string(&job)?)
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("a client ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
