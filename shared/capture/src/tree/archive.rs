//! A tar archive that somebody else makes, as the stream that [`capture_tree`](super::capture_tree) makes of the same files.
//!
//! Who makes the archive (a Docker engine), and who names the files in it, is not trusted. Headers are read here and made
//! anew; what they say is checked first, and an archive that no plain walk of a directory brings is refused, so that
//! readers of the artefact can rely on the order of its entries. Memory is bounded but for sixteen bytes (32 with the table's
//! own room) for each name that a hard link may lead to.

use std::io::{Read, Write};

use holdfast_format::{ContentsWriter, Entry, EntryKind, Extent, Path, SkipReason, Stamp};

use super::header::BLOCK;
use super::join::Join;
use super::out::{self, Out, TreeOutcome};
use crate::{CaptureError, Earlier, Packer, Watch};

mod headers;
mod names;
mod pax;
mod source;

use headers::ArchiveEntry;
use names::Order;
use source::Source;

/// The ctime and inode number of an entry from an archive, in contents. No entry of a file system has these.
const UNKNOWN: (Stamp, u64) = (
    Stamp {
        seconds: 0,
        nanoseconds: 0,
    },
    0,
);

/// Captures what a tar archive holds: its entries go to `contents`, its bytes to `packer`, as
/// [`capture_tree`](super::capture_tree) would bring them of the files that the archive was made of. Of these, sparse files
/// come without their holes, and inode numbers and ctimes do not come: the next capture of the files themselves reads
/// everything. `archive` is read to its very end, all of it, each time; what `packer` knows of its data, and `earlier` has of
/// its headers, is not stored again. The draft must name [`LAYOUT`](super::LAYOUT) as
/// `tools["tar"]`.
///
/// The archive is ustar, PAX or GNU tar, of one directory: its first entry is `./`, all names are below it, each directory
/// comes before what is in it, and names come in the byte order of their components, each once. Hard links lead to names
/// that came before. Two blocks of zeros end it, and nothing follows them but zeros.
///
/// Engines know the names of one file by the number of its inode, which a new file may get while they read. A hard link with
/// another mode, owner or time than the file that it leads to is skipped as unreadable: its bytes are not in the archive.
///
/// # Errors
/// [`CaptureError::Archive`] if the archive is another one, [`CaptureError::ArchiveCut`] if it ends early, and
/// [`CaptureError`] if `archive` does not read, packs or contents cannot be written, the earlier capture does not read, or the
/// caller says stop. A reader that blocks is not interrupted: to stop, end what it reads from as well.
pub fn capture_archive<W: Write>(
    archive: impl Read,
    earlier: Option<&Earlier<'_>>,
    packer: &mut Packer<'_>,
    contents: &mut ContentsWriter<W>,
    watch: &mut Watch<'_>,
) -> Result<TreeOutcome, CaptureError> {
    std::thread::scope(|scope| {
        let mut capture = Archive {
            join: Join::new(earlier, scope)?,
            source: Source::new(archive, watch.stop),
            order: Order::default(),
            out: Out::new(packer, contents, watch, earlier),
        };
        while let Some(found) = headers::next(&mut capture.source)? {
            capture.entry(found)?;
        }
        capture.order.end().map_err(|problem| CaptureError::Archive {
            at: "its end".to_owned(),
            problem,
        })?;
        capture.out.finish()
    })
}

struct Archive<'c, 'p, 'w, W: Write, R> {
    join: Join,
    source: Source<'w, R>,
    order: Order,
    out: Out<'c, 'p, 'w, W>,
}

impl<W: Write, R: Read> Archive<'_, '_, '_, W, R> {
    fn entry(&mut self, found: ArchiveEntry) -> Result<(), CaptureError> {
        self.out.go_on()?;
        let placed = self.order.enter(&found);
        let placed = placed.map_err(|problem| refused(&found.path, problem))?;
        if placed.estranged {
            return self.out.skip(&placed.path, SkipReason::Unreadable);
        }
        let entry = Entry {
            kind: found.kind,
            path: placed.path,
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            size: found.size,
            mtime: found.mtime,
            ctime: UNKNOWN.0,
            inode: UNKNOWN.1,
            link: placed.link,
            changed: false,
            extents: Vec::new(),
        };
        let old = self.join.take(&entry.path)?;
        let same = self.join.same_layout && old.as_ref().is_some_and(|old| same_headers(old, &entry));
        let known = old.map_or(Vec::new(), |old| old.extents.into_iter().take(1).collect());
        self.out.warn_of_xattrs(&entry.path, found.incomplete);
        if entry.kind == EntryKind::File {
            self.file(entry, &known, same, &found)
        } else {
            let entry = Entry {
                extents: known,
                ..entry
            };
            self.out.plain(entry, same, found.device, &found.xattrs)
        }
    }

    /// Takes a file's headers and data. `known` are its headers in an earlier capture.
    fn file(
        &mut self,
        mut entry: Entry,
        known: &[Extent],
        same: bool,
        found: &ArchiveEntry,
    ) -> Result<(), CaptureError> {
        let mut data = self.source.data(entry.size);
        self.out.window.reset();
        self.out.window.fill(|buffer| data.read(buffer))?;
        self.out.make_header(&entry, entry.size, None, (0, 0), &found.xattrs);
        entry.extents = self.out.headers(known, same, &found.xattrs)?;
        self.out
            .data(&entry.path, entry.size, |buffer| data.read(buffer), &mut entry.extents)?;
        self.out.write(entry)
    }
}

/// True if the headers of an earlier entry, if they hold no attributes, are those of the new one. Contents say all that
/// goes into them, but for the numbers of a device and for a sparse file's size in the archive, which its extents tell.
fn same_headers(old: &Entry, new: &Entry) -> bool {
    let stored = new.size.checked_next_multiple_of(BLOCK as u64);
    !matches!(new.kind, EntryKind::Char | EntryKind::Block)
        && (old.kind, &old.link, old.size) == (new.kind, &new.link, new.size)
        && (old.mode, old.uid, old.gid, old.mtime) == (new.mode, new.uid, new.gid, new.mtime)
        && (new.kind != EntryKind::File || stored == Some(out::data_size(&old.extents)))
}

/// The most bytes of a name that an error shows.
const TOLD: usize = 200;

fn refused(name: &[u8], problem: &'static str) -> CaptureError {
    let cut = if name.len() > TOLD { "..." } else { "" };
    let name = Path(name[..name.len().min(TOLD)].to_vec()).display();
    CaptureError::Archive {
        at: format!("{name}{cut}"),
        problem,
    }
}
