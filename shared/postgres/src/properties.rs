//! The properties of a database beside its dump: encoding, locale, owner, privileges, settings. They are read from a server,
//! and written as statements for another.

mod apply;
mod read;
mod scribe;

pub use apply::{Statement, after, close, create, described, own};
pub use read::read;
pub use scribe::Scribe;
