//! A dump into a database, all or nothing.

use std::io;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;

use holdfast_format::StreamFormat;
use tokio_postgres::Client;

use super::server::{Server, ServerError};
use super::tools::{Stderr, Tool, ToolError};
use crate::progress::{Limits, Progress};
use crate::select::Selection;
use crate::source::OpenArtefact;
use crate::stream::{StreamError, write_stream};

/// How to restore a database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseOptions {
    /// Make the database if it does not exist.
    pub create: bool,
    /// If the database is not empty, replace the objects that the dump holds. What the dump does not hold stays.
    pub overwrite: bool,
    /// Give every object to the connecting user, and leave privileges out: for a server without the dump's roles.
    pub no_owner: bool,
    /// Further places to look for `pg_restore`.
    pub client_dirs: Vec<PathBuf>,
    /// Memory and threads.
    pub limits: Limits,
}

/// Why a database was not restored. Unless it says otherwise, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The artefact is something else.
    #[error("artefact {artefact} holds {kind}, not a database")]
    NotADatabase {
        /// The artefact.
        artefact: String,
        /// What it holds.
        kind: &'static str,
    },
    /// There is no such database.
    #[error("there is no database {database:?} at {server}: create it, or ask for it to be created")]
    NoDatabase {
        /// The database.
        database: String,
        /// Host and port.
        server: String,
    },
    /// There is something in it.
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
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// There is no `pg_restore` for this dump.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The stream broke off, and `pg_restore` was stopped; its transaction is rolled back.
    #[error("the dump could not be read to its end: nothing was restored into {database:?}")]
    Stream {
        /// The database.
        database: String,
        /// Why.
        #[source]
        source: Box<StreamError>,
    },
    /// `pg_restore` failed; its transaction is rolled back.
    #[error("pg_restore could not restore into {database:?} and changed nothing: {said}")]
    Restore {
        /// The database.
        database: String,
        /// What it said.
        said: String,
    },
    /// The work ended without a result: a fault of this program, or its end.
    #[error("restoring {database:?} was broken off")]
    BrokenOff {
        /// The database.
        database: String,
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

impl DatabaseError {
    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            Self::Server(source) => source.retry(),
            Self::Tool(source) => source.retry(),
            Self::Stream { source, .. } => source.retry(),
            Self::BrokenOff { .. } => true,
            Self::NotADatabase { .. } | Self::NoDatabase { .. } | Self::NotEmpty { .. } | Self::Restore { .. } => false,
        }
    }

    /// Whether it was refused for safety: the operator may ask for it more clearly.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NoDatabase { .. } | Self::NotEmpty { .. })
    }
}

/// Restores a dump into the server's database, in one transaction: it is there whole, or not at all. The stream's last bytes
/// go to `pg_restore` only once all of it was found to be what was captured. If this future is dropped, the restore is
/// stopped and rolled back.
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
) -> Result<(), DatabaseError> {
    let stream = artefact.manifest().stream.format;
    if stream != StreamFormat::PgDump {
        return Err(DatabaseError::NotADatabase {
            artefact: artefact.manifest().artefact.to_string(),
            kind: artefact.manifest().kind.as_str(),
        });
    }
    let mut created = None;
    let client = match server.connect().await {
        Ok(client) => client,
        Err(ServerError::Connect { source, .. }) if is_no_database(&source) => {
            created = Some(create(server, options).await?);
            server.connect().await?
        }
        Err(error) => return Err(error.into()),
    };
    let major = server_major(server, &client).await?;
    let tool = Tool::for_dump("pg_restore", artefact.manifest(), Some(major), &options.client_dirs)?;
    if !options.overwrite {
        refuse_if_used(server, &client).await?;
    }
    drop(client);
    let result = run(artefact, server, options, tool, progress).await;
    if let (Err(_), Some(maintenance)) = (&result, created) {
        // Made by this very call, and empty.
        let statement = format!("DROP DATABASE {} WITH (FORCE)", quoted(server.database()));
        if let Err(error) = maintenance.batch_execute(&statement).await {
            tracing::warn!(database = server.database(), %error, "the empty database that was made could not be dropped");
        }
    }
    result
}

async fn run(
    artefact: Arc<OpenArtefact>,
    server: &Server,
    options: &DatabaseOptions,
    tool: Tool,
    progress: Arc<Progress>,
) -> Result<(), DatabaseError> {
    let mut stop = StopOnDrop(Some(Arc::clone(&progress)));
    let (task_server, task_options) = (server.clone(), options.clone());
    let task = tokio::task::spawn_blocking(move || feed(&artefact, &task_server, &task_options, &tool, &progress));
    let result = task.await.map_err(|source| DatabaseError::BrokenOff {
        database: server.database().to_owned(),
        source,
    });
    stop.0 = None;
    result?
}

