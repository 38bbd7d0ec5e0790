//! The repository format: ids, keys of objects, chunking, contents, manifests, runs' records.
//!
//! Pure: no I/O beyond `Read`/`Write` handed in, no clock, no network, no async. `docs/format.md` is the specification;
//! this crate is its reading in Rust. Whoever changes one changes the other.

mod artefact;
mod authority;
mod chunk;
mod contents;
mod id;
mod key;
mod manifest;
mod name;
pub mod pax;
mod record;
mod retention;
mod roster;
mod run;
mod text;
mod user;
mod verification;
mod vocabulary;

pub use artefact::{Artefact, ArtefactKind, StreamFormat};
pub use authority::{Intrusion, Role, Signers};
pub use chunk::{ChunkKey, ChunkerParams, Cutter, ExtentDigest, PACK_MAX, PACK_TARGET, PackNamer};
pub use contents::{
    Content, ContentsError, ContentsReader, ContentsWriter, Entry, EntryKind, Extent, Path, SkipReason, Stamp,
};
pub use id::{ArtefactId, ChunkId, Digest, IdError, PackId, RepositoryId, RunId};
pub use key::ObjectKey;
pub use manifest::{
    Captured, ContentsRef, Counts, DatabaseGrant, DatabaseInfo, DatabaseSetting, Manifest, NewBytes, PackRef,
    Predecessor, Stream, VolumeInfo, VolumeUser, Warning, Warnings,
};
pub use name::{NameError, PlaceName, ScheduleName, Site, SourceName, SubjectPrefix};
pub use record::{Record, RecordError, decode, encode};
pub use retention::{CleanReport, Condemned, Damaged, Deleted, Hold, Tombstone};
pub use roster::{Member, Roster, RosterError, Standing, Vouched};
pub use run::{
    AskedBy, Expected, ExpectedSource, Failure, FailureSubject, Finished, ImageInUse, Listed, PointArtefact,
    PointCopied, PointStatus, Reason, RestorePoint, Steps,
};
pub use text::Text;
pub use user::BusUser;
pub use verification::{Finding, RepositoryInfo, Verification};
pub use vocabulary::{Class, Level, Profile, SourceKind, Stage, UnknownWord, Verdict};
