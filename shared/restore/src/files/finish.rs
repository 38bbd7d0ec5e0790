//! What comes when all data is in place: links and devices, then the attributes of directories.

use std::sync::atomic::Ordering;

use holdfast_format::EntryKind;
use rustix::fs::{AtFlags, FileType, Mode, linkat, makedev, mknodat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::plan::{Node, Target, components};
use super::{FilesError, Job};
use crate::passes::lock;

impl Job<'_> {
    /// Completes the tree.
    pub(super) fn finish(&self) -> Result<(), FilesError> {
        self.remove_parts();
        // Hard links last: they may lead to any of the others.
        self.each_node(|kind| !matches!(kind, EntryKind::File | EntryKind::Hardlink))?;
        self.each_node(|kind| kind == EntryKind::Hardlink)?;
        self.dress_directories()
    }

    /// Takes files away that did not become whole.
    fn remove_parts(&self) {
        for (index, node) in (0_u32..).zip(&self.plan.nodes) {
            if !node.failed.load(Ordering::Relaxed) || !node.created.load(Ordering::Relaxed) {
                continue;
            }
            let removed = self
                .tree
                .dir(node.dir)
                .and_then(|dir| unlinkat(&dir, self.plan.bytes(node.name), AtFlags::empty()));
            if let Err(error) = removed {
                let problem = format!("a part of it is there and could not be removed: {error}");
                self.warn(Target::Node(index), problem, None);
            }
        }
    }

    fn each_node(&self, wanted: impl Fn(EntryKind) -> bool) -> Result<(), FilesError> {
        for (index, node) in (0_u32..).zip(&self.plan.nodes) {
            if !wanted(node.kind) || node.failed.load(Ordering::Relaxed) {
                continue;
            }
            self.check_stopped()?;
            let target = Target::Node(index);
            if let Err(error) = self.make(target, node) {
                self.trouble(target, doing(node.kind), error.into())?;
            }
        }
        Ok(())
    }

    fn make(&self, target: Target, node: &Node) -> Result<(), Errno> {
        let dir = self.tree.dir(node.dir)?;
        let (name, link) = (self.plan.bytes(node.name), self.plan.bytes(node.link));
        self.clear(&dir, name)?;
        let extra = lock(&self.extras).remove(&target);
        match node.kind {
            EntryKind::Hardlink => return self.hard_link(link, &dir, name),
            EntryKind::Symlink => symlinkat(link, &dir, name)?,
            EntryKind::Fifo => mknodat(&dir, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?,
            EntryKind::Char | EntryKind::Block => {
                let (major, minor) = extra.as_ref().map_or((0, 0), |extra| extra.device);
                let kind = if node.kind == EntryKind::Char {
                    FileType::CharacterDevice
                } else {
                    FileType::BlockDevice
                };
                mknodat(&dir, name, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor))?;
            }
            EntryKind::File | EntryKind::Dir => return Ok(()),
        }
        let extra = extra.unwrap_or_default();
        self.dress_at(target, &dir, name, node.meta, &extra, node.kind == EntryKind::Symlink);
        Ok(())
    }

    fn hard_link(&self, first: &[u8], dir: &std::os::fd::OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let parts = components(first).map_err(|_| Errno::INVAL)?;
        let (last, above) = parts.split_last().ok_or(Errno::INVAL)?;
        let from = self.tree.walk(above)?;
        // A link to a symbolic link is one to the link itself.
        linkat(&from, *last, dir, name, AtFlags::empty())
    }

    /// Deepest first: what is in a directory is done before others may enter it, and its time stays.
    fn dress_directories(&self) -> Result<(), FilesError> {
        for index in (0..self.plan.dirs.len()).rev() {
            let index = u32::try_from(index).map_err(|_| FilesError::TooMany)?;
            let Some(meta) = self.plan.dirs[index as usize].meta else {
                continue;
            };
            let target = Target::Dir(index);
            match self.tree.dir(index) {
                Ok(dir) => {
                    let extra = lock(&self.extras).remove(&target).unwrap_or_default();
                    self.dress(target, &*dir, meta, &extra);
                }
                // Told when it was to be made.
                Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => {}
                Err(error) => self.trouble(target, "open the directory", error.into())?,
            }
        }
        Ok(())
    }
}

fn doing(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Hardlink => "make the hard link",
        EntryKind::Symlink => "make the symbolic link",
        EntryKind::Fifo => "make the fifo",
        EntryKind::Char | EntryKind::Block => "make the device",
        EntryKind::File | EntryKind::Dir => "make it",
    }
}
