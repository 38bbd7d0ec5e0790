//! Failures of a restore into a Docker volume.

use std::io;

use holdfast_docker::engine::EngineError;
use holdfast_docker::helper::HelperError;
use holdfast_fault::{Retry, Retryable};
use tokio::task::JoinError;

use super::switch::FolderError;
use crate::files::FilesError;
use crate::stream::StreamError;

/// A volume was not restored, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Containers that are not stopped have it mounted. Nothing was done.
    #[error("volume {volume} is mounted in {}", containers.join(", "))]
    InUse {
        /// The volume.
        volume: String,
        /// The containers' names.
        containers: Vec<String>,
    },
    /// The volume holds files, and the caller does not allow to replace them. Nothing was done.
    #[error("volume {volume} is not empty")]
    NotEmpty {
        /// The volume.
        volume: String,
    },
    /// The files are to be replaced at once, for which this process would have to reach them. Nothing was done.
    #[error("volume {volume} is not empty, and only the engine reaches its files")]
    OutOfReach {
        /// The volume.
        volume: String,
    },
    /// The volume cannot be looked into. Nothing was done.
    #[error("look into volume {volume}")]
    Look {
        /// The volume.
        volume: String,
        #[source]
        source: io::Error,
    },
    /// The volume's folder cannot be replaced.
    #[error("restore volume {volume}")]
    Folder {
        /// The volume.
        volume: String,
        #[source]
        source: FolderError,
    },
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No container can be made through which its files are reached.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// The files cannot be written at its mount point.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The artefact cannot be read. The volume may hold a part of it.
    #[error("send the files of volume {volume} to the engine")]
    Stream {
        /// The volume.
        volume: String,
        #[source]
        source: Box<StreamError>,
    },
    /// The order to stop came while the engine unpacked. The volume holds a part of the artefact.
    #[error("volume {volume} holds a part of the backup: its restore was stopped")]
    Stopped {
        /// The volume.
        volume: String,
    },
    /// The work ended without a result: a fault of this program, or its end.
    #[error("restoring volume {volume} was broken off")]
    BrokenOff {
        /// The volume.
        volume: String,
        #[source]
        source: JoinError,
    },
}

impl Retryable for VolumeError {
    fn retry(&self) -> Retry {
        match self {
            // Its containers may have ended by then.
            Self::InUse { .. } => Retry::Later,
            Self::NotEmpty { .. } | Self::OutOfReach { .. } | Self::Stopped { .. } => Retry::Never,
            Self::Look { source, .. } => Retry::of_io(source),
            Self::Folder { source, .. } => source.retry(),
            Self::Engine(source) => source.retry(),
            Self::Helper(source) => source.retry(),
            Self::Files(source) => source.retry(),
            Self::Stream { source, .. } => source.retry(),
            Self::BrokenOff { source, .. } => source.retry(),
        }
    }
}
