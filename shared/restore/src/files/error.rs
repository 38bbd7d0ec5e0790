//! Failures of a restore of files.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_repository::RepositoryError;

use crate::select::NotFound;
use crate::stream::StreamError;

/// Files could not be restored, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The artefact is something else.
    #[error("artefact {artefact} holds {kind}, not files")]
    NotFiles {
        /// The artefact.
        artefact: String,
        /// The kind of the artefact.
        kind: &'static str,
    },
    /// Something is in the target already. Nothing was done.
    #[error("{} is not empty: name a new directory, or ask for it to be overwritten", path.display())]
    NotEmpty {
        /// The target.
        path: PathBuf,
    },
    /// The target cannot be used. Nothing was done.
    #[error("cannot restore into {}", path.display())]
    Target {
        /// The target.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The artefact cannot be read, or its whole is not what was captured.
    #[error("cannot read the files")]
    Stream(#[from] StreamError),
    /// The target's disk fails or is full. What was restored so far stays.
    #[error("cannot write {path}")]
    Write {
        /// The path in the artefact, escaped for people.
        path: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Names that do not fit in memory.
    #[error("the artefact has more than 4 GiB of names: restore parts of it")]
    TooMany,
}

impl Retryable for FilesError {
    fn retry(&self) -> Retry {
        match self {
            Self::Stream(source) => source.retry(),
            Self::Target { source, .. } | Self::Write { source, .. } => Retry::of_io(source),
            Self::NotFiles { .. } | Self::NotEmpty { .. } | Self::TooMany => Retry::Never,
        }
    }
}

impl FilesError {
    /// True if the restore was refused for safety: the operator may ask for it more clearly.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::NotEmpty { .. })
    }
}

impl From<RepositoryError> for FilesError {
    fn from(source: RepositoryError) -> Self {
        Self::Stream(source.into())
    }
}

impl From<NotFound> for FilesError {
    fn from(source: NotFound) -> Self {
        Self::Stream(source.into())
    }
}
