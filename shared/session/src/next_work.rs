//! The work that follows an attempt (its seals, its close, the work after that), and the captures that a run lacks.

use holdfast_capture::{Attempt, Staging, StagingError};
use holdfast_events::{Job, RunState, What, Work, after_close, missing};
use holdfast_format::{ArtefactId, Expected, RunId, Site, SourceName};
use holdfast_repository::SealedManifest;
use holdfast_service::{Context, JobError, WorkerSpec};

/// The jobs that an attempt which is staged whole waits for: a seal for each pack that has none, else its close.
///
/// # Errors
/// [`StagingError`] if staging does not read.
pub fn next_works(attempt: &Attempt, site: &Site, source: &SourceName) -> Result<Vec<Work>, StagingError> {
    let artefact = attempt.artefact();
    let number = attempt.number();
    let close = Job::Close {
        source: source.clone(),
        artefact,
        attempt: number,
    };
    let seal = |pack| Job::Seal {
        artefact,
        attempt: number,
        pack,
    };
    let unsealed = attempt.unsealed()?;
    let jobs = if unsealed.is_empty() {
        vec![close]
    } else {
        unsealed.into_iter().map(seal).collect()
    };
    let work = |job| Work {
        run: attempt.run(),
        site: site.clone(),
        job,
    };
    Ok(jobs.into_iter().map(work).collect())
}

/// Asks for what an attempt waits for. Called when the draft is there and after each seal: whoever comes last finds all
/// packs sealed.
///
/// # Errors
/// [`JobError`] if staging does not read or the bus does not confirm.
pub async fn ask_for_next(cx: &Context, attempt: &Attempt, source: &SourceName) -> Result<(), JobError> {
    let works = next_works(attempt, &cx.site, source)?;
    Ok(cx.bus.publish_works(&works).await?)
}

/// Hands on an artefact whose manifest stands in the repository: the next work, then the fact.
///
/// # Errors
/// [`JobError`] if the bus does not confirm both.
pub async fn hand_on_sealed(
    cx: &Context,
    expected: &Expected,
    source: &SourceName,
    sealed: &SealedManifest,
    stored: u64,
) -> Result<(), JobError> {
    let manifest = &sealed.manifest;
    let what = What::ArtefactSealed {
        artefact: manifest.captured.artefact,
        manifest: sealed.sha256,
        size: manifest.captured.stream.size,
        stored,
        warnings: manifest.warnings.total,
    };
    cx.hand_on(
        &after_close(expected, source, manifest.captured.artefact),
        expected.run,
        what,
    )
    .await
}

/// The artefacts of a run that are staged whole, each with its attempt's number.
///
/// # Errors
/// [`StagingError`] if staging does not read.
pub fn staged_artefacts(staging: &Staging, run: RunId) -> Result<Vec<(ArtefactId, u32)>, StagingError> {
    let all = staging.list()?;
    let of_run = all.into_iter().filter(|staged| staged.run == run && staged.complete);
    Ok(of_run.map(|staged| (staged.artefact, staged.attempt)).collect())
}

/// Returns the work of the capturing stages that a run lacks: listings, and captures of artefacts that are neither
/// sealed nor staged whole.
///
/// # Errors
/// [`StagingError`] if staging does not read.
pub fn missing_captures(
    cx: &Context,
    staging: &Staging,
    workers: &[WorkerSpec],
    state: &RunState,
) -> Result<Vec<Work>, StagingError> {
    let staged = staged_artefacts(staging, state.expected.run)?;
    let is_staged = |work: &Work| work.artefact().is_some_and(|id| staged.iter().any(|(s, _)| *s == id));
    let ours = |work: &Work| work.site == cx.site && workers.iter().any(|w| w.takes(work)) && !is_staged(work);
    Ok(missing(state).into_iter().filter(ours).collect())
}
