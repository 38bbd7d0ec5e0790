//! A directory, or several paths of the system, as a PAX tar in sorted order.
//!
//! Memory is bounded: the walk holds the names of the directories above it, an earlier capture's entries are read beside
//! it, and only files with several names are remembered. What stands as that one recorded it is not opened; what cannot be
//! taken is skipped, counted and warned of, and never fails the capture. Only a root that cannot be read does.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use holdfast_format::{ContentsWriter, EntryKind, Path, SkipReason, Stamp};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use crate::{CaptureError, Earlier, Packer, Watch};

mod archive;
mod emit;
mod file;
mod flush;
mod header;
mod join;
mod links;
mod meta;
mod out;
mod regular;
mod sparse;
mod spec;
mod test_hooks;
mod walk;

pub use archive::capture_archive;
pub use header::LAYOUT;
pub use out::TreeOutcome;
pub use spec::{Root, TreeSpec};

use join::Join;
use links::Links;
use meta::{Meta, XattrReader};
use out::Out;
use test_hooks::Moment;
use walk::{Names, Walk};

/// Captures a tree: its entries go to `contents`, its bytes to `packer`. What stands as `earlier` tells is not read again;
/// its contents are read on a thread beside this one, which ends with this call. The draft must name [`LAYOUT`] as `tools["tar"]`, and a `started` that was taken before this call.
///
/// # Errors
/// [`CaptureError`] if a root is missing or unreadable, packs or contents cannot be written, the earlier capture does not read,
/// the process runs out of a resource, or the caller says stop.
pub fn capture_tree<W: Write>(
    spec: &TreeSpec,
    earlier: Option<&Earlier<'_>>,
    packer: &mut Packer<'_>,
    contents: &mut ContentsWriter<W>,
    watch: &mut Watch<'_>,
) -> Result<TreeOutcome, CaptureError> {
    std::thread::scope(|scope| {
        let mut capture = Capture {
            spec,
            join: Join::new(earlier, scope)?,
            out: Out::new(packer, contents, watch, earlier),
            links: Links::default(),
            xattrs: XattrReader::new(),
            scratch: Vec::new(),
            refusal: None,
            noatime: true,
            begun: earlier.and_then(Earlier::begun).unwrap_or_else(flush::now),
        };
        for root in &spec.roots {
            capture.root(root)?;
        }
        capture.out.finish()
    })
}

/// A directory whose own entry was taken.
struct Entered {
    dir: OwnedFd,
    names: Names,
    identity: walk::Identity,
}

/// The entry that is captured now.
struct EntryAt<'a> {
    dir: BorrowedFd<'a>,
    name: &'a CStr,
    path: Path,
}

impl EntryAt<'_> {
    /// Returns the entry's present metadata. Links are not followed, and nothing is mounted.
    fn look(&self) -> Result<Meta, Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statat(self.dir, self.name, flags).map(Meta::from)
    }
}

struct Capture<'c, 'p, 'w, W: Write> {
    spec: &'c TreeSpec,
    join: Join,
    out: Out<'c, 'p, 'w, W>,
    links: Links,
    xattrs: XattrReader,
    scratch: Vec<u8>,
    /// The system's error for the last entry that was refused.
    refusal: Option<Errno>,
    /// True while the system allows reads that leave no trace in access times.
    noatime: bool,
    /// From when on the next capture does not trust what this one tells of a file.
    begun: Stamp,
}

impl<W: Write> Capture<'_, '_, '_, W> {
    fn root(&mut self, root: &Root) -> Result<(), CaptureError> {
        let fault = |source| CaptureError::Root {
            path: root.path.clone(),
            source,
        };
        let real = std::fs::canonicalize(&root.path).map_err(fault)?;
        // Alone, it would be an artefact without a directory to hold it.
        if root.as_path == b"." && !std::fs::metadata(&real).map_err(fault)?.is_dir() {
            return Err(CaptureError::NoDirectory {
                path: root.path.clone(),
            });
        }
        // A root of the file system has no name: it is looked up in itself.
        let above = real.parent().unwrap_or(&real);
        let name = CString::new(real.file_name().map_or(&b"."[..], OsStrExt::as_bytes)).unwrap_or_default();
        let dir = openat(CWD, above, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| fault(e.into()))?;
        let place = EntryAt {
            dir: dir.as_fd(),
            name: &name,
            path: Path(root.as_path.clone()),
        };
        let skipped = self.out.counts.skipped;
        let entered = self.visit(place, None)?;
        if self.out.counts.skipped > skipped {
            return Err(fault(self.refusal.map_or_else(
                || io::Error::other("it is nothing that can be captured, or was just replaced"),
                Into::into,
            )));
        }
        if let Some(Entered { dir, names, identity }) = entered {
            let mut walk = Walk::begin(dir, names, identity, &root.as_path);
            while walk.advance() {
                self.step(&mut walk)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, walk: &mut Walk) -> Result<(), CaptureError> {
        self.out.go_on()?;
        // Before anything asks the file system: what hangs can be excluded.
        if self.spec.excludes(walk.path(), walk.below()) {
            return Ok(());
        }
        let path = Path(walk.path().to_vec());
        test_hooks::reached(Moment::Named, &path.0);
        let Some((dir, name)) = walk.entry() else {
            return self.out.skip(&path, SkipReason::Vanished);
        };
        let only = self.spec.one_file_system.then_some(walk.filesystem());
        if let Some(Entered { dir, names, identity }) = self.visit(EntryAt { dir, name, path }, only)? {
            walk.enter(dir, names, identity);
        }
        Ok(())
    }

    /// Takes one entry. A directory is returned, to be entered.
    fn visit(&mut self, place: EntryAt<'_>, only: Option<u64>) -> Result<Option<Entered>, CaptureError> {
        let meta = match place.look() {
            Ok(meta) => meta,
            Err(error) => return self.refused(&place.path, error).map(|()| None),
        };
        if only.is_some_and(|filesystem| filesystem != meta.filesystem) {
            return self.out.skip(&place.path, SkipReason::ExcludedMount).map(|()| None);
        }
        test_hooks::reached(Moment::Seen, &place.path.0);
        match meta.kind {
            Some(EntryKind::Dir) => return self.directory(place),
            Some(EntryKind::File) => self.file(place, meta)?,
            Some(kind) => self.special(place, &meta, kind)?,
            None => self.out.skip(&place.path, SkipReason::Socket)?,
        }
        Ok(None)
    }

    /// Opens an entry that is not to be followed, created or waited for.
    fn open(&mut self, dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
        if self.noatime {
            match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
                // Only a file's owner may ask for this.
                Err(Errno::PERM) => self.noatime = false,
                result => return result,
            }
        }
        openat(dir, name, flags, Mode::empty())
    }
}

#[cfg(test)]
mod tests;
