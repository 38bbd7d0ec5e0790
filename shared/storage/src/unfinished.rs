//! Files that unfinished writes left in a directory.

use std::path::Path;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use holdfast_format::ObjectKey;

use crate::error::{Operation, StorageError};
use crate::listing::is_folder;
use crate::local::refused;
use crate::place::Place;
use crate::probe::is_probe;

impl Place {
    /// Removes what unfinished writes left in a directory and is older than `older_than`, and returns how many there
    /// were. Nobody may still be writing them: take an age longer than any write.
    ///
    /// In a bucket there is nothing to remove: an object appears whole. Parts of uploads that were cut off are not
    /// objects; give the bucket a lifecycle rule that aborts incomplete multipart uploads.
    ///
    /// # Errors
    /// [`StorageError`] if the directory cannot be searched.
    pub async fn sweep_unfinished(&self, older_than: Duration) -> Result<u64, StorageError> {
        let Some(root) = self.inner.root.clone() else {
            return Ok(0);
        };
        let swept = tokio::task::spawn_blocking(move || {
            let before = SystemTime::now()
                .checked_sub(older_than)
                .unwrap_or(SystemTime::UNIX_EPOCH);
            sweep(&root, &root, before)
        })
        .await
        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
        swept.map_err(|error| self.error(Operation::List, "unfinished objects", &refused(error)))
    }
}

fn sweep(root: &Path, directory: &Path, before: SystemTime) -> io::Result<u64> {
    let mut swept = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() && is_ours(root, &path) {
            match sweep(root, &path, before) {
                Ok(more) => swept += more,
                // Deleted in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        } else if kind.is_file() && is_unfinished(root, &path) && is_older(&entry, before) {
            fs::remove_file(&path)?;
            swept += 1;
        }
    }
    Ok(swept)
}

/// Tells whether a directory belongs to the format. Others may lie beside it, some of them closed to this user.
fn is_ours(root: &Path, directory: &Path) -> bool {
    let inside = directory.strip_prefix(root).ok();
    inside.and_then(|path| path.iter().next()).is_some_and(is_folder)
}

/// Tells whether this is `key#N` for a key of this format. Anything else that looks like it belongs to somebody else.
fn is_unfinished(root: &Path, path: &Path) -> bool {
    let inside = path.strip_prefix(root).ok().and_then(Path::to_str);
    let Some((key, number)) = inside.and_then(|path| path.rsplit_once('#')) else {
        return false;
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits && (ObjectKey::parse(key).is_some() || is_probe(key))
}

fn is_older(entry: &fs::DirEntry, before: SystemTime) -> bool {
    let modified = entry.metadata().and_then(|meta| meta.modified());
    modified.is_ok_and(|modified| modified <= before)
}
