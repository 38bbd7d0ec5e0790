//! What can go wrong in a capture.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ContentsError, PackId};

use crate::staging::StagingError;

/// Why a capture ended without an artefact.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A root of a tree cannot be captured: it is missing, or may not be read.
    #[error("open {} for capture", path.display())]
    Root {
        /// The configured path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The root of a whole artefact is something else than a directory.
    #[error("{} is no directory: name it in [system].paths", path.display())]
    NoDirectory {
        /// The configured path.
        path: PathBuf,
    },
    /// The roots of a tree do not fit together.
    #[error("root {path:?}: {problem}")]
    Roots {
        /// Where the root would stand in the artefact.
        path: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// An exclude pattern cannot be understood.
    #[error("exclude pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        source: glob::PatternError,
    },
    /// This process lacks something (file descriptors, memory): no fault of the file at which it showed.
    #[error("capture {at}: the process is out of a resource")]
    Exhausted {
        /// Where it showed.
        at: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The stream broke.
    #[error("read the stream to capture")]
    Stream(#[source] io::Error),
    /// An archive to capture is none that is taken.
    #[error("the archive to capture, {at}: {problem}")]
    Archive {
        /// The name of the entry, or where it stands in the archive.
        at: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// An archive to capture has no end: who made it failed.
    #[error("the archive to capture was cut: it ends after {0} bytes, before its closing blocks")]
    ArchiveCut(u64),
    /// The parent cannot be used; capture without it.
    #[error("use the parent's contents")]
    Parent(#[source] ParentError),
    /// The contents cannot be written.
    #[error("write the contents")]
    Contents(#[source] io::Error),
    /// A pack cannot be staged.
    #[error("stage pack {pack}")]
    Staging {
        /// The pack.
        pack: PackId,
        /// Why.
        #[source]
        source: StagingError,
    },
    /// A piece that no pack can hold.
    #[error("a piece of {0} bytes is larger than a pack")]
    Piece(usize),
    /// A test made it fail here.
    #[error("the capture was made to fail")]
    Injected(#[source] holdfast_telemetry::failpoint::Injected),
    /// The caller asked to stop.
    #[error("the capture was stopped")]
    Stopped,
}

impl Retryable for CaptureError {
    fn retry(&self) -> Retry {
        match self {
            Self::NoDirectory { .. }
            | Self::Roots { .. }
            | Self::Pattern { .. }
            | Self::Archive { .. }
            | Self::Piece(_) => Retry::Never,
            Self::Staging { source, .. } => source.retry(),
            Self::Injected(source) => source.retry(),
            Self::Root { .. }
            | Self::Exhausted { .. }
            | Self::Stream(_)
            | Self::ArchiveCut(_)
            | Self::Parent(_)
            | Self::Contents(_)
            | Self::Stopped => Retry::Later,
        }
    }
}

/// Why an earlier artefact cannot serve as parent.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// Its contents do not read.
    #[error("read the parent's contents")]
    Contents(#[source] ContentsError),
    /// An extent lies outside of the packs that its manifest names.
    #[error("the parent's contents name {length} bytes at {offset} of pack {pack}, which its manifest does not have")]
    Extent {
        /// Index of the pack.
        pack: u32,
        /// Bytes before the extent.
        offset: u32,
        /// Bytes of the extent.
        length: u32,
    },
}
