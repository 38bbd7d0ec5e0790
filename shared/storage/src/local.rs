//! Directories as places, beyond the client library: large objects are written once, and whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::classify::cannot_link;
use crate::direct;
use crate::object::Put;

/// The side of a copy that failed.
pub(crate) enum CopyError {
    From(io::Error),
    To(io::Error),
}

/// Puts a directory's error into the client library's type, so that it is classified like the library's own.
pub(crate) fn refused(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic {
        store: "directory",
        source: source.into(),
    }
}

/// Copies a file to `key` below `root`, unless it is there. Written under another name and flushed before it appears.
pub(crate) fn copy_in(root: &Path, key: &str, from: &Path) -> Result<Put, CopyError> {
    let target = root.join(key);
    let mut source = File::open(from).map_err(CopyError::From)?;
    create(root, &target, &mut source)
}

/// Writes `key` below `root`, unless it is there, as [`copy_in`] does.
pub(crate) fn put_in(root: &Path, key: &str, bytes: &[u8]) -> io::Result<Put> {
    create(root, &root.join(key), bytes).map_err(|error| match error {
        CopyError::From(error) | CopyError::To(error) => error,
    })
}

/// Tells whether `key` below `root` is a fifo, a socket or a device: opening it could take for ever.
pub(crate) fn is_special(root: &Path, key: &str) -> bool {
    fs::metadata(root.join(key)).is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}

fn create(root: &Path, target: &Path, from: impl io::Read) -> Result<Put, CopyError> {
    let (mut staged, staging) = stage(root, target).map_err(CopyError::To)?;
    let copied = match direct::copy(from, &mut staged) {
        Ok(_) => staged
            .sync_all()
            .and_then(|()| publish(&staging, target))
            .map_err(CopyError::To),
        Err(direct::Fault::Reading(error)) => Err(CopyError::From(error)),
        Err(direct::Fault::Writing(error)) => Err(CopyError::To(error)),
    };
    // A published file has both names by now; another one is of no use.
    let _ = fs::remove_file(&staging);
    copied
}

/// Makes a new file `target#N`. A directory that is deleted because it is empty may vanish between making and using it.
fn stage(root: &Path, target: &Path) -> io::Result<(File, PathBuf)> {
    let mut number = 1;
    loop {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let path = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_parents(root, target)?,
            Err(error) => return Err(error),
        }
    }
}

/// Makes the directories between `root` and `target`, durably. The root itself must be there: it may be a mount.
fn make_parents(root: &Path, target: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = target
        .ancestors()
        .skip(1)
        .take_while(|path| *path != root && path.starts_with(root))
        .collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            Ok(()) => sync_parent(directory)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn publish(staging: &Path, target: &Path) -> io::Result<Put> {
    match fs::hard_link(staging, target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return fs::metadata(target).map(|meta| Put::AlreadyThere { size: meta.len() });
        }
        Err(error) if cannot_link(&error) => match fs::metadata(target) {
            Ok(meta) => return Ok(Put::AlreadyThere { size: meta.len() }),
            Err(_) => fs::rename(staging, target)?,
        },
        Err(error) => return Err(error),
    }
    sync_parent(target)?;
    Ok(Put::Created)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
