//! The metadata of a file: its inode and its extended attributes.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use holdfast_format::pax::Xattrs;
use holdfast_format::{Entry, EntryKind, Stamp};
use rustix::fs::{FileType, Stat, fgetxattr, flistxattr, lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;

use super::test_hooks;
use super::walk::Identity;

/// The kernel's own bound on a value, and on a list of names.
const XATTR_MAX: usize = 64 << 10;

/// Room for the names that a file usually has, if it has any: the kernel takes as much memory as it is offered, and giving
/// it [`XATTR_MAX`] for every file takes longer than asking.
const NAMES_USUAL: usize = 256;

/// The most bytes of all attributes of an entry together. The entry's headers must fit into a pack.
const XATTRS_MAX: usize = 4 << 20;

/// The parts of `stat` that matter here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// `None`: a socket, or something that tar does not know.
    pub(super) kind: Option<EntryKind>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Bytes that its blocks take.
    pub(super) allocated: u64,
    pub(super) mtime: Stamp,
    pub(super) ctime: Stamp,
    pub(super) inode: u64,
    pub(super) filesystem: u64,
    pub(super) links: u64,
    pub(super) device: (u32, u32),
}

// The types of `Stat`'s fields differ between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
impl From<Stat> for Meta {
    fn from(stat: Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(EntryKind::File),
            FileType::Directory => Some(EntryKind::Dir),
            FileType::Symlink => Some(EntryKind::Symlink),
            FileType::Fifo => Some(EntryKind::Fifo),
            FileType::CharacterDevice => Some(EntryKind::Char),
            FileType::BlockDevice => Some(EntryKind::Block),
            _ => None,
        };
        let is_device = matches!(kind, Some(EntryKind::Char | EntryKind::Block));
        Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            allocated: (stat.st_blocks as u64).saturating_mul(512),
            mtime: stamp(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: stamp(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            inode: test_hooks::inode(stat.st_ino as u64),
            filesystem: stat.st_dev as u64,
            links: stat.st_nlink as u64,
            device: if is_device {
                (major(stat.st_rdev), minor(stat.st_rdev))
            } else {
                (0, 0)
            },
        }
    }
}

fn stamp(seconds: i64, nanoseconds: u64) -> Stamp {
    Stamp {
        seconds,
        nanoseconds: u32::try_from(nanoseconds).unwrap_or(0),
    }
}

impl Meta {
    /// The file system and the number of the inode.
    pub(super) fn identity(&self) -> Identity {
        (self.filesystem, self.inode)
    }

    /// True if both describe the same inode in the same state. Blocks may be allocated without a change.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let times = |meta: &Self| (meta.mtime, meta.ctime);
        let rights = |meta: &Self| (meta.mode, meta.uid, meta.gid);
        self.identity() == other.identity()
            && (self.kind, self.device, self.size, self.links) == (other.kind, other.device, other.size, other.links)
            && times(self) == times(other)
            && rights(self) == rights(other)
    }

    /// True if the parent's entry describes the same inode in the same state. The caller compares kind and link. An
    /// unchanged ctime says that owner, mode and extended attributes are unchanged as well. An entry that came from an
    /// archive has neither: its inode is zero.
    pub(super) fn stands_as(&self, entry: &Entry) -> bool {
        let is_file = entry.kind == EntryKind::File;
        entry.inode != 0
            && self.inode == entry.inode
            && self.ctime == entry.ctime
            && self.mtime == entry.mtime
            && (!is_file || self.size == entry.size)
            && (self.mode, self.uid, self.gid) == (entry.mode, entry.uid, entry.gid)
            && !entry.changed
    }
}

/// Reads extended attributes. Keeps its buffers.
pub(super) struct XattrReader {
    names: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
}

/// The file whose attributes are read.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A name in a directory, which is not to be opened or followed.
    Name(BorrowedFd<'a>, &'a CStr),
}

/// The result of [`XattrReader::read`].
pub(super) struct ReadXattrs {
    pub(super) xattrs: Xattrs,
    /// True if some attributes could not be read, or were too many.
    pub(super) incomplete: bool,
}

impl XattrReader {
    pub(super) fn new() -> Self {
        Self {
            names: vec![0; XATTR_MAX],
            value: vec![0; XATTR_MAX],
            path: Vec::new(),
        }
    }

    /// Reads all extended attributes, ACLs and capabilities among them.
    pub(super) fn read(&mut self, of: Of<'_>) -> Result<ReadXattrs, Errno> {
        let mut found = ReadXattrs {
            xattrs: Vec::new(),
            incomplete: false,
        };
        // There are no system calls for this that take a directory and a name (before Linux 6.13), and a whole path could
        // be too long or lead elsewhere by now: the way through /proc does neither.
        let path = match of {
            Of::Open(_) => c"".into(),
            Of::Name(dir, name) => self.proc_path(dir, name),
        };
        let mut list = |room: usize| match of {
            Of::Open(fd) => flistxattr(fd, &mut self.names[..room]),
            Of::Name(..) => llistxattr(path.as_c_str(), &mut self.names[..room]),
        };
        let listed = match list(NAMES_USUAL) {
            Err(Errno::RANGE) => list(XATTR_MAX),
            listed => listed,
        };
        let listed = match listed {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => 0,
            Err(Errno::ACCESS | Errno::PERM | Errno::RANGE | Errno::TOOBIG) => {
                found.incomplete = true;
                0
            }
            Err(error) => return Err(error),
        };
        let mut total = 0;
        for name in self.names[..listed].split_inclusive(|b| *b == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            let read = match of {
                Of::Open(fd) => fgetxattr(fd, name, &mut self.value[..]),
                Of::Name(..) => lgetxattr(path.as_c_str(), name, &mut self.value[..]),
            };
            match read {
                Ok(length) if total + name.count_bytes() + length <= XATTRS_MAX => {
                    total += name.count_bytes() + length;
                    let value = self.value[..length].to_vec();
                    found.xattrs.push((name.to_bytes().to_vec(), value));
                }
                // Removed since it was listed.
                Err(Errno::NODATA) => {}
                _ => found.incomplete = true,
            }
        }
        found.xattrs.sort_unstable();
        Ok(found)
    }

    fn proc_path(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> CString {
        self.path.clear();
        self.path.extend_from_slice(b"/proc/self/fd/");
        self.path.extend_from_slice(dir.as_raw_fd().to_string().as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(name.to_bytes());
        CString::new(self.path.as_slice()).unwrap_or_default()
    }
}
