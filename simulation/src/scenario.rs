//! What is simulated, and on how many threads.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use dps_core::Result;

use crate::{
    ANSWER, ASSIGNMENT, group, hub,
    registration::{self, Program},
    rival::{self, Rival},
    service::{RetryAfter, Service},
    tally::Tally,
};

/// One question, answered by one table and one plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// All boot at once, and DPS says this about when to come back.
    Boot(RetryAfter),
    /// A program that ends with each error and is started again; DPS says nothing.
    Restart,
    /// All lose their hub at once, which is away for [`AWAY`] and then takes so many new
    /// connections in a second.
    Failover(u64),
}

/// How long a lost hub is away, in milliseconds.
pub const AWAY: u64 = 10 * 60_000;

/// Whose devices.
#[derive(Clone, Copy)]
enum Who {
    Ours(Program),
    Theirs(&'static Rival),
}

impl Question {
    /// How many devices it is asked about, where the whole fleet is this large. Devices that
    /// remember nothing ask too often for a million of them to be counted one by one.
    pub fn fleet(self, fleet: u32) -> u32 {
        if self == Self::Restart { fleet.div_ceil(10) } else { fleet }
    }

    /// The model of what serves them.
    pub fn service(self) -> Service {
        match self {
            Self::Boot(retry_after) => Service::dps(retry_after),
            Self::Restart => Service::dps(RetryAfter::Absent),
            Self::Failover(rate) => Service::hub(rate, AWAY),
        }
    }

    fn participants(self) -> Vec<Who> {
        let (ours, theirs): (&[Program], _) = match self {
            Self::Boot(_) => (&[Program::Stays], &rival::REGISTRATION),
            Self::Restart => (&[Program::Stays, Program::StartsAnew], &rival::REGISTRATION),
            Self::Failover(_) => (&[Program::Stays], &rival::HUB),
        };
        ours.iter()
            .map(|program| Who::Ours(*program))
            .chain(theirs.iter().map(Who::Theirs))
            .collect()
    }

    fn run(self, who: Who, fleet: u32, seed: u64) -> Result<Tally> {
        let fleet = self.fleet(fleet);
        let name = match who {
            Who::Ours(Program::Stays) => "dps-core",
            Who::Ours(Program::StartsAnew) => "dps-core, process restarted",
            Who::Theirs(rival) => rival.name,
        };
        let is_hub = matches!(self, Self::Failover(_));
        let (bin, window, afterwards) =
            if is_hub { (10_000, 1000, ANSWER) } else { (60_000, 60_000, ASSIGNMENT) };
        let tally = Tally::new(name, fleet.into(), bin, window);
        let service = self.service();
        match who {
            Who::Ours(_) if is_hub => hub::run(fleet, service, tally, seed),
            Who::Ours(program) => Ok(registration::run(fleet, program, service, tally, seed)),
            Who::Theirs(rival) => {
                Ok(group::run(rival, fleet.into(), service, tally, afterwards, seed))
            }
        }
    }
}

/// Answers the questions on two threads: for each, dps-core first, then the others.
pub fn run(questions: &[Question], fleet: u32, seed: u64) -> Result<Vec<Vec<Tally>>> {
    let jobs: Vec<_> = questions
        .iter()
        .enumerate()
        .flat_map(|(index, question)| {
            question.participants().into_iter().map(move |who| (index, *question, who))
        })
        .collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((_, question, who)) = jobs.get(number) else { break };
                    let tally = question.run(*who, fleet, seed);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(number, tally);
                }
            });
        }
    });
    let mut answers = vec![Vec::new(); questions.len()];
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    for ((index, ..), tally) in jobs.iter().zip(results.into_values()) {
        answers[*index].push(tally?);
    }
    Ok(answers)
}
