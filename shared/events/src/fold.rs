//! A run's state as a pure fold over facts. At-least-once delivery, reordering and gaps are test cases here instead of
//! incidents: every rule is a join (set once, greatest, union), so facts may come twice, in any order, and late.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{Artefact, ArtefactId, Digest, Expected, FailureSubject, Level, PlaceName, SourceName, Stage};

use crate::{Fact, Outcome, What};

/// The effect of a fact on a run's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The fact changed the state.
    Moved,
    /// The state had this fact already.
    AlreadySeen,
}

/// A fact contradicts what is known. The state stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IllegalFact {
    /// The fact is of another run.
    #[error("a fact of another run")]
    OtherRun,
    /// The fact names a source that the run does not have.
    #[error("source {0} is not part of this run")]
    UnknownSource(SourceName),
    /// The fact names a place that the run does not use.
    #[error("place {0} is not part of this run")]
    UnknownPlace(PlaceName),
    /// The fact contradicts an earlier one.
    #[error("{0} was told differently before")]
    Contradiction(String),
}

/// The stage in which something failed, and the reason.
pub type Why = (Stage, String);

/// The progress of listing a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceState {
    pages: Option<u32>,
    seen: BTreeSet<u32>,
    /// Set if the source could not be listed.
    pub failed: Option<Why>,
}

impl SourceState {
    /// Tells whether all artefacts of the source are known.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.pages.is_some_and(|pages| self.seen.len() as u32 == pages)
    }

    /// Tells whether the listing has ended, well or not.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.failed.is_some() || self.is_listed()
    }
}

/// The progress of an artefact. Facts may tell of an artefact before its source's listing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArtefactState {
    /// Source and definition, once listed.
    pub listed: Option<(SourceName, Artefact)>,
    /// The highest attempt that was told.
    pub attempt: u32,
    /// Attempt, bytes of the stream and new bytes, once captured; those of the highest attempt.
    pub captured: Option<(u32, u64, u64)>,
    /// SHA-256 of the manifest, once sealed.
    pub sealed: Option<Digest>,
    /// Bytes of the stream, once sealed.
    pub size: u64,
    /// Sealed bytes added, once sealed.
    pub stored: u64,
    /// Number of warnings, once sealed.
    pub warnings: u64,
    /// The deepest verification that found it good.
    pub verified: Option<Level>,
    /// Targets that have the artefact.
    pub synced: BTreeSet<PlaceName>,
    /// Set if the artefact will not come at all.
    pub failed: Option<Why>,
    /// Targets that will not get the artefact.
    pub failed_at: BTreeMap<PlaceName, Why>,
}

impl ArtefactState {
    /// Takes in a fact about one artefact alone; others say nothing here.
    fn apply(&mut self, what: &What) -> Result<Effect, IllegalFact> {
        match what {
            What::ArtefactStarted { attempt, .. } => Ok(greatest(&mut self.attempt, *attempt)),
            What::ArtefactCaptured {
                attempt,
                size,
                new_bytes,
                ..
            } => {
                let told = greatest(&mut self.captured, Some((*attempt, *size, *new_bytes)));
                Ok(either(told, greatest(&mut self.attempt, *attempt)))
            }
            What::ArtefactSealed {
                artefact,
                manifest,
                size,
                stored,
                warnings,
            } => {
                let step = once(&mut self.sealed, manifest, || {
                    format!("the manifest of artefact {artefact}")
                })?;
                if step == Effect::Moved {
                    self.size = *size;
                    self.stored = *stored;
                    self.warnings = *warnings;
                } else {
                    // A reconciler that tells the same manifest again cannot know how many bytes were new.
                    self.stored = self.stored.max(*stored);
                }
                Ok(step)
            }
            What::ArtefactVerified { level, .. } => Ok(greatest(&mut self.verified, Some(*level))),
            _ => Ok(Effect::AlreadySeen),
        }
    }
}

/// The result of a step at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// The step is done.
    Done,
    /// The step will not be done.
    Failed(Why),
}

/// The state of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    pub expected: Expected,
    pub sources: BTreeMap<SourceName, SourceState>,
    pub artefacts: BTreeMap<ArtefactId, ArtefactState>,
    /// Set once the restore point is written: true if it is complete.
    pub recorded: Option<bool>,
    /// Targets to which the restore point was copied, or will not be.
    pub points: BTreeMap<PlaceName, TargetState>,
    /// Places where retention was applied, or will not be.
    pub cleaned: BTreeMap<PlaceName, TargetState>,
    /// Set once the run has ended.
    pub finished: Option<Outcome>,
}

