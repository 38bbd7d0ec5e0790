//! Processes that end with the value that holds them.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::wait_until;

/// A child process. Dropping the value kills and reaps it, by its own id, so that nothing else is touched.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`. `name` is used in messages.
    ///
    /// # Errors
    /// If the command cannot be started.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the child's standard output, once, if it was piped.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Returns the child's standard input, once, if it was piped.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Returns the exit status, if the process has ended.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("ask whether {} has ended", self.name))
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let raw = i32::try_from(self.child.id()).ok();
        let pid = raw.and_then(Pid::from_raw).context("the process has no id")?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// If the process has not ended within `deadline`.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait_until(&format!("{} ends", self.name), deadline, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("it ended without a status")
    }

    /// Kills the process by SIGKILL, and reaps it. Does nothing if it has ended.
    pub fn kill(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }

    /// Sends `signal` and waits. Kills the process if it has not ended within `deadline`.
    ///
    /// # Errors
    /// If the process had to be killed.
    pub fn stop(&mut self, signal: Signal, deadline: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.signal(signal)?;
        let ended = self.wait(deadline);
        if ended.is_err() {
            self.kill();
        }
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns a port of 127.0.0.1 that was free a moment ago. The caller must be ready to find it taken, and ask again.
///
/// # Errors
/// If there is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// Finds the processes whose environment holds `NAME=VALUE`, and returns their command lines. Children of children are
/// found, too, since they inherit it. Processes that may not be inspected, or are ending, are left out.
///
/// # Errors
/// If the system does not list processes.
pub fn with_variable(name: &str, value: &str) -> Result<Vec<(u32, String)>> {
    let wanted = format!("{name}={value}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
            continue;
        };
        if pid == std::process::id() || !environment.split(|byte| *byte == 0).any(|var| var == wanted.as_bytes()) {
            continue;
        }
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        found.push((pid, line.trim().to_owned()));
    }
    Ok(found)
}

/// Sends SIGKILL to a process found by [`with_variable`].
pub fn kill_pid(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
