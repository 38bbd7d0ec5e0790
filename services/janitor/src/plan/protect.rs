//! Decides which artefacts stay at any age.
//!
//! A verdict only protects. A fault of an artefact never lets it, or another one, go. Only a proof does: an artefact
//! may go once a newer one of the same database or directory was verified, and no fault of that one is known. Where
//! nothing was verified, nothing goes.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{ArtefactId, Level, RunId};
use jiff::Timestamp;

use super::{ArtefactView, Keep, PlaceView, RunView, Subject};

/// The lowest level of a verification that proves that an artefact can be restored.
const PROOF: Level = Level::Decrypt;

/// The order of artefacts of the same subject: the start of their run, and its id.
type Order = (Timestamp, RunId);

/// The artefacts that must stay, by subject.
pub(super) struct Guards {
    of: BTreeMap<Subject, Guard>,
}

/// The artefacts of one subject that must stay.
struct Guard {
    /// The newest artefacts, down to the last of those good ones that are kept at any age.
    newest: BTreeMap<ArtefactId, IsGood>,
    /// The newest proven artefact. Older ones may go.
    proof: Option<Proof>,
    /// The level that counts as proof for this subject.
    level: Level,
}

type IsGood = bool;

struct Proof {
    artefact: ArtefactId,
    order: Order,
}

/// An artefact whose manifest is here, good or not, with its run.
#[derive(Clone, Copy)]
struct Known<'a> {
    run: &'a RunView,
    artefact: &'a ArtefactView,
}

impl Guards {
    /// Reads the guards of a place where the last `keep_last` good artefacts of each subject are kept.
    pub(super) fn of(view: &PlaceView, keep_last: u32) -> Self {
        let mut all: BTreeMap<&Subject, Vec<Known<'_>>> = BTreeMap::new();
        for run in view.newest_first() {
            for artefact in run.artefacts.iter().filter(|a| a.manifest) {
                if let Some(subject) = &artefact.subject {
                    all.entry(subject).or_default().push(Known { run, artefact });
                }
            }
        }
        let keep_last = usize::try_from(keep_last.max(1)).unwrap_or(usize::MAX);
        let guard = |(subject, known): (&Subject, Vec<Known<'_>>)| (subject.clone(), Guard::of(known, keep_last));
        Self {
            of: all.into_iter().map(guard).collect(),
        }
    }

    /// Returns the reason why a run stays, if one of its artefacts must stay.
    pub(super) fn keep(&self, run: &RunView) -> Option<Keep> {
        let here = || run.artefacts.iter().filter(|a| a.manifest);
        here()
            .find_map(|artefact| self.among_newest(artefact))
            .or_else(|| here().find_map(|artefact| self.unproven(run, artefact)))
    }

    fn guard<'a>(&self, artefact: &'a ArtefactView) -> Option<(&'a Subject, &Guard)> {
        let subject = artefact.subject.as_ref()?;
        Some((subject, self.of.get(subject)?))
    }

    fn among_newest(&self, artefact: &ArtefactView) -> Option<Keep> {
        let (subject, guard) = self.guard(artefact)?;
        let subject = subject.clone();
        Some(match guard.newest.get(&artefact.id)? {
            true => Keep::LastGood(subject),
            false => Keep::Newest(subject),
        })
    }

    /// Returns the reason why the artefact is still needed, if no newer one is proven.
    fn unproven(&self, run: &RunView, artefact: &ArtefactView) -> Option<Keep> {
        let Some((subject, guard)) = self.guard(artefact) else {
            return Some(Keep::Unknown(artefact.id));
        };
        let subject = subject.clone();
        match &guard.proof {
            Some(proof) if proof.artefact == artefact.id => Some(Keep::LastVerified(subject)),
            Some(proof) if order(run) < proof.order => None,
            _ => Some(Keep::Unproven(subject, guard.level)),
        }
    }

    /// True if the run may go because of a proof to level integrity alone.
    pub(super) fn rests_on_integrity(&self, run: &RunView) -> bool {
        let mut here = run.artefacts.iter().filter(|a| a.manifest);
        here.any(|artefact| self.guard(artefact).is_some_and(|(_, guard)| guard.level < PROOF))
    }

    /// Returns the artefacts that can stand in for a bad one of `run`, which no target will ever get. They are newer
    /// and proven, and belong to a run that is kept at least as long.
    pub(super) fn stand_ins(&self, view: &PlaceView, run: &RunView, artefact: &ArtefactView) -> BTreeSet<ArtefactId> {
        let Some((subject, guard)) = self.guard(artefact) else {
            return BTreeSet::new();
        };
        let newer = view.runs.iter().filter(|other| order(other) > order(run));
        let lasting = newer.filter(|other| other.tombstone.is_none() && other.class >= run.class);
        let proven = lasting
            .flat_map(|other| &other.artefacts)
            .filter(|a| guard.is_proven(a));
        proven
            .filter(|a| a.subject.as_ref() == Some(subject))
            .map(|a| a.id)
            .collect()
    }
}

impl Guard {
    /// Makes the guard of a subject from its artefacts, which are sorted from new to old.
    ///
    /// Artefacts of runs that are given up count last. They are being deleted, so they must not stand in for one that
    /// stays. But if nothing else is left, they stay, and their deletion is not finished.
    fn of(known: Vec<Known<'_>>, keep_last: usize) -> Self {
        let deepest = known.iter().filter_map(|k| k.artefact.verified).max();
        // If nobody verifies deeper, level integrity is the only proof there is.
        let level = deepest.map_or(PROOF, |deepest| deepest.min(PROOF));
        let (going, mut known): (Vec<_>, Vec<_>) = known.into_iter().partition(|k| k.run.tombstone.is_some());
        let proof = known.iter().find(|k| is_proven(k.artefact, level)).map(|k| Proof {
            artefact: k.artefact.id,
            order: order(k.run),
        });
        known.extend(going);
        let mut good = known.iter().enumerate().filter(|(_, k)| k.artefact.is_good());
        let down_to = good.nth(keep_last - 1).map_or(known.len(), |(at, _)| at + 1);
        let newest = known.iter().take(down_to);
        Self {
            newest: newest.map(|k| (k.artefact.id, k.artefact.is_good())).collect(),
            proof,
            level,
        }
    }

    fn is_proven(&self, artefact: &ArtefactView) -> bool {
        is_proven(artefact, self.level)
    }
}

fn is_proven(artefact: &ArtefactView, level: Level) -> bool {
    artefact.is_good() && artefact.verified >= Some(level)
}

fn order(run: &RunView) -> Order {
    (run.started, run.run)
}
