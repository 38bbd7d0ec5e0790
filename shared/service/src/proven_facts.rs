//! The facts of a run that the repository proves. They are told again from it when the bus has lost them.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use holdfast_events::{Fact, Outcome, RunState, What};
use holdfast_format::{Artefact, Expected, ExpectedSource, ObjectKey, RunId};
use holdfast_repository::{Catalogue, RepositoryError};
use jiff::Timestamp;

/// The number of artefacts that are looked at at a time.
const READING: usize = 16;

/// A run's expectations and the facts that the repository's own place proves.
pub struct ProvenFacts {
    /// The run's expectations.
    pub expected: Arc<Expected>,
    /// The proven facts. Copies of single artefacts at targets are not among them: only processes that reach a target can
    /// prove them.
    pub facts: Vec<Fact>,
}

impl ProvenFacts {
    /// The state that follows from it.
    #[must_use]
    pub fn state(&self) -> RunState {
        let mut state = RunState::new((*self.expected).clone());
        for fact in &self.facts {
            if let Err(error) = state.apply(fact) {
                tracing::warn!(run = %fact.run, %error, "the repository contradicts itself");
            }
        }
        state
    }
}

/// Reads what the repository proves about a run; `None` if it does not know the run.
///
/// # Errors
/// If something that should be readable is not.
pub async fn proven_facts(catalogue: &Catalogue, run: RunId) -> Result<Option<ProvenFacts>, RepositoryError> {
    let Some(expected) = catalogue.expected(run).await? else {
        return Ok(None);
    };
    let mut reader = Reader { run, facts: Vec::new() };
    if let Some(finished) = catalogue.finished(run).await? {
        let outcome = [Outcome::Complete, Outcome::Partial, Outcome::Failed];
        let outcome = outcome
            .into_iter()
            .find(|o| o.as_str() == finished.outcome)
            .unwrap_or(Outcome::Failed);
        reader.add(finished.at, What::RunFinished { outcome });
    }
    for source in &expected.sources {
        // What cannot be read proves nothing, and keeps nothing else of the run from being proven.
        let listed = catalogue.listed(run, &source.name).await.or_else(none_if_damaged)?;
        if let Some(listed) = listed {
            reader
                .facts
                .extend(Fact::listed(run, listed.at, &source.name, &listed.artefacts));
            // Each looks for itself: what borrows here could not be sent between threads.
            let of_each = listed
                .artefacts
                .clone()
                .into_iter()
                .map(|artefact| of_artefact(catalogue.clone(), run, source.clone(), artefact));
            let mut found = futures::stream::iter(of_each).buffered(READING);
            while let Some(facts) = found.try_next().await? {
                reader.facts.extend(facts);
            }
        }
    }
    for failure in catalogue.failures(run).await? {
        let what = What::Failed {
            subject: failure.subject.clone(),
            stage: failure.stage,
            reason: failure.reason.clone(),
        };
        reader.add(failure.at, what);
    }
    if let Some(point) = catalogue.restore_point(run).await? {
        reader.add(
            point.recorded,
            What::RunRecorded {
                complete: point.complete,
            },
        );
    }
    for place in &expected.steps.targets {
        if let Some(copied) = catalogue.copied(run, place).await.or_else(none_if_damaged)? {
            reader.add(copied.at, What::PointSynced { target: place.clone() });
        }
    }
    for place in &expected.steps.clean {
        if let Some(report) = catalogue.cleaned(run, place).await.or_else(none_if_damaged)? {
            let what = What::PlaceCleaned {
                place: place.clone(),
                expired: report.expired_runs.len() as u64,
                deleted: report.total_deleted,
                freed: report.freed_bytes,
            };
            reader.add(report.at, what);
        }
    }
    Ok(Some(ProvenFacts {
        expected,
        facts: reader.facts,
    }))
}

struct Reader {
    run: RunId,
    facts: Vec<Fact>,
}

impl Reader {
    fn add(&mut self, at: Timestamp, what: What) {
        self.facts.push(Fact {
            run: self.run,
            at,
            what,
        });
    }
}

/// Returns what the place proves about one artefact: that its manifest is there, and how deep it was verified there.
async fn of_artefact(
    catalogue: Catalogue,
    run: RunId,
    source: ExpectedSource,
    artefact: Artefact,
) -> Result<Vec<Fact>, RepositoryError> {
    let mut reader = Reader { run, facts: Vec::new() };
    let repository = catalogue.repository();
    let sealed = repository.manifest(artefact.id).await.or_else(none_if_damaged)?;
    let Some(sealed) = sealed else {
        return Ok(reader.facts);
    };
    let manifest = &sealed.manifest;
    // The key of a site signs for that site alone: not for a source of another one.
    let captured = &manifest.captured;
    if captured.run != run || captured.source != source.name || captured.site != source.site {
        tracing::error!(%run, artefact = %artefact.id, site = %captured.site, "a manifest is of another run, source or site than its run expects: it is passed over");
        return Ok(reader.facts);
    }
    let what = What::ArtefactSealed {
        artefact: artefact.id,
        manifest: sealed.sha256,
        size: manifest.captured.stream.size,
        // Which packs were new is not in the manifest; the fact at the time of sealing told it.
        stored: 0,
        warnings: manifest.warnings.total,
    };
    reader.add(manifest.captured.finished, what);
    for verification in catalogue.verifications(artefact.id).await? {
        if verification.is_good() && verification.place == *repository.place().name() {
            let what = What::ArtefactVerified {
                artefact: artefact.id,
                level: verification.level,
            };
            reader.add(verification.finished, what);
        }
    }
    Ok(reader.facts)
}

/// Takes a record that cannot be used here for a missing one, with a warning: one record of an earlier run that is damaged, or
/// that no key of this host opens, must not keep others from going on. `holdfast doctor` and `holdfast verify --all` name it.
///
/// # Errors
/// Any other error.
pub fn none_if_damaged<T: Default>(error: RepositoryError) -> Result<T, RepositoryError> {
    if !error.is_unreadable() {
        return Err(error);
    }
    tracing::warn!(reason = %holdfast_fault::chain(&error), "a record is passed over");
    Ok(T::default())
}

/// True if the repository says that a run has ended.
pub(crate) async fn is_finished(catalogue: &Catalogue, run: RunId) -> Result<bool, RepositoryError> {
    let meta = catalogue.repository().place().head(&ObjectKey::Finished(run)).await?;
    Ok(meta.is_some())
}
