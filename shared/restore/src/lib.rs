//! From a repository back to where data lives: streams, files, databases; and the proof that they would come back.
//!
//! - [`OpenArtefact`] fetches an artefact's manifest and contents; [`OpenArtefact::origin`] is what everything here reads
//!   from. [`PackSource`] is the seam for tests and for packs that come from elsewhere.
//! - [`write_stream`] writes the exact stream: a dump, SQL, or a tar (of a [`Selection`], too).
//! - [`write_upload`] writes a tar whose names all begin with a prefix, for a Docker engine to unpack.
//! - [`check`] tells whether an artefact is what was captured, object by object.
//! - [`restore_files`] makes a tree of files, pack by pack and in parallel; [`compare_files`] compares one.
//! - [`restore_database`] feeds `pg_restore`; [`restore_globals`] makes roles.
//! - [`VolumeTarget`] is a Docker volume to restore into, [`ContainerServer`] the PostgreSQL server of a container.
//! - [`StackPlan`] says what the restore of a whole stack does; [`restore_stack`] does it.
//! - [`RESTORE_PY`] and [`RESTORE_MD`] stand in every repository and need nothing of this crate.
//!
//! Every byte is checked before it counts: a pack's size and SHA-256 before it is opened, each chunk's id, and the whole
//! stream's digest. Functions that are not `async` block, for as long as a restore takes; on a Tokio runtime they belong in
//! `spawn_blocking`.

mod check;
mod database;
mod docker;
mod files;
mod in_order;
mod ledger;
mod passes;
mod progress;
mod select;
mod source;
mod sparse;
mod stack;
mod stream;
mod tar;
mod upload;

pub use check::{CheckError, CheckFinding, CheckOptions, CheckReport, Previous, check};
pub use database::{
    DatabaseError, DatabaseOptions, DatabaseReport, GlobalsOptions, GlobalsReport, replace_database, restore_database,
    restore_globals, try_database, try_globals,
};
pub use docker::{
    ContainerError, ContainerOptions, ContainerReport, ContainerServer, DockerHost, ExistingFiles, FolderError,
    JoinedNetworks, VolumeError, VolumeTarget,
};
pub use files::{FileCounts, FilesError, FilesOptions, FilesReport, Problem, compare_files, restore_files};
pub use progress::{Limits, Progress};
pub use select::{NotFound, Selection};
pub use source::{OpenArtefact, Origin, PackError, PackFault, PackSource, RepositoryPacks};
pub use stack::{
    PlanError, StackError, StackOptions, StackPart, StackPlan, StackReport, StackSource, StackStep, StackWarning,
    StackWatch, holds_stack, only_stack, restore_stack, volume_stacks,
};
pub use stream::{StreamError, Streamed, write_stream};
pub use upload::write_upload;

/// The restore script that stands in every repository: Python 3, gpg and zstd, nothing of Holdfast.
pub const RESTORE_PY: &str = include_str!("../assets/restore.py");

/// The guide that stands beside it, for an operator without Holdfast.
pub const RESTORE_MD: &str = include_str!("../assets/RESTORE.md");
