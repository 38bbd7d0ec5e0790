//! A walk in sorted order, depth first, without recursion and with a bounded number of open directories: every name is
//! looked up in its open directory, so neither depth nor length of a path matters, and nothing that is moved or replaced
//! meanwhile leads the walk out of its tree.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, RawDir, fstat, openat};
use rustix::io::Errno;

/// Directories that stay open at each end of the stack: the walk comes back to the outermost ones after the longest time,
/// and to the innermost ones most often.
const OPEN_ENDS: usize = 64;

pub(super) const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// The names in a directory, in byte order.
#[derive(Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Names {
    /// Reads a directory. `buffer` is scratch space.
    pub(super) fn read(dir: BorrowedFd<'_>, buffer: &mut Vec<u8>) -> Result<Self, Errno> {
        let mut names = Self::default();
        buffer.clear();
        buffer.reserve(64 << 10);
        let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // Removed since it was opened: it is empty.
                Err(Errno::NOENT) => break,
                Err(error) => return Err(error),
            };
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name)?;
            }
        }
        let bytes = &names.bytes;
        names.starts.sort_unstable_by(|a, b| at(bytes, *a).cmp(at(bytes, *b)));
        Ok(names)
    }

    fn push(&mut self, name: &CStr) -> Result<(), Errno> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::FBIG)?;
        self.starts.push(start);
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
        Ok(())
    }

    fn get(&self, index: usize) -> Option<&CStr> {
        self.starts.get(index).map(|start| at(&self.bytes, *start))
    }
}

fn at(bytes: &[u8], start: u32) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start as usize..]).unwrap_or_default()
}

/// The identity of a file: its filesystem and its inode.
pub(super) type Identity = (u64, u64);

struct Frame {
    /// Closed while the walk is far below.
    dir: Option<OwnedFd>,
    identity: Identity,
    names: Names,
    next: usize,
    /// Bytes of the path that lead here.
    length: usize,
}

/// The position of a walk through a directory and everything below it.
pub(super) struct Walk {
    frames: Vec<Frame>,
    path: Vec<u8>,
    /// Bytes of the path that lead to the root's entries.
    below: usize,
    filesystem: u64,
    ends: usize,
}

impl Walk {
    /// Begins with the entries of a root directory.
    pub(super) fn begin(dir: OwnedFd, names: Names, identity: Identity, as_path: &[u8]) -> Self {
        let path = if as_path == b"." { Vec::new() } else { as_path.to_vec() };
        let mut walk = Self {
            frames: Vec::new(),
            below: if path.is_empty() { 0 } else { path.len() + 1 },
            path,
            filesystem: identity.0,
            ends: OPEN_ENDS,
        };
        walk.enter(dir, names, identity);
        walk
    }

    /// Goes on with the entries of the directory at the current path.
    pub(super) fn enter(&mut self, dir: OwnedFd, names: Names, identity: Identity) {
        let far = self.frames.len().checked_sub(self.ends);
        if let Some(index) = far.filter(|index| *index >= self.ends) {
            self.frames[index].dir = None;
        }
        self.frames.push(Frame {
            dir: Some(dir),
            identity,
            names,
            next: 0,
            length: self.path.len(),
        });
    }

    /// Goes to the next entry. False at the end.
    pub(super) fn advance(&mut self) -> bool {
        while let Some(frame) = self.frames.last_mut() {
            let Some(name) = frame.names.get(frame.next) else {
                self.leave();
                continue;
            };
            self.path.truncate(frame.length);
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            frame.next += 1;
            return true;
        }
        false
    }

    /// Goes back to the directory above, and opens it again if it was closed: as the parent of the one that is left, if
    /// that is still the same.
    fn leave(&mut self) {
        let left = self.frames.pop();
        if let (Some(left), Some(above)) = (left, self.frames.last_mut())
            && above.dir.is_none()
            && let Some(dir) = left.dir
        {
            above.dir = openat(&dir, c"..", OPEN_DIR, Mode::empty())
                .ok()
                .filter(|up| fstat(up).is_ok_and(|s| (s.st_dev, s.st_ino) == above.identity));
        }
    }

    /// The entry's path in the artefact.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Returns the number of bytes of the path that lead to the root's entries.
    pub(super) fn below(&self) -> usize {
        self.below
    }

    /// Returns the root's filesystem.
    pub(super) fn filesystem(&self) -> u64 {
        self.filesystem
    }

    /// The entry's directory and its name in it. `None` if the directory was moved away while the walk was far below it.
    pub(super) fn entry(&self) -> Option<(BorrowedFd<'_>, &CStr)> {
        let frame = self.frames.last()?;
        let name = frame.names.get(frame.next.checked_sub(1)?)?;
        Some((frame.dir.as_ref()?.as_fd(), name))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn begin(root: &Path, ends: usize) -> (Walk, Vec<u8>) {
        let mut buffer = Vec::new();
        let dir = openat(rustix::fs::CWD, root, OPEN_DIR, Mode::empty()).unwrap();
        let stat = fstat(&dir).unwrap();
        let names = Names::read(dir.as_fd(), &mut buffer).unwrap();
        let mut walk = Walk::begin(dir, names, (stat.st_dev, stat.st_ino), b".");
        walk.ends = ends;
        (walk, buffer)
    }

    /// Walks on; `at` is called at every entry. Returns paths, those of lost directories with a `!`.
    fn walk(root: &Path, ends: usize, mut at: impl FnMut(&[u8])) -> Vec<String> {
        let (mut walk, mut buffer) = begin(root, ends);
        let mut seen = Vec::new();
        while walk.advance() {
            let path = String::from_utf8(walk.path().to_vec()).unwrap();
            at(path.as_bytes());
            let Some((dir, name)) = walk.entry() else {
                seen.push(format!("!{path}"));
                continue;
            };
            seen.push(path);
            if let Ok(dir) = openat(dir, name, OPEN_DIR, Mode::empty()) {
                let stat = fstat(&dir).unwrap();
                let names = Names::read(dir.as_fd(), &mut buffer).unwrap();
                walk.enter(dir, names, (stat.st_dev, stat.st_ino));
                assert!(walk.frames.iter().filter(|f| f.dir.is_some()).count() <= 2 * ends);
            }
        }
        seen
    }

    #[test]
    fn closed_directories_are_found_again_or_given_up() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["a/b/c/d/e", "m"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        for file in ["a/b/c/d/z", "a/b/c/z", "a/b/z", "a/z", "z"] {
            std::fs::write(root.path().join(file), b"").unwrap();
        }
        let all = [
            "a",
            "a/b",
            "a/b/c",
            "a/b/c/d",
            "a/b/c/d/e",
            "a/b/c/d/z",
            "a/b/c/z",
            "a/b/z",
            "a/z",
            "m",
            "z",
        ];
        assert_eq!(walk(root.path(), 1, |_| {}), all);
        // The directory that the walk is in is moved: what it left open above cannot be found from there.
        let moved = |path: &[u8]| {
            if path == b"a/b/c/d/e" {
                std::fs::rename(root.path().join("a/b/c/d"), root.path().join("m/d")).unwrap();
            }
        };
        let seen = walk(root.path(), 1, moved);
        assert!(seen.contains(&"!a/b/c/z".to_owned()), "{seen:?}");
        assert_eq!(seen.last().unwrap(), "z");
    }
}
