//! Options of a restore of a database, and its result.

use std::path::PathBuf;

use crate::progress::Limits;

/// Options of a restore of a database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseOptions {
    /// Make the database if it does not exist: with the encoding, locale, owner, privileges and settings that it had.
    pub create: bool,
    /// Replaces the objects that the dump holds, if the database is not empty. Objects that the dump does not hold
    /// stay.
    pub overwrite: bool,
    /// Give every object to the connecting user, and leave privileges out: for a server without the dump's roles.
    pub no_owner: bool,
    /// Further places to look for `pg_restore`.
    pub client_dirs: Vec<PathBuf>,
    /// Memory and threads.
    pub limits: Limits,
}

/// The result of a restore of a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseReport {
    /// True if the database was made, and so has the captured encoding and locale.
    pub created: bool,
    /// Properties of a database that was made which could not be applied, and why.
    pub warnings: Vec<String>,
}
