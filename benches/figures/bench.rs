//! What every section of the page needs.

use std::{env, path::PathBuf};

use dps_benches::{By, Outcome, Reading, SINK_ADDRESS, Service, Site, Task};

use crate::{
    private_network,
    process::{Server, client},
    programs::Programs,
    table::Who,
    turns::Contender,
};

/// One run of the whole.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) quick: bool,
    folder: PathBuf,
}

impl Bench {
    /// Files go to the folder. With `DPS_BENCH=quick` in the environment each measurement is made
    /// once, to see that all of it works.
    pub(crate) fn new(folder: PathBuf) -> Outcome<Self> {
        let quick = match env::var("DPS_BENCH") {
            Err(_) => false,
            Ok(mode) if mode == "quick" => true,
            Ok(mode) => return Err(format!("DPS_BENCH is quick or not set, not {mode}").into()),
        };
        Ok(Self { programs: Programs::find()?, quick, folder })
    }

    /// How often to measure.
    pub(crate) fn runs(&self, usual: usize) -> usize {
        if self.quick { 1 } else { usual }
    }

    /// An emulator that knows as many devices and one more, on the port of Microsoft's SDKs.
    pub(crate) fn emulator(&self, devices: usize) -> Outcome<Server> {
        self.emulator_with(devices, None)
    }

    /// It also cuts the connection of each device once, at this message.
    pub(crate) fn emulator_that_cuts(&self, devices: usize, message: u32) -> Outcome<Server> {
        self.emulator_with(devices, Some(message))
    }

    fn emulator_with(&self, devices: usize, cut_at: Option<u32>) -> Outcome<Server> {
        Server::start(&Service::Emulator {
            folder: self.folder.clone(),
            devices: devices + 1,
            listen: Some(private_network::ADDRESS.to_owned()),
            cut_at,
        })
    }

    /// Registers the first devices, so that the hub knows them.
    pub(crate) fn register(&self, emulator: &Server, devices: usize) -> Outcome<()> {
        let task = Task::Registrations { devices, at_once: 16 };
        client(By::Core, &task, &emulator.site).map(drop)
    }

    /// A hub for the devices of an emulator, on the same port of another address.
    pub(crate) fn sink(&self, emulator: &Server) -> Outcome<Server> {
        Server::start(&Service::Sink {
            folder: self.folder.clone(),
            devices: emulator.site.devices.clone(),
            listen: Some(format!("{SINK_ADDRESS}:8883")),
        })
    }
}

/// The client of Rust, which reads what it used itself.
pub(crate) fn rust<'a>(by: By, label: &str, task: &'a Task, site: &'a Site) -> Contender<'a> {
    let who = match by {
        By::Core => Who::Ours,
        By::Bare => Who::Bare,
    };
    Contender::new(who, label, move |_| client(by, task, site))
}

/// Milliseconds.
pub(crate) fn cpu_ms(reading: &Reading) -> f64 {
    reading.cpu / 1000.0
}

pub(crate) fn wall_ms(reading: &Reading) -> f64 {
    reading.wall / 1000.0
}

pub(crate) fn peak_mb(reading: &Reading) -> f64 {
    reading.peak / 1024.0
}
