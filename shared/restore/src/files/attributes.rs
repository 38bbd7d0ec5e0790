//! Owners, modes, extended attributes and times of what was restored.

use std::os::fd::{AsFd, AsRawFd};

use holdfast_format::Stamp;
use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr,
    futimens, lsetxattr, utimensat,
};

use super::job::{Extra, FilesJob};
use super::plan::{EntryTarget, Meta};

/// Without its owner, a file must not lend anybody's rights.
const LENT: u32 = 0o6000;

impl FilesJob<'_> {
    /// Sets everything on an open file or directory.
    pub(super) fn dress(&self, target: EntryTarget, fd: impl AsFd, meta: Meta, extra: &Extra) {
        let fd = fd.as_fd();
        let mut owned = self.owners;
        if owned && let Err(error) = fchown(fd, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid))) {
            self.warn(target, format!("cannot set the owner: {error}"), None);
            owned = false;
        }
        // A user's attributes can only be set while the file may be written; lists of access only last: the mode changes
        // them.
        let (access, plain): (Vec<_>, Vec<_>) = extra.xattrs.iter().partition(|(name, _)| is_access_list(name));
        self.set_xattrs(target, &plain, |name, value| {
            fsetxattr(fd, name, value, XattrFlags::empty())
        });
        if let Err(error) = fchmod(fd, mode(meta, owned)) {
            self.warn(target, format!("cannot set the mode: {error}"), None);
        }
        self.set_xattrs(target, &access, |name, value| {
            fsetxattr(fd, name, value, XattrFlags::empty())
        });
        if let Err(error) = futimens(fd, &times(meta.mtime)) {
            self.warn(target, format!("cannot set its time: {error}"), None);
        }
    }

    /// Sets everything on what cannot be opened: a link, fifo or device, just made in a directory of our own.
    pub(super) fn dress_at(
        &self,
        target: EntryTarget,
        dir: impl AsFd,
        name: &[u8],
        meta: Meta,
        extra: &Extra,
        is_link: bool,
    ) {
        let dir = dir.as_fd();
        let uid = Uid::from_raw(meta.uid);
        let gid = Gid::from_raw(meta.gid);
        let mut owned = self.owners;
        if owned && let Err(error) = chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            self.warn(target, format!("cannot set the owner: {error}"), None);
            owned = false;
        }
        if !is_link && let Err(error) = chmodat(dir, name, mode(meta, owned), AtFlags::empty()) {
            self.warn(target, format!("cannot set the mode: {error}"), None);
        }
        let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
        let xattrs: Vec<_> = extra.xattrs.iter().collect();
        self.set_xattrs(target, &xattrs, |name, value| {
            lsetxattr(path.as_slice(), name, value, XattrFlags::empty())
        });
        if let Err(error) = utimensat(dir, name, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW) {
            self.warn(target, format!("cannot set its time: {error}"), None);
        }
    }

    fn set_xattrs(
        &self,
        target: EntryTarget,
        xattrs: &[&(Vec<u8>, Vec<u8>)],
        set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>,
    ) {
        for (name, value) in xattrs {
            if let Err(error) = set(name, value) {
                let name = holdfast_format::Path(name.clone()).display();
                self.warn(
                    target,
                    format!("cannot set the extended attribute {name}: {error}"),
                    None,
                );
            }
        }
    }
}

fn is_access_list(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

fn mode(meta: Meta, owned: bool) -> Mode {
    Mode::from_raw_mode(if owned { meta.mode } else { meta.mode & !LENT })
}

fn times(mtime: Stamp) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: i64::from(mtime.nanoseconds),
        },
    }
}
