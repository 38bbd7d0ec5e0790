//! Errors of a dump.

use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_postgres::PgError;

/// The reason why a database, or the globals, did not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DumpError {
    /// The server or a program cannot be reached.
    #[error(transparent)]
    Postgres(#[from] PgError),
    /// The driver takes no such name.
    #[error(
        "the name of database \"{name}\" is not UTF-8 (bytes that are not are written as \\x..), and no such database can be \
         asked for: rename it (ALTER DATABASE ... RENAME TO) in a session of its own encoding, or name it in exclude"
    )]
    Name { name: String },
    /// No database of the server has an encoding in which `pg_dumpall` can say these roles' names.
    #[error(
        "the names of roles {names} are not valid in {encoding}, the encoding of database postgres, and pg_dumpall cannot ask \
         for them: rename them (ALTER ROLE ... RENAME TO) in a session of their own encoding"
    )]
    Roles { names: String, encoding: String },
    /// A program failed. Its own words follow.
    #[error("{} of {database:?} failed ({status}): {said}", program.display())]
    Failed {
        program: PathBuf,
        database: String,
        status: String,
        said: String,
    },
    /// The dump has no bytes.
    #[error("{} of {database:?} wrote nothing", program.display())]
    Empty { program: PathBuf, database: String },
    /// A program ended well, and its dump is not whole.
    #[error(
        "{} of {database:?} ended without an error, but its dump is not whole: {problem}; it is not believed. Replace this \
         program, or name the folder of another in postgres.client_dirs", program.display()
    )]
    CutOff {
        program: PathBuf,
        database: String,
        problem: String,
    },
    /// The count of rows ended without a result.
    #[error("counting the rows of {database:?} was cut")]
    Uncounted { database: String },
}

impl Retryable for DumpError {
    fn retry(&self) -> Retry {
        match self {
            Self::Postgres(source) => source.retry(),
            Self::Name { .. } | Self::Roles { .. } => Retry::Never,
            Self::Failed { said, .. } => {
                // Words of the programs themselves, and of servers that speak English; of others it is tried again in vain.
                let never = [
                    "permission denied",
                    "row-level security",
                    "server version mismatch",
                    "does not exist",
                ];
                Retry::later_if(!never.iter().any(|word| said.contains(word)))
            }
            Self::Empty { .. } | Self::CutOff { .. } | Self::Uncounted { .. } => Retry::Later,
        }
    }
}
