//! Each finding of the doctor has a real broken input that raises it, alone, and the repaired
//! input that does not.

mod chain;
mod documented;
mod key;
mod lab;
mod service;
mod wire;

use dps_core::doctor::{Check, Doctor, Report};

/// Asserts that the doctor finds this and nothing else, with these words.
#[track_caller]
fn assert_only(report: &Report, check: Check, words: &[&str]) {
    let ids: Vec<_> = report.findings().iter().map(|finding| finding.check()).collect();
    assert_eq!(ids, [check], "{report}");
    let finding = &report.findings()[0];
    let text = finding.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert!(!finding.fix().is_empty() && text.contains(&check.page()));
    let expected = match check.severity() {
        dps_core::doctor::Severity::Warning => 1,
        dps_core::doctor::Severity::Error => 2,
    };
    assert_eq!(report.exit_code(), expected);
    assert_eq!(report.to_json()["findings"][0]["id"], check.id());
}

#[track_caller]
fn assert_nothing(report: &Report) {
    assert!(report.findings().is_empty(), "{report}");
    assert_eq!(report.exit_code(), 0);
}

/// The broken doctor finds this alone; the repaired one finds nothing.
#[track_caller]
fn assert_offline(broken: Doctor, repaired: Doctor, check: Check, words: &[&str]) {
    assert_only(&broken.offline().unwrap(), check, words);
    assert_nothing(&repaired.offline().unwrap());
}
