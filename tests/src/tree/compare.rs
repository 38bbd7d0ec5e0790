//! Compares two trees, and lists their differences.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The largest number of differences that are listed.
const SHOWN: usize = 40;

/// A file with holes of at least this many bytes counts as sparse.
const HOLE: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    time: (i64, i64),
    size: u64,
    device: u64,
    target: Option<PathBuf>,
    digest: Option<[u8; 32]>,
    attributes: BTreeMap<OsString, Vec<u8>>,
    sparse: bool,
    /// The first of the file's names, if it has several.
    first_name: Option<PathBuf>,
}

/// Compares two trees in everything: content, kind, mode, owner, time to the nanosecond, extended attributes, links,
/// which names are one file, and holes. Sockets of `original` are left out, since no archive holds them.
///
/// The differences, one per line, or the failure to read a tree.
pub fn compare(original: &Path, copy: &Path) -> Result<()> {
    compare_except(original, copy, |_| false)
}

/// Compares two trees as [`compare`] does, without the paths (relative to the roots) for which `skip` returns true.
///
/// # Errors
/// As [`compare`].
pub fn compare_except(original: &Path, copy: &Path, skip: impl Fn(&Path) -> bool) -> Result<()> {
    let left = read(original)?;
    let right = read(copy)?;
    let mut differences = Vec::new();
    for (path, entry) in &left {
        if skip(path) || entry.kind == "socket" {
            continue;
        }
        match right.get(path) {
            None => differences.push(format!("{path:?} is missing")),
            Some(other) => differ(path, entry, other, &mut differences),
        }
    }
    let added = right.keys().filter(|path| !left.contains_key(*path) && !skip(path));
    differences.extend(added.map(|path| format!("{path:?} is too many")));
    if differences.is_empty() {
        return Ok(());
    }
    let total = differences.len();
    differences.truncate(SHOWN);
    bail!(
        "{} and {} differ in {total} ways:\n{}",
        original.display(),
        copy.display(),
        differences.join("\n")
    )
}

fn differ(path: &Path, left: &Entry, right: &Entry, differences: &mut Vec<String>) {
    let mut add = |what: &str, left: &dyn std::fmt::Debug, right: &dyn std::fmt::Debug| {
        differences.push(format!("{path:?}: {what} was {left:?}, is {right:?}"));
    };
    if left.kind != right.kind {
        return add("kind", &left.kind, &right.kind);
    }
    if left.mode != right.mode {
        add("mode", &format!("{:o}", left.mode), &format!("{:o}", right.mode));
    }
    if left.owner != right.owner {
        add("owner", &left.owner, &right.owner);
    }
    if left.time != right.time {
        add("modification time", &left.time, &right.time);
    }
    if left.size != right.size {
        add("size", &left.size, &right.size);
    } else if left.digest != right.digest {
        add("content", &"one", &"another");
    }
    if left.device != right.device {
        add("device", &left.device, &right.device);
    }
    if left.target != right.target {
        add("link target", &left.target, &right.target);
    }
    if left.attributes != right.attributes {
        add("extended attributes", &left.attributes, &right.attributes);
    }
    if left.sparse != right.sparse {
        add("sparse", &left.sparse, &right.sparse);
    }
    if left.first_name != right.first_name {
        add("hard link to", &left.first_name, &right.first_name);
    }
}

fn read(root: &Path) -> Result<BTreeMap<PathBuf, Entry>> {
    let mut paths = Vec::new();
    walk(root, Path::new(""), &mut paths)?;
    // Sorted, so that the first name of a file is the same in both trees.
    paths.sort();
    let mut entries = BTreeMap::new();
    let mut first_names: BTreeMap<(u64, u64), PathBuf> = BTreeMap::new();
    for path in paths {
        let full = root.join(&path);
        let entry = read_entry(&full, &path, &mut first_names).with_context(|| format!("read {}", full.display()))?;
        entries.insert(path, entry);
    }
    Ok(entries)
}

fn walk(root: &Path, relative: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    paths.push(relative.to_owned());
    let full = root.join(relative);
    for entry in fs::read_dir(&full).with_context(|| format!("list {}", full.display()))? {
        let entry = entry?;
        let path = relative.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(root, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn read_entry(full: &Path, path: &Path, first_names: &mut BTreeMap<(u64, u64), PathBuf>) -> Result<Entry> {
    // `root.join("")` ends with a slash, and so follows a link: the root itself is always a directory.
    let meta = fs::symlink_metadata(full)?;
    let kind = kind(&meta);
    let several = kind != "directory" && meta.nlink() > 1;
    let first_name = several.then(|| {
        let first = first_names.entry((meta.dev(), meta.ino()));
        first.or_insert_with(|| path.to_owned()).clone()
    });
    let regular = meta.is_file();
    Ok(Entry {
        kind,
        mode: if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 },
        owner: (meta.uid(), meta.gid()),
        time: (meta.mtime(), meta.mtime_nsec()),
        size: if meta.is_dir() { 0 } else { meta.size() },
        device: if kind.ends_with("device") { meta.rdev() } else { 0 },
        target: meta.is_symlink().then(|| fs::read_link(full)).transpose()?,
        digest: regular.then(|| digest(full)).transpose()?,
        attributes: attributes(full, &meta)?,
        sparse: regular && meta.blocks() * 512 + HOLE < meta.size(),
        first_name,
    })
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "symbolic link",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if kind.is_char_device() => "character device",
        () => "block device",
    }
}

fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(*hasher.finalize().as_bytes())
}

fn attributes(path: &Path, meta: &Metadata) -> Result<BTreeMap<OsString, Vec<u8>>> {
    // Only files and folders have user attributes, and opening a fifo would wait without end.
    if !(meta.is_dir() || meta.is_file()) {
        return Ok(BTreeMap::new());
    }
    let names = match xattr::list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).context("list extended attributes"),
    };
    names
        .map(|name| {
            let value = xattr::get(path, &name)?.unwrap_or_default();
            Ok((name, value))
        })
        .collect()
}
