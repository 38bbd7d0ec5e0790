//! The directories of a restore.

use rustix::fs::{AtFlags, FileType, Mode, fchmod, mkdirat, openat, statat};
use rustix::io::Errno;

use super::error::FilesError;
use super::job::FilesJob;
use super::plan::EntryTarget;
use super::tree::{IMPLIED, OPEN_DIR};

impl FilesJob<'_> {
    /// Makes all directories, for this user alone: they get their owners and modes last. Those of which the contents tell
    /// nothing have no modes to get: they are open to all, as directories usually are.
    pub(super) fn make_directories(&self) -> Result<(), FilesError> {
        for index in 1..self.plan.dirs.len() {
            let index = u32::try_from(index).map_err(|_| FilesError::TooMany)?;
            if let Err(error) = self.make_directory(index) {
                self.trouble(EntryTarget::Dir(index), "make the directory", error.into())?;
            }
        }
        Ok(())
    }

    fn make_directory(&self, index: u32) -> Result<(), Errno> {
        let dir = &self.plan.dirs[index as usize];
        let parent = self.tree.dir(dir.parent)?;
        let name = self.plan.bytes(dir.name);
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) if dir.meta.is_none() => {
                let made = openat(&parent, name, OPEN_DIR, Mode::empty())?;
                fchmod(&made, Mode::from_raw_mode(IMPLIED))
            }
            Err(Errno::EXIST) => {
                let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if is_dir { Ok(()) } else { Err(Errno::NOTDIR) }
            }
            other => other,
        }
    }
}
