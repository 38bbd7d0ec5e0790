//! The output of a tree's capture: the bytes of entries go to the packer, their lines to the contents.

use std::io::Write;

use holdfast_format::pax::Xattrs;
use holdfast_format::{Content, ContentsWriter, Counts, Entry, EntryKind, Extent, Path, SkipReason, Warnings};

use super::header::{self, Member};
use super::test_hooks::{self, Moment};
use crate::parent::Origin;
use crate::window::Window;
use crate::{CaptureError, CaptureProgress, Earlier, Packer, Watch};

/// The zero blocks that end a tar.
const CLOSING: [u8; 2 * header::BLOCK] = [0; 2 * header::BLOCK];

/// The result of a tree's capture, beside packs and contents.
#[derive(Debug)]
pub struct TreeOutcome {
    /// The numbers of captured and skipped entries.
    pub counts: Counts,
    /// Notes for the operator.
    pub warnings: Warnings,
    /// The extents of the contents' `end` line.
    pub closing: Vec<Extent>,
}

/// Takes entries in order, and counts them.
pub(super) struct Out<'c, 'p, 'w, W: Write> {
    pub(super) packer: &'c mut Packer<'p>,
    contents: &'c mut ContentsWriter<W>,
    pub(super) watch: &'c mut Watch<'w>,
    pub(super) counts: Counts,
    pub(super) warnings: Warnings,
    /// Holds the head of the data that [`Out::data`] is to cut.
    pub(super) window: Window,
    header: Vec<u8>,
    /// The numbering of packs in the extents of the earlier capture.
    origin: Origin,
    /// Bytes of the stream before this tree.
    base: u64,
    entries: u64,
}

impl<'c, 'p, 'w, W: Write> Out<'c, 'p, 'w, W> {
    pub(super) fn new(
        packer: &'c mut Packer<'p>,
        contents: &'c mut ContentsWriter<W>,
        watch: &'c mut Watch<'w>,
        earlier: Option<&Earlier<'_>>,
    ) -> Self {
        Self {
            origin: earlier.map_or(Origin::Parent, |earlier| earlier.origin),
            base: packer.size(),
            window: Window::new(packer.cutter()),
            packer,
            contents,
            watch,
            counts: Counts::default(),
            warnings: Warnings::default(),
            header: Vec::new(),
            entries: 0,
        }
    }

    /// Writes the blocks that end the archive, and returns the result.
    pub(super) fn finish(self) -> Result<TreeOutcome, CaptureError> {
        let closing = vec![self.packer.chunk(&CLOSING)?];
        Ok(TreeOutcome {
            counts: self.counts,
            warnings: self.warnings,
            closing,
        })
    }

    /// Writes an entry's headers into the buffer.
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

    /// Stores the headers that were made. Which attributes a process sees depends on its rights, so headers that hold some
    /// are known by their id; those without are the same bytes whenever the entry is the same.
    pub(super) fn literal(&mut self, xattrs: &Xattrs) -> Result<Extent, CaptureError> {
        self.packer.literal(&self.header, !xattrs.is_empty())
    }

    /// References what an earlier capture has of an entry whose headers were made. `same_layout` says that its headers were
    /// made as these are, of the same entry.
    pub(super) fn reuse(
        &mut self,
        extents: &[Extent],
        same_layout: bool,
        xattrs: &Xattrs,
    ) -> Result<Option<Vec<Extent>>, CaptureError> {
        let same_header = same_layout && xattrs.is_empty();
        self.packer
            .reuse(self.origin, &self.header, same_header, !xattrs.is_empty(), extents)
    }

    /// Counts a file that was not read, unless only the pre-copy had read it: the headers of what is read are stored anew.
    pub(super) fn count_unread(&mut self, extents: &[Extent]) {
        let of_parent = |headers: &Extent| self.origin == Origin::Parent || self.packer.is_of_parent(headers);
        self.counts.unread += u64::from(extents.first().is_some_and(of_parent));
    }

    /// The headers that were made, as extents of an entry: those of the earlier `extents` that can be referenced, else
    /// stored.
    pub(super) fn headers(
        &mut self,
        extents: &[Extent],
        same_layout: bool,
        xattrs: &Xattrs,
    ) -> Result<Vec<Extent>, CaptureError> {
        match self.reuse(extents, same_layout, xattrs)? {
            Some(extents) => Ok(extents),
            None => Ok(vec![self.literal(xattrs)?]),
        }
    }

    /// Writes an entry that is all headers, and holds its extents in the earlier capture.
    pub(super) fn plain(
        &mut self,
        mut entry: Entry,
        same_layout: bool,
        device: (u32, u32),
        xattrs: &Xattrs,
    ) -> Result<(), CaptureError> {
        self.make_header(&entry, 0, None, device, xattrs);
        entry.extents = self.headers(&entry.extents, same_layout, xattrs)?;
        self.write(entry)
    }

    /// Cuts a file's data, the head of which is in the window; `read` gives the rest, and 0 at its end. `length` is without
    /// the zeros that fill the last block.
    pub(super) fn data(
        &mut self,
        path: &Path,
        length: u64,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, CaptureError>,
        extents: &mut Vec<Extent>,
    ) -> Result<(), CaptureError> {
        if length <= self.packer.cutter().whole() as u64 {
            if length > 0 {
                extents.push(self.packer.chunk(self.window.bytes())?);
            }
            return Ok(());
        }
        while let Some(chunk) = self.window.cut(self.packer.cutter()) {
            extents.push(self.packer.chunk(chunk)?);
            test_hooks::reached(Moment::Reading, &path.0);
            self.go_on()?;
            self.tell();
            self.window.fill(&mut read)?;
        }
        Ok(())
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
        self.line(&Content::Entry(entry))?;
        self.entries += 1;
        self.tell();
        Ok(())
    }

    /// Writes down that something was not taken. That other file systems are left out was asked for; the rest is warned of.
    pub(super) fn skip(&mut self, path: &Path, reason: SkipReason) -> Result<(), CaptureError> {
        self.counts.skipped += 1;
        if reason != SkipReason::ExcludedMount {
            self.warnings.add(reason.as_str(), &path.display());
        }
        self.line(&Content::Skip(path.clone(), reason))
    }

    fn line(&mut self, line: &Content) -> Result<(), CaptureError> {
        self.contents.write(line).map_err(CaptureError::Contents)
    }

    pub(super) fn warn_of_xattrs(&mut self, path: &Path, incomplete: bool) {
        if incomplete {
            self.warnings.add("xattrs", &path.display());
        }
    }

    /// Fails if the caller says stop.
    pub(super) fn go_on(&self) -> Result<(), CaptureError> {
        if self.watch.stopped() {
            return Err(CaptureError::Stopped);
        }
        Ok(())
    }

    fn tell(&mut self) {
        (self.watch.progress)(CaptureProgress {
            bytes: self.packer.size() - self.base,
            files: self.entries,
        });
    }
}

/// The sum of an entry's data in the archive, from its extents.
pub(super) fn data_size(extents: &[Extent]) -> u64 {
    extents.iter().skip(1).map(|x| u64::from(x.length)).sum()
}
