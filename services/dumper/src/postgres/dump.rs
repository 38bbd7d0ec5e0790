//! `pg_dump` and `pg_dumpall`: the stream from their output; success only by their exit status, since their pipe closes
//! cleanly on failure too.

use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use holdfast_postgres::{Ender, Program, Running, Server};

use super::error::DumpError;
use super::snapshot::GlobalsAt;

/// The pipe between program and capture: large enough that neither waits for the other at every page.
const PIPE_SIZE: usize = 1 << 20;

/// A program that is dumping. Dropping it ends the program.
pub(crate) struct Dump {
    running: Running,
    database: String,
}

impl Dump {
    /// Starts `pg_dump` of the server's database, in the database's own encoding whatever the user's settings say: a
    /// conversion may not be possible. `ender` ends it from outside.
    pub(crate) fn of_database(
        server: &Server,
        program: &Program,
        lock_timeout: Duration,
        encoding: &str,
        snapshot: &str,
        ender: &Ender,
    ) -> Result<(Self, ChildStdout), DumpError> {
        let mut command = program.command();
        command.args(["--format=custom", "--compress=0", "--no-password"]);
        command.arg(format!("--lock-wait-timeout={}", lock_timeout.as_millis()));
        command.arg(format!("--encoding={encoding}"));
        command.arg(format!("--snapshot={snapshot}"));
        Self::start(server, command, encoding, ender)
    }

    /// Starts `pg_dumpall` of roles and tablespaces; without the roles' passwords for a user that may not read them.
    pub(crate) fn globals(
        server: &Server,
        program: &Program,
        at: &GlobalsAt,
        passwords: bool,
        ender: &Ender,
    ) -> Result<(Self, ChildStdout), DumpError> {
        let mut command = program.command();
        command.args(["--globals-only", "--no-password"]);
        command.arg(format!("--encoding={}", at.encoding));
        if let Some(database) = &at.database {
            command.arg(format!("--database={database}"));
        }
        if !passwords {
            command.arg("--no-role-passwords");
        }
        Self::start(server, command, &at.encoding, ender)
    }

    fn start(
        server: &Server,
        mut command: Command,
        encoding: &str,
        ender: &Ender,
    ) -> Result<(Self, ChildStdout), DumpError> {
        let files = server.lead(&mut command, encoding)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(command, Some(files), ender)?;
        let stdout = running.stdout()?;
        // Only a matter of speed, so a refusal (a low limit on pipe memory) is no error.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_SIZE);
        let database = server.database().to_owned();
        Ok((Self { running, database }, stdout))
    }

    /// Returns the path of the program.
    pub(crate) fn program(&self) -> &Path {
        self.running.path()
    }

    /// Returns the database that is dumped.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Waits for the program's end, once its output was read to its end. Gives its warnings.
    pub(crate) fn finish(self) -> Result<Vec<String>, DumpError> {
        let program = self.running.path().to_owned();
        let ended = self.running.finish()?;
        if !ended.status.success() {
            return Err(DumpError::Failed {
                program,
                database: self.database,
                status: ended.status.to_string(),
                said: ended.reason(),
            });
        }
        let warnings = ended.said.lines().filter(|line| line.contains("warning"));
        Ok(warnings.map(str::to_owned).collect())
    }
}
