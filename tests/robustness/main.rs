//! The fuzz targets on stable Rust: over their corpus, over mutations of it, and over any bytes.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::any,
    sample::Index,
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};
use targets::{TARGETS, Target};

#[path = "../../fuzz/listener.rs"]
mod listener;
#[path = "../../fuzz/targets.rs"]
mod targets;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn every_target_survives_its_corpus() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(corpus.len() >= 3, "{name} has no corpus");
        corpus.iter().for_each(|data| target(data));
        // What is good for one is any bytes to the others.
        for (_, other) in TARGETS {
            corpus.iter().for_each(|data| other(data));
        }
    }
}

/// What is done to a good input, at a place in it.
#[derive(Clone, Debug)]
enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
    Truncate(Index),
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let place = any::<Index>;
        proptest::prop_oneof![
            (place(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            (place(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            (place(), 1..40_usize).prop_map(|(at, length)| Self::Remove(at, length)),
            (place(), 1..400_usize).prop_map(|(at, length)| Self::Repeat(at, length)),
            (place(), vec(any::<u8>(), 1..8)).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            place().prop_map(Self::Truncate),
        ]
    }

    fn apply(&self, data: &mut Vec<u8>) {
        if data.is_empty() {
            return;
        }
        let (Self::Set(at, _)
        | Self::Flip(at, _)
        | Self::Remove(at, _)
        | Self::Repeat(at, _)
        | Self::Insert(at, _)
        | Self::Truncate(at)) = self;
        let at = at.index(data.len());
        match self {
            Self::Set(_, byte) => data[at] = *byte,
            Self::Flip(_, bit) => data[at] ^= 1 << bit,
            Self::Remove(_, length) => drop(data.drain(at..(at + length).min(data.len()))),
            Self::Repeat(_, length) => {
                let part = data[at..(at + length).min(data.len())].to_vec();
                data.splice(at..at, part);
            }
            Self::Insert(_, bytes) => drop(data.splice(at..at, bytes.iter().copied())),
            Self::Truncate(_) => data.truncate(at),
        }
    }
}

fn mutated(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), vec(Mutation::any(), 1..4)).prop_map(move |(which, mutations)| {
        let mut data = corpus[which.index(corpus.len())].clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut data));
        data
    })
}

fn run(name: &str, cases: u32, inputs: impl Strategy<Value = Vec<u8>>, target: Target) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(&inputs, |data| {
        target(&data);
        Ok(())
    });
    ran.unwrap_or_else(|failure| panic!("{name}: {failure}"));
}

#[test]
fn every_target_survives_mutations_of_its_corpus() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        run(name, 2_000, mutated(corpus), target);
    }
}

#[test]
fn every_target_survives_any_bytes() {
    for (name, target) in TARGETS {
        run(name, 2_000, vec(any::<u8>(), 0..2000), target);
    }
}

#[test]
fn the_emulator_survives_any_bytes() {
    let corpus = corpus("listener");
    corpus.iter().for_each(|data| listener::listener(data));
    run("listener", 400, mutated(corpus), listener::listener);
    run("listener", 100, vec(any::<u8>(), 0..2000), listener::listener);
}
