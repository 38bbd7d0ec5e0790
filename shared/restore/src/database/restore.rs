//! A dump into a database, all or nothing.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::StreamFormat;
use holdfast_postgres::{Ender, PgError, Program, Running, Server};

use super::target;
use crate::progress::{Limits, Progress};
use crate::select::Selection;
use crate::source::OpenArtefact;
use crate::stream::{StreamError, write_stream};

/// Options of a restore of a database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseOptions {
    /// Make the database if it does not exist: with the encoding, locale, owner, privileges and settings that it had.
    pub create: bool,
    /// Replaces the objects that the dump holds, if the database is not empty. Objects that the dump does not hold
    /// stay.
    pub overwrite: bool,
    /// Give every object to the connecting user, and leave privileges out: for a server without the dump's roles.
    pub no_owner: bool,
    /// Further places to look for `pg_restore`.
    pub client_dirs: Vec<PathBuf>,
    /// Memory and threads.
    pub limits: Limits,
}

/// The interval at which a restore looks for the order to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The result of a restore of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseReport {
    /// True if the database was made, and so has the captured encoding and locale.
    pub created: bool,
    /// Properties of a database that was made which could not be applied, and why.
    pub warnings: Vec<String>,
}

/// A database was not restored. Unless the error says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The artefact is something else.
    #[error("artefact {artefact} holds {kind}, not a database")]
    NotADatabase {
        /// The artefact.
        artefact: String,
        /// The kind of the artefact.
        kind: &'static str,
    },
    /// The server has no such database.
    #[error("there is no database {database:?} at {server}: create it, or ask for it to be created")]
    NoDatabase {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
    },
    /// The database is not empty.
    #[error(
        "the database {database:?} at {server} is not empty ({what}): name another one, or ask for it to be overwritten"
    )]
    NotEmpty {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// Some of what is in it.
        what: String,
    },
    /// No database can have this name.
    #[error("the name {database:?} is longer than the {most} bytes that a database's may have: give it a shorter one")]
    LongName {
        /// The database.
        database: String,
        /// Bytes that a name may have.
        most: usize,
    },
    /// The user may not make databases.
    #[error(
        "the user may not create the database {database:?} at {server}: ALTER ROLE ... CREATEDB, or create it beforehand"
    )]
    MayNotCreate {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
    },
    /// Another restore replaces the database at this moment.
    #[error(
        "the database {database:?} at {server} is being replaced by another restore at this moment: wait for its end"
    )]
    BeingReplaced {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
    },
    /// The server has not what the database was made with.
    #[error(
        "{server} cannot have the database {database:?} as it was: {problem}; nothing was created. Or create the database \
         beforehand in the same encoding, as you want it"
    )]
    Unfit {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// The property that the server lacks.
        problem: String,
    },
    /// Text could be converted wrongly, or not at all.
    #[error("the database {database:?} at {server} has the encoding {found}, and the backup has {captured}")]
    OtherEncoding {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
        /// The encoding of the database that is there.
        found: String,
        /// The encoding of the database that was captured.
        captured: String,
    },
    /// The server failed, or there is no `pg_restore` for this dump.
    #[error(transparent)]
    Postgres(#[from] PgError),
    /// The stream broke off, and `pg_restore` was stopped; its transaction is rolled back.
    #[error("the dump could not be read to its end: nothing was restored into {database:?}")]
    Stream {
        /// The database.
        database: String,
        /// The reason.
        #[source]
        source: Box<StreamError>,
    },
    /// `pg_restore` failed; its transaction is rolled back.
    #[error("pg_restore could not restore into {database:?} and changed nothing: {said}")]
    Restore {
        /// The database.
        database: String,
        /// The message of `pg_restore`.
        said: String,
    },
    /// The work ended without a result: a fault of this program, or its end.
    #[error("restoring {database:?} was broken off")]
    BrokenOff {
        /// The database.
        database: String,
        /// The end of the task.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl Retryable for DatabaseError {
    fn retry(&self) -> Retry {
        match self {
            Self::Postgres(source) => source.retry(),
            Self::Stream { source, .. } => source.retry(),
            Self::BrokenOff { source, .. } => source.retry(),
            Self::BeingReplaced { .. } => Retry::Later,
            Self::NotADatabase { .. }
            | Self::NoDatabase { .. }
            | Self::NotEmpty { .. }
            | Self::LongName { .. }
            | Self::MayNotCreate { .. }
            | Self::Unfit { .. }
            | Self::OtherEncoding { .. }
            | Self::Restore { .. } => Retry::Never,
        }
    }
}

impl DatabaseError {
    /// True if the restore was refused for safety: the operator may ask for it more clearly.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::NoDatabase { .. } | Self::NotEmpty { .. } | Self::OtherEncoding { .. }
        )
    }
}

