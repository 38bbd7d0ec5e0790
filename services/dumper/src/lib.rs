//! The dumper: lists a PostgreSQL server's databases at run time, and captures each as a `pg_dump` stream.
//!
//! Work in: `list-postgres`, `capture-postgres`. Leaves `runs/<run>/listed/<source>`, staged packs, a draft.
//! Owns nothing else: a job that comes again finds the listing written or the draft staged, and only hands on.
//!
//! Everything that is PostgreSQL's lies in `postgres`; the stage only dispatches, so that another engine could stand beside.

mod postgres;
mod process;
mod stage;

pub use postgres::{Databases, databases};
pub use process::main;
pub use stage::Dumper;
