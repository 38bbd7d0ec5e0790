//! A database anew, in the place of one that is there.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use tokio_postgres::Client;

use super::properties::quoted;
use super::restore::{DatabaseError, DatabaseOptions, DatabaseReport, restore_database};
use super::server::{Server, ServerError};
use super::target;
use crate::progress::Progress;
use crate::source::OpenArtefact;

/// How often sessions that come back are ended before the place counts as taken.
const TRIES: usize = 10;

/// Restores a dump into a new database, and puts that in the place of the one that is there once it is whole. What was there
/// is gone then, also what the dump does not hold; until then it serves on. Sessions in it are ended. If there is none, it is
/// made.
///
/// # Errors
/// [`DatabaseError`]; the old database is in its place then.
pub async fn replace_database(
    artefact: Arc<OpenArtefact>,
    server: &Server,
    options: &DatabaseOptions,
    progress: Arc<Progress>,
) -> Result<DatabaseReport, DatabaseError> {
    let anew = DatabaseOptions {
        create: true,
        overwrite: false,
        ..options.clone()
    };
    let name = server.database();
    let client = target::beside(server).await?;
    if !exists(server, &client, name).await? {
        return restore_database(artefact, server, &anew, progress).await;
    }
    let mark = RandomState::new().hash_one(name) & 0xffff_ffff;
    let (fresh, old) = (format!("holdfast_new_{mark:08x}"), format!("holdfast_old_{mark:08x}"));
    let beside = server.with_database(&fresh);
    let report = restore_database(artefact, &beside, &anew, progress).await?;
    if let Err(error) = swap(server, &client, &fresh, &old).await {
        target::remove(&beside).await;
        return Err(error.into());
    }
    target::remove(&server.with_database(&old)).await;
    Ok(report)
}

async fn exists(server: &Server, client: &Client, name: &str) -> Result<bool, ServerError> {
    let row = client
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name])
        .await
        .map_err(server.query_error("look for the database"))?;
    Ok(row.is_some())
}

/// Puts `fresh` in the place of the server's database, which is `old` then. Either both names change, or none.
async fn swap(server: &Server, client: &Client, fresh: &str, old: &str) -> Result<(), ServerError> {
    let name = server.database();
    let allow =
        |allow: bool, database: &str| format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {allow}", quoted(database));
    let rename = |from: &str, to: &str| format!("ALTER DATABASE {} RENAME TO {}", quoted(from), quoted(to));
    let execute = async |sql: String, doing: &str| {
        let done = client.batch_execute(&sql).await;
        done.map_err(server.query_error(format!("{doing} the database {name:?}")))
    };
    execute(allow(false, name), "close").await?;
    let mut tries = 0;
    let moved = loop {
        let sql =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        if let Err(error) = client.query(sql, &[&name]).await {
            break Err(server.query_error("end the sessions of the database")(error));
        }
        match execute(rename(name, old), "move").await {
            // A session takes a moment to end.
            Err(_) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            moved => break moved,
        }
    };
    let placed = match moved {
        Ok(()) => match execute(rename(fresh, name), "replace").await {
            Ok(()) => return Ok(()),
            Err(error) => {
                execute(rename(old, name), "put back").await?;
                Err(error)
            }
        },
        Err(error) => Err(error),
    };
    execute(allow(true, name), "open").await?;
    placed
}