/// Restores a dump into the server's database, in one transaction: it is there whole, or not at all. The stream's last bytes
/// go to `pg_restore` only once all of it was found to be what was captured. [`Progress::stop`] stops the restore and rolls it
/// back, and a database that was made for it goes again; so does dropping this future, but then that database stays, empty.
///
/// `pg_restore` runs code that the dump brings, with the user's rights at the server; and it has had faults by which a
/// crafted dump ran code on the client. Restore foreign dumps as a user with few rights, on a machine without secret keys.
///
/// # Errors
/// [`DatabaseError`]
pub async fn restore_database(
    artefact: Arc<OpenArtefact>,
    server: &Server,
    options: &DatabaseOptions,
    progress: Arc<Progress>,
) -> Result<DatabaseReport, DatabaseError> {
    refuse_other_kinds(&artefact, StreamFormat::PgDump)?;
    let target = target::look(&artefact, server, options).await?;
    let server = &target.server;
    let info = artefact.manifest().captured.database.clone();
    let mut report = DatabaseReport {
        created: target.missing,
        warnings: Vec::new(),
    };
    let mut owned = false;
    if target.missing {
        (owned, report.warnings) = target::create(server, info.as_ref(), target.major, options.no_owner).await?;
    }
    let result = run(artefact, server, options, target.program, progress).await;
    match (&result, &info) {
        (Err(_), _) if report.created => target::remove(server).await,
        (Ok(()), Some(info)) if report.created => {
            let failed = target::finish(server, info, owned, options.no_owner).await;
            report.warnings.extend(failed);
        }
        _ => {}
    }
    result.map(|()| report)
}

/// Looks whether [`restore_database`] could begin: the target, the rights, the programs, and whether the keys open the dump.
/// Changes nothing.
///
/// # Errors
/// [`DatabaseError`], as the restore would give it.
pub async fn try_database(
    artefact: Arc<OpenArtefact>,
    server: &Server,
    options: &DatabaseOptions,
) -> Result<(), DatabaseError> {
    refuse_other_kinds(&artefact, StreamFormat::PgDump)?;
    target::look(&artefact, server, options).await?;
    let task = tokio::task::spawn_blocking(move || {
        let mut first = FirstByte(false);
        let limits = Limits { threads: 1, cache: 0 };
        let progress = Progress::default();
        match write_stream(artefact.origin(), &Selection::all(), limits, &progress, &mut first) {
            Err(StreamError::Write(_)) if first.0 => Ok(()),
            other => other.map(|_| ()),
        }
    });
    let database = server.database();
    task.await
        .map_err(|source| DatabaseError::BrokenOff {
            database: database.to_owned(),
            source,
        })?
        .map_err(|source| DatabaseError::Stream {
            database: database.to_owned(),
            source: Box::new(source),
        })
}

/// Takes nothing: that something came is enough.
struct FirstByte(bool);

impl Write for FirstByte {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0 |= !buffer.is_empty();
        Err(io::Error::other("enough"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Refuses an artefact whose stream is of another format.
pub(super) fn refuse_other_kinds(artefact: &OpenArtefact, wanted: StreamFormat) -> Result<(), DatabaseError> {
    if artefact.manifest().captured.stream.format == wanted {
        return Ok(());
    }
    Err(DatabaseError::NotADatabase {
        artefact: artefact.manifest().captured.artefact.to_string(),
        kind: artefact.manifest().captured.kind.as_str(),
    })
}

async fn run(
    artefact: Arc<OpenArtefact>,
    server: &Server,
    options: &DatabaseOptions,
    program: Program,
    progress: Arc<Progress>,
) -> Result<(), DatabaseError> {
    let ender = Ender::default();
    let mut stop = StopOnDrop(Some((Arc::clone(&progress), ender.clone())));
    let task_server = server.clone();
    let task_options = options.clone();
    let task_ender = ender.clone();
    let watched = Arc::clone(&progress);
    let mut task = tokio::task::spawn_blocking(move || {
        feed(&artefact, &task_server, &task_options, &program, &progress, &task_ender)
    });
    let mut tick = tokio::time::interval(LOOK_EVERY);
    let result = loop {
        tokio::select! {
            result = &mut task => break result,
            // It may be blocked in a write to a program that is busy, or in waiting for it.
            _ = tick.tick() => if watched.stopped() { ender.end() },
        }
    };
    stop.0 = None;
    result.map_err(|source| DatabaseError::BrokenOff {
        database: server.database().to_owned(),
        source,
    })?
}

/// Stops a job whose result nobody waits for any more.
struct StopOnDrop(Option<(Arc<Progress>, Ender)>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some((progress, ender)) = &self.0 {
            progress.stop();
            ender.end();
        }
    }
}

fn feed(
    artefact: &OpenArtefact,
    server: &Server,
    options: &DatabaseOptions,
    program: &Program,
    progress: &Progress,
    ender: &Ender,
) -> Result<(), DatabaseError> {
    let mut command = program.command();
    // An empty name means "connect", and where to is in the environment.
    command.args([
        "--format=custom",
        "--exit-on-error",
        "--single-transaction",
        "--no-password",
        "--dbname=",
    ]);
    if options.overwrite {
        command.args(["--clean", "--if-exists"]);
    }
    if options.no_owner {
        command.args(["--no-owner", "--no-privileges"]);
    }
    // The dump itself says in which encoding it is.
    let handed = server.lead(&mut command, "UTF8")?;
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut running = Running::start(command, Some(handed), ender)?;
    let mut stdin = running.stdin()?;
    let streamed = write_stream(
        artefact.origin(),
        &Selection::all(),
        options.limits,
        progress,
        &mut stdin,
    );
    if matches!(&streamed, Err(error) if !is_broken_pipe(error)) {
        // Before its input ends: it must not take a part for the whole.
        running.kill();
    }
    drop(stdin);
    let ended = running.finish()?;
    let database = server.database().to_owned();
    match streamed {
        Err(source) if !is_broken_pipe(&source) => Err(DatabaseError::Stream {
            database,
            source: Box::new(source),
        }),
        Ok(_) if ended.status.success() => Ok(()),
        _ => {
            let said = format!("{} ({})", ended.reason(), ended.status);
            Err(DatabaseError::Restore { database, said })
        }
    }
}

fn is_broken_pipe(error: &StreamError) -> bool {
    matches!(error, StreamError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
}
