//! What a `holdfast` command printed, and how it ended.

use std::process::ExitStatus;

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde_json::Value;

/// Exit codes that are a contract.
pub mod code {
    /// Done, and all good.
    pub const GOOD: i32 = 0;
    /// The run finished, with failures.
    pub const FAILURES: i32 = 1;
    /// Bad usage or configuration.
    pub const USAGE: i32 = 2;
    /// Nothing answered in time.
    pub const NO_ANSWER: i32 = 3;
    /// Refused for safety.
    pub const REFUSED: i32 = 4;
}

/// The result of a command that has ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// What was run, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Checks the exit code.
    ///
    /// # Errors
    /// If it is another; with everything that was printed.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.status.code() != Some(code) {
            return Err(told(anyhow!(
                "{} ended with {}, not code {code}\n--- standard output\n{}\n--- standard error\n{}",
                self.command,
                self.status,
                self.stdout,
                self.stderr
            )));
        }
        Ok(self)
    }

    /// Checks that it succeeded.
    ///
    /// # Errors
    /// As [`Output::expect`].
    pub fn good(self) -> Result<Self> {
        self.expect(code::GOOD)
    }

    /// Checks that something was printed, on either output.
    ///
    /// # Errors
    /// If it was not; with everything that was.
    pub fn says(self, text: &str) -> Result<Self> {
        if self.stdout.contains(text) || self.stderr.contains(text) {
            return Ok(self);
        }
        Err(told(anyhow!(
            "{} does not say {text:?}\n--- standard output\n{}\n--- standard error\n{}",
            self.command,
            self.stdout,
            self.stderr
        )))
    }

    /// Checks that something was not printed, on either output.
    ///
    /// # Errors
    /// If it was. Without the text itself, which may be a secret.
    pub fn keeps_quiet_about(self, text: &str) -> Result<Self> {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        ensure!(!said, "{} says what it must not", self.command);
        Ok(self)
    }

    /// Its standard output as JSON.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{} printed no JSON: {}", self.command, self.stdout))
    }
}

/// Prints an error at once: on its way out of the test a sandbox may find leftovers, and its panic would hide it.
fn told(error: Error) -> Error {
    eprintln!("{error}");
    error
}

/// One artefact as `list --json` and `show --json` tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Its id.
    pub id: String,
    /// The run that brought it.
    pub run: String,
    /// Its source's name.
    pub source: String,
    /// `database`, `globals`, `directory` or `system`.
    pub kind: String,
    /// Its name within the source.
    pub name: String,
    /// The whole object.
    pub value: Value,
}

impl Artefact {
    /// Whether it is told as one that can be restored; not one that failed or has not come yet.
    #[must_use]
    pub fn came(&self) -> bool {
        let status = self.value["status"].as_str();
        !matches!(status, Some("failed" | "unfinished" | "unreadable"))
    }
}

/// All artefacts told anywhere in this JSON, in its order, each id once: objects with `artefact`, `source`, `kind`, `name`.
#[must_use]
pub fn artefacts(value: &Value) -> Vec<Artefact> {
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, run: &str, found: &mut Vec<Artefact>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, run, found)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            let run = text("run").unwrap_or(run);
            if let (Some(id), Some(source), Some(kind), Some(name)) =
                (text("artefact"), text("source"), text("kind"), text("name"))
                && !found.iter().any(|artefact| artefact.id == id)
            {
                found.push(Artefact {
                    id: id.to_owned(),
                    run: run.to_owned(),
                    source: source.to_owned(),
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    value: value.clone(),
                });
            }
            fields.values().for_each(|value| collect(value, run, found));
        }
        _ => {}
    }
}
