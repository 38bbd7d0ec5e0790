//! The staging folder of this host.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_capture::{Staging, StagingError};
use holdfast_config::{AllowDisk, Settings};
use holdfast_service::is_in_memory;

/// The staging folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StagingFolderError {
    /// The folder would put plaintext on a disk.
    #[error(
        "staging folder {} is not on a tmpfs, so plaintext would touch a disk: mount a tmpfs there, set staging.dir, \
         or set staging.allow_disk = \"yes_plaintext_may_touch_the_disk\"", .0.display()
    )]
    OnDisk(PathBuf),
    /// The folder cannot be made.
    #[error("make the staging folder {}", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The content of the folder cannot be read or cleared.
    #[error("use the staging folder {}", .0.display())]
    Unusable(PathBuf, #[source] StagingError),
}

/// The staging folder: the configured one, else one of this deployment's own on the machine's shared memory. The folder
/// is made with mode 0700, and refused on anything but a tmpfs unless the configuration says so in full words.
///
/// # Errors
/// [`StagingFolderError::OnDisk`], [`StagingFolderError::Folder`].
pub fn staging_dir(settings: &Settings) -> Result<PathBuf, StagingFolderError> {
    let dir = settings.staging.dir.clone().unwrap_or_else(|| {
        let tag = blake3::hash(settings.state_dir.as_os_str().as_encoded_bytes());
        Path::new("/dev/shm").join(format!("holdfast-{}", hex::encode(&tag.as_bytes()[..6])))
    });
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|source| StagingFolderError::Folder(dir.clone(), source))?;
    if settings.staging.allow_disk == AllowDisk::No && !is_in_memory(&dir) {
        return Err(StagingFolderError::OnDisk(dir));
    }
    Ok(dir)
}

/// Staging in that folder, within the bound of the configuration.
///
/// # Errors
/// [`StagingFolderError`].
pub fn open_staging(settings: &Settings) -> Result<Arc<Staging>, StagingFolderError> {
    let dir = staging_dir(settings)?;
    let staging = Staging::open(&dir, settings.staging.max_bytes.as_u64());
    staging
        .map(Arc::new)
        .map_err(|source| StagingFolderError::Unusable(dir, source))
}
