//! Restores into a Docker volume: at its mount point if this process can write there, else through the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_docker::facts::{Container, Labels, State, Volume};
use holdfast_docker::helper::{Access, Helper, HelperError};
use tokio::io::AsyncReadExt as _;

use super::error::VolumeError;
use super::switch::{FolderError, Switch};
use super::{DockerHost, send};
use crate::files::{FilesOptions, FilesReport, restore_files};
use crate::progress::{Progress, StopOnDrop};
use crate::select::Selection;
use crate::source::OpenArtefact;

/// Bytes of an archive that are read to find out whether a volume is empty: headers of its root, and the end.
const EMPTY_MAX: usize = 16 * 1024;

/// The treatment of files that a volume holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExistingFiles {
    /// Refuses the restore.
    Refuse,
    /// Files that are in the way are replaced, others stay.
    Overwrite,
    /// Existing files are removed, once all of the backup is there.
    Replace,
}

/// A volume that may be restored into. Nothing is changed until [`VolumeTarget::restore`].
#[derive(Debug)]
pub struct VolumeTarget {
    host: DockerHost,
    name: String,
    /// True if the volume has to be made.
    new: bool,
    /// The folder, if this process can write there.
    folder: Option<PathBuf>,
    /// True if the files that it holds are removed in favour of the restored ones.
    replaced: bool,
    labels: Labels,
}

impl VolumeTarget {
    /// Looks at the volume of this name. A volume that does not exist is one that may be restored into.
    ///
    /// # Errors
    /// [`VolumeError`] if a container that runs has it mounted, it is not empty and may not be changed, or the engine does
    /// not answer.
    pub async fn look(host: &DockerHost, name: &str, existing: ExistingFiles) -> Result<Self, VolumeError> {
        let volume = match host.engine.volume(name).await {
            Ok(volume) => Some(volume),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let mut target = Self {
            host: host.clone(),
            name: name.to_owned(),
            new: volume.is_none(),
            folder: None,
            replaced: false,
            labels: Labels::new(),
        };
        let Some(volume) = volume else { return Ok(target) };
        target.refuse_in_use().await?;
        target.folder = target.folder_of(&volume)?;
        if existing == ExistingFiles::Overwrite || target.is_empty().await? {
            return Ok(target);
        }
        let volume = target.name.clone();
        if existing == ExistingFiles::Refuse {
            return Err(VolumeError::NotEmpty { volume });
        }
        if target.folder.is_none() {
            return Err(VolumeError::OutOfReach { volume });
        }
        target.replaced = true;
        Ok(target)
    }

    /// Sets the labels that the volume gets if it has to be made.
    #[must_use]
    pub fn with_labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// Returns the volume's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn refuse_in_use(&self) -> Result<(), VolumeError> {
        let containers = self.host.engine.containers().await?;
        let uses = |one: &&Container| {
            let mut mounts = one.mounts.iter();
            one.state != State::Stopped && mounts.any(|mount| mount.volume.as_deref() == Some(self.name.as_str()))
        };
        let users: Vec<String> = containers.iter().filter(uses).map(|one| one.name.clone()).collect();
        if users.is_empty() {
            return Ok(());
        }
        Err(VolumeError::InUse {
            volume: self.name.clone(),
            containers: users,
        })
    }

    /// Returns the volume's folder, if it always holds the files and this process sees it.
    fn folder_of(&self, volume: &Volume) -> Result<Option<PathBuf>, VolumeError> {
        if !volume.is_plain() {
            return Ok(None);
        }
        let folder = volume.folder(self.host.volumes_dir.as_deref());
        Switch::recover(&folder).map_err(self.folder_error())?;
        Ok(std::fs::read_dir(&folder).is_ok().then_some(folder))
    }

