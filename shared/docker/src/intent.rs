//! Intents: the actions of a quiet time, written to disk before any container is touched.
//!
//! An intent is locked while its owner lives. A successor finds the intents of dead owners with [`abandoned`], and owns
//! them from then on. An intent is removed when all its containers are back.
//!
//! An intent holds no commands. A successor reads the hooks of a container from its labels, as they are then.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_fault::{Retry, Retryable};
use serde::{Deserialize, Serialize};

use crate::owned::{self, Owned};
use crate::quiet::QuietStep;

/// The version of the file format. Version 1 had commands in it, which are passed over.
const VERSION: u32 = 2;

/// The length limit of a file name without its extension, in bytes.
const NAME_MAX: usize = 150;

/// The containers of a quiet time and what happens to each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    version: u32,
    /// The id of the run that the quiet time belongs to.
    pub run: String,
    /// The group or volume that is read: `group shop`, `volume shop_files`.
    pub covers: String,
    /// The containers in the order of stopping.
    pub containers: Vec<Entry>,
}

/// A container of an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The treatment of the container.
    #[serde(flatten)]
    pub step: QuietStep,
    /// True once the hooks of the container have begun, so that the one after is due.
    pub hooked: bool,
    /// True once the container may have been stopped or paused, so that it has to be brought back.
    pub touched: bool,
}

/// An error of writing, reading or removing an intent.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// The intent cannot be written.
    #[error("write what is about to be done to containers to {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The intent or the folder of intents cannot be read.
    #[error("read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is no intent, or was written by a newer version of Holdfast. It stays where it is.
    #[error("understand {}: containers that it names may have to be started by hand", path.display())]
    Malformed {
        path: PathBuf,
        /// The fault in the content.
        #[source]
        source: serde_json::Error,
    },
    /// The intent cannot be removed.
    #[error("remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Retryable for IntentError {
    fn retry(&self) -> Retry {
        match self {
            Self::Write { source, .. } | Self::Read { source, .. } | Self::Remove { source, .. } => {
                Retry::of_io(source)
            }
            Self::Malformed { .. } => Retry::Never,
        }
    }
}

impl Intent {
    /// Makes an intent for `steps`, of which none has been carried out.
    #[must_use]
    pub(crate) fn new(run: &str, covers: &str, steps: &[QuietStep]) -> Self {
        let entry = |step: &QuietStep| Entry {
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
        if !(1..=VERSION).contains(&versioned.version) {
            let text = format!(
                "it is of version {}; this Holdfast knows version {VERSION}",
                versioned.version
            );
            return Err(serde::de::Error::custom(text));
        }
        let read: Self = serde_json::from_slice(content)?;
        Ok(Self {
            version: VERSION,
            ..read
        })
    }
}

/// An intent on disk that this process owns.
#[derive(Debug)]
pub(crate) struct Held {
    owned: Owned,
    /// The intent, equal to the one on disk but for the hooks, which only who made the plan has.
    pub(crate) intent: Intent,
    /// True if the intent is a dead owner's.
    adopted: bool,
}

impl Held {
    /// Writes an intent to a new file in `<state_dir>/quiet`.
    ///
    /// # Errors
    /// If the intent cannot be written and synced. Then no container may be touched.
    pub(crate) fn write(state_dir: &Path, intent: Intent) -> Result<Self, IntentError> {
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
                Ok(owned) => {
                    return Ok(Self {
                        owned,
                        intent,
                        adopted: false,
                    });
                }
                // The name is taken by an earlier attempt, whose containers could not all be brought back.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => attempt += 1,
                Err(source) => return Err(IntentError::Write { path, source }),
            }
        }
    }

    /// True if the intent is a dead owner's, so that its hooks are known from the containers' labels alone.
    pub(crate) fn is_adopted(&self) -> bool {
        self.adopted
    }

    /// Returns the intent, equal to the one on disk but for the hooks.
    #[must_use]
    pub(crate) fn intent(&self) -> &Intent {
        &self.intent
    }

    /// Changes the intent. The change is synced to disk when this returns.
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

    /// Removes the intent. To be called when all containers are back.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub(crate) fn remove(self) -> Result<(), IntentError> {
        let path = self.owned.path().to_owned();
        self.owned
            .remove()
            .map_err(|source| IntentError::Remove { path, source })
    }
}

/// Takes over the intents of dead owners. Each intent has its own result, so one that cannot be read does not hold up
/// the others.
///
/// # Errors
/// If the folder cannot be read.
pub(crate) fn abandoned(state_dir: &Path) -> Result<Vec<Result<Held, IntentError>>, IntentError> {
    let folder = folder(state_dir);
    let paths = owned::list(&folder, "json").map_err(|source| IntentError::Read { path: folder, source })?;
    let adopt = |path: PathBuf| match Owned::adopt(&path) {
        Ok(None) => None,
        Ok(Some((owned, content))) => Some(match Intent::read(&content) {
            Ok(intent) => Ok(Held {
                owned,
                intent,
                adopted: true,
            }),
            Err(source) => Err(IntentError::Malformed { path, source }),
        }),
        Err(source) => Some(Err(IntentError::Read { path, source })),
    };
    Ok(paths.into_iter().filter_map(adopt).collect())
}

/// True if there is an intent, of a living or a dead owner.
pub(crate) fn is_any(state_dir: &Path) -> bool {
    owned::may_hold(&folder(state_dir), "json")
}

pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("quiet")
}

/// Returns the name of the intent's file without its extension: `<run>-<what is covered>`, with safe characters only,
/// and short enough for a file system.
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
