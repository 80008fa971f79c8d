//! One suite for every language: each case of `cases/` runs by the shim of each language, and must
//! come to the same outcome, which the case spells out, with the same bytes on the wire.
#![allow(missing_docs, reason = "a program")]

mod agreement;
mod case;
mod faults;
mod password;
mod raw;
mod script;
mod tls;
mod trial;
mod tunnel;
mod wire;
mod world;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use crate::{
    agreement::Outcomes,
    world::{Language, World},
};

/// Most trials wait most of the time.
const THREADS: usize = 8;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let world = Arc::new(World::new());
    let cases: Vec<_> =
        case::load(&world::here().join("cases")).into_iter().map(Arc::new).collect();
    let outcomes = Arc::new(Outcomes::default());

    let mut trials = Vec::new();
    for case in &cases {
        for language in Language::ALL {
            let (case, world) = (Arc::clone(case), Arc::clone(&world));
            let (outcomes, runtime) = (Arc::clone(&outcomes), Arc::clone(&runtime));
            trials.push(Trial::test(format!("{}::{}", case.name, language.name()), move || {
                let shim = world.shim(language);
                let outcome = runtime.block_on(trial::run(&case, &world, shim))?;
                agreement::agree(&case, language, outcome, &outcomes)?;
                Ok(())
            }));
        }
    }
    for language in Language::ALL {
        let world = Arc::clone(&world);
        trials.push(Trial::test(format!("unknown-flag::{}", language.name()), move || {
            trial::refuses_unknown_flags(world.shim(language))?;
            Ok(())
        }));
    }
    trials.extend(faults::trials(&cases, &world, &runtime));
    libtest_mimic::run(&arguments, trials).exit();
}
