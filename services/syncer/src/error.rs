//! What can go wrong with a copy.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ArtefactId, ObjectKey, PackId, PlaceName, RunId};
use holdfast_repository::RepositoryError;
use holdfast_storage::StorageError;
use holdfast_telemetry::failpoint::Injected;

/// Why something could not be copied to a target. What was copied before stays, and is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The repository at either place; it says which.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Either place; it says which.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is nothing to copy.
    #[error("artefact {artefact} has no manifest at place {place}: there is nothing to copy")]
    NoArtefact {
        /// The artefact.
        artefact: ArtefactId,
        /// Where it was looked for.
        place: PlaceName,
    },
    /// There is nothing to copy yet.
    #[error("run {run} has no restore point at place {place}")]
    NoPoint {
        /// The run.
        run: RunId,
        /// Where it was looked for.
        place: PlaceName,
    },
    /// A restore point would promise what the target does not have.
    #[error("target {place} lacks artefact {artefact} of run {run}: copy it first, the restore point goes last")]
    Lacks {
        /// The target.
        place: PlaceName,
        /// The artefact.
        artefact: ArtefactId,
        /// The run.
        run: RunId,
    },
    /// Under the key of an object is one of another size. Nothing is overwritten.
    #[error(
        "{key} at target {place} has {found} bytes, but {expected} belong there: nothing is overwritten. If nobody else \
         writes there, it is a torn upload: delete it there and copy again"
    )]
    OtherSize {
        /// The target.
        place: PlaceName,
        /// The object.
        key: Box<ObjectKey>,
        /// Bytes there.
        found: u64,
        /// Bytes here.
        expected: u64,
    },
    /// Under the key of a pack are other bytes, of the same size. Nothing is overwritten.
    #[error(
        "{key} at target {place} holds other bytes than those written here: an earlier sealing of the same content that \
         was deleted here since, or damage. Nothing is overwritten; the next backup stores the content anew"
    )]
    OtherBytes {
        /// The target.
        place: PlaceName,
        /// The pack's key.
        key: Box<ObjectKey>,
    },
    /// The target took an object, and then does not have it.
    #[error("target {place} took {key}, but does not have it")]
    Vanished {
        /// The target.
        place: PlaceName,
        /// The object.
        key: Box<ObjectKey>,
    },
    /// A temporary folder or file of this host.
    #[error("cannot use the scratch folder {}", path.display())]
    Scratch {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A test wanted it so.
    #[error(transparent)]
    Injected(#[from] Injected),
}

impl Retryable for SyncError {
    fn retry(&self) -> Retry {
        match self {
            Self::Repository(source) => source.retry(),
            Self::Storage(source) => source.retry(),
            Self::Scratch { source, .. } => Retry::of_io(source),
            Self::Injected(source) => source.retry(),
            // The artefact's own copy may be on its way.
            Self::Lacks { .. } | Self::NoPoint { .. } | Self::Vanished { .. } => Retry::Later,
            Self::NoArtefact { .. } | Self::OtherSize { .. } | Self::OtherBytes { .. } => Retry::Never,
        }
    }
}

impl SyncError {
    /// The pack that no later capture should build on, if that is what is wrong: it is damaged or missing in the
    /// repository at `here`, or will never be the same at the target.
    #[must_use]
    pub fn bad_pack(&self, here: &PlaceName) -> Option<PackId> {
        let key =
            match self {
                Self::OtherBytes { key, .. } => key,
                Self::Repository(
                    RepositoryError::Damaged { place, key, .. } | RepositoryError::Missing { place, key },
                ) if place == here => key,
                _ => return None,
            };
        match **key {
            ObjectKey::Pack(pack) => Some(pack),
            _ => None,
        }
    }
}
