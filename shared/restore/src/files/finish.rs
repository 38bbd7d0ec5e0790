//! The last steps, when all data is in place: links and devices, then the attributes of directories.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use holdfast_format::EntryKind;
use rustix::fs::{AtFlags, FileType, Mode, linkat, makedev, mknodat, renameat, symlinkat, unlinkat};
use rustix::io::Errno;

use super::error::FilesError;
use super::job::FilesJob;
use super::plan::{EntryTarget, Node, components};
use crate::passes::lock;

impl FilesJob<'_> {
    /// Completes the tree.
    pub(super) fn finish(&self) -> Result<(), FilesError> {
        self.remove_parts();
        // Hard links last: they may lead to any of the others.
        self.each_node(|kind| !matches!(kind, EntryKind::File | EntryKind::Hardlink))?;
        self.hard_links()?;
        self.dress_directories()
    }

    /// Takes files away that did not become whole.
    pub(super) fn remove_parts(&self) {
        for (index, node) in (0_u32..).zip(&self.plan.nodes) {
            if !node.created.swap(false, Ordering::Relaxed) {
                continue;
            }
            let removed = self
                .tree
                .dir(node.dir)
                .and_then(|dir| unlinkat(&dir, self.part_name(index), AtFlags::empty()));
            if let Err(error) = removed {
                let problem = format!("a part of it is there and could not be removed: {error}");
                self.warn(EntryTarget::Node(index), problem, None);
            }
        }
    }

    /// Makes hard links, in the order of the artefact. Each leads to what this restore made: under the first name there may be
    /// something older, or something else.
    fn hard_links(&self) -> Result<(), FilesError> {
        let is_link = |node: &Node| node.kind == EntryKind::Hardlink;
        let nodes = || (0_u32..).zip(&self.plan.nodes);
        let links = || nodes().filter(|(_, node)| is_link(node));
        let wanted: HashSet<&[u8]> = links().map(|(_, node)| self.plan.bytes(node.link)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut made: HashSet<Vec<u8>> = nodes()
            .filter(|(_, node)| !is_link(node) && !node.failed.load(Ordering::Relaxed))
            .map(|(index, _)| self.plan.path(EntryTarget::Node(index)))
            .filter(|path| wanted.contains(&path[..]))
            .collect();
        for (index, node) in links() {
            self.check_stopped()?;
            let target = EntryTarget::Node(index);
            if !made.contains(self.plan.bytes(node.link)) {
                self.lose(target, "the file that it is a link to was not restored", None);
                continue;
            }
            match self.make(index, node) {
                Ok(()) => drop(made.insert(self.plan.path(target))),
                Err(error) => self.trouble(target, doing(node.kind), error.into())?,
            }
        }
        Ok(())
    }

    fn each_node(&self, wanted: impl Fn(EntryKind) -> bool) -> Result<(), FilesError> {
        for (index, node) in (0_u32..).zip(&self.plan.nodes) {
            if !wanted(node.kind) || node.failed.load(Ordering::Relaxed) {
                continue;
            }
            self.check_stopped()?;
            if let Err(error) = self.make(index, node) {
                self.trouble(EntryTarget::Node(index), doing(node.kind), error.into())?;
            }
        }
        Ok(())
    }

    /// Makes a link, fifo or device. What it replaces stays until it is complete.
    fn make(&self, index: u32, node: &Node) -> Result<(), Errno> {
        let dir = self.tree.dir(node.dir)?;
        let name = self.plan.bytes(node.name);
        if !self.options.overwrite {
            return self.make_at(index, node, &dir, name);
        }
        let part = self.part_name(index);
        let made = self
            .make_at(index, node, &dir, &part)
            .and_then(|()| renameat(&dir, part.as_slice(), &dir, name));
        // Two names of one file are not renamed onto each other.
        if made.is_err() || node.kind == EntryKind::Hardlink {
            let _ = unlinkat(&dir, part.as_slice(), AtFlags::empty());
        }
        made
    }

    fn make_at(&self, index: u32, node: &Node, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        let target = EntryTarget::Node(index);
        let link = self.plan.bytes(node.link);
        let extra = lock(&self.extras).remove(&target);
        match node.kind {
            EntryKind::Hardlink => return self.hard_link(link, dir, name),
            EntryKind::Symlink => symlinkat(link, dir, name)?,
            EntryKind::Fifo => mknodat(dir, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?,
            EntryKind::Char | EntryKind::Block => {
                let (major, minor) = extra.as_ref().map_or((0, 0), |extra| extra.device);
                let kind = if node.kind == EntryKind::Char {
                    FileType::CharacterDevice
                } else {
                    FileType::BlockDevice
                };
                mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, makedev(major, minor))?;
            }
            EntryKind::File | EntryKind::Dir => return Ok(()),
        }
        let extra = extra.unwrap_or_default();
        self.dress_at(target, dir, name, node.meta, &extra, node.kind == EntryKind::Symlink);
        Ok(())
    }

    fn hard_link(&self, first: &[u8], dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
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
            let target = EntryTarget::Dir(index);
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
