//! A folder that takes the place of another one at once.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_fault::{Retry, Retryable};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// An operation on a folder of a volume that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", path.display())]
pub struct FolderError {
    operation: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Retryable for FolderError {
    fn retry(&self) -> Retry {
        Retry::of_io(&self.source)
    }
}

/// The folder of a volume, and where its next files are made until they are whole.
pub(super) struct Switch {
    current: PathBuf,
    fresh: PathBuf,
    old: PathBuf,
}

impl Switch {
    fn of(current: &Path) -> Self {
        let beside = |name: &str| current.with_file_name(format!("_data.holdfast-{name}"));
        Self {
            current: current.to_owned(),
            fresh: beside("new"),
            old: beside("old"),
        }
    }

    /// Puts a folder back that a restore moved away and was then killed.
    pub(super) fn recover(current: &Path) -> Result<(), FolderError> {
        let switch = Self::of(current);
        if switch.old.is_dir() && !current.exists() {
            rename(&switch.old, current)?;
        }
        Ok(())
    }

    /// Prepares to replace a folder. Removes what a killed restore left beside it.
    pub(super) fn prepare(current: &Path) -> Result<Self, FolderError> {
        let switch = Self::of(current);
        for left in [&switch.fresh, &switch.old] {
            remove(left)?;
        }
        Ok(switch)
    }

    /// Returns the folder to restore into.
    pub(super) fn fresh(&self) -> &Path {
        &self.fresh
    }

    /// Puts the fresh folder in the place of the current one, which is removed. Both change places in one step, so that a
    /// kill leaves the one or the other.
    pub(super) fn finish(self) -> Result<(), FolderError> {
        match renameat_with(CWD, &self.fresh, CWD, &self.current, RenameFlags::EXCHANGE) {
            Ok(()) => remove(&self.fresh),
            // A file system that cannot exchange names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.finish_in_two_steps(),
            Err(error) => Err(FolderError {
                operation: "put the restored files in the place of",
                path: self.current,
                source: error.into(),
            }),
        }
    }

    fn finish_in_two_steps(self) -> Result<(), FolderError> {
        rename(&self.current, &self.old)?;
        if let Err(error) = rename(&self.fresh, &self.current) {
            rename(&self.old, &self.current)?;
            return Err(error);
        }
        remove(&self.old)
    }

    /// Removes the fresh folder. The current one stays.
    pub(super) fn give_up(self) -> Result<(), FolderError> {
        remove(&self.fresh)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), FolderError> {
    std::fs::rename(from, to).map_err(|source| FolderError {
        operation: "rename",
        path: from.to_owned(),
        source,
    })
}

fn remove(folder: &Path) -> Result<(), FolderError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FolderError {
            operation: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder(at: &Path, file: &str) {
        std::fs::create_dir_all(at).unwrap();
        std::fs::write(at.join(file), file).unwrap();
    }

    fn names(at: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(at).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_fresh_folder_takes_the_place_of_the_current_one() {
        type Finish = fn(Switch) -> Result<(), FolderError>;
        for finish in [Switch::finish as Finish, Switch::finish_in_two_steps] {
            let volume = tempfile::tempdir().unwrap();
            let data = volume.path().join("_data");
            folder(&data, "old");
            let switch = Switch::prepare(&data).unwrap();
            folder(switch.fresh(), "new");
            finish(switch).unwrap();
            assert_eq!(names(volume.path()), ["_data"]);
            assert_eq!(names(&data), ["new"]);
        }
    }

    #[test]
    fn a_restore_that_is_given_up_leaves_the_current_folder() {
        let volume = tempfile::tempdir().unwrap();
        let data = volume.path().join("_data");
        folder(&data, "old");
        let switch = Switch::prepare(&data).unwrap();
        folder(switch.fresh(), "new");
        switch.give_up().unwrap();
        assert_eq!(names(volume.path()), ["_data"]);
        assert_eq!(names(&data), ["old"]);
    }

    #[test]
    fn what_a_killed_restore_left_is_removed_by_the_next_one() {
        let volume = tempfile::tempdir().unwrap();
        let data = volume.path().join("_data");
        folder(&data, "old");
        folder(Switch::prepare(&data).unwrap().fresh(), "a part");
        let switch = Switch::prepare(&data).unwrap();
        assert!(!switch.fresh().exists());
        folder(switch.fresh(), "new");
        switch.finish().unwrap();
        assert_eq!(names(&data), ["new"]);
    }

    #[test]
    fn a_folder_that_a_killed_restore_moved_away_comes_back() {
        let volume = tempfile::tempdir().unwrap();
        let data = volume.path().join("_data");
        folder(&data, "old");
        let switch = Switch::prepare(&data).unwrap();
        folder(switch.fresh(), "new");
        rename(&switch.current, &switch.old).unwrap();
        Switch::recover(&data).unwrap();
        assert_eq!(names(&data), ["old"]);
        // Where nothing was moved away, nothing changes.
        Switch::recover(&data).unwrap();
        assert_eq!(names(volume.path()), ["_data", "_data.holdfast-new"]);
    }

    #[test]
    fn a_fresh_folder_that_is_missing_changes_nothing() {
        let volume = tempfile::tempdir().unwrap();
        let data = volume.path().join("_data");
        folder(&data, "old");
        let switch = Switch::prepare(&data).unwrap();
        assert!(switch.finish().is_err());
        let switch = Switch::prepare(&data).unwrap();
        assert!(switch.finish_in_two_steps().is_err());
        assert_eq!(names(&data), ["old"]);
    }
}
