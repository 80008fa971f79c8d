//! What the doctor found.

use std::fmt;

use serde_json::{Value, json};

use super::{Check, Severity};

/// One thing that is wrong, or soon will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    check: Check,
    evidence: String,
    fix: String,
}

impl Finding {
    pub(crate) fn new(check: Check, evidence: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, evidence: evidence.into(), fix: fix.into() }
    }

    /// The same, with another way to mend it.
    pub(super) fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: fix.into(), ..self }
    }

    /// What was looked for.
    pub fn check(&self) -> Check {
        self.check
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.check.severity()
    }

    /// One sentence that says what was seen, with names and dates.
    pub fn evidence(&self) -> &str {
        &self.evidence
    }

    /// What to do about it.
    pub fn fix(&self) -> &str {
        &self.fix
    }

    /// The finding as JSON: `id`, `severity`, `sentence`, `evidence`, `fix`, `page`.
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.check.id(),
            "severity": self.severity().to_string(),
            "sentence": self.check.sentence(),
            "evidence": self.evidence,
            "fix": self.fix,
            "page": self.check.page(),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}\n  Fix: {}\n  See {}",
            self.check.id(),
            self.severity(),
            self.evidence,
            self.fix,
            self.check.page()
        )
    }
}
