//! The syncer: copies artefacts and restore points to off-site targets. Each target has its own group of workers, so
//! that a slow target does not hold up the others.
//!
//! Work: one `sync` job for each artefact and target, then one for the run's restore point. The syncer has the targets'
//! credentials, the reader key and the key of its role. The objects that it sends are sealed already, and it cannot open a pack.
//!
//! **Order.** Packs, contents, manifest, verifications; a restore point only after all its artefacts. So a target can
//! be restored from at any moment, and a copy that was cut off goes on where it stopped.

mod copier;
mod error;
mod object;
mod packs;
mod point;
mod process;
mod proofs;
mod stage;

pub use copier::{Copied, Copier, CopyOptions};
pub use error::SyncError;
pub use process::main;
pub use stage::Syncer;
