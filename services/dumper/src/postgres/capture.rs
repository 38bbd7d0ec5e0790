//! The capture of one database, or of the globals: snapshot, dump and count side by side, then the comparison of both.

use std::collections::BTreeMap;
use std::io::Read;
use std::pin::Pin;
use std::process::ChildStdout;

use holdfast_capture::{CaptureError, capture_stream};
use holdfast_config::Postgres;
use holdfast_format::{ArtefactKind, Content, Counts, DatabaseInfo, Manifest, Warnings};
use holdfast_postgres::{Ender, Program, Programs, Server};
use holdfast_service::{Context, JobError};
use holdfast_session::{Input, Session, SourceFacts};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::completeness::Completeness;
use super::dump::Dump;
use super::error::DumpError;
use super::list;
use super::snapshot::{Counted, Snapshot};

/// Captures what the session is about: of the source, the database of this name, or the globals.
pub(super) async fn capture(
    cx: &Context,
    session: Session,
    source: &Postgres,
    server: &Server,
    name: &str,
) -> Result<(), JobError> {
    match session.artefact().kind {
        ArtefactKind::Database => database(cx, session, source, server, name).await,
        ArtefactKind::Globals => globals(cx, session, source, server).await,
        kind => Err(JobError::Fail(format!("the dumper does not capture a {kind}"))),
    }
}

async fn database(
    cx: &Context,
    session: Session,
    source: &Postgres,
    server: &Server,
    name: &str,
) -> Result<(), JobError> {
    let snapshot = match Snapshot::open(&server.with_database(name)).await {
        Err(error) if error.is_no_database() => return Err(explained(source, server, name, error.into()).await.into()),
        opened => opened?,
    };
    let started = cx.now();
    let program = find(source, "pg_dump", snapshot.major).await?;
    let tools = tools(&program, &snapshot.server_version);
    let lock_timeout = source.lock_timeout.as_std();
    let min_ratio = source.min_ratio;
    let server = snapshot.server.clone();
    let id = snapshot.id.clone();
    let properties = snapshot.database.clone();
    let (counted, counting) = oneshot::channel();
    let (begin, begun) = oneshot::channel();
    // The snapshot lives as long as this task, which is longer than pg_dump needs it.
    let count = tokio::spawn(async move {
        if begun.await.is_err() {
            // There is no dump.
            return snapshot;
        }
        let result = snapshot.count().await;
        // Nobody listens only if the capture has failed already.
        let _ = counted.send(result);
        snapshot
    });
    let ender = Ender::default();
    let ending = ender.clone();
    let lost = session.lost();
    let captured = Box::pin(session.capture(started, move |input| {
        let dump = Dump::of_database(&server, &program, lock_timeout, &properties.encoding, &id, &ending)?;
        let dumped = Dumped::new(dump, Completeness::archive(), tools);
        let counting = Counting {
            begin,
            counted: counting,
            properties,
        };
        dumped.read(input, Some(counting), min_ratio)
    }));
    let result = ended_with(captured, lost, ender).await;
    count.abort();
    result
}

/// Finds out why there is no database of this name: it may be one that cannot be asked for.
async fn explained(source: &Postgres, server: &Server, name: &str, error: DumpError) -> DumpError {
    let Ok(client) = server.connect().await else {
        return error;
    };
    match list::databases(source, server, &client).await {
        Ok(found) if found.unnamed.iter().any(|unnamed| unnamed.to_string() == name) => {
            DumpError::Name { name: name.to_owned() }
        }
        _ => error,
    }
}

async fn globals(cx: &Context, session: Session, source: &Postgres, server: &Server) -> Result<(), JobError> {
    let snapshot = Snapshot::open(server).await?;
    let program = find(source, "pg_dumpall", snapshot.major).await?;
    let tools = tools(&program, &snapshot.server_version);
    let passwords = snapshot.may_read_passwords().await?;
    let at = snapshot.globals().await?;
    let min_ratio = source.min_ratio;
    let server = snapshot.server.clone();
    let ender = Ender::default();
    let ending = ender.clone();
    let lost = session.lost();
    let captured = Box::pin(session.capture(cx.now(), move |input| {
        let dump = Dump::globals(&server, &program, &at, passwords, &ending)?;
        let mut found = Dumped::new(dump, Completeness::script(), tools).read(input, None, min_ratio)?;
        if !passwords {
            let why = "the user may not read pg_authid: roles will be restored without their passwords";
            found.warnings.add("no-role-passwords", why);
        }
        Ok(found)
    }));
    ended_with(captured, lost, ender).await
}

/// Waits for a capture; ends its program when the job is no longer ours, since nobody reads on then.
async fn ended_with<F>(mut captured: Pin<Box<F>>, lost: CancellationToken, ender: Ender) -> Result<(), JobError>
where
    F: Future<Output = Result<(), JobError>>,
{
    tokio::select! {
        result = &mut captured => return result,
        () = lost.cancelled() => ender.end(),
    }
    captured.await
}

