//! The dumper: lists a PostgreSQL server's databases at run time, and captures each as a `pg_dump` stream.
//!
//! Work in: `list-postgres`, `capture-postgres`. Leaves `runs/<run>/listed/<source>`, staged packs, a draft.
//! Owns nothing else: a job that comes again finds the listing written or the draft staged, and only hands on.

mod capture;
mod client;
mod connect;
mod containers;
mod dump;
mod error;
mod list;
mod process;
mod properties;
mod snapshot;
mod stage;
mod whole;

pub use client::{Clients, Program};
pub use connect::connect;
pub use error::PgError;
pub use list::{Databases, databases};
pub use process::main;
pub use stage::Dumper;
