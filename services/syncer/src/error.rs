//! Errors of copies.

use std::io;
use std::path::PathBuf;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{ArtefactId, ObjectKey, PackId, PlaceName, RunId};
use holdfast_repository::RepositoryError;
use holdfast_storage::StorageError;
use holdfast_telemetry::failpoint::Injected;

/// A failure to copy something to a target. Objects that were copied before it stay, and are not sent again.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The repository at one of the two places fails; the error names the place.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// One of the two places fails; the error names the place.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The artefact has no manifest, so there is nothing to copy.
    #[error("artefact {artefact} has no manifest at place {place}: there is nothing to copy")]
    NoArtefact {
        artefact: ArtefactId,
        /// The place that has no such manifest.
        place: PlaceName,
    },
    /// The run has no restore point yet.
    #[error("run {run} has no restore point at place {place}")]
    NoPoint {
        run: RunId,
        /// The place that has no such restore point.
        place: PlaceName,
    },
    /// The target lacks an artefact of the restore point, so the restore point must not be copied yet.
    #[error("target {place} lacks artefact {artefact} of run {run}: copy it first, the restore point goes last")]
    Lacks {
        place: PlaceName,
        /// The artefact that the target lacks.
        artefact: ArtefactId,
        run: RunId,
    },
    /// The target has an object of another size under this key. Nothing is overwritten.
    #[error(
        "{key} at target {place} has {found} bytes, but {expected} belong there: nothing is overwritten. If nobody else \
         writes there, it is a torn upload: delete it there and copy again"
    )]
    OtherSize {
        place: PlaceName,
        /// The key of the object.
        key: Box<ObjectKey>,
        /// The size at the target, in bytes.
        found: u64,
        /// The size in the repository, in bytes.
        expected: u64,
    },
    /// The target has a pack with other bytes, of the same size, under this key. Nothing is overwritten.
    #[error(
        "{key} at target {place} holds other bytes than those written here: an earlier sealing of the same content that \
         was deleted here since, or damage. Nothing is overwritten; the next backup stores the content anew"
    )]
    OtherBytes { place: PlaceName, key: Box<ObjectKey> },
    /// The target accepted an object, and does not have it afterwards.
    #[error("target {place} took {key}, but does not have it")]
    Vanished {
        place: PlaceName,
        /// The key of the object.
        key: Box<ObjectKey>,
    },
    /// The scratch folder of this host cannot be used.
    #[error("cannot use the scratch folder {}", path.display())]
    Scratch {
        /// The path of the folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A failpoint fired, which happens in tests only.
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
            // The artefact's own copy may still be on its way.
            Self::Lacks { .. } | Self::NoPoint { .. } | Self::Vanished { .. } => Retry::Later,
            Self::NoArtefact { .. } | Self::OtherSize { .. } | Self::OtherBytes { .. } => Retry::Never,
        }
    }
}

impl SyncError {
    /// Returns the pack that later captures must not refer to, if the error is about one: the pack is damaged or
    /// missing in the repository at `here`, or the target has another pack under its id.
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
