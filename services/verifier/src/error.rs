//! Why a verification came to no result.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ArtefactId, Level};
use holdfast_repository::RepositoryError;
use holdfast_restore::{CheckError, FilesError};
use tokio::task::JoinError;

/// A verification that came to no result. It says nothing about the artefact.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The repository could not be read.
    #[error("artefact {artefact} cannot be verified")]
    Repository {
        /// The artefact.
        artefact: ArtefactId,
        /// Why.
        #[source]
        source: Box<RepositoryError>,
    },
    /// The check came to no result.
    #[error("artefact {artefact} cannot be verified")]
    Check {
        /// The artefact.
        artefact: ArtefactId,
        /// Why.
        #[source]
        source: Box<CheckError>,
    },
    /// The secret key is not here.
    #[error(
        "artefact {artefact} cannot be verified to level {level}: that needs the secret key of {} (verifier.secret_keys \
         in the configuration); it says nothing about the artefact",
        needed.join(" or ")
    )]
    NeedsKey {
        /// The artefact.
        artefact: ArtefactId,
        /// To which level.
        level: Level,
        /// Fingerprints of the keys, one of which is needed.
        needed: Vec<String>,
    },
    /// There is no server to restore a database into.
    #[error(
        "artefact {artefact} cannot be verified to level restore: for a {kind} that needs a scratch PostgreSQL server, \
         which the verifier does not have. Verify to level decrypt, or restore it with `holdfast restore` into another \
         server and compare there"
    )]
    NoServer {
        /// The artefact.
        artefact: ArtefactId,
        /// What it is.
        kind: &'static str,
    },
    /// There is no folder to restore files into.
    #[error(
        "artefact {artefact} cannot be verified to level restore: there is no tmpfs to restore into; set \
         verifier.scratch_dir to a folder that may hold plaintext"
    )]
    NoFolder {
        /// The artefact.
        artefact: ArtefactId,
    },
    /// The folder is too small.
    #[error(
        "artefact {artefact} cannot be verified to level restore: it takes {needed} bytes, and {} has {free} free; set \
         verifier.scratch_dir to a larger folder that may hold plaintext",
        path.display()
    )]
    NoRoom {
        /// The artefact.
        artefact: ArtefactId,
        /// The folder.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        free: u64,
    },
    /// The folder cannot be used.
    #[error("cannot use the scratch folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The files could not be restored here.
    #[error("artefact {artefact} cannot be restored into {}", path.display())]
    Files {
        /// The artefact.
        artefact: ArtefactId,
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<FilesError>,
    },
    /// Some entries could not be restored here, for reasons that are not the artefact's.
    #[error(
        "artefact {artefact} cannot be restored whole into {}: {lost} entries were refused there, the first: {first}",
        path.display()
    )]
    Refused {
        /// The artefact.
        artefact: ArtefactId,
        /// The folder.
        path: PathBuf,
        /// How many.
        lost: u64,
        /// The first, with the reason.
        first: String,
    },
    /// The thread that checked ended without a result.
    #[error("the verification of artefact {artefact} was broken off")]
    BrokenOff {
        /// The artefact.
        artefact: ArtefactId,
        /// How.
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
            Self::NeedsKey { .. }
            | Self::NoServer { .. }
            | Self::NoFolder { .. }
            | Self::NoRoom { .. }
            | Self::Refused { .. } => Retry::Never,
        }
    }
}
