//! Capture: streams into chunks, chunks into packs, packs into staging.
//!
//! A capture cuts a stream into *extents* ([`capture_tree`] for directories, [`capture_archive`] for tars of them,
//! [`capture_stream`] for dumps). The [`Packer`] references what the parent artefact already has and puts the rest into
//! packs; full packs wait in [`Staging`], a bounded folder, until the encryptor has sealed them. Nothing here is async: call
//! it where blocking is allowed.
//!
//! ```
//! use std::collections::HashSet;
//! use std::path::Path;
//!
//! use holdfast_capture::{Packer, PackerOptions, Root, Staging, TreeSpec, Wait, Watch, capture_tree};
//! use holdfast_format::{ArtefactId, ChunkKey, ChunkerParams, RunId};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (staging_dir, source) = (tempfile::tempdir()?, tempfile::tempdir()?);
//! # let (staging_dir, source) = (staging_dir.path(), source.path());
//! # std::fs::write(source.join("a"), "content")?;
//! # let (run, artefact) = (RunId::new(1, [1; 10]), ArtefactId::from_bytes([1; 16]));
//! # let key = ChunkKey::from_bytes([1; 32]);
//! let staging = Staging::open(staging_dir, 192 << 20)?;
//! let attempt = staging.begin(run, artefact)?;
//!
//! let options = PackerOptions {
//!     params: ChunkerParams::new(42),
//!     namer: key.pack_namer(holdfast_format::ArtefactId::from_bytes([9; 16]), "gnupg", &["AB".repeat(20)]),
//!     key,
//!     parent: None,
//!     bad: HashSet::new(),
//! };
//! // Full packs go to staging, which makes the capture wait while it is full.
//! let sink = |id, plaintext: Vec<u8>| {
//!     let wait = Wait { stop: &|| false, deadline: None };
//!     attempt.compress_pack(id, &plaintext, 3, &wait).map(|()| plaintext)
//! };
//! let mut packer = Packer::new(options, Box::new(sink));
//!
//! // The tree: its lines go to the contents, its bytes to the packer.
//! let mut contents = attempt.contents()?;
//! let spec = TreeSpec::new(vec![Root::directory(source)], &["*.tmp".to_owned()], false)?;
//! let mut watch = Watch { progress: &mut |_| {}, stop: &|| false };
//! let outcome = capture_tree(&spec, None, &mut packer, &mut contents, &mut watch)?;
//!
//! // Close packs, then contents. A draft made of these completes the attempt: `attempt.put_draft(&draft)`.
//! let packed = packer.finish()?;
//! let (file, plain) = contents.finish(outcome.closing)?;
//! file.finish()?;
//! assert_eq!((outcome.counts.files, packed.packs.len()), (1, 1));
//! # assert!(plain > 0);
//! # Ok(())
//! # }
//! ```

mod dump;
mod error;
mod packer;
mod parent;
mod staging;
#[cfg(test)]
mod testing;
mod tree;
mod watch;
mod window;

pub use dump::capture_stream;
pub use error::{CaptureError, ParentError};
pub use packer::{Packed, Packer, PackerOptions, Sink};
pub use parent::{ContentsIter, Earlier, IndexMaker, ParentIndex, ReadContents};
pub use staging::{
    Attempt, ContentsFile, Draft, DraftPack, MissingReceipt, PrecopyContents, Receipt, Staged, Staging, StagingError,
    Wait,
};
pub use tree::{LAYOUT, Root, TreeOutcome, TreeSpec, capture_archive, capture_tree};
pub use watch::{CaptureProgress, Watch};
