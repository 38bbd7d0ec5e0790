//! Directories of the target, by descriptor. Every step is one name below an open directory and follows no symbolic link,
//! so nothing leads out of the target, not even what another process puts there meanwhile.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::error::FilesError;
use super::plan::FilesPlan;
use crate::passes::lock;

pub(super) const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The mode of a directory that has no entry of its own.
pub(super) const IMPLIED: u32 = 0o755;

/// Directories kept open.
const OPEN: usize = 192;

/// Opens the target, making it if need be.
pub(super) fn open_target(path: &Path, overwrite: bool) -> Result<OwnedFd, FilesError> {
    let fault = |source: io::Error| FilesError::Target {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(path).map_err(fault)?;
    // The operator's own path may be a link.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, path, flags, Mode::empty()).map_err(|e| fault(e.into()))?;
    if !overwrite && !is_empty(&root).map_err(|e| fault(e.into()))? {
        return Err(FilesError::NotEmpty { path: path.to_owned() });
    }
    Ok(root)
}

/// True if a directory holds nothing but what a fresh filesystem has.
fn is_empty(root: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(root)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b".." | b"lost+found") {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) struct Tree<'a> {
    plan: &'a FilesPlan,
    root: Arc<OwnedFd>,
    open: Mutex<Open>,
}

/// Open directories, with when they were last wanted.
#[derive(Default)]
struct Open {
    dirs: HashMap<u32, (Arc<OwnedFd>, u64)>,
    now: u64,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: OwnedFd, plan: &'a FilesPlan) -> Self {
        Self {
            plan,
            root: Arc::new(root),
            open: Mutex::default(),
        }
    }

    /// A directory of the plan.
    pub(super) fn dir(&self, index: u32) -> Result<Arc<OwnedFd>, Errno> {
        if index == 0 {
            return Ok(Arc::clone(&self.root));
        }
        let mut open = lock(&self.open);
        open.now += 1;
        let now = open.now;
        // Up to what is open, and down again.
        let mut at = index;
        let mut missing = Vec::new();
        let mut fd = loop {
            if at == 0 {
                break Arc::clone(&self.root);
            }
            if let Some((fd, wanted)) = open.dirs.get_mut(&at) {
                *wanted = now;
                break Arc::clone(fd);
            }
            missing.push(at);
            at = self.plan.dirs[at as usize].parent;
        };
        for index in missing.into_iter().rev() {
            let name = self.plan.bytes(self.plan.dirs[index as usize].name);
            fd = Arc::new(openat(&fd, name, OPEN_DIR, Mode::empty())?);
            open.insert(index, Arc::clone(&fd), now);
        }
        Ok(fd)
    }

    /// The directory at these names, which need not be in the plan.
    pub(super) fn walk(&self, parts: &[&[u8]]) -> Result<Arc<OwnedFd>, Errno> {
        let mut fd = Arc::clone(&self.root);
        for part in parts {
            fd = Arc::new(openat(&fd, *part, OPEN_DIR, Mode::empty())?);
        }
        Ok(fd)
    }
}

impl Open {
    fn insert(&mut self, index: u32, fd: Arc<OwnedFd>, now: u64) {
        if self.dirs.len() >= OPEN {
            let oldest = self
                .dirs
                .iter()
                .min_by_key(|(_, (_, wanted))| *wanted)
                .map(|(index, _)| *index);
            if let Some(oldest) = oldest {
                self.dirs.remove(&oldest);
            }
        }
        self.dirs.insert(index, (fd, now));
    }
}
