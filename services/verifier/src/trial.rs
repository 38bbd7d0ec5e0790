//! Level `restore` for files: restores them into a folder, and compares every byte.

use std::fs::{File, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ObjectKey};
use holdfast_restore::{FilesError, FilesOptions, FilesReport, OpenArtefact, Selection, compare_files, restore_files};

use crate::judged::Judged;
use crate::{VerifyError, VerifyOptions};

/// The beginning of the names of trial folders.
pub(crate) const FOLDER: &str = "holdfast-trial-";

/// Space for directories and metadata beside the files' own bytes, in bytes.
const MARGIN: u64 = 16 << 20;

/// Restores the files of an artefact, compares them, and adds each fault of the artefact to `judged`.
pub(crate) fn trial(opened: &OpenArtefact, options: &VerifyOptions, judged: &mut Judged) -> Result<(), VerifyError> {
    let manifest = opened.manifest();
    let artefact = manifest.captured.artefact;
    let Some(parent) = &options.trial else {
        return Err(VerifyError::NoFolder { artefact });
    };
    let needed = manifest.captured.stream.size.saturating_add(MARGIN);
    let unusable = |source| VerifyError::Folder {
        path: parent.clone(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(unusable)?;
    let free = free(parent).map_err(unusable)?;
    if free < needed {
        return Err(VerifyError::NoRoom {
            artefact,
            path: parent.clone(),
            needed,
            free,
        });
    }
    // Dropping the value removes the folder and everything in it.
    let folder = tempfile::Builder::new()
        .prefix(FOLDER)
        .tempdir_in(parent)
        .map_err(unusable)?;
    let _lock = lock(folder.path()).map_err(unusable)?;
    let _opened = OpenUp(folder.path());
    let failed = |source| VerifyError::Files {
        artefact,
        path: parent.clone(),
        source: Box::new(source),
    };
    let target = folder.path().join("files");
    let limits = options.limits;
    let progress = &options.progress;
    let files = FilesOptions {
        limits,
        ..FilesOptions::default()
    };
    match restore_files(opened.origin(), &Selection::all(), &target, files, progress) {
        Ok(report) => take_problems(artefact, parent, &report, judged)?,
        Err(error) => return at_fault(error, judged).map_err(failed),
    }
    if judged.total > 0 {
        return Ok(());
    }
    match compare_files(opened.origin(), &target, limits, progress) {
        Ok(differences) => {
            for differs in differences {
                let object = differs.object.unwrap_or(ObjectKey::Contents(artefact));
                judged.add(object, format!("restored, {}: {}", differs.path, differs.problem));
            }
            Ok(())
        }
        Err(error) => at_fault(error, judged).map_err(failed),
    }
}

fn free(folder: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Turns an error into a finding if an object of the repository is to blame for it.
fn at_fault(error: FilesError, judged: &mut Judged) -> Result<(), FilesError> {
    if let FilesError::Stream(source) = &error
        && let Some(object) = source.damaged()
    {
        judged.add(object.clone(), chain(&error).to_string());
        return Ok(());
    }
    Err(error)
}

/// Adds the entries that were lost because of a damaged object to `judged`. If entries were lost for other reasons, the
/// folder is unfit for a trial, which is an error. Attributes that the folder cannot keep do not count.
fn take_problems(
    artefact: ArtefactId,
    folder: &Path,
    report: &FilesReport,
    judged: &mut Judged,
) -> Result<(), VerifyError> {
    if report.lost == 0 {
        return Ok(());
    }
    let lost = report.problems.iter().filter(|problem| problem.lost);
    let (at_fault, refused): (Vec<_>, Vec<_>) = lost.partition(|problem| problem.object.is_some());
    for problem in at_fault {
        if let Some(object) = &problem.object {
            judged.add(object.clone(), format!("{}: {}", problem.path, problem.problem));
        }
    }
    if judged.total > 0 {
        return Ok(());
    }
    let first = refused
        .first()
        .map(|problem| format!("{}: {}", problem.path, problem.problem));
    Err(VerifyError::Refused {
        artefact,
        path: folder.to_owned(),
        lost: report.lost,
        first: first.unwrap_or_default(),
    })
}

/// The name of the file in a trial folder that its process keeps locked.
const LOCK: &str = "lock";

/// Locks a trial folder for as long as the returned file is open. The kernel releases the lock when the process ends,
/// however it ends.
fn lock(folder: &Path) -> std::io::Result<File> {
    let lock = File::create_new(folder.join(LOCK))?;
    lock.lock()?;
    Ok(lock)
}

/// Makes everything below a folder removable when it is dropped. Restored directories may forbid removal, to all but
/// root.
struct OpenUp<'a>(&'a Path);

impl Drop for OpenUp<'_> {
    fn drop(&mut self) {
        open_up(self.0);
    }
}

/// Ignores errors, since the removal that follows reports them.
fn open_up(folder: &Path) {
    let _ = std::fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Removes the trial folders of dead processes, since they hold plaintext. Those of living processes stay.
pub(crate) fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_trial = entry.file_name().to_string_lossy().starts_with(FOLDER);
        // A folder without a lock is just being made, or belongs to another user.
        let Some(lock) = is_trial.then(|| File::open(entry.path().join(LOCK)).ok()).flatten() else {
            continue;
        };
        if lock.try_lock().is_err() {
            continue;
        }
        open_up(&entry.path());
        if let Err(error) = std::fs::remove_dir_all(entry.path()) {
            tracing::warn!(
                folder = %entry.path().display(), %error,
                "the folder of a trial restore that was cut off could not be removed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn directories_that_forbid_it_can_be_removed() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        let modes = [deep.as_path(), deep.parent().unwrap()];
        for dir in modes {
            std::fs::set_permissions(dir, Permissions::from_mode(0o500)).unwrap();
        }
        drop(OpenUp(parent.path()));
        for dir in modes {
            assert_eq!(dir.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn only_trials_that_nobody_is_at_are_swept() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let alive = folder("holdfast-trial-a");
        let dead = folder("holdfast-trial-b");
        let other = folder("other");
        let fresh = folder("holdfast-trial-c");
        let kept = lock(&alive).unwrap();
        drop((lock(&dead).unwrap(), lock(&other).unwrap()));
        sweep(parent.path());
        assert_eq!(
            [&alive, &dead, &other, &fresh].map(|path| path.exists()),
            [true, false, true, true]
        );
        drop(kept);
        sweep(parent.path());
        assert!(!alive.exists());
    }
}
