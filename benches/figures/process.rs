//! Servers and clients in processes of their own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use dps_benches::{By, Job, Outcome, Reading, Service, Site, Task};

/// A script that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// As is a client of Rust, whose fleets and batches are larger.
const GREAT_PATIENCE: Duration = Duration::from_secs(300);

/// A running server, which ends with this.
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

    /// The CPU time that it has used so far, in microseconds.
    pub(crate) fn cpu(&self) -> Outcome<f64> {
        // Fields 14 and 15, in hundredths of a second on every Linux (proc_pid_stat(5)). The second
        // is the program's name in parentheses, whatever is in it.
        const TICK: f64 = 10_000.0;

        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
        let ticks: Vec<f64> =
            rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() * TICK)
    }
}

impl Drop for Server {
    /// Ends it by closing its input, and waits for its end.
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("a server did not end: {error}");
        }
    }
}

/// Lets the client of Rust do one job and says what it used.
pub(crate) fn client(by: By, task: &Task, site: &Site) -> Outcome<Reading> {
    let job = Job { task: task.clone(), by, site: site.clone() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_dps-bench-client"));
    within(GREAT_PATIENCE, command.arg(serde_json::to_string(&job)?))
}

/// The reading that a program prints as its last line.
pub(crate) fn reading(command: &mut Command) -> Outcome<Reading> {
    within(PATIENCE, command)
}

fn within(patience: Duration, command: &mut Command) -> Outcome<Reading> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().ok_or("a program without an output")?;
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut printed = String::new();
        // Whoever waits may have given up.
        send.send(out.read_to_string(&mut printed).map(|_| printed)).ok();
    });
    let Ok(printed) = receive.recv_timeout(patience) else {
        child.kill()?;
        child.wait()?;
        return Err(format!("not done within {} s", patience.as_secs()).into());
    };
    let (printed, status) = (printed?, child.wait()?);
    if !status.success() {
        return Err(format!("a program ended with {status}").into());
    }
    let line = printed.lines().last().ok_or("a program that printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

/// The CPU time and the height of the memory of a whole process, from its start to its end.
pub(crate) fn whole(command: &Command) -> Outcome<Reading> {
    let mut around = Command::new(env!("CARGO_BIN_EXE_dps-bench-run"));
    around.arg(command.get_program()).args(command.get_args());
    around.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    reading(&mut around)
}

/// A command for the client of Rust, for [`whole`].
pub(crate) fn client_command(by: By, task: &Task, site: &Site) -> Outcome<Command> {
    let job = Job { task: task.clone(), by, site: site.clone() };
    let mut command = Command::new(env!("CARGO_BIN_EXE_dps-bench-client"));
    command.arg(OsStr::new(&serde_json::to_string(&job)?));
    Ok(command)
}
