//! Places: stores of a repository's objects, be it a directory or an S3 bucket.
//!
//! A [`Place`] speaks of objects by their [`ObjectKey`](holdfast_format::ObjectKey) alone. What it promises:
//!
//! - **Written once.** [`Place::put`] creates an object or answers [`Put::AlreadyThere`]; nothing here overwrites.
//!   Where the store can, it is a conditional request, so of two writers one wins; where it cannot (some S3-compatible
//!   services), a look before the write has to do.
//! - **Whole or absent.** In a directory an object is written under the name `key#N`, flushed to disk, and then linked
//!   to its key. A crash leaves `key#N`, which is no object; [`Place::sweep_unfinished`] removes it.
//! - **No short reads.** [`Place::get`] compares what came with what the store announced, and refuses what is larger
//!   than the caller allows before reading it.
//! - **Every failure has a name.** [`StorageError`] names the operation, the object and the place, and says by
//!   [`Retryable`](holdfast_fault::Retryable) whether doing it again later makes sense. Credentials are in no error and
//!   no log.

mod classify;
mod direct;
mod error;
mod failure;
mod http;
mod listing;
mod local;
mod object;
mod open;
mod options;
mod place;
mod probe;
mod throttle;
mod transfer;
mod unfinished;

pub use error::{Operation, StorageError};
pub use listing::{Listed, Listing, Prefix};
pub use object::{Meta, Put};
pub use options::PlaceOptions;
pub use place::Place;
pub use probe::Probe;
