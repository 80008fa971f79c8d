//! The help of every verb, found as a user finds it: from `dps help` downwards.

use std::process::Command;

#[test]
fn the_help_of_every_verb_ends_with_an_example_of_it() {
    let mut waiting = vec![String::new()];
    let mut walked = Vec::new();
    while let Some(verb) = waiting.pop() {
        let help = dps(&format!("help{verb}"));
        assert_eq!(help, dps(&format!("{verb} --help")), "dps{verb}");
        let (_, end) =
            help.rsplit_once("\nExample").unwrap_or_else(|| panic!("no example of dps{verb}"));
        assert!(end.contains(&format!("\n  dps{verb} ")), "dps{verb} is not in its example: {end}");
        for section in ["Usage:", "Commands:", "Arguments:", "Options:"] {
            assert!(!end.contains(section), "{section} after the example of dps{verb}");
        }
        waiting.extend(commands(&help).map(|command| format!("{verb} {command}")));
        walked.push(verb);
    }
    for verb in ["chain device", "doctor", "emulator", "hub device list", "quickstart", "register"]
    {
        assert!(walked.contains(&format!(" {verb}")), "{verb} is not in {walked:?}");
    }
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
