//! What a quiet time is about to do, on disk before anything is touched.
//!
//! An intent is locked while its owner lives, so a successor finds those of the dead with [`abandoned`], and owns them
//! from then on. It is removed when all containers are back.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::owned::{self, Owned};
use crate::quiet::Step;

/// The version of the form that is written.
const VERSION: u32 = 1;

/// The longest part of a file's name that is taken from a group's or volume's name.
const NAME_MAX: usize = 150;

/// What a quiet time does to which containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    version: u32,
    /// The run.
    pub run: String,
    /// What is read: `group shop`, `volume shop_files`.
    pub covers: String,
    /// In the order of stopping.
    pub containers: Vec<Entry>,
}

/// A container of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What is done to it.
    #[serde(flatten)]
    pub step: Step,
    /// Whether its hooks have begun: then the one after is due.
    pub hooked: bool,
    /// Whether it may have been stopped or paused: then it is to be brought back.
    pub touched: bool,
}

/// An intent cannot be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// It cannot be written.
    #[error("write what is about to be done to containers to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It, or the folder, cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not one, or was written by a newer Holdfast. It stays where it is.
    #[error("understand {}: containers that it names may have to be started by hand", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be removed.
    #[error("remove {}", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Intent {
    /// An intent that nothing was done for.
    #[must_use]
    pub fn new(run: &str, covers: &str, steps: &[Step]) -> Self {
        let entry = |step: &Step| Entry {
            step: step.clone(),
            hooked: false,
            touched: false,
        };
        Self {
            version: VERSION,
            run: run.to_owned(),
            covers: covers.to_owned(),
            containers: steps.iter().map(entry).collect(),
        }
    }

    fn read(content: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let versioned: Versioned = serde_json::from_slice(content)?;
        if versioned.version != VERSION {
            let text = format!(
                "it is of version {}; this Holdfast knows version {VERSION}",
                versioned.version
            );
            return Err(serde::de::Error::custom(text));
        }
        serde_json::from_slice(content)
    }
}

/// An intent that this process owns.
#[derive(Debug)]
pub struct Held {
    owned: Owned,
    /// The intent, as it is on disk.
    pub(crate) intent: Intent,
}

impl Held {
    /// Writes an intent to `<state_dir>/quiet`.
    ///
    /// # Errors
    /// If it cannot be written and synced. Nothing may be touched then.
    pub fn write(state_dir: &Path, intent: Intent) -> Result<Self, IntentError> {
        let folder = folder(state_dir);
        let name = file_name(&intent);
        let content = serde_json::to_vec_pretty(&intent);
        let mut attempt = 1;
        loop {
            let path = match attempt {
                1 => folder.join(format!("{name}.json")),
                attempt => folder.join(format!("{name}.{attempt}.json")),
            };
            let written = match &content {
                Ok(content) => Owned::create(&path, content),
                Err(error) => Err(io::Error::other(error.to_string())),
            };
            match written {
                Ok(owned) => return Ok(Self { owned, intent }),
                // An earlier attempt, whose containers could not all be brought back, holds the name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                Err(source) => return Err(IntentError::Write { path, source }),
            }
        }
    }

    /// The intent.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Changes entries, on disk before anything else happens.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Intent)) -> Result<(), IntentError> {
        let mut intent = self.intent.clone();
        change(&mut intent);
        if intent == self.intent {
            return Ok(());
        }
        let content = serde_json::to_vec_pretty(&intent).map_err(|error| io::Error::other(error.to_string()));
        let written = content.and_then(|content| self.owned.replace(&content));
        written.map_err(|source| IntentError::Write {
            path: self.owned.path().to_owned(),
            source,
        })?;
        self.intent = intent;
        Ok(())
    }

    /// Removes it: everything is back.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(self) -> Result<(), IntentError> {
        let path = self.owned.path().to_owned();
        self.owned
            .remove()
            .map_err(|source| IntentError::Remove { path, source })
    }
}

/// Takes over the intents whose owners do not live any more. Each is by itself: one that cannot be read holds no other up.
///
/// # Errors
/// If the folder cannot be read.
pub fn abandoned(state_dir: &Path) -> Result<Vec<Result<Held, IntentError>>, IntentError> {
    let folder = folder(state_dir);
    let paths = owned::list(&folder, "json").map_err(|source| IntentError::Read { path: folder, source })?;
    let adopt = |path: PathBuf| match Owned::adopt(&path) {
        Ok(None) => None,
        Ok(Some((owned, content))) => Some(match Intent::read(&content) {
            Ok(intent) => Ok(Held { owned, intent }),
            Err(source) => Err(IntentError::Malformed { path, source }),
        }),
        Err(source) => Some(Err(IntentError::Read { path, source })),
    };
    Ok(paths.into_iter().filter_map(adopt).collect())
}

/// Whether there may be one.
pub(crate) fn is_any(state_dir: &Path) -> bool {
    owned::list(&folder(state_dir), "json").is_ok_and(|paths| !paths.is_empty())
}

pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("quiet")
}

/// `<run>-<what is covered>`, of safe letters, and never too long for a file.
fn file_name(intent: &Intent) -> String {
    let name = format!("{}-{}", intent.run, intent.covers.replace(' ', "-"));
    let safe = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let is_short = name.len() <= NAME_MAX && name.chars().all(safe) && !name.starts_with('.');
    if is_short {
        return name;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let start: String = name.chars().filter(|c| safe(*c)).take(NAME_MAX).collect();
    format!("{}-{}", start.trim_start_matches('.'), &hash[..16])
}

#[cfg(test)]
mod tests;
