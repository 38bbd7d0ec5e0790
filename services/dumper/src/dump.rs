//! Running `pg_dump` and `pg_dumpall`: parameters by environment and a password file, never on the command line; the
//! stream from their output; success only by their exit status, since their pipe closes cleanly on failure too.

use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use holdfast_config::{Postgres, Secret};

use crate::{PgError, Program};

/// How much of what a program says is kept.
const SAID_MAX: usize = 8 * 1024;

/// The pipe between program and capture: large enough that neither waits for the other at every page.
const PIPE_SIZE: usize = 1 << 20;

/// Ends a program from outside: who reads its output may be blocked in that very read.
#[derive(Clone, Default)]
pub(crate) struct Ender(Arc<AtomicI32>);

impl Ender {
    /// Kills the program, if it runs.
    pub(crate) fn end(&self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.swap(0, Ordering::SeqCst)) {
            // It fails only if the program has ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// A program that is dumping. Dropping it ends the program.
pub(crate) struct Dump {
    child: Child,
    said: Option<JoinHandle<String>>,
    program: String,
    database: String,
    ender: Ender,
    _password: Option<PasswordFile>,
}

impl Dump {
    /// Starts `pg_dump` of one database, in the database's own encoding whatever the user's settings say: a conversion may
    /// not be possible.
    pub(crate) fn of_database(
        source: &Postgres,
        program: &Program,
        database: &str,
        encoding: &str,
        snapshot: Option<&str>,
    ) -> Result<(Self, ChildStdout), PgError> {
        let mut command = Command::new(&program.path);
        command.args(["--format=custom", "--compress=0", "--no-password"]);
        command.arg(format!(
            "--lock-wait-timeout={}",
            source.lock_timeout.as_std().as_millis()
        ));
        command.arg(format!("--encoding={encoding}"));
        if let Some(snapshot) = snapshot {
            command.arg(format!("--snapshot={snapshot}"));
        }
        Self::start(source, command, database, encoding)
    }

    /// Starts `pg_dumpall` of roles and tablespaces; without the roles' passwords for a user that may not read them.
    pub(crate) fn globals(
        source: &Postgres,
        program: &Program,
        passwords: bool,
    ) -> Result<(Self, ChildStdout), PgError> {
        let mut command = Command::new(&program.path);
        command.args(["--globals-only", "--no-password", "--encoding=UTF8"]);
        if !passwords {
            command.arg("--no-role-passwords");
        }
        Self::start(source, command, &source.database(), "UTF8")
    }

    fn start(
        source: &Postgres,
        mut command: Command,
        database: &str,
        encoding: &str,
    ) -> Result<(Self, ChildStdout), PgError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let run = |error| PgError::Run {
            program: program.clone(),
            source: error,
        };
        let password = source
            .password
            .as_ref()
            .map(PasswordFile::write)
            .transpose()
            .map_err(run)?;
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("PGCLIENTENCODING", encoding)
            .env("PGDATABASE", database)
            .env("PGUSER", source.user());
        command
            .env("PGHOST", source.hosts().join(","))
            .env("PGPORT", source.port().to_string());
        command
            .env("PGSSLMODE", source.sslmode.as_str())
            .env("PGAPPNAME", "holdfast");
        command.env("PGCONNECT_TIMEOUT", "10");
        if let Some(authorities) = &source.sslrootcert {
            command.env("PGSSLROOTCERT", authorities);
        }
        if let Some(file) = &password {
            command.env("PGPASSFILE", file.path());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(run)?;
        let said = child
            .stderr
            .take()
            .map(|stderr| std::thread::spawn(move || tail(stderr)));
        let Some(stdout) = child.stdout.take() else {
            return Err(run(std::io::Error::other("its output is not a pipe")));
        };
        // Only a matter of speed, so a refusal (a low limit on pipe memory) is no error.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_SIZE);
        let dump = Self {
            child,
            said,
            program,
            database: database.to_owned(),
            ender: Ender::default(),
            _password: password,
        };
        Ok((dump, stdout))
    }

    /// Lets `ender` end this program.
    pub(crate) fn ended_by(mut self, ender: &Ender) -> Self {
        self.ender = ender.clone();
        self.ender
            .0
            .store(i32::try_from(self.child.id()).unwrap_or(0), Ordering::SeqCst);
        self
    }

    /// The program.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    /// The database it dumps.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Waits for the program's end, once its output was read to its end. Gives its warnings.
    pub(crate) fn finish(mut self) -> Result<Vec<String>, PgError> {
        let run = |error| PgError::Run {
            program: self.program.clone(),
            source: error,
        };
        let status = self.child.wait().map_err(run)?;
        self.ender.0.store(0, Ordering::SeqCst);
        let said = self
            .said
            .take()
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        if !status.success() {
            let (program, database) = (self.program.clone(), self.database.clone());
            return Err(PgError::Failed {
                program,
                database,
                status: status.to_string(),
                said: or_silence(said, status),
            });
        }
        Ok(said
            .lines()
            .filter(|l| l.contains("warning"))
            .map(str::to_owned)
            .collect())
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        self.ender.0.store(0, Ordering::SeqCst);
        // Both fail only if the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program said, or what is to be done about one that said nothing.
fn or_silence(said: String, status: ExitStatus) -> String {
    match status.signal() {
        _ if !said.is_empty() => said,
        Some(_) => "it was ended from outside: look into the system's log, where lack of memory is told".to_owned(),
        None => "it did not say why".to_owned(),
    }
}

/// The end of what a program says, bounded.
fn tail(mut from: impl Read) -> String {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..n]);
        if kept.len() > 2 * SAID_MAX {
            kept.drain(..kept.len() - SAID_MAX);
        }
    }
    let start = kept.len().saturating_sub(SAID_MAX);
    String::from_utf8_lossy(&kept[start..]).trim().to_owned()
}

/// A libpq password file that exists in memory only, and only as long as somebody holds it: nothing is left of it even if
/// this process is killed. The child inherits it, and finds it under its own number.
struct PasswordFile(OwnedFd);

impl PasswordFile {
    fn write(password: &Secret) -> std::io::Result<Self> {
        use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
        let memory = memfd_create("pgpass", MemfdFlags::empty())?;
        // libpq refuses a file that others may read.
        fchmod(&memory, Mode::RUSR | Mode::WUSR)?;
        let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
        let mut file = File::from(memory);
        file.write_all(format!("*:*:*:*:{escaped}\n").as_bytes())?;
        Ok(Self(file.into()))
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}
