//! Staging: the bounded folder in which captured packs wait to be sealed.
//!
//! ```text
//! <dir>/<run>/<artefact>/<attempt>/<pack id>.pack               zstd of the plaintext, until it is sealed
//!                                 /receipts/<pack id>.receipt   what became of it
//!                                 /readers.json                 the keys that every pack is to be sealed to
//!                                 /contents.zst                 zstd of the contents' JSON lines
//!                                 /precopy.zst                  those of a pre-copy, while they are needed
//!                                 /draft.json                   last: the capture is whole
//! ```
//!
//! The folder is the only state: capture and encryptor may be threads of one process or containers that share a volume,
//! and either may be restarted. How much is staged is measured from the files, under a lock on the folder, whenever a
//! pack is to go in. Receipts and drafts do not count against the bound: 4 KiB for each 16 MiB captured. A tmpfs for
//! staging therefore needs the bound, a pack (24 MiB) for each capture at a time, and 1/4096 of the largest artefact.
//! Packs are compressed before they are staged: a dump then takes a tenth of the room, and is copied in and out for less.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use holdfast_format::{ArtefactId, RunId};
use rustix::fs::{FlockOperation, flock};

mod attempt;
mod compress;
mod contents;
mod draft;
mod error;
mod files;
mod precopy;
mod receipt;

pub use attempt::{Attempt, Wait};
pub use contents::ContentsFile;
pub use draft::{Draft, DraftPack, MissingReceipt};
pub use error::StagingError;
pub use precopy::PrecopyContents;
pub use receipt::Receipt;

/// Folders on their way out are renamed to this and a number, so that nobody takes them for an attempt.
const GONE: &str = ".gone-";
const LOCK: &str = ".lock";

/// The staging folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Staging {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    max_bytes: u64,
    benches: compress::Benches,
}

/// One attempt as found in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    pub run: RunId,
    pub artefact: ArtefactId,
    pub attempt: u32,
    /// Bytes of packs and contents.
    pub bytes: u64,
    /// Packs that wait to be sealed.
    pub unsealed: usize,
    /// True if the capture is whole.
    pub complete: bool,
    /// The time of the last change to anything in the attempt.
    pub touched: SystemTime,
}

impl Staging {
    /// Opens the folder, and makes it if it is missing. `max_bytes` bounds what waits there.
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be made or read.
    pub fn open(dir: &Path, max_bytes: u64) -> Result<Self, StagingError> {
        make_dirs(dir)?;
        let staging = Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                max_bytes,
                benches: compress::Benches::new(),
            }),
        };
        for (name, path) in children(dir)? {
            if name.starts_with(GONE) {
                erase(&path)?;
            }
        }
        Ok(staging)
    }

    /// Returns the staging folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Returns the most bytes that may wait in the folder.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.inner.max_bytes
    }

    /// Gives back the memory that compressing took, once a capture has ended.
    pub fn release_memory(&self) {
        self.inner.benches.clear();
    }

    /// Begins an attempt at an artefact, and removes those before it: whoever still works on one of them finds its folder
    /// gone, and ends with [`StagingError::Superseded`].
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be written.
    pub fn begin(&self, run: RunId, artefact: ArtefactId) -> Result<Attempt, StagingError> {
        let home = self.home(run, artefact);
        // Else one that looked before, and makes its folder after, a newer attempt's would stand beside that one.
        let _lock = self.lock()?;
        let number = self.make_attempt(&home)?;
        let attempt = Attempt::open(self, run, artefact, number)?.ok_or(StagingError::Superseded {
            artefact,
            attempt: number,
        })?;
        for other in numbers(&home)? {
            if other < number {
                self.take_away(&home.join(other.to_string()))?;
            }
        }
        Ok(attempt)
    }

    fn make_attempt(&self, home: &Path) -> Result<u32, StagingError> {
        loop {
            make_dirs(home)?;
            let number = numbers(home)?.into_iter().max().unwrap_or(0) + 1;
            let path = home.join(number.to_string());
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(number),
                // The end of another attempt removed the empty folder above: look again.
                Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
                Err(e) => return Err(self.fault("create", &path, e)),
            }
        }
    }

    /// The newest attempt at an artefact, if there is one.
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be read.
    pub fn latest(&self, run: RunId, artefact: ArtefactId) -> Result<Option<Attempt>, StagingError> {
        match numbers(&self.home(run, artefact))?.into_iter().max() {
            Some(number) => Attempt::open(self, run, artefact, number),
            None => Ok(None),
        }
    }

    /// One attempt at an artefact, if it is still there.
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be read.
    pub fn attempt(&self, run: RunId, artefact: ArtefactId, number: u32) -> Result<Option<Attempt>, StagingError> {
        Attempt::open(self, run, artefact, number)
    }

    /// Lists all attempts, in order of run and artefact. Those that vanish meanwhile are left out.
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Staged>, StagingError> {
        let mut all = Vec::new();
        for (run, path) in children(self.dir())? {
            let Ok(run) = run.parse::<RunId>() else { continue };
            for (artefact, path) in children(&path)? {
                let Ok(artefact) = artefact.parse::<ArtefactId>() else {
                    continue;
                };
                for number in numbers(&path)? {
                    let path = path.join(number.to_string());
                    all.extend(look(&path, run, artefact, number)?);
                }
            }
        }
        all.sort_by_key(|s| (s.run, s.artefact, s.attempt));
        Ok(all)
    }

    /// Bytes that are staged now.
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be read.
    pub fn usage(&self) -> Result<u64, StagingError> {
        let mut total = 0;
        for (name, path) in children(self.dir())? {
            if name.starts_with(GONE) {
                total += size_within(&path, 1)?;
            } else if name.parse::<RunId>().is_ok() {
                total += size_within(&path, 3)?;
            }
        }
        Ok(total)
    }

    /// Removes everything of a run. Without effect if there is nothing.
    ///
    /// # Errors
    /// [`StagingError`] if it cannot be removed.
    pub fn remove(&self, run: RunId) -> Result<(), StagingError> {
        self.take_away(&self.dir().join(run.to_string()))
    }

    /// Removes every attempt in which nothing changed since `before`, and tells which. The time must lie further back
    /// than the longest pause of a capture or of sealing.
    ///
    /// # Errors
    /// [`StagingError`] if the folder cannot be read, or an attempt not removed.
    pub fn sweep(&self, before: SystemTime) -> Result<Vec<Staged>, StagingError> {
        let old: Vec<Staged> = self.list()?.into_iter().filter(|s| s.touched < before).collect();
        for staged in &old {
            let home = self.home(staged.run, staged.artefact);
            self.take_away(&home.join(staged.attempt.to_string()))?;
            self.tidy(&home);
        }
        Ok(old)
    }

    fn home(&self, run: RunId, artefact: ArtefactId) -> PathBuf {
        self.dir().join(run.to_string()).join(artefact.to_string())
    }

    /// Removes a folder: first out of sight in one step, then for good.
    fn take_away(&self, path: &Path) -> Result<(), StagingError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let n = COUNTER.fetch_add(1, Ordering::Relaxed);
        let gone = self.dir().join(format!("{GONE}{}-{n}", std::process::id()));
        match fs::rename(path, &gone) {
            Ok(()) => erase(&gone),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            // Left by an earlier process of the same number.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                erase(&gone)?;
                self.take_away(path)
            }
            Err(e) => Err(self.fault("remove", path, e)),
        }
    }

    /// Removes the artefact's and the run's folders if they are empty.
    fn tidy(&self, home: &Path) {
        if fs::remove_dir(home).is_ok()
            && let Some(run) = home.parent()
        {
            let _ = fs::remove_dir(run);
        }
    }

    /// Held while room is measured and taken, by all processes that share the folder. A process that dies lets go of it.
    fn lock(&self) -> Result<fs::File, StagingError> {
        let path = self.dir().join(LOCK);
        let file = files::open_private(&path).map_err(|e| self.fault("open", &path, e))?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|e| self.fault("lock", &path, e.into()))?;
        Ok(file)
    }

    fn fault(&self, action: &'static str, path: &Path, source: io::Error) -> StagingError {
        StagingError::from_io(action, path, self.max_bytes(), source)
    }
}

