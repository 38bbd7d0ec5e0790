//! Checks of artefacts: whether they are what was captured.

use std::path::PathBuf;
use std::sync::Mutex;

use holdfast_fault::{Retry, Retryable};
use holdfast_format::{Digest, Finding, Level, ObjectKey, StreamFormat};
use holdfast_postgres::PgError;
use holdfast_repository::RepositoryError;
use holdfast_sealing::Recipients;

use crate::passes::{each, lock};
use crate::progress::{Limits, Progress};
use crate::source::{Origin, PackError, PackFault};
use crate::stream::StreamError;

mod dump;
mod examined;
mod survey;

use examined::Examined;
use survey::Survey;

/// The most findings that a report holds. The rest are counted.
const TOLD: usize = 1000;

/// Options of a check.
#[derive(Clone, Copy, Default)]
pub struct CheckOptions<'a> {
    /// Memory and threads.
    pub limits: Limits,
    /// The recipients that every pack must be sealed to, if that is to be proven.
    pub recipients: Option<&'a Recipients>,
    /// Further places to look for `pg_restore`.
    pub client_dirs: &'a [PathBuf],
    /// The object that stands where the manifest says that its predecessor is.
    pub previous: Previous,
}

/// The predecessor of a manifest, as found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Previous {
    /// The predecessor was not looked for, or retention has deleted it: no finding.
    #[default]
    NotLooked,
    /// The SHA-256 of the predecessor's sealed object.
    Found(Digest),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The object.
    pub object: ObjectKey,
    /// The fault, for people.
    pub problem: String,
    /// True if the object is at fault. Else it could not be judged: a key is missing.
    pub damage: bool,
}

impl From<&Found> for Finding {
    fn from(found: &Found) -> Self {
        Self {
            object: found.object.to_string(),
            problem: found.problem.clone(),
        }
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The faults, at most 1000. Empty if all is good.
    pub findings: Vec<Found>,
    /// The number of findings.
    pub total: u64,
    /// Sealed bytes of packs read.
    pub bytes_read: u64,
    /// True if recipients were given, and every pack is sealed to each of them.
    pub recipients_proven: bool,
}

impl Report {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.total == 0
    }

