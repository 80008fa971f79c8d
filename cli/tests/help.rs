//! The help of every verb, found as a user finds it: from `dps help` downwards.

use std::{path::Path, process::Command};

#[test]
fn the_help_of_every_verb_ends_with_an_example_of_it() {
    let walked = verbs();
    for verb in &walked {
        let help = dps(&format!("help{verb}"));
        assert_eq!(help, dps(&format!("{verb} --help")), "dps{verb}");
        let (_, end) =
            help.rsplit_once("\nExample").unwrap_or_else(|| panic!("no example of dps{verb}"));
        assert!(end.contains(&format!("\n  dps{verb} ")), "dps{verb} is not in its example: {end}");
        for section in ["Usage:", "Commands:", "Arguments:", "Options:"] {
            assert!(!end.contains(section), "{section} after the example of dps{verb}");
        }
    }
    for verb in ["chain device", "doctor", "emulator", "hub device list", "quickstart", "register"]
    {
        assert!(walked.contains(&format!(" {verb}")), "{verb} is not in {walked:?}");
    }
}

/// Every verb, each behind a space; the first is none.
fn verbs() -> Vec<String> {
    let mut waiting = vec![String::new()];
    let mut walked = Vec::new();
    while let Some(verb) = waiting.pop() {
        let help = dps(&format!("help{verb}"));
        waiting.extend(commands(&help).map(|command| format!("{verb} {command}")));
        walked.push(verb);
    }
    walked
}

/// Whoever copies one example after the other finds each file where the next one looks for it.
#[test]
fn the_files_that_help_names_are_those_that_the_commands_write() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_dps"))
            .args(arguments.split_whitespace())
            .current_dir(folder.path())
            .env("DPS_PASSPHRASE", "1234")
            .output()
            .unwrap();
        assert!(output.status.success(), "dps {arguments}");
    };
    for arguments in [
        "chain root --key-type ec-p256",
        "chain intermediate --key-type ec-p256",
        "chain device device-01 device-02 --key-type ec-p256",
        "chain verification CODE --key-type ec-p256",
        "chain renew device-01 --new-key",
        "chain renew device-01",
        "chain renew device-01",
    ] {
        run(arguments);
    }
    let mut named = 0;
    for verb in verbs() {
        let help = dps(&format!("help{verb}"));
        let words = help.split(|c: char| c.is_whitespace() || "[]()',;".contains(c));
        let files = words
            .map(|word| word.trim_end_matches(['.', ':']))
            .filter(|word| word.contains('.'))
            .filter(|word| ["certs/", "private/", "csr/"].iter().any(|at| word.starts_with(at)));
        for file in files {
            named += 1;
            let path = folder.path().join(file.replace("ID", "device-01"));
            assert!(Path::exists(&path), "dps{verb} names {file}, which no command writes");
        }
    }
    assert!(named > 20, "only {named} were found");
}

/// The names that help lists below `Commands:`, each behind two spaces, its description on more.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|entry| !entry.starts_with(' '))
        .filter_map(|entry| entry.split(' ').next())
        .filter(|name| *name != "help")
}

fn dps(arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_dps"))
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "dps {arguments}");
    String::from_utf8(output.stdout).unwrap()
}
