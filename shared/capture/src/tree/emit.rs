//! Entries that have no data, and what is not taken.

use std::io::Write;
use std::os::fd::AsFd;

use holdfast_format::pax::Xattrs;
use holdfast_format::{Entry, EntryKind, Path, SkipReason};
use rustix::fs::{Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

use super::meta::{Meta, Of};
use super::walk::{Names, OPEN_DIR};
use super::{Capture, Entered, EntryAt, flush};
use crate::CaptureError;

/// Opens nothing: the inode stays, that is all.
const HOLD: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<W: Write> Capture<'_, '_, '_, W> {
    /// Takes a directory's own entry.
    pub(super) fn directory(&mut self, place: EntryAt<'_>) -> Result<Option<Entered>, CaptureError> {
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
        self.out.warn_of_xattrs(&place.path, found.incomplete);
        let entry = self.entry(EntryKind::Dir, place.path, &meta, None)?;
        self.plain(entry, (0, 0), &found.xattrs)?;
        Ok(Some(Entered {
            dir,
            names,
            identity: (meta.filesystem, meta.inode),
        }))
    }

    /// Takes a symbolic link, a fifo or a device: it is never opened.
    pub(super) fn special(&mut self, place: EntryAt<'_>, meta: &Meta, kind: EntryKind) -> Result<(), CaptureError> {
        if let Some(first) = self.links.first_name(meta) {
            return self.hard_link(place.path, meta, first);
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
        self.out.warn_of_xattrs(&place.path, found.incomplete);
        self.note_special(&place, meta);
        let entry = self.entry(kind, place.path, meta, link)?;
        self.plain(entry, meta.device, &found.xattrs)
    }

    /// Notes the first name of something that is not read, if it is still what it was when it was looked at first.
    fn note_special(&mut self, place: &EntryAt<'_>, meta: &Meta) {
        if meta.links < 2 {
            return;
        }
        let now = flush::now();
        let Ok(held) = openat(place.dir, place.name, HOLD, Mode::empty()) else {
            return;
        };
        if fstat(&held).map(Meta::from).is_ok_and(|held| held.is_same(meta)) {
            self.links.taken(place.path.clone(), *meta, now, Some(held));
        }
    }

    /// An entry as the inode is now, with its extents in the earlier capture if it stood there as well.
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
    fn plain(&mut self, entry: Entry, device: (u32, u32), xattrs: &Xattrs) -> Result<(), CaptureError> {
        self.out.plain(entry, self.join.same_layout, device, xattrs)
    }

    /// Takes a further name of a file.
    pub(super) fn hard_link(&mut self, path: Path, meta: &Meta, first: Path) -> Result<(), CaptureError> {
        let entry = self.entry(EntryKind::Hardlink, path, meta, Some(first))?;
        self.plain(entry, (0, 0), &Vec::new())
    }

    /// Skips an entry that the system refuses. Fails if the process lacks a resource.
    pub(super) fn refused(&mut self, path: &Path, error: Errno) -> Result<(), CaptureError> {
        self.refusal = Some(error);
        match error {
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => Err(CaptureError::Exhausted {
                at: path.display(),
                source: error.into(),
            }),
            // Gone, or another kind of thing by now.
            Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO => {
                self.out.skip(path, SkipReason::Vanished)
            }
            _ => self.out.skip(path, SkipReason::Unreadable),
        }
    }
}
