//! The faults of a configuration, reported all at once.

use std::fmt;

/// One fault in the configuration. Never holds the value at fault, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file as it was named to [`crate::Settings::load`], a secret's own file, or `environment variable NAME`.
    pub file: String,
    /// The line in `file`, counted from 1, if it is known.
    pub line: Option<usize>,
    /// The key, such as `postgres[0].url`; empty if the whole file is at fault.
    pub key: String,
    /// The rule that was broken, as a phrase that follows the key: `must be …`, `is required`.
    pub rule: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.rule)
    }
}

/// The configuration cannot be used. `Display` lists every fault, one per line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// All faults, in the order of the file. Never empty.
    pub faults: Vec<Fault>,
}

impl ConfigError {
    pub(crate) fn one(file: impl Into<String>, rule: impl Into<String>) -> Self {
        let fault = Fault {
            file: file.into(),
            line: None,
            key: String::new(),
            rule: rule.into(),
        };
        Self { faults: vec![fault] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => write!(f, "the configuration has a fault:")?,
            count => write!(f, "the configuration has {count} faults:")?,
        }
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

/// A text that is no value of the wanted type. `Display` prints the rule that it breaks, and never the text itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct InvalidValue {
    /// The rule, as a phrase: `must be …`.
    pub rule: String,
}

impl InvalidValue {
    pub(crate) fn new(rule: impl Into<String>) -> Self {
        Self { rule: rule.into() }
    }
}
