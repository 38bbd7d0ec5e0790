//! A database anew, in the place of one that is there.

use std::sync::Arc;
use std::time::Duration;

use holdfast_postgres::{Client, PgError, Server};

use super::error::DatabaseError;
use super::options::{DatabaseOptions, DatabaseReport};
use super::restore::restore_database;
use super::target::{self, mark, quoted};
use crate::progress::Progress;
use crate::source::OpenArtefact;

/// The number of attempts to take the database's name. PostgreSQL waits five seconds each time for the last session to end.
const TRIES: usize = 3;

/// The interval at which sessions are ended while the name is being taken.
const END_EVERY: Duration = Duration::from_millis(200);

/// Restores a dump into a new database, and puts that in the place of the one that is there once it is whole. What was there
/// is gone then, also what the dump does not hold; until then it serves on. Sessions in it are ended. If there is none, it is
/// made. What a call left that was killed goes with the next one for the same database.
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
    let (client, server) = &target::beside(server).await?;
    let name = server.database();
    let mark = mark(name);
    // Held as long as this connection: nobody takes the other's new database for a left one.
    if !lock(server, client, mark).await? {
        return Err(DatabaseError::BeingReplaced {
            database: name.to_owned(),
            server: server.describe(),
        });
    }
    let fresh = format!("holdfast_new_{mark:08x}");
    let old = format!("holdfast_old_{mark:08x}");
    let beside = server.with_database(&fresh);
    let before = server.with_database(&old);
    target::remove(&beside).await;
    if !exists(server, client, name).await? {
        return restore_database(artefact, server, &anew, progress).await;
    }
    target::remove(&before).await;
    let report = restore_database(artefact, &beside, &anew, progress).await?;
    if let Err(error) = swap(server, &fresh, &old).await {
        target::remove(&beside).await;
        return Err(error.into());
    }
    target::remove(&before).await;
    Ok(report)
}

/// Takes the server's lock on replacing this database. False if another session has it.
async fn lock(server: &Server, client: &Client, mark: u32) -> Result<bool, PgError> {
    let key = i64::from(mark) | i64::from(u32::from_be_bytes(*b"hold")) << 32;
    let row = client.query_one("SELECT pg_try_advisory_lock($1)", &[&key]).await;
    let had = row.and_then(|row| row.try_get(0));
    had.map_err(server.query_error("take the lock on replacing the database"))
}

async fn exists(server: &Server, client: &Client, name: &str) -> Result<bool, PgError> {
    let row = client
        .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name])
        .await
        .map_err(server.query_error("look for the database"))?;
    Ok(row.is_some())
}

/// Puts `fresh` in the place of the server's database, which is `old` then. Both names change in one transaction: a client or
/// a server that dies has changed none, or both.
async fn swap(server: &Server, fresh: &str, old: &str) -> Result<(), PgError> {
    let name = server.database();
    let rename = |from: &str, to: &str| format!("ALTER DATABASE {} RENAME TO {}", quoted(from), quoted(to));
    let both = format!("BEGIN; {}; {}; COMMIT", rename(name, old), rename(fresh, name));
    // Not the connection that has waited for the restore: it may have been cut.
    let client = target::beside(server).await?.0;
    let other = target::beside(server).await?.0;
    // To rename bars new sessions first, and then waits for the old ones.
    let ending = async {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        loop {
            if let Err(error) = other.query(sql, &[&name]).await {
                return server.query_error("end the sessions of the database")(error);
            }
            tokio::time::sleep(END_EVERY).await;
        }
    };
    let renaming = async {
        let mut tries = 0;
        loop {
            match client.batch_execute(&both).await {
                Err(_) if tries < TRIES => {
                    tries += 1;
                    let undone = client.batch_execute("ROLLBACK").await;
                    undone.map_err(server.query_error(format!("replace the database {name:?}")))?;
                }
                done => return done.map_err(server.query_error(format!("replace the database {name:?}"))),
            }
        }
    };
    tokio::select! {
        biased;
        done = renaming => done,
        error = ending => Err(error),
    }
}