fn make_dirs(path: &Path) -> Result<(), StagingError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| StagingError::from_io("create", path, 0, e))
}

/// A folder's entries. None if the folder is gone.
fn children(path: &Path) -> Result<Vec<(String, PathBuf)>, StagingError> {
    let fault = |e| StagingError::from_io("list", path, 0, e);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(fault(e)),
    };
    let mut out = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fault)?;
        if let Ok(name) = entry.file_name().into_string() {
            out.push((name, entry.path()));
        }
    }
    Ok(out)
}

/// The numbers of an artefact's attempts.
fn numbers(home: &Path) -> Result<Vec<u32>, StagingError> {
    let names = children(home)?;
    Ok(names.iter().filter_map(|(name, _)| name.parse().ok()).collect())
}

/// Sizes of the files so many folders down, receipts and drafts left out.
fn size_within(path: &Path, depth: u32) -> Result<u64, StagingError> {
    let mut total = 0;
    for (name, path) in children(path)? {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() && name != files::DRAFT => total += meta.len(),
            Ok(meta) if meta.is_dir() && depth > 0 && name != files::RECEIPTS => {
                total += size_within(&path, depth - 1)?
            }
            _ => {}
        }
    }
    Ok(total)
}

fn look(path: &Path, run: RunId, artefact: ArtefactId, attempt: u32) -> Result<Option<Staged>, StagingError> {
    let modified = |path: &Path| fs::symlink_metadata(path).and_then(|m| m.modified());
    let Ok(mut touched) = modified(path) else {
        return Ok(None);
    };
    if let Ok(receipts) = modified(&path.join(files::RECEIPTS)) {
        touched = touched.max(receipts);
    }
    let mut bytes = 0;
    let mut unsealed = 0;
    let mut complete = false;
    for (name, path) in children(path)? {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_file() {
            touched = touched.max(meta.modified().unwrap_or(touched));
            complete |= name == files::DRAFT;
            unsealed += usize::from(files::pack_of(&name, files::PACK).is_some());
            bytes += if name == files::DRAFT { 0 } else { meta.len() };
        }
    }
    Ok(Some(Staged {
        run,
        artefact,
        attempt,
        bytes,
        unsealed,
        complete,
        touched,
    }))
}

/// Removes a folder that nobody finds any more. Its owner may still be writing: once it is empty and gone, it cannot.
fn erase(path: &Path) -> Result<(), StagingError> {
    loop {
        match fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(e) => return Err(StagingError::from_io("remove", path, 0, e)),
        }
    }
}

#[cfg(test)]
mod tests;
