//! Small files that tell what a process is about, locked while it lives.
//!
//! A file is there under its name only with all its content, synced, and with its lock held; so whoever finds it and
//! gets its lock knows that its owner is dead (or has let go of it), and owns it from then on. The lock is `flock(2)`:
//! the kernel lets go of it however the process ends, and workers in several containers see each other's, if they share
//! the folder.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// No file of ours is larger; a larger one is not ours.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// What files that are being written end with.
const UNFINISHED: &str = ".unfinished";

/// A file that this process owns.
#[derive(Debug)]
pub(crate) struct Owned {
    path: PathBuf,
    /// Holds the lock.
    file: File,
}

impl Owned {
    /// Makes a file that was not there.
    pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<Self> {
        // Not to be taken for a file of that name, which this says if there is a file in the folder's place.
        make_folder(parent(path)).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
            _ => error,
        })?;
        if path.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = write(path, content)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Puts other content in its place, at once or not at all.
    pub(crate) fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.file = write(&self.path, content)?;
        Ok(())
    }

    /// Takes over a file whose owner does not live any more. `None` if it lives, or the file is gone.
    pub(crate) fn adopt(path: &Path) -> io::Result<Option<(Self, Vec<u8>)>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !lock(&file)? || !is_at(&file, path)? {
            return Ok(None);
        }
        let mut content = Vec::new();
        (&mut file).take(MAX_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
        }
        Ok(Some((
            Self {
                path: path.to_owned(),
                file,
            },
            content,
        )))
    }

    /// Removes it.
    pub(crate) fn remove(self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sync_folder(parent(&self.path))
        // Only now the lock goes, with the file.
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Owned {
    /// Lets go of the lock by asking. Closing the file would do it only when the last copy of it is closed, and a child
    /// that another thread has just forked holds one until it executes its program.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// The files of a folder with this extension, in order; none if there is no folder. Removes what a process left that
/// died while it wrote, and so before it did anything.
pub(crate) fn list(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(UNFINISHED) {
            if let Some((unfinished, _)) = Owned::adopt(&path)? {
                unfinished.remove()?;
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Makes a folder that only its owner can look into.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Gets the lock if nobody has it.
pub(crate) fn lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}{UNFINISHED}", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    if !lock(&file)? {
        return Err(io::Error::new(
            io::ErrorKind::WouldBlock,
            "somebody else holds the lock of a new file",
        ));
    }
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_folder(parent(path))?;
    Ok(file)
}

/// Whether `path` still names this file: it may have been removed or replaced before its lock was had.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.ino() == own.ino() && found.dev() == own.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