    async fn is_empty(&self) -> Result<bool, VolumeError> {
        let look = |source| VolumeError::Look {
            volume: self.name.clone(),
            source,
        };
        if let Some(folder) = &self.folder {
            return Ok(std::fs::read_dir(folder).map_err(look)?.next().is_none());
        }
        let helper = self.helper(Access::Read).await?;
        let looked = async {
            let archive = helper.download().await?;
            let mut beginning = Vec::new();
            let read = archive.take(EMPTY_MAX as u64).read_to_end(&mut beginning).await;
            read.map_err(look)?;
            Ok(holds_only_its_root(&beginning))
        };
        let looked = looked.await;
        helper.remove().await?;
        looked
    }

    async fn helper(&self, access: Access) -> Result<Helper, HelperError> {
        Helper::create(&self.host.engine, &self.host.state_dir, &self.name, access).await
    }

    fn folder_error(&self) -> impl Fn(FolderError) -> VolumeError + use<> {
        let volume = self.name.clone();
        move |source| VolumeError::Folder {
            volume: volume.clone(),
            source,
        }
    }

    /// Restores an artefact's files, or what is selected of them, and makes the volume if it does not exist. A dry run
    /// reports what would be restored, and changes nothing.
    ///
    /// Files that are to be replaced stay until all others are whole beside them; if some are lost, nothing is replaced.
    /// [`Progress::stop`] ends the restore, and so does dropping the future.
    ///
    /// # Errors
    /// [`VolumeError`]
    pub async fn restore(
        mut self,
        artefact: Arc<OpenArtefact>,
        select: Selection,
        options: FilesOptions,
        progress: Arc<Progress>,
    ) -> Result<FilesReport, VolumeError> {
        if options.dry_run {
            return self.count(artefact, select, options, progress).await;
        }
        if self.new {
            // Compose knows its volumes by their labels, and Holdfast's own are wishes of the operator: both come along.
            let made = self.host.engine.create_volume(&self.name, &self.labels).await?;
            self.folder = self.folder_of(&made)?;
        }
        let Some(folder) = self.folder.clone() else {
            let report = self
                .count(artefact.clone(), select.clone(), options, progress.clone())
                .await?;
            let helper = self.helper(Access::Write).await?;
            send::to_engine(&self.name, helper, artefact, select, progress).await?;
            return Ok(report);
        };
        if !self.replaced {
            return self.files(artefact, select, &folder, options, progress).await;
        }
        let switch = Switch::prepare(&folder).map_err(self.folder_error())?;
        let done = self.files(artefact, select, switch.fresh(), options, progress).await;
        let is_whole = done.as_ref().is_ok_and(|report| report.lost == 0);
        let switched = if is_whole { switch.finish() } else { switch.give_up() };
        let report = done?;
        switched.map_err(self.folder_error())?;
        Ok(report)
    }

    /// Reports what a restore would write, without any target.
    async fn count(
        &self,
        artefact: Arc<OpenArtefact>,
        select: Selection,
        options: FilesOptions,
        progress: Arc<Progress>,
    ) -> Result<FilesReport, VolumeError> {
        let dry_run = FilesOptions {
            dry_run: true,
            ..options
        };
        // A dry run looks at no target.
        self.files(artefact, select, Path::new(""), dry_run, progress).await
    }

    async fn files(
        &self,
        artefact: Arc<OpenArtefact>,
        select: Selection,
        folder: &Path,
        options: FilesOptions,
        progress: Arc<Progress>,
    ) -> Result<FilesReport, VolumeError> {
        let folder = folder.to_owned();
        let mut stop = StopOnDrop::new(&progress);
        let work = move || restore_files(artefact.origin(), &select, &folder, options, &progress);
        let done = tokio::task::spawn_blocking(work).await;
        stop.disarm();
        let broken_off = |source| VolumeError::BrokenOff {
            volume: self.name.clone(),
            source,
        };
        Ok(done.map_err(broken_off)??)
    }
}

/// True if an archive holds nothing but the folder itself.
fn holds_only_its_root(archive: &[u8]) -> bool {
    let mut archive = tar::Archive::new(archive);
    let Ok(entries) = archive.entries() else { return false };
    let mut names = entries.map(|entry| entry.ok().map(|entry| entry.path_bytes().into_owned()));
    names.all(|name| name.is_some_and(|name| matches!(name.as_slice(), b"./" | b"." | b"holdfast/" | b"holdfast")))
}
