//! The signed records of one place, opened with the keys of one host.
//!
//! - [`Repository`] reads and writes records, manifests, contents and packs. What it hands out was checked: a record's
//!   signature, that it names this repository and the key that it stands under, a pack's and contents' size and SHA-256
//!   from the signed manifest. What does not pass is [`RepositoryError::Damaged`], [`RepositoryError::NotSigned`] or
//!   [`RepositoryError::Record`], and never just missing.
//! - [`Catalogue`] answers what is there: runs, restore points, failures, verifications, the newest artefact of a source.
//!
//! Records, once written, never change, so they are kept in memory, up to a bound. Deletion is not seen through that: ask
//! the [`Place`](holdfast_storage::Place) whether an object is still there.
//!
//! Opening and sealing run on Tokio's blocking threads. [`ContentsFile::reader`] is blocking itself.

mod authority;
mod cache;
mod catalogue;
mod contents;
mod error;
mod identity;
mod keys;
mod names;
mod records;
mod repository;
mod roster;
mod vouch;

pub use catalogue::{Catalogue, Latest};
pub use contents::{ContentsBytes, ContentsFile, ContentsPut, sha256_of_file};
pub use error::RepositoryError;
pub use keys::RepositoryKeys;
pub use records::sha256;
pub use repository::{Repository, SealedManifest};
pub use vouch::Vouching;