    /// True if an object is damaged, and not just unreadable for lack of a key.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|found| found.damage)
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

/// Checks an artefact whose manifest was read with a good signature. Blocks: call it on a thread that may.
///
/// - `integrity`: every object is there with its size and SHA-256; contents can be read, and fit the packs and the manifest;
///   the predecessor is the one that the manifest names.
/// - `decrypt`: also, every pack opens; every chunk has its id, and the whole stream its digest; headers of a tar agree with
///   the contents; `pg_restore` reads a dump to its end. Each pack is read and decrypted once.
/// - `restore` checks as `decrypt` does. Restoring is on the caller, who has the room for it: see
///   [`restore_files`](crate::restore_files), [`compare_files`](crate::compare_files),
///   [`restore_database`](crate::restore_database).
///
/// # Errors
/// [`CheckError`] if there is no result. Whatever is wrong with the artefact stands in the report.
pub fn check(
    origin: Origin<'_>,
    level: Level,
    options: CheckOptions<'_>,
    progress: &Progress,
) -> Result<Report, CheckError> {
    let findings = Findings::default();
    check_previous(origin, options.previous, &findings);
    let examined = Examined::new(origin.packs, options.recipients, &findings);
    let inside = Origin {
        packs: &examined,
        ..origin
    };
    match level {
        Level::Integrity => {
            survey::survey(origin, &findings, false)?;
            each_pack(inside, &[], options.limits, progress, &findings, &|pack, _| {
                sealed_only(inside, progress, pack)
            })?;
        }
        Level::Decrypt | Level::Restore => match origin.manifest.captured.stream.format {
            StreamFormat::PgDump => dump::check(inside, &examined, options, progress, &findings)?,
            StreamFormat::Tar | StreamFormat::Sql => {
                let survey = survey::survey(origin, &findings, true)?;
                check_chunks(inside, survey, options.limits, progress, &findings)?;
            }
        },
    }
    let recipients_proven = options.recipients.is_some() && examined.all_proven();
    Ok(findings.report(progress.read(), recipients_proven))
}

fn check_previous(origin: Origin<'_>, previous: Previous, findings: &Findings) {
    let (Some(named), Previous::Found(found)) = (origin.manifest.captured.previous, previous) else {
        return;
    };
    if named.sha256 != found {
        let problem = format!(
            "its SHA-256 is not the one that the next manifest, {}, names: the sequence was rolled back or forked",
            origin.manifest.captured.artefact
        );
        findings.add(ObjectKey::Manifest(named.artefact), problem, true);
    }
}

/// One pack's share of a check.
type OnPack<'a> = &'a (dyn Fn(u32, &Findings) -> Result<(), PackError> + Sync);

/// Calls `work` for every pack of the manifest but those in `done`.
fn each_pack(
    origin: Origin<'_>,
    done: &[u32],
    limits: Limits,
    progress: &Progress,
    findings: &Findings,
    work: OnPack<'_>,
) -> Result<(), CheckError> {
    let all = 0..u32::try_from(origin.manifest.packs.len()).unwrap_or(u32::MAX);
    let packs: Vec<u32> = all.filter(|index| !done.contains(index)).collect();
    each(&packs, limits, |index| {
        if progress.stopped() {
            return Err(CheckError::Stopped);
        }
        match work(*index, findings) {
            Ok(()) => Ok(()),
            Err(error) => findings.pack(error),
        }
    })
}

fn sealed_only(origin: Origin<'_>, progress: &Progress, index: u32) -> Result<(), PackError> {
    let Some(pack) = origin.pack(index) else {
        return Ok(());
    };
    let sealed = origin.packs.sealed(pack)?;
    progress.add_read(sealed.len() as u64);
    progress.add_done(u64::from(pack.used));
    Ok(())
}

/// Opens every pack once, compares its chunks with their ids, and in the end the whole with the digest.
fn check_chunks(
    origin: Origin<'_>,
    survey: Option<Survey>,
    limits: Limits,
    progress: &Progress,
    findings: &Findings,
) -> Result<(), CheckError> {
    // Contents that cannot be read were found already; the packs may be looked at all the same.
    let is_known = survey.is_some();
    let survey = survey.unwrap_or_default();
    let before = findings.count();
    each_pack(origin, &[], limits, progress, findings, &|index, findings| {
        let Some(pack) = origin.pack(index) else {
            return Ok(());
        };
        let plain = crate::passes::fetch(origin, progress, pack)?;
        survey.check_pack(origin, index, &plain, findings);
        progress.add_done(u64::from(pack.used));
        Ok(())
    })?;
    // A digest that differs tells nothing beyond what was found.
    if is_known
        && findings.count() == before
        && let Err(error) = survey.compare(origin)
    {
        findings.add(
            ObjectKey::Contents(origin.manifest.captured.artefact),
            error.to_string(),
            true,
        );
    }
    Ok(())
}

/// Findings of all threads.
#[derive(Default)]
pub(crate) struct Findings(Mutex<(Vec<Found>, u64)>);

impl Findings {
    fn add(&self, object: ObjectKey, problem: String, damage: bool) {
        let mut inner = lock(&self.0);
        inner.1 += 1;
        if inner.0.len() < TOLD {
            inner.0.push(Found {
                object,
                problem,
                damage,
            });
        }
    }

    fn count(&self) -> u64 {
        lock(&self.0).1
    }

    /// A finding, if the pack is at fault or a key is missing; else there is no result.
    fn pack(&self, error: PackError) -> Result<(), CheckError> {
        if matches!(error.fault, PackFault::Unavailable { .. }) {
            return Err(CheckError::Pack(error));
        }
        let damage = error.is_damage();
        self.add(error.object, error.fault.to_string(), damage);
        Ok(())
    }

    /// Judges an error of contents in the same way.
    fn contents(&self, origin: Origin<'_>, error: RepositoryError) -> Result<(), CheckError> {
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
    fn stream(&self, origin: Origin<'_>, error: StreamError) -> Result<(), CheckError> {
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

    fn report(&self, bytes_read: u64, recipients_proven: bool) -> Report {
        let mut inner = lock(&self.0);
        let mut findings = std::mem::take(&mut inner.0);
        let total = inner.1;
        findings.sort_by(|a, b| a.object.cmp(&b.object));
        Report {
            findings,
            total,
            bytes_read,
            recipients_proven,
        }
    }
}
