//! What was found, for people and for programs.

use crate::config::Diagnostic;
use serde::{Deserialize, Serialize};
use std::fmt;

/// All that is to be said about a configuration.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Report {
    /// About the text of the files.
    pub warnings: Vec<Diagnostic>,
    /// About what they name.
    pub findings: Vec<Finding>,
}

/// Something that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The resource it is about, unless it is about the daemon.
    pub resource: Option<String>,
    /// What is so.
    pub what: String,
    /// What to do about it.
    pub todo: Option<String>,
}

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Probably not meant.
    Warning,
    /// It does not work.
    Error,
}

impl Report {
    /// Whether something does not work.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.severity == Severity::Error)
    }

    /// The same for programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers can be written")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "{warning}")?;
        }
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity}: ")?;
        if let Some(resource) = &self.resource {
            write!(f, "resource {resource}: ")?;
        }
        f.write_str(&self.what)?;
        match &self.todo {
            Some(todo) => write!(f, "\n    {todo}"),
            None => Ok(()),
        }
    }
}
