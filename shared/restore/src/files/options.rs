//! Options of a restore of files.

use crate::progress::Limits;

/// Options of a restore of files.
#[derive(Clone, Copy, Debug)]
pub struct FilesOptions {
    /// Restore into a directory that is not empty, and replace what is in the way. A file is replaced once the new one is
    /// whole, and never written into; a directory that is in the way of something else is not removed.
    pub overwrite: bool,
    /// Only find out what there is to do.
    pub dry_run: bool,
    /// Restore owners. Only root can; for others nothing is tried.
    pub owners: bool,
    /// Memory and threads.
    pub limits: Limits,
}

impl Default for FilesOptions {
    /// Into an empty directory, with owners.
    fn default() -> Self {
        Self {
            overwrite: false,
            dry_run: false,
            owners: true,
            limits: Limits::default(),
        }
    }
}
