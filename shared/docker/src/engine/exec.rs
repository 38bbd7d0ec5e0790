//! Commands in running containers.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures::StreamExt;

use super::{Engine, EngineError, Kind};

/// The interval between questions for the exit code after the output has ended.
const POLL: Duration = Duration::from_millis(20);

/// A command for a running container.
#[derive(Clone, Debug)]
pub struct Exec<'a> {
    /// The program and its arguments.
    pub command: &'a [&'a str],
    /// The user that runs the command; `None`: the container's own.
    pub user: Option<&'a str>,
    /// The time limit of the command.
    pub timeout: Duration,
    /// The number of bytes kept of each output, from its beginning.
    pub keep: usize,
}

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The end of the command, or the lack of one.
    pub outcome: Outcome,
    /// The beginning of the command's standard output.
    pub stdout: Vec<u8>,
    /// The beginning of the command's standard error.
    pub stderr: Vec<u8>,
    /// True if either output was longer than the part that was kept.
    pub cut: bool,
}

/// The ways in which a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command ended with this exit code.
    Ended(i64),
    /// The command did not end in time. It goes on in the container, since the engine cannot end it.
    TimedOut,
}

impl Engine {
    /// Runs a command in a running container, and waits for its end.
    ///
    /// # Errors
    /// If the container is not there or does not run, or the engine does not answer. A command that fails, does not
    /// exist or takes too long is no error: see [`Executed::outcome`].
    pub async fn exec(&self, container: &str, exec: &Exec<'_>) -> Result<Executed, EngineError> {
        EngineError::check_name("run a command in", "container", container)?;
        let thing = format!("container {container}");
        let options = CreateExecOptions {
            cmd: Some(exec.command.to_vec()),
            user: exec.user,
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let created = self
            .ask("run a command in", &thing, self.client.create_exec(container, options))
            .await?;
        let mut executed = Executed {
            outcome: Outcome::TimedOut,
            stdout: Vec::new(),
            stderr: Vec::new(),
            cut: false,
        };
        let run = self.run(&created.id, &thing, exec.keep, &mut executed);
        if let Ok(ended) = tokio::time::timeout(exec.timeout, run).await {
            let exit_code = ended?;
            executed.outcome = Outcome::Ended(exit_code);
        }
        Ok(executed)
    }

    async fn run(&self, id: &str, thing: &str, keep: usize, executed: &mut Executed) -> Result<i64, EngineError> {
        let start = self.client.start_exec(id, None::<StartExecOptions>);
        let started = self.ask("run a command in", thing, start).await?;
        let StartExecResults::Attached {
            mut output,
            input: _input,
        } = started
        else {
            return Err(EngineError::new("run a command in", thing, Kind::Garbled));
        };
        while let Some(piece) = output.next().await {
            let piece = piece.map_err(|source| EngineError::of_bollard("run a command in", thing, source))?;
            let kept = match &piece {
                LogOutput::StdErr { .. } => &mut executed.stderr,
                _ => &mut executed.stdout,
            };
            let piece = piece.into_bytes();
            let fits = piece.len().min(keep.saturating_sub(kept.len()));
            kept.extend_from_slice(&piece[..fits]);
            executed.cut |= fits < piece.len();
        }
        loop {
            let now = self
                .ask("run a command in", thing, self.client.inspect_exec(id))
                .await?;
            match (now.running, now.exit_code) {
                (Some(true), _) => tokio::time::sleep(POLL).await,
                (_, Some(code)) => return Ok(code),
                // The command never ran: the connection broke before.
                (_, None) => return Err(EngineError::new("run a command in", thing, Kind::Broken)),
            }
        }
    }
}
