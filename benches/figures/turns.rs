//! Measurements that are compared take turns, so that what else the machine does comes upon all
//! alike.

use dps_benches::{Outcome, Reading};

use crate::table::Who;

/// What is compared with others.
pub(crate) struct Contender<'a> {
    pub(crate) who: Who,
    pub(crate) label: String,
    measure: Box<dyn Fn(usize) -> Outcome<Reading> + 'a>,
}

impl<'a> Contender<'a> {
    /// `measure` is told which run it is, counted from 0.
    pub(crate) fn new(
        who: Who,
        label: impl Into<String>,
        measure: impl Fn(usize) -> Outcome<Reading> + 'a,
    ) -> Self {
        Self { who, label: label.into(), measure: Box::new(measure) }
    }
}

/// Lets each do its work, one after the other, and that so many times. Gives the readings of each.
pub(crate) fn take_turns(runs: usize, contenders: &[Contender<'_>]) -> Outcome<Vec<Vec<Reading>>> {
    let mut readings = vec![Vec::new(); contenders.len()];
    for run in 0..runs {
        for (contender, readings) in contenders.iter().zip(&mut readings) {
            let reading = (contender.measure)(run)
                .map_err(|error| format!("{}, run {run}: {error}", contender.label))?;
            readings.push(reading);
        }
    }
    Ok(readings)
}
