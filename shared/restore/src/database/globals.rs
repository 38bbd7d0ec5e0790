//! Roles and tablespaces, statement by statement.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use holdfast_format::{StreamFormat, Text};
use holdfast_postgres::properties::Scribe;
use holdfast_postgres::{Client, DriverError, PgError, Server, text};
use tokio_postgres::error::SqlState;

use super::error::DatabaseError;
use super::restore::refuse_other_kinds;
use super::sql::{OnRole, Refused, encoding_set, on_role, statements};
use super::target::spare_name;
use crate::progress::{Limits, Progress};
use crate::select::Selection;
use crate::source::OpenArtefact;
use crate::stream::write_stream;

/// No list of roles is larger. It is held in memory, because all of it is checked before any of it is run.
const GLOBALS_MAX: usize = 256 << 20;

/// Options of a restore of roles and tablespaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalsOptions {
    /// Give roles that exist already the captured attributes and passwords, too.
    pub overwrite: bool,
}

/// The result of a restore of roles and tablespaces.
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
    let script = read(artefact, server).await?;
    let (client, server) = server.connect_there().await?;
    let encoding = statements(&script)
        .filter_map(Result::ok)
        .find_map(encoding_set)
        .unwrap_or("UTF8");
    let before = roles(&server, &client, encoding).await?;
    let foreign = is_foreign(&server, &client, encoding).await?;
    let mut restoring = Restoring {
        scribe: Scribe::new(&server, client, spare_name(server.database())),
        encoding: foreign.then(|| encoding.to_owned()),
        before,
        options,
        report: GlobalsReport::default(),
    };
    for statement in statements(&script) {
        match statement {
            // Whoever runs the others says it for each.
            Ok(statement) if encoding_set(statement).is_some() => restoring.report.done += 1,
            Ok(statement) => restoring.run(&server, statement).await?,
            Err(Refused(line)) => {
                let said = "a command for psql, which is not run".to_owned();
                restoring.report.failed.push((shortened(line), said));
            }
        }
    }
    restoring.scribe.finish().await;
    Ok(restoring.report)
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

async fn read(artefact: Arc<OpenArtefact>, server: &Server) -> Result<Vec<u8>, DatabaseError> {
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
        Ok(text.0)
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

/// Lists the roles that there are: their names as the script writes them, each with the name as it is at the server.
async fn roles(server: &Server, client: &Client, encoding: &str) -> Result<HashMap<Text, Text>, PgError> {
    let failed = || server.query_error("list roles");
    let own = names(client).await.map_err(failed())?;
    let converted = client
        .batch_execute(&format!("SET client_encoding = '{encoding}'"))
        .await;
    let written = match converted {
        Ok(()) => names(client).await,
        Err(error) => Err(error),
    };
    let back = client.batch_execute("SET client_encoding = 'SQL_ASCII'").await;
    back.map_err(failed())?;
    match written {
        Ok(written) => Ok(written.into_iter().zip(own).collect()),
        // Some name has no form in that encoding.
        Err(error) if error.code().is_some() => Ok(own.iter().cloned().zip(own.clone()).collect()),
        Err(error) => Err(failed()(error)),
    }
}

async fn names(client: &Client) -> Result<Vec<Text>, DriverError> {
    let rows = client
        .query("SELECT rolname FROM pg_catalog.pg_roles ORDER BY oid", &[])
        .await?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// Asks whether the session's database has another encoding than this, so that text is to be converted.
async fn is_foreign(server: &Server, client: &Client, encoding: &str) -> Result<bool, PgError> {
    let failed = || server.query_error("ask for the encoding");
    let row = client
        .query_one("SELECT pg_catalog.getdatabaseencoding()", &[])
        .await
        .map_err(failed())?;
    let own = text(&row, 0).map_err(failed())?.to_string();
    Ok(![own.as_str(), "SQL_ASCII"].contains(&encoding) && own != "SQL_ASCII")
}

struct Restoring {
    scribe: Scribe,
    /// The script's encoding, if it is to be converted.
    encoding: Option<String>,
    /// Roles that are there, by their names in the script.
    before: HashMap<Text, Text>,
    options: GlobalsOptions,
    report: GlobalsReport,
}

impl Restoring {
    async fn run(&mut self, server: &Server, statement: &[u8]) -> Result<(), PgError> {
        match on_role(statement) {
            Some(OnRole::Create(role)) => {
                if let Some(there) = self.before.get(&role) {
                    self.report.existing.push(there.to_string());
                    return Ok(());
                }
            }
            Some(OnRole::Alter(role)) if self.before.contains_key(&role) && !self.options.overwrite => return Ok(()),
            _ => {}
        }
        match self.scribe.run(statement, self.encoding.as_deref()).await {
            Ok(()) => self.report.done += 1,
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_OBJECT) => {}
            Err(error) => match error.as_db_error() {
                Some(said) => self
                    .report
                    .failed
                    .push((shortened(statement), said.message().to_owned())),
                None => return Err(server.query_error("restore roles")(error)),
            },
        }
        Ok(())
    }
}

/// The beginning of a statement, before anything quoted: passwords are.
fn shortened(statement: &[u8]) -> String {
    let head = statement.split(|byte| *byte == b'\'').next().unwrap_or_default();
    let head: String = Text::from(head.to_vec()).to_string().chars().take(120).collect();
    head.trim_end().to_owned()
}
