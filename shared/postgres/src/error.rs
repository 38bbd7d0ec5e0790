//! Errors between Holdfast and a PostgreSQL server.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use tokio_postgres::error::SqlState;

/// A server cannot be reached or asked, or a program of PostgreSQL cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PgError {
    /// The address is not one. It is not repeated here: it may hold a password.
    #[error("the address of a PostgreSQL server {}; write postgres://user@host:port/database", rules.join("; it "))]
    Address { rules: Vec<String> },
    /// No file of services has the service that the address names.
    #[error("the service {name:?} of {server} is not in {}: add it there, or name the file in PGSERVICEFILE", looked.join(", "))]
    NoService {
        server: String,
        name: String,
        looked: Vec<String>,
    },
    /// A file that the address names cannot be used.
    #[error("cannot use {} for {server}: {problem}", path.display())]
    File {
        server: String,
        path: PathBuf,
        problem: String,
    },
    /// The system trusts no authority.
    #[error(
        "cannot check the certificate of {server}: this system has no file of authorities (looked for {looked}): install \
         ca-certificates, or name a file in sslrootcert"
    )]
    NoAuthorities { server: String, looked: String },
    /// TLS cannot be set up.
    #[error("cannot set up TLS for {server}: check sslrootcert, sslcert and sslkey")]
    Tls {
        server: String,
        #[source]
        source: openssl::error::ErrorStack,
    },
    /// The connection failed, or the server refused it.
    #[error("cannot connect to database {database:?} of {server}: {hint}{others}")]
    Connect {
        server: String,
        database: String,
        hint: &'static str,
        others: String,
        #[source]
        source: tokio_postgres::Error,
    },
    /// A server took the connection, and then said nothing.
    #[error(
        "cannot connect to database {database:?} of {server}: it accepts connections and does not answer: check that what \
         listens there is PostgreSQL, and that it is not overloaded{others}"
    )]
    Silent {
        server: String,
        database: String,
        others: String,
    },
    /// The host's name cannot be resolved.
    #[error("cannot find the host of {server}: check its name, and that this machine can resolve it{others}")]
    NoHost {
        server: String,
        others: String,
        #[source]
        source: io::Error,
    },
    /// Servers answer, and none is what was asked for.
    #[error("no server of {server} is {wanted}, as target_session_attrs asks for{others}")]
    Unsuitable {
        server: String,
        wanted: &'static str,
        others: String,
    },
    /// A statement or query failed at the server.
    #[error("cannot {doing} at {server}")]
    Query {
        server: String,
        doing: String,
        #[source]
        source: tokio_postgres::Error,
    },
    /// The password cannot be handed to PostgreSQL's programs.
    #[error("cannot hand the password to PostgreSQL's programs")]
    Password(#[source] io::Error),
    /// The program is not there, or is not new enough.
    #[error(
        "no {program} of version {needed} or newer (found: {found}): install postgresql-client-{needed}, or name its folder \
         in postgres.client_dirs"
    )]
    NoProgram {
        program: String,
        needed: u32,
        found: String,
    },
    /// A program could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl PgError {
    /// Tells whether the server refused the user or the password.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        // Class 28: invalid authorization.
        self.code().is_some_and(|code| code.starts_with("28"))
    }

    /// Tells whether there is no such database.
    #[must_use]
    pub fn is_no_database(&self) -> bool {
        matches!(self, Self::Connect { .. }) && self.code() == Some(SqlState::INVALID_CATALOG_NAME.code())
    }

    /// Tells whether nobody answered, or not as a PostgreSQL server does.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.code().is_none(),
            Self::Silent { .. } | Self::NoHost { .. } => true,
            _ => false,
        }
    }

    /// The SQLSTATE that the server gave.
    fn code(&self) -> Option<&str> {
        let (Self::Connect { source, .. } | Self::Query { source, .. }) = self else {
            return None;
        };
        source.code().map(SqlState::code)
    }
}

impl Retryable for PgError {
    fn retry(&self) -> Retry {
        match self {
            Self::Connect { source, .. } | Self::Query { source, .. } => Retry::later_if(may_pass(source)),
            Self::Silent { .. } | Self::NoHost { .. } | Self::Unsuitable { .. } => Retry::Later,
            Self::Run { source, .. } => Retry::of_io(source),
            Self::Address { .. }
            | Self::NoService { .. }
            | Self::File { .. }
            | Self::NoAuthorities { .. }
            | Self::Tls { .. }
            | Self::Password(_)
            | Self::NoProgram { .. } => Retry::Never,
        }
    }
}

/// Tells whether the same call may go through later without anybody changing anything.
fn may_pass(error: &tokio_postgres::Error) -> bool {
    // No code: the connection broke. 08: connection, 25: a session that was idle for too long, 40: deadlock, 53: resources,
    // 55: a lock, 57: shutdown, 58: the system. XX000: the catalogue changed under the query.
    let classes = ["08", "25", "40", "53", "55", "57", "58"];
    error.code().is_none_or(|code| {
        classes.iter().any(|class| code.code().starts_with(class)) || *code == SqlState::INTERNAL_ERROR
    })
}
