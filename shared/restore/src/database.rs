//! Databases and roles: from a stream into a PostgreSQL server.

mod globals;
mod properties;
mod replace;
mod restore;
mod rows;
mod server;
mod sql;
mod target;
mod tools;

pub use globals::{GlobalsOptions, GlobalsReport, restore_globals, try_globals};
pub use replace::replace_database;
pub use restore::{DatabaseError, DatabaseOptions, DatabaseReport, restore_database, try_database};
pub use rows::{RowDifference, RowsReport, compare_rows};
pub use server::{Server, ServerError};
pub(crate) use tools::Stderr;
pub use tools::{Tool, ToolError};
