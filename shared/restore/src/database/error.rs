//! Failures of a restore of a database or the globals.

use holdfast_fault::{Retry, Retryable};
use holdfast_postgres::PgError;

use crate::stream::StreamError;

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
