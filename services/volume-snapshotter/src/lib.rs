//! The volume-snapshotter: captures directories, and the system's configured paths, as PAX tars.
//!
//! Work in: `list-files`, `capture-files`. Leaves `runs/<run>/listed/<source>`, staged packs, a draft. A job that comes
//! again finds the listing written or the draft staged, and only hands on.

mod stage;

pub use stage::Snapshotter;
