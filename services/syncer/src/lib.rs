//! The syncer: copies artefacts and restore points to off-site targets, with one worker group for each target, so that a
//! slow target holds no other.
//!
//! Work in: `sync` per artefact and target, then once more for the run's restore point. It holds the targets' credentials
//! and the pipeline key; what it sends is sealed already, and it cannot open a pack.
//!
//! **Order.** Packs, contents, manifest, verifications; a restore point only where all its artefacts are. So a target can be
//! restored from at any moment, and whatever was cut off goes on where it stopped: only what lacks is sent.

mod copier;
mod error;
mod object;
mod packs;
mod point;
mod process;
mod stage;
mod told;

pub use copier::{Copied, Copier, CopyOptions};
pub use error::SyncError;
pub use process::main;
pub use stage::Syncer;
