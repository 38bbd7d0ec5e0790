//! Entries that have no data, and what is not taken.

use std::io::Write;
use std::os::fd::AsFd;

use holdfast_format::{Content, Entry, EntryKind, Extent, Path, SkipReason};
use rustix::fs::{fstat, readlinkat};
use rustix::io::Errno;

use super::header::{self, Member};
use super::meta::{Meta, Of, Xattrs};
use super::walk::{Names, OPEN_DIR};
use super::{Capture, Entered, Place};
use crate::{CaptureError, Progress};

impl<W: Write> Capture<'_, '_, '_, W> {
    /// Takes a directory's own entry.
    pub(super) fn directory(&mut self, place: Place<'_>) -> Result<Option<Entered>, CaptureError> {
        let opened = self.open(place.dir, place.name, OPEN_DIR).and_then(|dir| {
            let meta = Meta::from(fstat(&dir)?);
            let names = Names::read(dir.as_fd(), &mut self.scratch)?;
            let found = self.xattrs.read(Of::Open(dir.as_fd()))?;
            Ok((dir, meta, names, found))
        });
        let (dir, meta, names, found) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refused(&place.path, error).map(|()| None),
        };
        self.warn_of_xattrs(&place.path, found.incomplete);
        let entry = self.entry(EntryKind::Dir, place.path, &meta, None)?;
        self.plain(entry, (0, 0), &found.xattrs)?;
        Ok(Some(Entered {
            dir,
            names,
            identity: (meta.filesystem, meta.inode),
        }))
    }

    /// Takes a symbolic link, a fifo or a device: it is never opened.
    pub(super) fn special(&mut self, place: Place<'_>, meta: &Meta, kind: EntryKind) -> Result<(), CaptureError> {
        if let Some(first) = self.linked_to(meta) {
            let entry = self.entry(EntryKind::Hardlink, place.path, meta, Some(first))?;
            return self.plain(entry, (0, 0), &Vec::new());
        }
        let link = match kind {
            EntryKind::Symlink => match readlinkat(place.dir, place.name, Vec::new()) {
                Ok(target) => Some(Path(target.into_bytes())),
                Err(error) => return self.refused(&place.path, error),
            },
            _ => None,
        };
        let found = match self.xattrs.read(Of::Name(place.dir, place.name)) {
            Ok(found) => found,
            Err(error) => return self.refused(&place.path, error),
        };
        self.warn_of_xattrs(&place.path, found.incomplete);
        self.remember(meta, place.path.clone());
        let entry = self.entry(kind, place.path, meta, link)?;
        self.plain(entry, meta.device, &found.xattrs)
    }

    /// An entry as the inode is now, with its extents in the parent if it stood there as well.
    pub(super) fn entry(
        &mut self,
        kind: EntryKind,
        path: Path,
        meta: &Meta,
        link: Option<Path>,
    ) -> Result<Entry, CaptureError> {
        let extents = match self.join.take(&path)? {
            Some(old) if old.kind == kind && old.link == link && self.join.stands(meta, &old) => old.extents,
            _ => Vec::new(),
        };
        Ok(Entry {
            kind,
            path,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            size: if kind == EntryKind::File { meta.size } else { 0 },
            mtime: meta.mtime,
            ctime: meta.ctime,
            inode: meta.inode,
            link,
            changed: false,
            extents,
        })
    }

    /// Writes an entry that is all headers.
    pub(super) fn plain(&mut self, mut entry: Entry, device: (u32, u32), xattrs: &Xattrs) -> Result<(), CaptureError> {
        self.make_header(&entry, 0, None, device, xattrs);
        entry.extents = match self.reuse(&entry.extents, xattrs)? {
            Some(extents) => extents,
            None => vec![self.literal(xattrs)?],
        };
        self.write(entry)
    }

    /// Stores the headers that were made. Which attributes a process sees depends on its rights, so headers that hold some
    /// are known by their id; those without are the same bytes whenever the entry is the same.
    pub(super) fn literal(&mut self, xattrs: &Xattrs) -> Result<Extent, CaptureError> {
        self.packer.literal(&self.header, !xattrs.is_empty())
    }

    /// References what the parent has of an entry whose headers were made.
    pub(super) fn reuse(&mut self, extents: &[Extent], xattrs: &Xattrs) -> Result<Option<Vec<Extent>>, CaptureError> {
        let same_header = self.join.same_layout && xattrs.is_empty();
        self.packer
            .reuse(&self.header, same_header, !xattrs.is_empty(), extents)
    }

    /// Makes an entry's headers.
    pub(super) fn make_header(
        &mut self,
        entry: &Entry,
        stored: u64,
        sparse: Option<u64>,
        device: (u32, u32),
        xattrs: &Xattrs,
    ) {
        let member = Member {
            kind: entry.kind,
            path: &entry.path.0,
            link: entry.link.as_ref().map_or(b"", |link| &link.0),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            stored,
            mtime: entry.mtime,
            device,
            xattrs,
            sparse,
        };
        header::encode(&member, &mut self.header);
    }

    /// Writes an entry's line and counts it.
    pub(super) fn write(&mut self, entry: Entry) -> Result<(), CaptureError> {
        match entry.kind {
            EntryKind::File | EntryKind::Hardlink => self.counts.files += 1,
            EntryKind::Dir => self.counts.directories += 1,
            _ => self.counts.other += 1,
        }
        if entry.changed {
            self.warnings.add("changed", &entry.path.display());
        }
        self.contents
            .write(&Content::Entry(entry))
            .map_err(CaptureError::Contents)?;
        self.entries += 1;
        self.tell();
        Ok(())
    }

    pub(super) fn tell(&mut self) {
        (self.watch.progress)(Progress {
            bytes: self.packer.size() - self.base,
            files: self.entries,
        });
    }

    /// Writes down that something was not taken. That other file systems are left out was asked for; the rest is warned of.
    pub(super) fn skip(&mut self, path: &Path, reason: SkipReason) -> Result<(), CaptureError> {
        self.counts.skipped += 1;
        if reason != SkipReason::ExcludedMount {
            self.warnings.add(reason.as_str(), &path.display());
        }
        let line = Content::Skip(path.clone(), reason);
        self.contents.write(&line).map_err(CaptureError::Contents)
    }

    /// What to do about an entry that the system does not give: skip it, unless the fault is this process's.
    pub(super) fn refused(&mut self, path: &Path, error: Errno) -> Result<(), CaptureError> {
        self.refusal = Some(error);
        match error {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Err(CaptureError::Exhausted {
                at: path.display(),
                source: error.into(),
            }),
            // Gone, or another kind of thing by now.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO => {
                self.skip(path, SkipReason::Vanished)
            }
            _ => self.skip(path, SkipReason::Unreadable),
        }
    }

    pub(super) fn warn_of_xattrs(&mut self, path: &Path, incomplete: bool) {
        if incomplete {
            self.warnings.add("xattrs", &path.display());
        }
    }

    /// The sum of an unread entry's data.
    pub(super) fn data_size(extents: &[Extent]) -> u64 {
        extents.iter().skip(1).map(|x| u64::from(x.length)).sum()
    }
}
