//! All that the doctor found, and what it saw on the way.

use std::fmt;

use serde_json::{Value, json};

use super::{Finding, Severity};

/// The result of an examination.
#[derive(Clone, Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    seen: Vec<String>,
}

impl Report {
    /// What is wrong, or soon will be.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was examined and is in order, one sentence each.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// 0 nothing found, 1 warnings, 2 errors.
    pub fn exit_code(&self) -> u8 {
        match self.findings.iter().map(Finding::severity).max() {
            None => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Error) => 2,
        }
    }

    /// The report as JSON: `exitCode`, `findings`, `seen`.
    pub fn to_json(&self) -> Value {
        json!({
            "exitCode": self.exit_code(),
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
            "seen": self.seen,
        })
    }

    pub(super) fn found(&mut self, finding: Finding) {
        // A file that is both the chain and the key is looked at twice.
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    pub(super) fn saw(&mut self, what: impl Into<String>) {
        self.seen.push(what.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for seen in &self.seen {
            writeln!(f, "ok: {seen}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let count = |severity| self.findings.iter().filter(|f| f.severity() == severity).count();
        match (count(Severity::Error), count(Severity::Warning)) {
            (0, 0) => write!(f, "Nothing found."),
            (errors, warnings) => {
                write!(f, "{}, {}.", counted(errors, "error"), counted(warnings, "warning"))
            }
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}
