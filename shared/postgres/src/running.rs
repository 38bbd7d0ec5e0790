//! A program while it runs. It ends with its owner, or is ended from outside; its messages are kept up to a bound.

use std::collections::VecDeque;
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{PgError, ProgramFiles};

/// The bytes of a program's complaints that are kept, of the beginning and of the end each.
const SAID_MAX: usize = 8 * 1024;

/// Ends a program from outside: whoever reads its output, or writes its input, may be blocked in that.
#[derive(Clone, Debug, Default)]
pub struct Ender(Arc<Mutex<Option<Pid>>>);

impl Ender {
    /// Kills the program, if it runs.
    pub fn end(&self) {
        let pid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            // It fails only if the program has ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    }

    fn set(&self, pid: Option<Pid>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    }
}

/// A program that runs. Dropping it ends the program.
#[derive(Debug)]
pub struct Running {
    child: Child,
    path: PathBuf,
    said: Option<JoinHandle<String>>,
    ender: Ender,
    ended: Option<ExitStatus>,
    _files: Option<ProgramFiles>,
}

/// The end of a program.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit status. Nothing else tells whether the program did its work.
    pub status: ExitStatus,
    /// The text on standard error: all of it, or the beginning and the end.
    pub said: String,
}

impl Running {
    /// Starts a program, whose standard input and output the command says. `ender` ends it from outside, if one is given.
    ///
    /// # Errors
    /// [`PgError::Run`]
    pub fn start(mut command: Command, files: Option<ProgramFiles>, ender: &Ender) -> Result<Self, PgError> {
        let path = PathBuf::from(command.get_program());
        let run = |source| PgError::Run {
            program: path.clone(),
            source,
        };
        let mut child = command.stderr(Stdio::piped()).spawn().map_err(run)?;
        ender.set(Pid::from_raw(child.id().cast_signed()));
        let stderr = child.stderr.take();
        Ok(Self {
            said: stderr.map(|stderr| std::thread::spawn(move || said(stderr))),
            child,
            path,
            ender: ender.clone(),
            ended: None,
            _files: files,
        })
    }

    /// Returns the program's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the program's standard input, once, if the command said that it is a pipe.
    ///
    /// # Errors
    /// [`PgError::Run`]
    pub fn stdin(&mut self) -> Result<ChildStdin, PgError> {
        self.child.stdin.take().ok_or_else(|| self.no_pipe("input"))
    }

    /// Takes the program's standard output, once, if the command said that it is a pipe.
    ///
    /// # Errors
    /// [`PgError::Run`]
    pub fn stdout(&mut self) -> Result<ChildStdout, PgError> {
        self.child.stdout.take().ok_or_else(|| self.no_pipe("output"))
    }

    fn no_pipe(&self, which: &str) -> PgError {
        PgError::Run {
            program: self.path.clone(),
            source: std::io::Error::other(format!("its {which} is not a pipe")),
        }
    }

    /// Kills the program.
    pub fn kill(&mut self) {
        // It fails only if the program has ended by itself.
        let _ = self.child.kill();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`PgError::Run`]
    pub fn finish(mut self) -> Result<Ended, PgError> {
        let status = self.wait().map_err(|source| PgError::Run {
            program: self.path.clone(),
            source,
        })?;
        let said = self
            .said
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        Ok(Ended { status, said })
    }

    /// Waits, and makes sure that the ender never means another process that got the same number.
    fn wait(&mut self) -> std::io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        drop(self.child.stdin.take());
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            // The number stays taken until the second call.
            let ended = || waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            while matches!(ended(), Err(rustix::io::Errno::INTR)) {}
        }
        self.ender.set(None);
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait();
    }
}

impl Ended {
    /// Returns the program's words, or advice about one that said nothing.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.status.signal() {
            _ if !self.said.is_empty() => self.said.clone(),
            Some(_) => "it was ended from outside: look into the system's log, where lack of memory is told".to_owned(),
            None => "it did not say why".to_owned(),
        }
    }
}

/// The beginning and the end of what a program says. All of it is read, so that it never waits for that.
fn said(mut from: impl Read) -> String {
    let mut head = Vec::new();
    let mut tail = VecDeque::new();
    let mut left_out = 0_u64;
    let mut buffer = [0; 4096];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => &buffer[..read],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let (first, rest) = read.split_at(read.len().min(SAID_MAX - head.len()));
        head.extend_from_slice(first);
        tail.extend(rest);
        let too_many = tail.len().saturating_sub(SAID_MAX);
        tail.drain(..too_many);
        left_out += too_many as u64;
    }
    let tail: Vec<u8> = tail.into();
    if left_out > 0 {
        head.extend(format!("\n[{left_out} bytes are left out here]\n").into_bytes());
    }
    head.extend(tail);
    String::from_utf8_lossy(&head).trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    #[test]
    fn the_beginning_and_the_end_of_what_is_said_are_kept() {
        assert_eq!(said(&b" short\n"[..]), "short");
        let long = format!("first\n{}last\n", "x".repeat(3 * SAID_MAX));
        let kept = said(long.as_bytes());
        assert!(kept.starts_with("first\n") && kept.ends_with("last"), "{kept}");
        let left_out = long.len() - 2 * SAID_MAX;
        assert!(
            kept.contains(&format!("[{left_out} bytes are left out here]")),
            "{kept}"
        );
        let exact = "y".repeat(2 * SAID_MAX);
        assert_eq!(said(exact.as_bytes()), exact);
        assert_eq!(said(&b"caf\xe9"[..]), "caf\u{fffd}");
    }

    #[test]
    fn a_program_is_ended_from_outside_and_then_no_more() {
        let ender = Ender::default();
        ender.end();
        let running = Running::start(shell("echo so >&2; exec sleep 60"), None, &ender).unwrap();
        let other = ender.clone();
        let ending = std::thread::spawn(move || other.end());
        let ended = running.finish().unwrap();
        ending.join().unwrap();
        assert_eq!(ended.status.signal(), Some(9));
        assert!(!ended.reason().is_empty());
        assert!(ender.0.lock().unwrap().is_none(), "its number may be another's by now");
        ender.end();
    }

    #[test]
    fn a_program_does_not_outlive_its_holder() {
        let running = Running::start(shell("exec sleep 60"), None, &Ender::default()).unwrap();
        let process = format!("/proc/{}", running.child.id());
        assert!(Path::new(&process).exists());
        drop(running);
        assert!(!Path::new(&process).exists());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Running::start(Command::new("/no/pg_dump"), None, &Ender::default()).unwrap_err();
        assert!(error.to_string().contains("/no/pg_dump"), "{error}");
    }
}
