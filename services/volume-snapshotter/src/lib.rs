//! The volume-snapshotter: captures directories, the system's configured paths, and Docker volumes, as PAX tars. It alone
//! speaks to the Docker engine.
//!
//! Work in: `list-files`, `capture-files`. Leaves `runs/<run>/listed/<source>`, staged packs, a draft. A job that comes
//! again finds the listing written or the draft staged, and only hands on.

mod docker;
mod process;
mod stage;

pub use process::main;
pub use stage::Snapshotter;
