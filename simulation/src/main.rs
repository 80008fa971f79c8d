//! `make simulate`: writes docs/scale.md and its plots.

use std::{error::Error, fs, path::PathBuf};

use clap::Parser;
use dps_simulation::{
    plot,
    report::{self, CHAPTERS},
    scenario,
};

/// A fleet against the service's quotas, in virtual time.
#[derive(Parser)]
struct Arguments {
    /// Where scale.md and its plots are written.
    #[arg(long, default_value = "docs")]
    folder: PathBuf,
    /// How many devices.
    #[arg(long, default_value_t = 1_000_000)]
    devices: u32,
    /// What decides every wait that is random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { folder, devices, seed } = Arguments::parse();
    let questions = CHAPTERS.each_ref().map(|chapter| chapter.question);
    let answers = scenario::run(&questions, devices, seed)?;
    fs::create_dir_all(&folder)?;
    for (chapter, tallies) in CHAPTERS.iter().zip(&answers) {
        let service = chapter.question.service();
        let floor = service.floor(chapter.question.fleet(devices).into());
        let bin = tallies.first().map_or(1, |tally| tally.bin);
        let path = folder.join(chapter.plot);
        plot::write(&path, tallies, service.in_time(bin), floor).map_err(|e| e.to_string())?;
    }
    fs::write(folder.join("scale.md"), report::write(&answers, devices, seed))?;
    Ok(())
}