async fn find(source: &Postgres, program: &'static str, major: u32) -> Result<Program, JobError> {
    let dirs = source.client_dirs.clone();
    let found = tokio::task::spawn_blocking(move || Programs::in_dirs(&dirs).find(program, major, None)).await?;
    Ok(found?)
}

fn tools(program: &Program, server: &str) -> BTreeMap<String, String> {
    let name = program
        .path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    BTreeMap::from([
        ("holdfast".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        (name, program.version.clone()),
        ("server".to_owned(), server.to_owned()),
    ])
}

/// Rows that are being counted beside a dump, and what else is known of its database.
struct Counting {
    begin: oneshot::Sender<()>,
    counted: oneshot::Receiver<Result<Counted, holdfast_postgres::PgError>>,
    properties: DatabaseInfo,
}

/// Tells of the first byte: `pg_dump` writes none before it holds its locks.
struct FirstByte<R> {
    inner: R,
    tell: Option<oneshot::Sender<()>>,
}

impl<R: Read> Read for FirstByte<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(tell) = self.tell.take_if(|_| read > 0) {
            // Nobody listens only if the capture has failed already.
            let _ = tell.send(());
        }
        Ok(read)
    }
}

/// A dump that is being written.
struct Dumped {
    dump: Dump,
    stdout: ChildStdout,
    completeness: Completeness,
    tools: BTreeMap<String, String>,
}

impl Dumped {
    fn new((dump, stdout): (Dump, ChildStdout), completeness: Completeness, tools: BTreeMap<String, String>) -> Self {
        Self {
            dump,
            stdout,
            completeness,
            tools,
        }
    }

    /// Reads it to its end, and believes it only when it is whole and its program has ended well.
    fn read(
        mut self,
        mut input: Input<'_>,
        counting: Option<Counting>,
        min_ratio: f64,
    ) -> Result<SourceFacts, JobError> {
        let program = self.dump.program().to_owned();
        let database = self.dump.database().to_owned();
        let (begin, counting) = counting.map(|it| (it.begin, (it.counted, it.properties))).unzip();
        let stdout = FirstByte {
            inner: self.completeness.watch(self.stdout),
            tell: begin,
        };
        let size = capture_stream(stdout, input.packer, input.contents, &mut input.watch)?;
        let said = self.dump.finish()?;
        if size == 0 {
            return Err(DumpError::Empty { program, database }.into());
        }
        let mut warnings = Warnings::default();
        match self.completeness.end() {
            Ok(None) => {}
            Ok(Some(why)) => warnings.add("unchecked", &why),
            Err(problem) => {
                return Err(DumpError::CutOff {
                    program,
                    database,
                    problem,
                }
                .into());
            }
        }
        for line in said {
            warnings.add("pg_dump", &line);
        }
        let mut counts = Counts::default();
        let mut info = None;
        if let Some((counted, properties)) = counting {
            info = Some(properties);
            let counted = counted
                .blocking_recv()
                .map_err(|_| DumpError::Uncounted { database })??;
            counts = write_counts(&mut input, &counted, &mut warnings)?;
        }
        let previous = input.previous.map(|p| &p.manifest);
        compare(previous, size, &counts, min_ratio, &mut warnings);
        Ok(SourceFacts {
            counts,
            database: info,
            warnings,
            tools: self.tools,
            ..SourceFacts::default()
        })
    }
}

fn write_counts(input: &mut Input<'_>, counted: &Counted, warnings: &mut Warnings) -> Result<Counts, JobError> {
    for (table, rows) in &counted.tables {
        input
            .contents
            .write(&Content::Table(table.clone(), *rows))
            .map_err(CaptureError::Contents)?;
    }
    for (table, why) in &counted.uncounted {
        warnings.add("uncounted", &format!("{table}: {why}"));
    }
    Ok(Counts {
        tables: counted.tables.len() as u64,
        rows: counted.tables.iter().map(|(_, rows)| rows).sum(),
        large_objects: counted.large_objects,
        ..Counts::default()
    })
}

/// An empty or shrunken dump is never silent: it is what a dump of the wrong server, or of a damaged one, looks like.
fn compare(previous: Option<&Manifest>, size: u64, counts: &Counts, min_ratio: f64, warnings: &mut Warnings) {
    let Some(previous) = previous else { return };
    if previous.captured.counts.tables > 0 && counts.tables == 0 {
        warnings.add(
            "empty",
            &format!(
                "it had {} tables in the backup before, and has none now",
                previous.captured.counts.tables
            ),
        );
    }
    // Precision does not matter: the ratio is a rule of thumb.
    #[allow(clippy::cast_precision_loss)]
    let shrunken = (size as f64) < previous.captured.stream.size as f64 * min_ratio;
    if shrunken {
        warnings.add(
            "shrunken",
            &format!(
                "{size} bytes, after {} in the backup before",
                previous.captured.stream.size
            ),
        );
    }
}
