//! A dump into a database, all or nothing.

use std::io::{self, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use holdfast_format::StreamFormat;
use holdfast_postgres::{Ender, Program, Running, Server};

use super::error::DatabaseError;
use super::options::{DatabaseOptions, DatabaseReport};
use super::target;
use crate::progress::{Limits, Progress};
use crate::select::Selection;
use crate::source::OpenArtefact;
use crate::stream::{StreamError, write_stream};

/// The interval at which a restore looks for the order to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
