//! The output of a `holdfast` command, and its end.

use std::process::ExitStatus;

use anyhow::{Context, Error, Result, anyhow, ensure};
use serde_json::Value;

/// Exit codes that scripts may rely on.
pub mod code {
    /// The command is done, and everything is good.
    pub const GOOD: i32 = 0;
    /// The run finished, with failures.
    pub const FAILURES: i32 = 1;
    /// The arguments or the configuration are wrong.
    pub const USAGE: i32 = 2;
    /// No answer came in time.
    pub const NO_ANSWER: i32 = 3;
    /// The command was refused for safety.
    pub const REFUSED: i32 = 4;
}

/// The result of a command that has ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit status.
    pub status: ExitStatus,
    /// The text on standard output.
    pub stdout: String,
    /// The text on standard error.
    pub stderr: String,
}

impl Output {
    /// Checks the exit code, and returns the output.
    ///
    /// # Errors
    /// If the exit code is another. The error has everything that was printed.
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

    /// Checks that the command succeeded, and returns the output.
    ///
    /// # Errors
    /// As [`Output::expect`].
    pub fn good(self) -> Result<Self> {
        self.expect(code::GOOD)
    }

    /// Checks that a text was printed, on either output.
    ///
    /// # Errors
    /// If the text was not printed. The error has everything that was printed.
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

    /// Checks that a text was not printed, on either output.
    ///
    /// # Errors
    /// If the text was printed. The error does not repeat the text, which may be a secret.
    pub fn keeps_quiet_about(self, text: &str) -> Result<Self> {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        ensure!(!said, "{} says what it must not", self.command);
        Ok(self)
    }

    /// Parses standard output as JSON.
    ///
    /// # Errors
    /// If the output is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{} printed no JSON: {}", self.command, self.stdout))
    }
}

/// Prints an error at once. When the test fails, dropping its sandbox may find leftovers, and that panic would hide the
/// error.
fn told(error: Error) -> Error {
    eprintln!("{error}");
    error
}

/// An artefact, as `list --json` and `show --json` describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// The artefact's id.
    pub id: String,
    /// The run that captured the artefact.
    pub run: String,
    /// The name of the source.
    pub source: String,
    /// `database`, `globals`, `directory` or `system`.
    pub kind: String,
    /// The name within the source.
    pub name: String,
    /// The whole JSON object.
    pub value: Value,
}

impl Artefact {
    /// True if the artefact is reported as one that can be restored, and not as failed or missing.
    #[must_use]
    pub fn came(&self) -> bool {
        let status = self.value["status"].as_str();
        !matches!(status, Some("failed" | "unfinished" | "unreadable"))
    }
}

/// Returns all artefacts that occur anywhere in this JSON, in its order, each id once: objects with `artefact`,
/// `source`, `kind` and `name`.
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
