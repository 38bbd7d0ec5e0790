//! The errors of staging.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_fault::{Retry, Retryable};
use holdfast_format::ArtefactId;

/// The reason why an operation on staging failed.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The system refused an operation.
    #[error("{action} {} in staging", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The filesystem is full, although the bound is not reached.
    #[error(
        "write {}: the staging filesystem is full; make the tmpfs larger, or lower staging.max_bytes (it needs \
         {max_bytes} bytes, and 24 MiB for each capture at a time)",
        path.display()
    )]
    Full {
        /// The file that could not be written.
        path: PathBuf,
        /// The bound that is configured, in bytes.
        max_bytes: u64,
        #[source]
        source: io::Error,
    },
    /// Staging had no room for a pack within the time allowed.
    #[error("no room in staging: {staged} of {max_bytes} bytes wait to be sealed; is an encryptor running?")]
    NoRoom {
        /// The bytes that are staged.
        staged: u64,
        /// The bound that is configured, in bytes.
        max_bytes: u64,
    },
    /// The caller asked to stop while it waited for room.
    #[error("stopped while waiting for room in staging")]
    Stopped,
    /// A newer attempt began, or the artefact was discarded: the output of this one is void.
    #[error("attempt {attempt} at artefact {artefact} was superseded: its staged packs are gone")]
    Superseded { artefact: ArtefactId, attempt: u32 },
    /// A file in staging does not read.
    #[error("read {}: it is not what holdfast writes there", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

impl Retryable for StagingError {
    /// A full staging passes: the encryptor empties it.
    fn retry(&self) -> Retry {
        match self {
            Self::Io { .. } | Self::Full { .. } | Self::NoRoom { .. } | Self::Stopped => Retry::Later,
            Self::Malformed { .. } => Retry::Never,
            Self::Superseded { .. } => Retry::Superseded,
        }
    }
}

impl StagingError {
    pub(crate) fn from_io(action: &'static str, path: &Path, max_bytes: u64, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full {
                path,
                max_bytes,
                source,
            },
            _ => Self::Io { action, path, source },
        }
    }
}
