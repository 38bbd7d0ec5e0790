//! Judges one artefact: finds its damage, or the key that is not at hand, without which nothing can be said of it.

use std::sync::Arc;

use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ArtefactKind, Level, Manifest, ObjectKey, Verdict};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_restore::{CheckOptions, CheckReport, OpenArtefact, Previous, Progress, check};
use holdfast_sealing::SecretKeys;

use crate::judged::Judged;
use crate::trial::trial;
use crate::{VerifyError, VerifyOptions};

/// Judges an artefact at the repository's place. The caches of `repository` must be empty, since a cached object proves
/// nothing about the place.
///
/// # Errors
/// [`VerifyError`] if there is no result, as where the place is not the repository's any more: what is not there then is not
/// missing.
pub(crate) async fn judge(
    repository: &Repository,
    keys: Option<&SecretKeys>,
    artefact: ArtefactId,
    level: Level,
    options: &VerifyOptions,
) -> Result<Judged, VerifyError> {
    let judged = Box::pin(look(repository, keys, artefact, level, options)).await?;
    if judged.verdict == Verdict::Damaged {
        is_there(repository).await.map_err(|source| VerifyError::Repository {
            artefact,
            source: Box::new(source),
        })?;
    }
    Ok(judged)
}

/// Checks that the place still holds the repository: else its folder is not mounted, or its bucket is another one.
async fn is_there(repository: &Repository) -> Result<(), RepositoryError> {
    match repository.check_identity_at(repository.place()).await {
        // A bad identity is a fault of the repository, like what was found.
        Err(error) if error.is_unreadable() => Ok(()),
        told => told,
    }
}

async fn look(
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
        Err(error) if error.is_unreadable() => return Ok(of_error(repository, artefact, &error).await),
        Err(error) => return Err(failed(error)),
    };
    let manifest = opened.manifest();
    if level.opens()
        && let Some(unknown) = without_key(manifest, keys)
    {
        return Ok(unknown);
    }
    if level.restores() && !is_tree(manifest) {
        return Err(VerifyError::NoServer {
            artefact,
            kind: manifest.captured.kind.as_str(),
        });
    }
    let previous = previous(repository, manifest).await.map_err(failed)?;
    let options = options.clone();
    let mut stop = StopOnDrop(Some(options.progress.clone()));
    let judged = tokio::task::spawn_blocking(move || examine(&opened, level, previous, &options));
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
    let mut judged = Judged::good(kind_of(repository, artefact).await);
    judged.add(key.unwrap_or(ObjectKey::Manifest(artefact)), problem);
    judged
}

/// Judges an artefact by the error with which its manifest or contents did not come.
async fn of_error(repository: &Repository, artefact: ArtefactId, error: &RepositoryError) -> Judged {
    let key = key_of(error, artefact);
    let problem = chain(error).to_string();
    if error.is_unknown() {
        return Judged::unknown(kind_of(repository, artefact).await, key, problem);
    }
    unreadable(repository, artefact, Some(key), problem).await
}

async fn kind_of(repository: &Repository, artefact: ArtefactId) -> Option<ArtefactKind> {
    let manifest = repository.manifest(artefact).await.ok().flatten();
    manifest.map(|m| m.manifest.captured.kind)
}

fn key_of(error: &RepositoryError, artefact: ArtefactId) -> ObjectKey {
    match error {
        RepositoryError::Missing { key, .. }
        | RepositoryError::Damaged { key, .. }
        | RepositoryError::NoKey { key, .. }
        | RepositoryError::NotSigned { key, .. } => (**key).clone(),
        _ => ObjectKey::Manifest(artefact),
    }
}

/// An artefact that cannot be judged, since none of the keys opens its packs: found early, else all packs would be read for
/// nothing. `None` if one fits.
fn without_key(manifest: &Manifest, keys: Option<&SecretKeys>) -> Option<Judged> {
    let held = keys.map(SecretKeys::readers).unwrap_or_default();
    let fits = manifest.captured.readers.iter().any(|needed| held.contains(needed));
    // If the manifest does not name its readers, any key may fit, and is tried.
    if fits || (manifest.captured.readers.is_empty() && keys.is_some()) {
        return None;
    }
    let object = ObjectKey::Manifest(manifest.captured.artefact);
    let reason = format!(
        "its packs cannot be opened with the keys at hand: that needs the secret key of {} (verifier.secret_keys in the \
         configuration, or --key FILE)",
        manifest.captured.readers.join(" or ")
    );
    Some(Judged::unknown(Some(manifest.captured.kind), object, reason))
}

/// Looks up the manifest before this one. One that is missing or damaged is a finding of its own artefact only.
async fn previous(repository: &Repository, manifest: &Manifest) -> Result<Previous, RepositoryError> {
    let Some(previous) = manifest.captured.previous else {
        return Ok(Previous::NotLooked);
    };
    match repository.manifest(previous.artefact).await {
        Ok(Some(found)) => Ok(Previous::Found(found.sha256)),
        Ok(None) => Ok(Previous::NotLooked),
        Err(error) if error.is_unreadable() => Ok(Previous::NotLooked),
        Err(error) => Err(error),
    }
}

fn examine(
    opened: &OpenArtefact,
    level: Level,
    previous: Previous,
    options: &VerifyOptions,
) -> Result<Judged, VerifyError> {
    let manifest = opened.manifest();
    let checking = CheckOptions {
        limits: options.limits,
        client_dirs: &options.client_dirs,
        previous,
    };
    let report = check(opened.origin(), level, checking, &options.progress);
    let report = report.map_err(|source| VerifyError::Check {
        artefact: manifest.captured.artefact,
        source: Box::new(source),
    })?;
    let mut judged = judged(manifest, report);
    if level.restores() && judged.verdict == Verdict::Good {
        trial(opened, options, &mut judged)?;
    }
    Ok(judged)
}

/// Turns a report into a judgement. Problems that come from a missing key do not count as damage; if there are only
/// such problems, the artefact cannot be judged.
fn judged(manifest: &Manifest, report: CheckReport) -> Judged {
    let damaged = report.is_damaged();
    let verdict = match (report.is_good(), damaged) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Damaged,
        (false, false) => Verdict::Unknown,
    };
    let told = report.findings.into_iter().filter(|found| found.damage == damaged);
    Judged {
        kind: Some(manifest.captured.kind),
        verdict,
        total: if damaged { report.damaged } else { report.total },
        findings: told.map(|found| (found.object, found.problem)).collect(),
        bytes_read: report.bytes_read,
        recipients_proven: report.recipients_proven,
    }
}
