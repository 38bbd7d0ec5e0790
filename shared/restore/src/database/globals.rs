//! Roles and tablespaces, statement by statement.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

use holdfast_format::StreamFormat;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::restore::{DatabaseError, refuse_other_kinds};
use super::server::{Server, ServerError};
use super::sql::{OnRole, Refused, on_role, statements};
use crate::progress::{Limits, Progress};
use crate::select::Selection;
use crate::source::OpenArtefact;
use crate::stream::{StreamError, write_stream};

/// No list of roles is larger. It is held in memory, because all of it is checked before any of it is run.
const GLOBALS_MAX: usize = 256 << 20;

/// How to restore roles and tablespaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalsOptions {
    /// Give roles that exist already the captured attributes and passwords, too.
    pub overwrite: bool,
}

/// What came of restoring roles and tablespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalsReport {
    /// Statements run.
    pub done: u64,
    /// Roles that were there before; unless overwriting was asked for, they are as they were.
    pub existing: Vec<String>,
    /// Statements that failed, without their passwords: the beginning of each, and what the server said.
    pub failed: Vec<(String, String)>,
}

/// Runs the SQL of a `globals` artefact on the server, after all of it was found to be what was captured. A statement that
/// fails does not stop those behind it. No `psql` takes part: text in the backup cannot run programs.
///
/// # Errors
/// [`DatabaseError`] if nothing could be run, or the connection broke in the middle.
pub async fn restore_globals(
    artefact: Arc<OpenArtefact>,
    server: &Server,
    options: GlobalsOptions,
) -> Result<GlobalsReport, DatabaseError> {
    refuse_other_kinds(&artefact, StreamFormat::Sql)?;
    let text = read(artefact, server).await?;
    let client = server.connect().await?;
    let before = roles(server, &client).await?;
    let mut report = GlobalsReport::default();
    for statement in statements(&text) {
        match statement {
            Ok(statement) => run(server, &client, statement, &before, options, &mut report).await?,
            Err(Refused(line)) => {
                let said = "a command for psql, which is not run".to_owned();
                report.failed.push((line.chars().take(60).collect(), said));
            }
        }
    }
    Ok(report)
}

/// Looks whether [`restore_globals`] could begin: the server, and whether the keys open the backup. Changes nothing.
///
/// # Errors
/// [`DatabaseError`], as the restore would give it.
pub async fn try_globals(artefact: Arc<OpenArtefact>, server: &Server) -> Result<(), DatabaseError> {
    refuse_other_kinds(&artefact, StreamFormat::Sql)?;
    read(artefact, server).await?;
    server.connect().await?;
    Ok(())
}

async fn read(artefact: Arc<OpenArtefact>, server: &Server) -> Result<String, DatabaseError> {
    let task = tokio::task::spawn_blocking(move || {
        let mut text = Bounded(Vec::new());
        let progress = Progress::default();
        write_stream(
            artefact.origin(),
            &Selection::all(),
            Limits::default(),
            &progress,
            &mut text,
        )?;
        String::from_utf8(text.0).map_err(|error| StreamError::Write(io::Error::other(error)))
    });
    let database = || server.database().to_owned();
    task.await
        .map_err(|source| DatabaseError::BrokenOff {
            database: database(),
            source,
        })?
        .map_err(|source| DatabaseError::Stream {
            database: database(),
            source: Box::new(source),
        })
}

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.0.len() + buffer.len() > GLOBALS_MAX {
            return Err(io::Error::other("larger than any list of roles"));
        }
        self.0.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn roles(server: &Server, client: &Client) -> Result<HashSet<String>, ServerError> {
    let rows = client
        .query("SELECT rolname::text FROM pg_roles", &[])
        .await
        .map_err(server.query_error("list roles"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn run(
    server: &Server,
    client: &Client,
    statement: &str,
    before: &HashSet<String>,
    options: GlobalsOptions,
    report: &mut GlobalsReport,
) -> Result<(), ServerError> {
    match on_role(statement) {
        Some(OnRole::Create(role)) if before.contains(&role) => {
            report.existing.push(role);
            return Ok(());
        }
        Some(OnRole::Alter(role)) if before.contains(&role) && !options.overwrite => return Ok(()),
        _ => {}
    }
    match client.batch_execute(statement).await {
        Ok(()) => report.done += 1,
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => {}
        Err(error) => match error.as_db_error() {
            Some(said) => report.failed.push((shortened(statement), said.message().to_owned())),
            None => return Err(server.query_error("restore roles")(error)),
        },
    }
    Ok(())
}

/// The beginning of a statement, before anything quoted: passwords are.
fn shortened(statement: &str) -> String {
    let head = statement.split('\'').next().unwrap_or_default();
    head.chars().take(120).collect::<String>().trim_end().to_owned()
}
