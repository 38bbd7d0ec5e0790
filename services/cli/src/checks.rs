//! Checks of what a backup needs: one line each, with what to do.

pub(crate) mod docker;
pub(crate) mod host;
pub(crate) mod keys;
pub(crate) mod places;
pub(crate) mod readers;
pub(crate) mod sources;

use serde::Serialize;

use crate::human::shown;
use crate::output::{Output, Table};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// All is well.
    Ok,
    /// Backups work; somebody should look at it.
    Warn,
    /// Backups fail, or cannot be restored.
    Fail,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// The thing that was looked at.
    pub(crate) check: String,
    /// The result.
    pub(crate) state: State,
    /// The facts, for people.
    pub(crate) found: String,
    /// The advice, unless all is well or the facts have it already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<String>,
}

impl Check {
    /// All is well.
    pub(crate) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            state: State::Ok,
            found: found.into(),
            advice: None,
        }
    }

    /// Makes a check whose result somebody should look at.
    pub(crate) fn warn(check: impl Into<String>, found: impl Into<String>, advice: &str) -> Self {
        Self {
            state: State::Warn,
            advice: Some(advice.to_owned()),
            ..Self::ok(check, found)
        }
    }

    /// Makes a check of something that does not work.
    pub(crate) fn fail(check: impl Into<String>, found: impl Into<String>, advice: &str) -> Self {
        Self {
            state: State::Fail,
            advice: (!advice.is_empty()).then(|| advice.to_owned()),
            ..Self::ok(check, found)
        }
    }

    /// Makes a check of something that does not work. The error's chain says why, and what to do.
    pub(crate) fn error(check: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::fail(check, holdfast_fault::chain(error).to_string(), "")
    }
}

/// True if no check fails.
pub(crate) fn is_good(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.state != State::Fail)
}

/// The checks for people: a table, then what to do.
pub(crate) fn text(out: Output, checks: &[Check]) -> String {
    let mut table = Table::new(&["state", "check", "found"]);
    for check in checks {
        table.row([check.state.as_str(), &check.check, &check.found]);
    }
    let mut text = out.table(&table);
    for check in checks {
        if let Some(advice) = &check.advice {
            text.push_str(&format!("{}: {}\n", shown(&check.check), shown(advice)));
        }
    }
    text
}
