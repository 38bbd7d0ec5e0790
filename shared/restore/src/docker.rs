//! Restores into what a Docker engine has: volumes, and the PostgreSQL servers of containers.

use std::path::PathBuf;

use holdfast_docker::engine::Engine;

mod container;
mod error;
mod send;
mod switch;
mod volume;

pub use container::{ContainerError, ContainerOptions, ContainerReport, ContainerServer, JoinedNetworks};
pub use error::VolumeError;
pub use switch::FolderError;
pub use volume::{ExistingFiles, VolumeTarget};

/// An engine, and the folders by which this process reaches what it has.
#[derive(Clone, Debug)]
pub struct DockerHost {
    /// The engine.
    pub engine: Engine,
    /// The folder at which this process sees the engine's volumes, if that is not their mount point.
    pub volumes_dir: Option<PathBuf>,
    /// The folder in which helper containers and joined networks are written down, so that a later process can undo what a
    /// killed one left.
    pub state_dir: PathBuf,
    /// The id of the container that this process runs in, if it runs in one.
    pub own_container: Option<String>,
}
