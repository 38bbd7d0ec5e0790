//! Writes through memory maps. One to a page that is not written back yet does not touch the file's times: what was read
//! before it would stand for it ever after. So a file that changed not long ago is read only once its file system has been
//! flushed since: every later write finds its page clean, and shows. Files that change after the capture has begun are read
//! again by the next one, and need none of this. A tmpfs never shows such writes.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_format::Stamp;
use rustix::io::Errno;

use super::join::latest_meant;

/// Pages are written back within seconds, and within ten minutes on machines that spare their disks.
const DIRTY_FOR: i64 = 15 * 60;

/// For each file system that this process flushed, the time just before the last flush.
static FLUSHED: Mutex<Option<HashMap<u64, Stamp>>> = Mutex::new(None);

/// Returns the system's time.
pub(super) fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    Stamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanoseconds: since.subsec_nanos(),
    }
}

/// Flushes the file system of an open file, unless that makes no difference: `changed` is when its inode last changed,
/// `begun` when the capture began.
pub(super) fn flush(file: BorrowedFd<'_>, filesystem: u64, changed: Stamp, begun: Stamp) -> Result<(), Errno> {
    if changed >= begun || changed.seconds.saturating_add(DIRTY_FOR) < begun.seconds {
        return Ok(());
    }
    let mut flushed = FLUSHED.lock().unwrap_or_else(PoisonError::into_inner);
    let flushed = flushed.get_or_insert_default();
    let now = now();
    // One that lies in the future is from before the clock was set.
    let last = flushed.get(&filesystem).filter(|last| **last <= now);
    if last.is_some_and(|last| latest_meant(changed) < *last) {
        return Ok(());
    }
    rustix::fs::syncfs(file)?;
    flushed.insert(filesystem, now);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd as _;

    /// Returns the flush that this process has noted for a number that no file system has.
    fn noted(filesystem: u64) -> Option<Stamp> {
        let flushed = FLUSHED.lock().unwrap();
        flushed.as_ref().and_then(|all| all.get(&filesystem)).copied()
    }

    #[test]
    fn only_what_may_be_dirty_and_is_not_read_again_anyway_is_flushed_for() {
        let file = tempfile::tempfile().unwrap();
        let begun = now();
        let at = |seconds: i64| Stamp {
            seconds: begun.seconds + seconds,
            ..begun
        };
        let number = u64::MAX - 7;
        for quiet in [at(0), at(5), at(-DIRTY_FOR - 1)] {
            flush(file.as_fd(), number, quiet, begun).unwrap();
            assert_eq!(noted(number), None);
        }
        flush(file.as_fd(), number, at(-3), begun).unwrap();
        let first = noted(number).unwrap();
        assert!(first >= begun);
        // Once is enough for all that changed before it.
        flush(file.as_fd(), number, at(-2), begun).unwrap();
        assert_eq!(noted(number), Some(first));
        // One that is told for a time to come says nothing.
        FLUSHED.lock().unwrap().as_mut().unwrap().insert(number, at(1000));
        flush(file.as_fd(), number, at(-2), begun).unwrap();
        assert!(noted(number).unwrap() < at(1000));
    }
}
