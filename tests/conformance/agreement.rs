//! What all languages must have in common, beyond what a case spells out: the lines they print and
//! the packets they send.

use std::{collections::BTreeMap, sync::Mutex};

use crate::{
    case::Case,
    trial::{Lines, Outcome},
    wire,
    world::Language,
};

/// What each case came to in the language that was done first.
pub(crate) type Outcomes = Mutex<BTreeMap<String, (Language, Lines, Vec<String>)>>;

/// What must be the same whatever the language is.
pub(crate) fn agree(
    case: &Case,
    language: Language,
    outcome: Outcome,
    outcomes: &Outcomes,
) -> Result<(), String> {
    let Outcome { lines, wire } = outcome;
    let lines = leveled(case, lines);
    let mut wire = match &case.timed {
        Some(_) => wire::first_said(&wire),
        None => wire,
    };
    // A client that nobody closed ends with its process, before its farewell or after it.
    if case.leaves_its_hub() {
        wire.pop_if(|line| line == wire::FAREWELL);
    }
    let mut outcomes = outcomes.lock().expect("no trial fails with it in hand");
    let (first, reference, said) = outcomes
        .entry(case.name.clone())
        .or_insert_with(|| (language, lines.clone(), wire.clone()));
    let (first, ours) = (first.name(), language.name());
    if *reference != lines {
        return Err(format!("{ours} printed\n{lines:#?}\nand {first} printed\n{reference:#?}"));
    }
    // Where time decides how far a client comes, it must come there by the same way.
    let shared = match &case.timed {
        Some(_) => said.len().min(wire.len()),
        None => said.len().max(wire.len()),
    };
    if said.get(..shared) != wire.get(..shared) {
        return Err(format!("{ours} said\n{wire:#?}\nand {first} said\n{said:#?}"));
    }
    if wire.len() > said.len() {
        *said = wire;
    }
    Ok(())
}

/// The lines without what may differ: what the case names, times, and how often something was
/// tried in a given time.
fn leveled(case: &Case, mut lines: Lines) -> Lines {
    for name in case.differs.keys() {
        lines.remove(name);
    }
    // What has no operation says so by nothing in some languages and by an empty text in others.
    if lines.get("operation").is_some_and(String::is_empty) {
        lines.remove("operation");
    }
    if let Some(text) = lines.get_mut("text") {
        *text = text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
        *text = text.replace("{measured}", "");
    }
    if let Some(progress) = lines.get_mut("progress") {
        let mut steps: Vec<_> = progress.split(' ').collect();
        steps.sort_unstable();
        steps.dedup();
        *progress = steps.join(" ");
    }
    // The emulator makes them anew for each registration.
    for name in ["created", "last-updated", "etag"] {
        if let Some(value) = lines.get_mut(name)
            && !matches!(case.expect.get(name), Some(Some(_)))
        {
            *value = "{measured}".to_owned();
        }
    }
    lines
}
