//! Files of an attempt: their names, and how they are written, read and removed relative to its folder. An open folder
//! that was removed takes no new file, so a superseded worker cannot write into its successor's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_format::PackId;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};

pub(super) const PACK: &str = ".pack";
pub(super) const RECEIPT: &str = ".receipt";
pub(super) const RECEIPTS: &str = "receipts";
pub(super) const READERS: &str = "readers.json";
pub(super) const CONTENTS: &str = "contents.zst";
pub(super) const PRECOPY: &str = "precopy.zst";
pub(super) const DRAFT: &str = "draft.json";

/// The pack that a file name is about.
pub(super) fn pack_of(name: &str, suffix: &str) -> Option<PackId> {
    name.strip_suffix(suffix)?.parse().ok()
}

/// A name that nobody else writes to.
pub(super) fn temporary(name: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!(".{name}.{}-{n}.tmp", std::process::id())
}

pub(super) fn open_private(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

pub(super) fn create(dir: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Puts a written file under its name, on disk if staging is on one.
pub(super) fn commit(dir: BorrowedFd<'_>, file: &File, from: &str, to: &str) -> io::Result<()> {
    file.sync_data()?;
    renameat(dir, from, dir, to)?;
    rustix::fs::fsync(dir)?;
    Ok(())
}

/// Writes a file so that it is seen whole or not at all.
pub(super) fn write(dir: BorrowedFd<'_>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(name);
    let mut file = create(dir, &temporary)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| commit(dir, &file, &temporary, name));
    if written.is_err() {
        let _ = unlinkat(dir, temporary.as_str(), AtFlags::empty());
    }
    written
}

/// Opens a file, if it is there.
pub(super) fn open(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<File>> {
    match openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    ) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Reads a file, if it is there.
pub(super) fn read(dir: BorrowedFd<'_>, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    Ok(read_into(dir, name, &mut bytes)?.then_some(bytes))
}

/// Reads a file in place of what is in `bytes`, if it is there.
pub(super) fn read_into(dir: BorrowedFd<'_>, name: &str, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let Some(mut file) = open(dir, name)? else {
        return Ok(false);
    };
    bytes.clear();
    bytes.reserve(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.read_to_end(bytes)?;
    Ok(true)
}

/// Removes a file, if it is there.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The packs that have a file with this suffix.
pub(super) fn packs(dir: impl AsFd, suffix: &str) -> io::Result<Vec<PackId>> {
    let mut out = Vec::new();
    for entry in Dir::read_from(dir)? {
        out.extend(entry?.file_name().to_str().ok().and_then(|name| pack_of(name, suffix)));
    }
    out.sort_unstable();
    Ok(out)
}
