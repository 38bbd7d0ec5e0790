//! Databases and roles: from a stream into a PostgreSQL server.

mod error;
mod globals;
mod options;
mod replace;
mod restore;
mod sql;
mod target;

pub use error::DatabaseError;
pub use globals::{GlobalsOptions, GlobalsReport, restore_globals, try_globals};
pub use options::{DatabaseOptions, DatabaseReport};
pub use replace::replace_database;
pub use restore::{restore_database, try_database};
