//! What follows an attempt: its seals, its close, the work after that; and what the capturing stages find missing.

use holdfast_capture::{Attempt, Staging};
use holdfast_events::{Job, RunState, What, Work, after_close, missing};
use holdfast_format::{ArtefactId, Expected, RunId, SourceName};
use holdfast_repository::SealedManifest;
use holdfast_service::{Context, JobError, WorkerSpec};

/// Asks for the seals that an attempt waits for, or for its close if it waits for none. Called when the draft is there
/// and after each seal: whoever comes last finds all packs sealed.
///
/// # Errors
/// [`JobError`] if staging does not read or the bus does not confirm.
pub async fn ask_for_seals(cx: &Context, attempt: &Attempt, source: &SourceName) -> Result<(), JobError> {
    let base = |job| Work {
        run: attempt.run(),
        site: cx.site.clone(),
        job,
    };
    let (artefact, number) = (attempt.artefact(), attempt.number());
    let unsealed = attempt.unsealed()?;
    let works: Vec<Work> = if unsealed.is_empty() {
        vec![base(Job::Close {
            source: source.clone(),
            artefact,
            attempt: number,
        })]
    } else {
        unsealed
            .into_iter()
            .map(|pack| {
                base(Job::Seal {
                    artefact,
                    attempt: number,
                    pack,
                })
            })
            .collect()
    };
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

/// The artefact that an entry of staging belongs to, in a run that is not finished.
#[must_use]
pub fn staged_artefacts(staging: &Staging, run: RunId) -> Vec<(ArtefactId, u32)> {
    let all = staging.list().unwrap_or_default();
    all.into_iter()
        .filter(|s| s.run == run && s.complete)
        .map(|s| (s.artefact, s.attempt))
        .collect()
}

/// What the capturing stages find missing: listings, and captures of what is neither sealed nor staged whole.
#[must_use]
pub fn missing_captures(cx: &Context, staging: &Staging, workers: &[WorkerSpec], state: &RunState) -> Vec<Work> {
    let staged = staged_artefacts(staging, state.expected.run);
    let is_staged = |work: &Work| work.artefact().is_some_and(|id| staged.iter().any(|(s, _)| *s == id));
    let ours = |work: &Work| work.site == cx.site && workers.iter().any(|w| w.takes(work)) && !is_staged(work);
    missing(state).into_iter().filter(ours).collect()
}
