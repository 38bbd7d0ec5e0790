//! A command that runs while the test goes on.

use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::output::Output;
use crate::process::{Process, Signal};
use crate::wait_until;

/// A started command. Killed when the value is dropped.
#[derive(Debug)]
pub struct Background {
    command: String,
    process: Process,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Background {
    pub(super) fn new(command: String, process: Process, stdout: PathBuf, stderr: PathBuf) -> Self {
        Self {
            command,
            process,
            stdout,
            stderr,
        }
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns the output so far, of both streams.
    ///
    /// # Errors
    /// If the output cannot be read.
    pub fn log(&self) -> Result<String> {
        let read = |path: &PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(read(&self.stdout)? + &read(&self.stderr)?)
    }

    /// True if the command still runs.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// Waits until the command has printed `text`.
    ///
    /// # Errors
    /// If the command ends before, or has not printed the text within `deadline`. The error has its output.
    pub fn wait_for(&mut self, text: &str, deadline: Duration) -> Result<()> {
        let what = format!("{} prints {text:?}", self.command);
        let waited = wait_until(&what, deadline, || {
            let ended = self.process.ended()?.is_some();
            let said = self.log()?.contains(text);
            anyhow::ensure!(said || !ended, "{} ended before it printed {text:?}", self.command);
            Ok(said)
        });
        waited.with_context(|| self.log().unwrap_or_default())
    }

    /// Kills the command by SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends a signal to the command.
    ///
    /// # Errors
    /// If the command has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for the end of the command, and returns its output. Kills the command if it does not end.
    ///
    /// # Errors
    /// If the command does not end within `deadline`. The error has its output.
    pub fn finish(&mut self, deadline: Duration) -> Result<Output> {
        let status = self.process.wait(deadline);
        if status.is_err() {
            self.process.kill();
        }
        let status = status.with_context(|| self.log().unwrap_or_default())?;
        self.output(status)
    }

    /// Tells the command to end, as an operator would, and returns its output.
    ///
    /// # Errors
    /// As [`Background::finish`].
    pub fn stop(&mut self, deadline: Duration) -> Result<Output> {
        self.signal(Signal::TERM)?;
        self.finish(deadline)
    }

    fn output(&self, status: ExitStatus) -> Result<Output> {
        let read = |path: &PathBuf| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Output {
            command: self.command.clone(),
            status,
            stdout: read(&self.stdout)?,
            stderr: read(&self.stderr)?,
        })
    }
}
