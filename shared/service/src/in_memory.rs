//! File systems that have no disk.

use std::path::Path;

/// True if a path lies on a file system without a disk behind it (tmpfs, ramfs). False if the system does not say.
#[must_use]
pub fn is_in_memory(path: &Path) -> bool {
    // The numbers are those of statfs(2).
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    rustix::fs::statfs(path).is_ok_and(|found| matches!(found.f_type, TMPFS | RAMFS))
}
