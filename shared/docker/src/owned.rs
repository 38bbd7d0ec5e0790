//! Small files that say what a process is doing, locked while the process lives.
//!
//! A file appears under its name only when its content is complete and synced and its lock is held. So a process that
//! finds such a file and gets its lock knows that the owner is dead (or has let go of the file), and owns the file from
//! then on. The lock is `flock(2)`: the kernel releases it however the process ends, and workers in several containers
//! see each other's locks if they share the folder.
//!
//! Whoever finds such a file acts by it, with all that this process may do at the engine. So neither the folder nor a
//! file counts that another user could have written.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The size limit: a larger file was not written by Holdfast.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The suffix of a file while it is being written.
const UNFINISHED: &str = ".unfinished";

/// A file that this process owns.
#[derive(Debug)]
pub(crate) struct Owned {
    path: PathBuf,
    /// Holds the lock while it is open.
    file: File,
}

impl Owned {
    /// Makes a new file. Fails with `AlreadyExists` if there is one.
    pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<Self> {
        // `AlreadyExists` would mean that the file is there; here it means that the folder's place is taken by a file.
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

    /// Replaces the content, completely or not at all.
    pub(crate) fn replace(&mut self, content: &[u8]) -> io::Result<()> {
        self.file = write(&self.path, content)?;
        Ok(())
    }

    /// Takes over a file whose owner does not live any more, and returns its content. `None` if the owner lives, or the
    /// file is gone.
    pub(crate) fn adopt(path: &Path) -> io::Result<Option<(Self, Vec<u8>)>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !lock(&file)? || !is_at(&file, path)? {
            return Ok(None);
        }
        check_ours(&file.metadata()?)?;
        let mut content = Vec::new();
        (&mut file).take(MAX_BYTES + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is too large"));
        }
        Ok(Some((
            Self {
                path: path.to_owned(),
                file,
            },
            content,
        )))
    }

    /// Removes the file, if it is still there.
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
    /// Releases the lock explicitly. Closing the file releases it only when the last copy of the descriptor is closed,
    /// and a child that another thread has just forked holds a copy until it executes its program.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Lists the files of a folder that have this extension, sorted; none if there is no folder. Removes unfinished files
/// of dead processes: such a process died before it did anything else.
pub(crate) fn list(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    match fs::symlink_metadata(folder) {
        Ok(found) => check_ours(&found)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let entries = fs::read_dir(folder)?;
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

/// Makes a folder that only its owner can read. One that is there and that others could write to is refused.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    check_ours(&fs::symlink_metadata(folder)?)
}

/// True if a folder may hold files of this extension: it does, or it cannot be looked into, which must be told.
pub(crate) fn may_hold(folder: &Path, extension: &str) -> bool {
    !list(folder, extension).is_ok_and(|paths| paths.is_empty())
}

/// Checks that nobody but the user of this process could have written a file, or could write to a folder.
fn check_ours(found: &Metadata) -> io::Result<()> {
    const OF_OTHERS: u32 = 0o022;
    let own = rustix::process::geteuid().as_raw();
    let fault = if found.is_symlink() {
        "it is a link: put a folder in its place".to_owned()
    } else if found.uid() != own {
        format!(
            "it belongs to user {}, and this is user {own}: whoever it is could have commands carried out; give it to \
             the user of this service, or remove it",
            found.uid()
        )
    } else if found.mode() & OF_OTHERS != 0 {
        format!(
            "others can write to it (mode {:04o}), and could have commands carried out: look into it, then chmod go-w",
            found.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, fault))
}

/// Takes the lock if nobody holds it, and returns true if so.
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

/// True if `path` still names this file: it may have been removed or replaced before the lock was taken.
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
