//! The library for PostgreSQL servers: addresses, connections, programs, and the properties of databases.
//!
//! - [`Server`]: a server, a user, a database. [`Server::connect`] opens a session of the driver; [`Server::lead`] tells a
//!   program of PostgreSQL the same by its environment. Both go by the rules of libpq, and by the same ones.
//! - [`Program`]: `pg_dump` and its kin: finding the right version, running it as [`Running`], ending it from outside by an
//!   [`Ender`].
//! - [`properties`]: what a database is beside its dump, read and applied.
//! - [`PgError`]: what can go wrong, with what to do, and whether to try again.
//!
//! No text of a server is taken for UTF-8: databases of one server may have different encodings, and what they share
//! (comments, settings, names) is kept in the encoding of whoever wrote it. Sessions here are told no encoding, so that the
//! server converts nothing; [`text`] reads a column byte by byte.

mod connect;
mod error;

mod program;
mod program_files;
pub mod properties;
mod running;
mod server;
mod service;
pub mod sql;
mod text;
mod tls;

pub use error::PgError;
pub use program::{Program, Programs, major};
pub use program_files::ProgramFiles;
pub use running::{Ended, Ender, Running};
pub use server::Server;
pub use text::text;
pub use tokio_postgres::{Client, Error as DriverError};
