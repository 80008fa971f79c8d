//! Every check has its page, its row of the twenty failures, and its test.

use dps_core::doctor::Check;

const PAGE: &str = include_str!("../../docs/findings/README.md");

#[test]
fn every_check_has_a_section_with_its_severity_and_sentence() {
    for check in Check::ALL {
        let heading = format!("## {}\n", check.id());
        let at = PAGE.find(&heading).unwrap_or_else(|| panic!("no section of {}", check.id()));
        let section = &PAGE[at + heading.len()..];
        let section = &section[..section.find("\n## ").unwrap_or(section.len())];
        let first = format!("\n**{}** ({}).", check.sentence(), check.severity());
        assert!(section.starts_with(&first), "{}: {section}", check.id());
        assert!(section.len() > first.len() + 40, "{} is not explained", check.id());
    }
    let sections = PAGE.matches("\n## DPS-").count();
    assert_eq!(sections, Check::ALL.len(), "a section without its check");
}

#[test]
fn all_twenty_failures_are_covered_or_said_to_be_out_of_reach() {
    for row in 1..=20 {
        let cells: Vec<_> = PAGE
            .lines()
            .filter(|line| line.starts_with(&format!("| {row} |")))
            .flat_map(|line| line.split('|').map(str::trim))
            .collect();
        assert_eq!(cells.len(), 5, "row {row}: {cells:?}");
        assert!(cells[3].contains("DPS-") || cells[3].len() > 60, "row {row}: {}", cells[3]);
    }
}

#[test]
fn every_check_is_raised_by_a_test() {
    let tests = [
        include_str!("chain.rs"),
        include_str!("key.rs"),
        include_str!("service.rs"),
        include_str!("wire.rs"),
    ]
    .concat();
    let untested: Vec<_> =
        Check::ALL.iter().filter(|check| !tests.contains(&format!("Check::{check:?}"))).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn the_guide_links_to_findings_that_exist() {
    const GUIDE: &str = include_str!("../../docs/guide.md");
    let links: Vec<_> = GUIDE.split("findings/README.md#").skip(1).collect();
    assert!(links.len() > 8);
    for link in links {
        let id = link.split(')').next().unwrap().to_uppercase();
        assert!(PAGE.contains(&format!("\n## {id}\n")), "{id}");
    }
}
