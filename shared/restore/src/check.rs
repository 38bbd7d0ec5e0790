//! Checks of artefacts: whether they are what was captured.

use std::path::PathBuf;

use holdfast_format::{Digest, Level, ObjectKey, StreamFormat};

use crate::passes::each;
use crate::progress::{Limits, Progress};
use crate::source::{Origin, PackError};

mod dump;
mod examined;
mod findings;
mod survey;

pub use findings::{CheckError, CheckFinding, CheckReport};

use examined::Examined;
use findings::Findings;
use survey::Survey;

/// Options of a check.
#[derive(Clone, Copy, Default)]
pub struct CheckOptions<'a> {
    /// Memory and threads.
    pub limits: Limits,
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

/// Checks an artefact whose manifest was read with a good signature. Blocks: call it on a thread that may.
///
/// - `integrity`: every object is there with its size and SHA-256; every pack is sealed to all readers that the manifest
///   names; contents can be read, and fit the packs and the manifest; the predecessor is the one that the manifest names.
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
) -> Result<CheckReport, CheckError> {
    let findings = Findings::default();
    check_previous(origin, options.previous, &findings);
    let examined = Examined::new(origin.packs, &origin.manifest.captured.readers, &findings);
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
    Ok(findings.report(progress.read(), examined.all_proven()))
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
