//! Databases and roles: from a stream into a PostgreSQL server.

mod globals;
mod replace;
mod restore;
mod sql;
mod target;

pub use globals::{GlobalsOptions, GlobalsReport, restore_globals, try_globals};
pub use replace::replace_database;
pub use restore::{DatabaseError, DatabaseOptions, DatabaseReport, restore_database, try_database};
