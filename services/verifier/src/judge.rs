//! Judges one artefact: finds its damage, or the reason why that cannot be told.

use std::sync::Arc;

use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ArtefactKind, Level, Manifest, ObjectKey};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_restore::{CheckOptions, CheckReport, OpenArtefact, Previous, Progress, check};
use holdfast_sealing::{Recipients, SecretKeys};

use crate::judged::Judged;
use crate::trial::trial;
use crate::{VerifyError, VerifyOptions};

/// Judges an artefact at the repository's place. The caches of `repository` must be empty, since a cached object proves
/// nothing about the place.
pub(crate) async fn judge(
    repository: &Repository,
    keys: Option<&SecretKeys>,
    artefact: ArtefactId,
    level: Level,
    options: &VerifyOptions,
) -> Result<Judged, VerifyError> {
    let failed = |source| VerifyError::Repository {
        artefact,
        source: Box::new(source),
    };
    // Without keys, only the sealed objects are checked and no pack is opened, so any key will do here.
    let opening = keys.unwrap_or(&repository.keys().secret).clone();
    let opened = match OpenArtefact::open(repository, opening, artefact, &options.scratch).await {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(unreadable(repository, artefact, None, "is missing".to_owned()).await),
        Err(error) if error.is_damage() => {
            let key = key_of(&error, artefact);
            let problem = chain(&error).to_string();
            return Ok(unreadable(repository, artefact, Some(key), problem).await);
        }
        Err(error) => return Err(failed(error)),
    };
    let manifest = opened.manifest();
    if level.opens() {
        check_keys(manifest, keys, level)?;
    }
    if level.restores() && !is_tree(manifest) {
        return Err(VerifyError::NoServer {
            artefact,
            kind: manifest.captured.kind.as_str(),
        });
    }
    let previous = previous(repository, manifest).await.map_err(failed)?;
    let recipients = repository.keys().recipients.clone();
    let recipients = recipients.filter(|r| r.fingerprints() == manifest.captured.recipients);
    let options = options.clone();
    let mut stop = StopOnDrop(Some(options.progress.clone()));
    let judged = tokio::task::spawn_blocking(move || examine(&opened, level, previous, recipients.as_ref(), &options));
    let judged = judged.await;
    // The caller may use the same progress for the next artefact, so it must not stay stopped.
    stop.0 = None;
    judged.map_err(|source| VerifyError::BrokenOff { artefact, source })?
}

/// Stops the checking thread when nobody waits for it any more.
struct StopOnDrop(Option<Arc<Progress>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.stop();
        }
    }
}

fn is_tree(manifest: &Manifest) -> bool {
    ArtefactKind::FILES.contains(&manifest.captured.kind)
}

/// Judges an artefact whose manifest or contents are unusable, so that nothing else can be checked.
async fn unreadable(repository: &Repository, artefact: ArtefactId, key: Option<ObjectKey>, problem: String) -> Judged {
    let manifest = repository.manifest(artefact).await.ok().flatten();
    let mut judged = Judged {
        kind: manifest.map(|m| m.manifest.captured.kind),
        ..Judged::default()
    };
    judged.add(key.unwrap_or(ObjectKey::Manifest(artefact)), problem);
    judged
}

fn key_of(error: &RepositoryError, artefact: ArtefactId) -> ObjectKey {
    match error {
        RepositoryError::Missing { key, .. }
        | RepositoryError::Damaged { key, .. }
        | RepositoryError::NotSigned { key, .. } => (**key).clone(),
        _ => ObjectKey::Manifest(artefact),
    }
}

/// Fails early if no key fits. Otherwise all packs would be read for nothing.
fn check_keys(manifest: &Manifest, keys: Option<&SecretKeys>, level: Level) -> Result<(), VerifyError> {
    let held = keys.map(SecretKeys::fingerprints).unwrap_or_default();
    let fits = manifest.captured.recipients.iter().any(|needed| held.contains(needed));
    // If the manifest does not name its recipients, any key may fit, and is tried.
    if fits || (manifest.captured.recipients.is_empty() && keys.is_some()) {
        return Ok(());
    }
    Err(needs_key(manifest, level))
}

fn needs_key(manifest: &Manifest, level: Level) -> VerifyError {
    VerifyError::NeedsKey {
        artefact: manifest.captured.artefact,
        level,
        needed: manifest.captured.recipients.clone(),
    }
}

/// Looks up the manifest before this one. One that is missing or damaged is a finding of its own artefact only.
async fn previous(repository: &Repository, manifest: &Manifest) -> Result<Previous, RepositoryError> {
    let Some(previous) = manifest.captured.previous else {
        return Ok(Previous::NotLooked);
    };
    match repository.manifest(previous.artefact).await {
        Ok(Some(found)) => Ok(Previous::Found(found.sha256)),
        Ok(None) => Ok(Previous::NotLooked),
        Err(error) if error.is_damage() || matches!(error, RepositoryError::NoKey { .. }) => Ok(Previous::NotLooked),
        Err(error) => Err(error),
    }
}

fn examine(
    opened: &OpenArtefact,
    level: Level,
    previous: Previous,
    recipients: Option<&Recipients>,
    options: &VerifyOptions,
) -> Result<Judged, VerifyError> {
    let manifest = opened.manifest();
    let checking = CheckOptions {
        limits: options.limits,
        recipients,
        client_dirs: &options.client_dirs,
        previous,
    };
    let report = check(opened.origin(), level, checking, &options.progress);
    let report = report.map_err(|source| VerifyError::Check {
        artefact: manifest.captured.artefact,
        source: Box::new(source),
    })?;
    let mut judged = judged(manifest, level, report)?;
    if level.restores() && judged.total == 0 {
        trial(opened, options, &mut judged)?;
    }
    Ok(judged)
}

/// Turns a report into a judgement. Problems that come from a missing key do not count as damage; if there are only
/// such problems, the artefact cannot be judged.
fn judged(manifest: &Manifest, level: Level, report: CheckReport) -> Result<Judged, VerifyError> {
    if !report.is_good() && !report.is_damaged() {
        return Err(needs_key(manifest, level));
    }
    let all = report.findings.len() as u64;
    let damage = report.findings.into_iter().filter(|found| found.damage);
    let findings: Vec<_> = damage.map(|found| (found.object, found.problem)).collect();
    Ok(Judged {
        kind: Some(manifest.captured.kind),
        total: report.total - (all - findings.len() as u64),
        findings,
        bytes_read: report.bytes_read,
        recipients_proven: report.recipients_proven,
    })
}
