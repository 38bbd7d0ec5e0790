//! The comparison of restored files with what was captured.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use holdfast_format::{Content, Entry, EntryKind, Extent, Path as EntryPath};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::error::FilesError;
use super::plan::components;
use super::report::Problem;
use crate::in_order::{Broken, in_order};
use crate::progress::{Limits, Progress};
use crate::source::{Origin, PackError};
use crate::sparse::Sparse;
use crate::stream::StreamError;
use crate::tar::{self, BLOCK};

const FOLLOW_NO: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// The most differences that are told.
const TOLD: usize = 1000;

type Differences = Vec<Problem>;

/// Compares a restored tree with the artefact: every entry is there with its kind, every regular file has every byte (by its
/// chunks' ids; sparse files, and they alone, by their packs again), every symbolic link its target. Tells at most 1000
/// differences. Blocks.
///
/// # Errors
/// [`FilesError`] if the artefact or the target cannot be read.
pub fn compare_files(
    origin: Origin<'_>,
    target: &Path,
    limits: Limits,
    progress: &Progress,
) -> Result<Vec<Problem>, FilesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, target, flags, Mode::empty()).map_err(|source| FilesError::Target {
        path: target.to_owned(),
        source: source.into(),
    })?;
    let mut differences = Differences::new();
    let mut sparse: Vec<Entry> = Vec::new();
    let mut buffer = Vec::new();
    for line in origin.lines()? {
        let Content::Entry(entry) = line? else {
            continue;
        };
        if progress.stopped() {
            return Err(StreamError::Stopped.into());
        }
        let data: u64 = entry.extents.iter().skip(1).map(|x| u64::from(x.length)).sum();
        if entry.kind == EntryKind::File && data != entry.size.next_multiple_of(BLOCK as u64) {
            sparse.push(entry);
            continue;
        }
        let outcome = compare(origin, &root, &entry, &mut buffer);
        note(&mut differences, &entry, outcome);
        progress.add_done(data);
    }
    compare_sparse_files(origin, &root, &sparse, limits, progress, &mut differences)?;
    Ok(differences)
}

fn note(differences: &mut Differences, entry: &Entry, outcome: Result<(), String>) {
    if let Err(problem) = outcome
        && differences.len() < TOLD
    {
        differences.push(Problem {
            path: entry.path.display(),
            problem,
            object: None,
            lost: true,
        });
    }
}

/// The directory that an entry is in, and its name there.
fn parent<'p>(root: &OwnedFd, path: &'p EntryPath) -> Result<(OwnedFd, &'p [u8]), String> {
    let parts = components(&path.0).map_err(ToOwned::to_owned)?;
    let mut dir = root.try_clone().map_err(|e| e.to_string())?;
    let Some((last, above)) = parts.split_last() else {
        return Ok((dir, b"."));
    };
    for part in above {
        dir = openat(
            &dir,
            *part,
            OFlags::RDONLY | OFlags::DIRECTORY | FOLLOW_NO,
            Mode::empty(),
        )
        .map_err(|e| format!("its directory is not there: {e}"))?;
    }
    Ok((dir, last))
}

fn compare(origin: Origin<'_>, root: &OwnedFd, entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), String> {
    let (dir, name) = parent(root, &entry.path)?;
    if entry.kind == EntryKind::File {
        let file = open(&dir, name, entry)?;
        return compare_bytes(origin, &file, entry, buffer);
    }
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| format!("is not there: {e}"))?;
    let found = FileType::from_raw_mode(stat.st_mode);
    let expected = match entry.kind {
        EntryKind::Dir => FileType::Directory,
        EntryKind::Symlink => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::Char => FileType::CharacterDevice,
        EntryKind::Block => FileType::BlockDevice,
        EntryKind::File => FileType::RegularFile,
        EntryKind::Hardlink => return compare_link(root, entry, &stat),
    };
    if found != expected {
        return Err(format!("is no {}", entry.kind.as_str()));
    }
    if entry.kind == EntryKind::Symlink {
        let link = readlinkat(&dir, name, Vec::new()).map_err(|e| e.to_string())?;
        if entry.link.as_ref().map(|l| l.0.as_slice()) != Some(link.as_bytes()) {
            return Err("leads elsewhere".to_owned());
        }
    }
    Ok(())
}

/// Compares a hard link with the name that it leads to.
fn compare_link(root: &OwnedFd, entry: &Entry, stat: &Stat) -> Result<(), String> {
    let first = entry.link.as_ref().ok_or("leads nowhere")?;
    let (dir, name) = parent(root, first)?;
    let of_first = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| format!("is a name of {}, which is not there: {e}", first.display()))?;
    if (of_first.st_dev, of_first.st_ino) == (stat.st_dev, stat.st_ino) {
        Ok(())
    } else {
        Err(format!("is no name of {}", first.display()))
    }
}

