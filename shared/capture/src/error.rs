//! The errors of captures.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ContentsError, PackId};

use crate::staging::StagingError;

/// The reason why a capture ended without an artefact.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A root of a tree cannot be captured: it is missing, or may not be read.
    #[error("open {} for capture", path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The root of a whole artefact is something else than a directory.
    #[error("{} is no directory: name it in [system].paths", path.display())]
    NoDirectory { path: PathBuf },
    /// The roots of a tree do not fit together.
    #[error("root {path:?}: {problem}")]
    Roots {
        /// The root's path in the artefact.
        path: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// An exclude pattern cannot be understood.
    #[error("exclude pattern {pattern:?}")]
    Pattern {
        pattern: String,
        #[source]
        source: glob::PatternError,
    },
    /// The process ran out of a resource (file descriptors, memory). The file at which this happened is not at fault.
    #[error("capture {at}: the process is out of a resource")]
    Exhausted {
        /// The path, or the operation, at which the resource ran out.
        at: String,
        #[source]
        source: io::Error,
    },
    /// The stream could not be read to its end.
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
        pack: PackId,
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

/// The reason why an earlier artefact cannot serve as parent.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The parent's contents cannot be read.
    #[error("read the parent's contents")]
    Contents(#[source] ContentsError),
    /// An extent lies outside of the packs that its manifest names.
    #[error("the parent's contents name {length} bytes at {offset} of pack {pack}, which its manifest does not have")]
    Extent {
        /// The index of the pack among the packs of the manifest.
        pack: u32,
        /// The bytes of the pack before the extent.
        offset: u32,
        /// The extent's length in bytes.
        length: u32,
    },
}
