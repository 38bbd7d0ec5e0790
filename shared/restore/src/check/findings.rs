//! The findings of a check, and its errors.

use std::sync::Mutex;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{Finding, ObjectKey};
use holdfast_postgres::PgError;
use holdfast_repository::RepositoryError;

use crate::passes::lock;
use crate::source::{Origin, PackError, PackFault};
use crate::stream::StreamError;

/// The most findings that a report holds. The rest are counted.
const TOLD: usize = 1000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFinding {
    /// The object.
    pub object: ObjectKey,
    /// The fault, for people.
    pub problem: String,
    /// True if the object is at fault. Else it could not be judged: a key is missing.
    pub damage: bool,
}

impl From<&CheckFinding> for Finding {
    fn from(finding: &CheckFinding) -> Self {
        Self {
            object: finding.object.to_string(),
            problem: finding.problem.clone(),
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The faults, at most 1000. Empty if all is good.
    pub findings: Vec<CheckFinding>,
    /// The number of findings.
    pub total: u64,
    /// The number of those that are damage. The others are objects that could not be judged.
    pub damaged: u64,
    /// Sealed bytes of packs read.
    pub bytes_read: u64,
    /// True if the manifest names readers, and every pack is sealed to each of them.
    pub recipients_proven: bool,
}

impl CheckReport {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.total == 0
    }

    /// True if an object is damaged, and not just closed to the keys at hand.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged > 0
    }
}

/// A check that came to no result. It says nothing about the artefact.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A pack could not be read for a reason that is not the pack's.
    #[error("cannot check: {} could not be read", .0.object)]
    Pack(#[source] PackError),
    /// The contents could not be read for a reason that is not theirs.
    #[error("cannot check: the contents could not be read")]
    Contents(#[source] RepositoryError),
    /// No `pg_restore` was found to read a dump with.
    #[error("cannot check the dump")]
    Postgres(#[from] PgError),
    /// The order to stop came.
    #[error("the check was stopped before its end")]
    Stopped,
}

impl Retryable for CheckError {
    fn retry(&self) -> Retry {
        match self {
            Self::Pack(source) => source.retry(),
            Self::Contents(source) => source.retry(),
            Self::Postgres(source) => source.retry(),
            Self::Stopped => Retry::Later,
        }
    }
}

/// Findings of all threads.
#[derive(Default)]
pub(super) struct Findings(Mutex<Found>);

#[derive(Default)]
struct Found {
    told: Vec<CheckFinding>,
    total: u64,
    damaged: u64,
}

impl Findings {
    pub(super) fn add(&self, object: ObjectKey, problem: String, damage: bool) {
        let mut found = lock(&self.0);
        found.total += 1;
        found.damaged += u64::from(damage);
        if found.told.len() >= TOLD {
            // Damage is told before what could only not be judged.
            let less = found.told.iter().position(|finding| damage && !finding.damage);
            let Some(less) = less else { return };
            found.told.swap_remove(less);
        }
        found.told.push(CheckFinding {
            object,
            problem,
            damage,
        });
    }

    pub(super) fn count(&self) -> u64 {
        lock(&self.0).total
    }

    /// A finding, if the pack is at fault or a key is missing; else there is no result.
    pub(super) fn pack(&self, error: PackError) -> Result<(), CheckError> {
        if matches!(error.fault, PackFault::Unavailable { .. }) {
            return Err(CheckError::Pack(error));
        }
        let damage = error.is_damage();
        self.add(error.object, error.fault.to_string(), damage);
        Ok(())
    }

    /// Judges an error of contents in the same way.
    pub(super) fn contents(&self, origin: Origin<'_>, error: RepositoryError) -> Result<(), CheckError> {
        let no_key = matches!(error, RepositoryError::NoKey { .. });
        if !error.is_damage() && !no_key {
            return Err(CheckError::Contents(error));
        }
        let problem = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        let key = ObjectKey::Contents(origin.manifest.captured.artefact);
        self.add(key, format!("{error}{problem}"), !no_key);
        Ok(())
    }

    /// Judges an error of a stream in the same way.
    pub(super) fn stream(&self, origin: Origin<'_>, error: StreamError) -> Result<(), CheckError> {
        match error {
            StreamError::Pack(error) => self.pack(error),
            StreamError::Contents(error) => self.contents(origin, error),
            StreamError::Stopped => Err(CheckError::Stopped),
            other => {
                let contents = ObjectKey::Contents(origin.manifest.captured.artefact);
                let object = other.damaged().cloned().unwrap_or(contents);
                self.add(object, other.to_string(), true);
                Ok(())
            }
        }
    }

    pub(super) fn report(&self, bytes_read: u64, recipients_proven: bool) -> CheckReport {
        let found = std::mem::take(&mut *lock(&self.0));
        let mut findings = found.told;
        findings.sort_by(|a, b| a.object.cmp(&b.object));
        CheckReport {
            findings,
            total: found.total,
            damaged: found.damaged,
            bytes_read,
            recipients_proven,
        }
    }
}
