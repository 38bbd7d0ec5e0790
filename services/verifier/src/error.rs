//! Errors of verifications that came to no result.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::ArtefactId;
use holdfast_repository::RepositoryError;
use holdfast_restore::{CheckError, FilesError};
use tokio::task::JoinError;

/// A verification that came to no result. Says nothing about the artefact.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The repository cannot be read.
    #[error("artefact {artefact} cannot be verified")]
    Repository {
        artefact: ArtefactId,
        #[source]
        source: Box<RepositoryError>,
    },
    /// The check of the artefact came to no result.
    #[error("artefact {artefact} cannot be verified")]
    Check {
        artefact: ArtefactId,
        /// The error of the check.
        #[source]
        source: Box<CheckError>,
    },
    /// The verifier has no server to restore a database into.
    #[error(
        "artefact {artefact} cannot be verified to level restore: for a {kind} that needs a scratch PostgreSQL server, \
         which the verifier does not have. Verify to level decrypt, or restore it with `holdfast restore` into another \
         server and compare there"
    )]
    NoServer {
        artefact: ArtefactId,
        /// The kind of artefact, such as `database`.
        kind: &'static str,
    },
    /// The verifier has no folder to restore files into.
    #[error(
        "artefact {artefact} cannot be verified to level restore: there is no tmpfs to restore into; set \
         verifier.scratch_dir to a folder that may hold plaintext"
    )]
    NoFolder { artefact: ArtefactId },
    /// The folder to restore into is too small.
    #[error(
        "artefact {artefact} cannot be verified to level restore: it takes {needed} bytes, and {} has {free} free; set \
         verifier.scratch_dir to a larger folder that may hold plaintext",
        path.display()
    )]
    NoRoom {
        artefact: ArtefactId,
        /// The path of the folder.
        path: PathBuf,
        /// The size of the restored files with a margin, in bytes.
        needed: u64,
        /// The free space, in bytes.
        free: u64,
    },
    /// The folder to restore into cannot be used.
    #[error("cannot use the scratch folder {}", path.display())]
    Folder {
        /// The path of the folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The files cannot be restored into the folder.
    #[error("artefact {artefact} cannot be restored into {}", path.display())]
    Files {
        artefact: ArtefactId,
        /// The path of the folder.
        path: PathBuf,
        /// The error of the restore.
        #[source]
        source: Box<FilesError>,
    },
    /// Some entries cannot be restored into the folder, for reasons that lie in the folder and not in the artefact.
    #[error(
        "artefact {artefact} cannot be restored whole into {}: {lost} entries were refused there, the first: {first}",
        path.display()
    )]
    Refused {
        artefact: ArtefactId,
        /// The path of the folder.
        path: PathBuf,
        /// The number of entries that are missing.
        lost: u64,
        /// The first of these entries, with the reason.
        first: String,
    },
    /// The thread that checked the artefact ended without a result.
    #[error("the verification of artefact {artefact} was broken off")]
    BrokenOff {
        artefact: ArtefactId,
        /// The way in which the thread ended.
        #[source]
        source: JoinError,
    },
}

impl Retryable for VerifyError {
    fn retry(&self) -> Retry {
        match self {
            Self::Repository { source, .. } => source.retry(),
            Self::Check { source, .. } => source.retry(),
            Self::Files { source, .. } => source.retry(),
            Self::Folder { source, .. } => Retry::of_io(source),
            Self::BrokenOff { source, .. } => source.retry(),
            Self::NoServer { .. } | Self::NoFolder { .. } | Self::NoRoom { .. } | Self::Refused { .. } => Retry::Never,
        }
    }
}