/// Stops a job whose result nobody waits for any more.
struct StopOnDrop(Option<Arc<Progress>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.stop();
        }
    }
}

fn feed(
    artefact: &OpenArtefact,
    server: &Server,
    options: &DatabaseOptions,
    tool: &Tool,
    progress: &Progress,
) -> Result<(), DatabaseError> {
    let mut command = tool.command();
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
    let password = server.hand_to(&mut command)?;
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let run_error = |source| ToolError::Run {
        program: tool.path.clone(),
        source,
    };
    let mut child = Running(command.spawn().map_err(run_error)?);
    let stderr = Stderr::of(&mut child.0);
    let streamed = match child.0.stdin.take() {
        Some(mut stdin) => {
            let streamed = write_stream(
                artefact.origin(),
                &Selection::all(),
                options.limits,
                progress,
                &mut stdin,
            );
            if matches!(&streamed, Err(error) if !is_broken_pipe(error)) {
                // Before its input ends: it must not take a part for the whole.
                let _ = child.0.kill();
            }
            streamed
        }
        None => Err(StreamError::Stopped),
    };
    let status = child.0.wait().map_err(run_error)?;
    drop(password);
    let database = server.database().to_owned();
    let said = stderr.finish();
    match streamed {
        Err(source) if !is_broken_pipe(&source) => Err(DatabaseError::Stream {
            database,
            source: Box::new(source),
        }),
        Ok(_) if status.success() => Ok(()),
        _ => {
            let said = if said.is_empty() { status.to_string() } else { said };
            Err(DatabaseError::Restore { database, said })
        }
    }
}

fn is_broken_pipe(error: &StreamError) -> bool {
    matches!(error, StreamError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe)
}

/// A child that does not outlive this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn is_no_database(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::INVALID_CATALOG_NAME)
}

/// Makes the database; gives the connection that made it.
async fn create(server: &Server, options: &DatabaseOptions) -> Result<Client, DatabaseError> {
    if !options.create {
        return Err(DatabaseError::NoDatabase {
            database: server.database().to_owned(),
            server: server.describe(),
        });
    }
    let client = match server.with_database("postgres").connect().await {
        Ok(client) => client,
        Err(ServerError::Connect { source, .. }) if is_no_database(&source) => {
            server.with_database("template1").connect().await?
        }
        Err(error) => return Err(error.into()),
    };
    // Not template1: what an administrator put there would be in the dump's way.
    let statement = format!("CREATE DATABASE {} TEMPLATE template0", quoted(server.database()));
    client
        .batch_execute(&statement)
        .await
        .map_err(server.query_error(format!("create the database {:?}", server.database())))?;
    Ok(client)
}

async fn server_major(server: &Server, client: &Client) -> Result<u32, DatabaseError> {
    let row = client
        .query_one("SELECT current_setting('server_version_num')::int / 10000", &[])
        .await
        .map_err(server.query_error("ask for the version"))?;
    Ok(u32::try_from(row.get::<_, i32>(0)).unwrap_or(0))
}

/// What an empty database does not have: relations, functions and types outside the system's schemas that no extension
/// brought, further schemas, large objects.
const USED: &str = "
    SELECT what FROM (
        SELECT format('%I.%I', n.nspname, c.relname) AS what FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e')
        UNION ALL
        SELECT format('%I.%I()', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
        UNION ALL
        SELECT format('type %I.%I', n.nspname, t.typname) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
            WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND t.typtype IN ('d', 'e', 'r')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
        UNION ALL
        SELECT format('schema %I', nspname) FROM pg_namespace n
            WHERE nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = n.oid AND d.classid = 'pg_namespace'::regclass AND d.deptype = 'e')
        UNION ALL
        (SELECT 'large object ' || oid FROM pg_largeobject_metadata LIMIT 4)
    ) used LIMIT 4";

async fn refuse_if_used(server: &Server, client: &Client) -> Result<(), DatabaseError> {
    let rows = client
        .query(USED, &[])
        .await
        .map_err(server.query_error("look whether the database is empty"))?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut what: Vec<String> = rows.iter().take(3).map(|row| row.get(0)).collect();
    if rows.len() > 3 {
        what.push("...".to_owned());
    }
    Err(DatabaseError::NotEmpty {
        database: server.database().to_owned(),
        server: server.describe(),
        what: what.join(", "),
    })
}

/// A name as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
