//! A client that does one job and says what it used.
#![forbid(unsafe_code)]

mod bare;
mod chains;
mod ours;

use dps_benches::{By, Job, Outcome, argument, raise_file_limit, tell};
use tokio::runtime::Builder;

fn main() -> Outcome<()> {
    raise_file_limit()?;
    let Job { task, by, site } = argument()?;
    // One thread, as the bindings and the samples have it.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let reading = runtime.block_on(async {
        match by {
            By::Core => ours::run(task, &site).await,
            By::Bare => bare::run(task, &site).await,
        }
    })?;
    tell(&reading)
}