impl RunState {
    /// Makes the state of a run of which nothing is known but its expectations.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        let sources = expected
            .sources
            .iter()
            .map(|s| (s.name.clone(), SourceState::default()))
            .collect();
        Self {
            expected,
            sources,
            artefacts: BTreeMap::new(),
            recorded: None,
            points: BTreeMap::new(),
            cleaned: BTreeMap::new(),
            finished: None,
        }
    }

    /// Applies one fact to the state.
    ///
    /// # Errors
    /// [`IllegalFact`] if it contradicts what is known; the state is then unchanged.
    pub fn apply(&mut self, fact: &Fact) -> Result<Effect, IllegalFact> {
        if fact.run != self.expected.run {
            return Err(IllegalFact::OtherRun);
        }
        match &fact.what {
            What::RunStarted { .. } => Ok(Effect::AlreadySeen),
            What::SourceListed {
                source,
                page,
                pages,
                artefacts,
            } => self.listed(source, *page, *pages, artefacts),
            What::ArtefactStarted { artefact, .. }
            | What::ArtefactCaptured { artefact, .. }
            | What::ArtefactSealed { artefact, .. }
            | What::ArtefactVerified { artefact, .. } => self.artefacts.entry(*artefact).or_default().apply(&fact.what),
            What::ArtefactSynced { artefact, target, .. } => {
                self.know_target(target)?;
                let synced = &mut self.artefacts.entry(*artefact).or_default().synced;
                let new = synced.insert(target.clone());
                Ok(if new { Effect::Moved } else { Effect::AlreadySeen })
            }
            What::Failed { subject, stage, reason } => self.failed(subject, &(*stage, reason.clone())),
            What::RunRecorded { complete } => once(&mut self.recorded, complete, || "the restore point".to_owned()),
            What::PointSynced { target } => {
                self.know_target(target)?;
                Ok(done(&mut self.points, target))
            }
            What::PlaceCleaned { place, .. } => {
                self.know_cleaned(place)?;
                Ok(done(&mut self.cleaned, place))
            }
            What::RunFinished { outcome } => once(&mut self.finished, outcome, || "the run's end".to_owned()),
        }
    }

    fn listed(
        &mut self,
        source: &SourceName,
        page: u32,
        pages: u32,
        artefacts: &[Artefact],
    ) -> Result<Effect, IllegalFact> {
        let state = self
            .sources
            .get_mut(source)
            .ok_or_else(|| IllegalFact::UnknownSource(source.clone()))?;
        let contradiction = || IllegalFact::Contradiction(format!("the listing of {source}"));
        if page >= pages || state.pages.is_some_and(|known| known != pages) {
            return Err(contradiction());
        }
        for artefact in artefacts {
            let known = self.artefacts.get(&artefact.id).and_then(|a| a.listed.as_ref());
            if known.is_some_and(|(s, a)| s != source || a != artefact) {
                return Err(contradiction());
            }
        }
        state.pages = Some(pages);
        if !state.seen.insert(page) {
            return Ok(Effect::AlreadySeen);
        }
        for artefact in artefacts {
            self.artefacts.entry(artefact.id).or_default().listed = Some((source.clone(), artefact.clone()));
        }
        Ok(Effect::Moved)
    }

    fn failed(&mut self, subject: &FailureSubject, why: &Why) -> Result<Effect, IllegalFact> {
        match subject {
            FailureSubject::Source(source) => {
                let state = self
                    .sources
                    .get_mut(source)
                    .ok_or_else(|| IllegalFact::UnknownSource(source.clone()))?;
                Ok(first(&mut state.failed, why))
            }
            FailureSubject::Artefact(artefact) => {
                Ok(first(&mut self.artefacts.entry(*artefact).or_default().failed, why))
            }
            FailureSubject::ArtefactAt(artefact, place) => {
                self.know_target(place)?;
                let at = &mut self.artefacts.entry(*artefact).or_default().failed_at;
                let mut told = at.remove(place);
                let step = first(&mut told, why);
                at.extend(told.map(|why| (place.clone(), why)));
                Ok(step)
            }
            FailureSubject::Place(place) if why.0 == Stage::Clean => {
                self.know_cleaned(place)?;
                Ok(refused(&mut self.cleaned, place, why))
            }
            FailureSubject::Place(place) => {
                self.know_target(place)?;
                Ok(refused(&mut self.points, place, why))
            }
        }
    }

    fn know_target(&self, place: &PlaceName) -> Result<(), IllegalFact> {
        known(&self.expected.steps.targets, place)
    }

    fn know_cleaned(&self, place: &PlaceName) -> Result<(), IllegalFact> {
        known(&self.expected.steps.clean, place)
    }
}

fn known(places: &[PlaceName], place: &PlaceName) -> Result<(), IllegalFact> {
    if places.contains(place) {
        Ok(())
    } else {
        Err(IllegalFact::UnknownPlace(place.clone()))
    }
}

fn either(a: Effect, b: Effect) -> Effect {
    if a == Effect::Moved { a } else { b }
}

fn greatest<T: Ord>(slot: &mut T, value: T) -> Effect {
    if value > *slot {
        *slot = value;
        Effect::Moved
    } else {
        Effect::AlreadySeen
    }
}

fn once<T: Clone + PartialEq>(
    slot: &mut Option<T>,
    value: &T,
    what: impl Fn() -> String,
) -> Result<Effect, IllegalFact> {
    match slot {
        Some(known) if known == value => Ok(Effect::AlreadySeen),
        Some(_) => Err(IllegalFact::Contradiction(what())),
        None => {
            *slot = Some(value.clone());
            Ok(Effect::Moved)
        }
    }
}

/// Keeps the least of several reasons, so that the order in which they come does not matter.
fn first(slot: &mut Option<Why>, why: &Why) -> Effect {
    match slot {
        Some(known) if *known <= *why => Effect::AlreadySeen,
        _ => {
            *slot = Some(why.clone());
            Effect::Moved
        }
    }
}

/// Marks a step as done, whatever was told before: what was done stays done.
fn done(places: &mut BTreeMap<PlaceName, TargetState>, place: &PlaceName) -> Effect {
    match places.insert(place.clone(), TargetState::Done) {
        Some(TargetState::Done) => Effect::AlreadySeen,
        _ => Effect::Moved,
    }
}

fn refused(places: &mut BTreeMap<PlaceName, TargetState>, place: &PlaceName, why: &Why) -> Effect {
    match places.get(place) {
        Some(TargetState::Done) => Effect::AlreadySeen,
        Some(TargetState::Failed(known)) if known <= why => Effect::AlreadySeen,
        _ => {
            places.insert(place.clone(), TargetState::Failed(why.clone()));
            Effect::Moved
        }
    }
}

#[cfg(test)]
mod tests;
