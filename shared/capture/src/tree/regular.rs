//! Regular files: hard links, files that stand as before, files that are read.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use holdfast_format::pax::Xattrs;
use holdfast_format::{Entry, EntryKind, Path, SkipReason};
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use super::file::FileData;
use super::meta::{Meta, Of};
use super::sparse::{self, Map, Segment};
use super::test_hooks::{self, Moment};
use super::{Capture, EntryAt, flush, out};
use crate::CaptureError;

const OPEN_FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A file that is open, and what its headers will tell.
struct Opened {
    fd: OwnedFd,
    meta: Meta,
    xattrs: Xattrs,
    map: Option<Map>,
    /// True if every later write will show in the file's times.
    flushed: bool,
}

impl Opened {
    /// The bytes that follow the headers, a sparse file's map left out.
    fn segments(&self) -> Vec<Segment> {
        self.map.as_ref().map_or_else(
            || {
                vec![Segment {
                    offset: 0,
                    length: self.meta.size,
                }]
            },
            |map| map.segments.clone(),
        )
    }
}

impl<W: Write> Capture<'_, '_, '_, W> {
    pub(super) fn file(&mut self, place: EntryAt<'_>, meta: Meta) -> Result<(), CaptureError> {
        if let Some(first) = self.links.first_name(&meta) {
            return self.hard_link(place.path, &meta, first);
        }
        let entry = self.entry(EntryKind::File, place.path.clone(), &meta, None)?;
        if !entry.extents.is_empty() {
            let now = flush::now();
            let taken = self.unread(&place, &meta, entry)?;
            if taken {
                self.links.taken(place.path, meta, now, None);
                return Ok(());
            }
        }
        match self.open_file(&place) {
            Ok(Some(opened)) => self.read(place.path, opened),
            Ok(None) => self.out.skip(&place.path, SkipReason::Vanished),
            Err(error) => self.refused(&place.path, error),
        }
    }

    /// Takes a file over from the earlier capture, if its chunks can be referenced. `entry` holds its extents there.
    fn unread(&mut self, place: &EntryAt<'_>, meta: &Meta, mut entry: Entry) -> Result<bool, CaptureError> {
        let data = out::data_size(&entry.extents);
        let Some(stored) = sparse::stored_size(entry.size, data).filter(|stored| *stored <= entry.size) else {
            return Ok(false);
        };
        // If the name is gone by now, so be it: opening it will tell.
        let Ok(found) = self.xattrs.read(Of::Name(place.dir, place.name)) else {
            return Ok(false);
        };
        // The name may lead elsewhere by now, and they be those of another file.
        let has_xattrs = !found.xattrs.is_empty() || entry.extents.first().is_some_and(|header| header.id.is_some());
        if has_xattrs && !place.look().is_ok_and(|now| now.is_same(meta)) {
            return Ok(false);
        }
        let sparse = (stored < entry.size).then_some(entry.size);
        self.out.make_header(&entry, stored, sparse, (0, 0), &found.xattrs);
        let Some(extents) = self.out.reuse(&entry.extents, self.join.same_layout, &found.xattrs)? else {
            return Ok(false);
        };
        self.out.warn_of_xattrs(&entry.path, found.incomplete);
        entry.extents = extents;
        self.out.count_unread(&entry.extents);
        self.out.write(entry)?;
        Ok(true)
    }

    /// Opens a file to read it. `None` if it is no file any more.
    fn open_file(&mut self, place: &EntryAt<'_>) -> Result<Option<Opened>, Errno> {
        let fd = self.open(place.dir, place.name, OPEN_FILE)?;
        let meta = Meta::from(fstat(&fd)?);
        if meta.kind != Some(EntryKind::File) {
            return Ok(None);
        }
        let found = self.xattrs.read(Of::Open(fd.as_fd()))?;
        self.out.warn_of_xattrs(&place.path, found.incomplete);
        let flushed = flush::flush(fd.as_fd(), meta.filesystem, meta.ctime, self.begun).is_ok();
        let map = sparse::map(fd.as_fd(), meta.size, meta.allocated);
        test_hooks::reached(Moment::Opened, &place.path.0);
        Ok(Some(Opened {
            fd,
            meta,
            xattrs: found.xattrs,
            map,
            flushed,
        }))
    }

    /// Takes a file's headers and data. The first part is read before the headers are written: what cannot be read at all
    /// is skipped.
    fn read(&mut self, path: Path, file: Opened) -> Result<(), CaptureError> {
        let segments = file.segments();
        let mut data = FileData::new(file.fd.as_fd(), &segments, sparse::padding(file.meta.size));
        self.out.window.reset();
        self.out
            .window
            .fill(|buffer| Ok::<_, CaptureError>(data.read(buffer)))?;
        if let Some(error) = data.fault {
            return self.refused(&path, error);
        }
        let mut entry = Entry {
            kind: EntryKind::File,
            path,
            mode: file.meta.mode,
            uid: file.meta.uid,
            gid: file.meta.gid,
            size: file.meta.size,
            mtime: file.meta.mtime,
            ctime: file.meta.ctime,
            inode: file.meta.inode,
            link: None,
            changed: false,
            extents: Vec::new(),
        };
        let stored = file.map.as_ref().map_or(file.meta.size, |map| map.stored);
        let sparse = file.map.is_some().then_some(file.meta.size);
        self.out.make_header(&entry, stored, sparse, (0, 0), &file.xattrs);
        entry.extents.push(self.out.literal(&file.xattrs)?);
        if let Some(map) = &file.map {
            for part in map.text.chunks(self.out.packer.cutter().window()) {
                entry.extents.push(self.out.packer.chunk(part)?);
            }
        }
        let length = segments.iter().map(|s| s.length).sum();
        self.out
            .data(&entry.path, length, |buffer| Ok(data.read(buffer)), &mut entry.extents)?;
        let cut = data.shrunk || data.fault.is_some();
        let faulty = data.fault.is_some();
        let now = flush::now();
        let after = fstat(&file.fd).map(Meta::from).ok();
        let differs = after.is_some_and(|after| (after.size, after.mtime) != (file.meta.size, file.meta.mtime));
        entry.changed = cut || !file.flushed || differs;
        if faulty {
            self.out.warnings.add("unreadable", &entry.path.display());
        }
        if let Some(after) = after {
            self.links.taken(entry.path.clone(), after, now, Some(file.fd));
        }
        self.out.write(entry)
    }
}
