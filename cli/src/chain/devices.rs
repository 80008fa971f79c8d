//! `dps chain device`: one, several, or a batch.

use std::{
    fmt,
    io::{IsTerminal, stderr},
    path::PathBuf,
};

use clap::Args;
use dps_core::{
    Error, RegistrationId,
    chain::{Batch, CsvRegistrationIds, Outcome, RegistrationIdRange, check_distinct},
};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;

use super::{
    IntermediateIssuer, Maker, NewKey, Target, Term, common_name, maker::generate, report,
};
use crate::{
    output::{Output, typed},
    passphrase::PassphraseSource,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// The registration IDs, which become the certificates' common names
    #[arg(value_name = "REGISTRATION_ID", required_unless_present_any = ["from", "range"], value_parser = common_name)]
    registration_ids: Vec<RegistrationId>,
    /// A CSV with the registration IDs: the column headed registrationId or deviceId; one column
    /// alone needs no header
    #[arg(long, value_name = "CSV", conflicts_with_all = ["registration_ids", "range"])]
    from: Option<PathBuf>,
    /// Registration IDs that differ in their number, such as device-0001..device-1000
    #[arg(long, value_name = "FIRST..LAST", conflicts_with = "registration_ids", value_parser = RegistrationIdRange::parse)]
    range: Option<RegistrationIdRange>,
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    key: NewKey,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    issuer: IntermediateIssuer,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), Error> {
    if let Some(csv) = &arguments.from {
        let ids = CsvRegistrationIds::file(csv)?;
        return batch(arguments, ids.remaining(), ids, output);
    }
    if let Some(range) = &arguments.range {
        return batch(arguments, range.remaining(), range.clone(), output);
    }
    listed(arguments, output)
}

fn listed(arguments: &Arguments, output: &Output) -> Result<(), Error> {
    let maker = Maker::new(arguments.target.folder());
    let ids = &arguments.registration_ids;
    check_distinct(ids).map_err(typed)?;
    for id in ids {
        maker.folder.check_device(id).map_err(typed)?;
        maker.device_files(id.as_str())?;
    }
    let issuer = maker.device_issuer(&arguments.issuer.issuer, &arguments.passphrase)?;
    let mut made = Vec::new();
    for id in ids {
        let key = generate(&format!("the key of {id}"), arguments.key.key_type)?;
        made.push(maker.device(id, &issuer, &key, arguments.term.validity())?);
    }
    let made: Vec<_> = made.iter().map(|(certificate, files)| (certificate, files)).collect();
    report(output, &made)
}

fn batch(
    arguments: &Arguments,
    count: u64,
    ids: impl Iterator<Item = Result<RegistrationId, Error>>,
    output: &Output,
) -> Result<(), Error> {
    let Arguments { target, key, term, issuer, passphrase, .. } = arguments;
    let maker = Maker::new(target.folder());
    let issuer = maker.issuer(&issuer.issuer, passphrase)?;
    let batch = Batch::new(&maker.folder, &issuer, key.key_type, term.validity())?;
    let progress = progress_bar(count);
    let (mut made, mut present) = (0_u64, 0_u64);
    for id in ids {
        match batch.device(&id?)? {
            Outcome::Made => made += 1,
            Outcome::Present => present += 1,
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let dir = &target.dir.dir;
    let folder = dir.display();
    let devices = if made == 1 { "device" } else { "devices" };
    output.line(format!("{made} {devices} made in {folder}, {present} were there already"))?;
    output.json(&json!({ "made": made, "present": present, "dir": dir }))
}

fn progress_bar(count: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} devices, {rate}/s, {eta} left")
        .map(|style| {
            style.with_key("rate", |state: &ProgressState, text: &mut dyn fmt::Write| {
                // A template cannot do without its decimals, and a bar has nobody to fail to.
                let _ = write!(text, "{:.0}", state.per_sec());
            })
        });
    let bar = ProgressBar::new(count);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