fn open(dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<File, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | FOLLOW_NO;
    let file = File::from(openat(dir, name, flags, Mode::empty()).map_err(|e| format!("cannot be opened: {e}"))?);
    let meta = file.metadata().map_err(|e| e.to_string())?;
    if !meta.is_file() {
        return Err("is no file".to_owned());
    }
    if meta.len() != entry.size {
        return Err(format!("has {} bytes, not {}", meta.len(), entry.size));
    }
    Ok(file)
}

fn compare_bytes(origin: Origin<'_>, file: &File, entry: &Entry, buffer: &mut Vec<u8>) -> Result<(), String> {
    let mut at = 0;
    let mut from = file;
    for extent in entry.extents.iter().skip(1) {
        let length = u64::from(extent.length);
        let wanted = entry.size.saturating_sub(at).min(length);
        buffer.clear();
        from.by_ref()
            .take(wanted)
            .read_to_end(buffer)
            .map_err(|e| format!("cannot be read: {e}"))?;
        // The zeros that fill its last block in the archive.
        buffer.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
        if extent.id.is_none_or(|id| id != origin.key.chunk_id(buffer)) {
            return Err(format!("has other bytes from {at} on"));
        }
        at += length;
    }
    Ok(())
}

/// A sparse file being compared.
struct Current<'e> {
    entry: &'e Entry,
    state: Result<(File, Sparse), String>,
}

fn compare_sparse_files(
    origin: Origin<'_>,
    root: &OwnedFd,
    sparse: &[Entry],
    limits: Limits,
    progress: &Progress,
    differences: &mut Differences,
) -> Result<(), FilesError> {
    let mut current: Option<Current<'_>> = None;
    let extents = sparse.iter().flat_map(|entry| {
        entry
            .extents
            .iter()
            .enumerate()
            .map(move |(at, x)| Ok((*x, (entry, at == 0))))
    });
    let result = in_order(
        origin,
        limits,
        progress,
        extents,
        |extent, (entry, is_header), bytes| {
            let bytes = checked(origin, &extent, bytes)?;
            if is_header {
                conclude(current.take(), differences);
                let state = begin(root, entry, bytes);
                current = Some(Current { entry, state });
            } else if let Some(current) = &mut current {
                current.take(bytes);
            }
            Ok(())
        },
    );
    conclude(current, differences);
    match result {
        Ok(()) => Ok(()),
        Err(Broken::Other(error)) => Err(FilesError::Stream(error)),
        Err(Broken::Outside(extent)) => Err(StreamError::outside(origin, &extent).into()),
        Err(Broken::Workers) => Err(StreamError::Stopped.into()),
    }
}

fn checked<'b>(
    origin: Origin<'_>,
    extent: &Extent,
    bytes: Result<&'b [u8], PackError>,
) -> Result<&'b [u8], StreamError> {
    let bytes = bytes?;
    match extent.id {
        Some(expected) if expected != origin.key.chunk_id(bytes) => Err(StreamError::chunk(origin, extent, expected)),
        _ => Ok(bytes),
    }
}

fn begin(root: &OwnedFd, entry: &Entry, header: &[u8]) -> Result<(File, Sparse), String> {
    let header = tar::parse(header).map_err(ToOwned::to_owned)?;
    if header.sparse != Some(entry.size) {
        return Err("contents and tar headers do not agree about its size".to_owned());
    }
    let (dir, name) = parent(root, &entry.path)?;
    Ok((open(&dir, name, entry)?, Sparse::new(entry.size)))
}

fn conclude(current: Option<Current<'_>>, differences: &mut Differences) {
    if let Some(current) = current {
        let outcome = match current.state {
            Ok((_, sparse)) if sparse.is_whole() => Ok(()),
            Ok(_) => Err("its data ends early".to_owned()),
            Err(problem) => Err(problem),
        };
        note(differences, current.entry, outcome);
    }
}

impl Current<'_> {
    fn take(&mut self, bytes: &[u8]) {
        let Ok((file, sparse)) = &mut self.state else {
            return;
        };
        let outcome = sparse.take(bytes, |offset, part| {
            let mut found = vec![0; part.len()];
            file.read_exact_at(&mut found, offset)?;
            if found == part {
                Ok(())
            } else {
                Err(Unlike(format!("has other bytes from {offset} on")))
            }
        });
        if let Err(Unlike(problem)) = outcome {
            self.state = Err(problem);
        }
    }
}

struct Unlike(String);

impl From<&'static str> for Unlike {
    fn from(problem: &'static str) -> Self {
        Self(problem.to_owned())
    }
}

impl From<io::Error> for Unlike {
    fn from(error: io::Error) -> Self {
        Self(format!("cannot be read: {error}"))
    }
}
