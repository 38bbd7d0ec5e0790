//! What can go wrong between Holdfast and a PostgreSQL server.

use std::io;

use holdfast_fault::{Retry, Retryable};

/// Why a server's databases cannot be listed or dumped.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// No connection, or it was refused.
    #[error("connect to database {database:?} of PostgreSQL source {source_name}: {hint}")]
    Connect {
        /// The source.
        source_name: String,
        /// The database.
        database: String,
        /// What to do.
        hint: &'static str,
        /// What the driver said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server took the connection, and then said nothing.
    #[error(
        "connect to database {database:?} of PostgreSQL source {source_name}: it accepts connections and does not answer: \
         check that what listens there is PostgreSQL, and that it is not overloaded"
    )]
    Silent {
        /// The source.
        source_name: String,
        /// The database.
        database: String,
    },
    /// TLS cannot be set up.
    #[error("set up TLS for PostgreSQL source {source_name}: check sslmode and sslrootcert")]
    Tls {
        /// The source.
        source_name: String,
        /// What OpenSSL said.
        #[source]
        source: openssl::error::ErrorStack,
    },
    /// A query failed.
    #[error("{what} at PostgreSQL source {source_name}")]
    Query {
        /// The source.
        source_name: String,
        /// What was asked.
        what: String,
        /// What the driver said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// No client program is there, or none is new enough.
    #[error(
        "no {program} of version {needed} or newer for PostgreSQL source {source_name} (found: {found}): install \
         postgresql-client-{needed}, or name its folder in postgres.client_dirs"
    )]
    NoClient {
        /// The source.
        source_name: String,
        /// The program.
        program: &'static str,
        /// The server's major version.
        needed: u32,
        /// What was found.
        found: String,
    },
    /// A client program could not be run.
    #[error("run {program}")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A client program failed. Its own words follow.
    #[error("{program} of {database:?} failed ({status}): {said}")]
    Failed {
        /// The program.
        program: String,
        /// The database.
        database: String,
        /// Its exit status.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// The dump has no bytes.
    #[error("{program} of {database:?} wrote nothing")]
    Empty {
        /// The program.
        program: String,
        /// The database.
        database: String,
    },
    /// A client program ended well, and its dump is not whole.
    #[error(
        "{program} of {database:?} ended without an error, but its dump is not whole: {problem}; it is not believed. \
         Replace this program, or name the folder of another in postgres.client_dirs"
    )]
    CutOff {
        /// The program.
        program: String,
        /// The database.
        database: String,
        /// What is missing.
        problem: String,
    },
}

impl Retryable for PgError {
    fn retry(&self) -> Retry {
        use tokio_postgres::error::SqlState;
        match self {
            Self::Connect { source, .. } => Retry::later_if(source.code().is_none_or(|code| {
                *code == SqlState::TOO_MANY_CONNECTIONS
                    || *code == SqlState::CANNOT_CONNECT_NOW
                    || *code == SqlState::ADMIN_SHUTDOWN
            })),
            Self::Silent { .. } | Self::Query { .. } | Self::Run { .. } | Self::Empty { .. } | Self::CutOff { .. } => {
                Retry::Later
            }
            Self::Failed { said, .. } => {
                let never = [
                    "permission denied",
                    "row-level security",
                    "server version mismatch",
                    "does not exist",
                ];
                Retry::later_if(!never.iter().any(|word| said.contains(word)))
            }
            Self::Tls { .. } | Self::NoClient { .. } => Retry::Never,
        }
    }
}
