//! The decisions of retention at one place, made before anything is done. Uses no I/O and no clock.
//!
//! [`plan`] looks at everything that the place holds. It decides which runs are given up, which packs are condemned,
//! spared and deleted, and which deletions are refused and why. [`RetentionPlan::lines`] prints the plan. [`RetentionPlan::steps`]
//! returns it as an ordered list of steps: it is safe to stop after any of them, and to plan the rest again.
//!
//! The rules, in the order in which they keep runs:
//! 1. Without a `[retention.<place>]` section nothing is deleted there.
//! 2. If anything could not be read, the clock or the listing is not to be trusted, or the plan would delete more
//!    than a share of the place at once, nothing is deleted at all.
//! 3. A run is kept while it is pinned, held, has not ended, is younger than the grace, or within the longest period
//!    set for its class or one below it.
//! 4. A run that is past that goes only if it is dispensable. For each of its artefacts, a newer one of the same
//!    database or directory must be proven: verified by decrypting it or deeper (or to level integrity, if nobody
//!    verifies that subject deeper), with nothing known against it. So a verdict only protects: an artefact that is
//!    found bad does not let an older one go, and does not go sooner itself.
//! 5. A run is kept if it holds one of the last good artefacts of its kind, or a newer one, good or not; or if a target
//!    that the run is copied to lacks any of it.
//!
//! Packs are deleted in two steps. A pack that no kept manifest names is condemned. A pack that was condemned longer
//! than the grace ago, and that no manifest at all names now, is deleted. No lock against writers is needed as long as
//! two things are true: no run lasts longer than the grace, and a writer that finds a condemned pack in its way stores
//! it again.

mod brake;
mod checks;
mod judge;
mod keep;
mod lines;
mod packs;
mod protect;
mod refusals;
mod report;
mod rules;
mod steps;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{ArtefactId, Class, PackId, PlaceName, RunId};
use jiff::Timestamp;

pub use keep::Keep;
pub use packs::Spare;
pub(crate) use rules::Rules;
pub use steps::Action;
pub use view::Object;
pub(crate) use view::{ArtefactView, Hold, Other, Others, PackView, PlaceView, RunView, Subject, Tombstoned};

/// The plan of retention at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPlan {
    pub place: PlaceName,
    /// The time that the plan was made for: all ages are counted to it, and marks that the plan writes have it.
    pub at: Timestamp,
    /// Runs that stay, newest first, each with the reason.
    pub keep: Vec<(Described, Keep)>,
    /// Runs that are given up, oldest first.
    pub expire: Vec<Removal>,
    /// Runs that were given up earlier and of which something is left.
    pub finish: Vec<Removal>,
    /// Tombstones that are not needed any more.
    pub forget: Vec<RunId>,
    /// Packs that are no longer condemned, each with the reason.
    pub spare: Vec<(PackId, Spare)>,
    /// Packs that are condemned, with their sizes in bytes.
    pub condemn: Vec<(PackId, u64)>,
    /// Packs that are deleted, with their sizes in bytes.
    pub delete_packs: Vec<(PackId, u64)>,
    /// Packs whose grace is over, but which an unfinished run may still name, since it began before they were
    /// condemned.
    pub waiting: Vec<PackId>,
    /// Artefacts of runs that have no record here. The plan lists them, and keeps them.
    pub orphans: Vec<ArtefactId>,
    /// Deletions that the rules ask for and that are not done, each with the reason.
    pub refused: Vec<String>,
    /// True if nothing at all is deleted, for a reason in `refused` that somebody should look at.
    pub blocked: bool,
}

/// A run as people know it: with date, class and label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub run: RunId,
    /// Time of the run's start.
    pub started: Timestamp,
    /// The class, which decides how long the run is kept.
    pub class: Class,
    /// A label that somebody gave the run.
    pub label: Option<String>,
}

/// A run that is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub run: Described,
    pub rule: String,
    /// The artefacts of the run.
    pub artefacts: Vec<ArtefactId>,
    /// The objects of the run, in the order in which they are deleted.
    pub objects: Vec<Object>,
}

/// Plans retention at the place that `view` shows.
///
/// `rules` are the configured rules; `None` keeps everything. `others` are the places that the local one copies to, or,
/// for a target, the local one. `confirm` lifts the brake on large deletions, and nothing else.
///
/// The plan is valid for this view only: apply it at once, or plan again.
#[must_use]
pub(crate) fn plan(
    view: &PlaceView,
    rules: Option<&Rules>,
    others: &Others,
    now: Timestamp,
    confirm: bool,
) -> RetentionPlan {
    let Some(rules) = rules else {
        return RetentionPlan::keeping(view, now, &Keep::NoRetention);
    };
    let blocks = checks::blocks(view, now);
    if !blocks.is_empty() {
        return RetentionPlan::blocked(view, now, blocks);
    }
    let wanted = decide(view, rules, others, now);
    match brake::check(view, &wanted, rules) {
        Some(brake) if !confirm => RetentionPlan::blocked(view, now, vec![brake]),
        _ => wanted,
    }
}

/// The questions to a target that must be answered before runs of the local place may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Runs that the target should have, or have had.
    pub runs: BTreeSet<RunId>,
    /// Artefacts that the target should have.
    pub artefacts: BTreeSet<ArtefactId>,
}

/// Returns the questions to the targets of the place that `view` shows. They concern the runs that would go if the
/// targets had everything.
#[must_use]
pub(crate) fn asked(view: &PlaceView, rules: Option<&Rules>, now: Timestamp) -> BTreeMap<PlaceName, Asked> {
    let mut of: BTreeMap<PlaceName, Asked> = BTreeMap::new();
    let Some(rules) = rules.filter(|_| checks::blocks(view, now).is_empty()) else {
        return of;
    };
    let guards = protect::Guards::of(view, rules.keep_last);
    let going = decide(view, rules, &Others::new(), now).expire;
    let going: BTreeSet<RunId> = going.iter().map(|removal| removal.run.run).collect();
    for run in view.runs.iter().filter(|run| going.contains(&run.run)) {
        for target in &run.targets {
            let asked = of.entry(target.clone()).or_default();
            asked.runs.insert(run.run);
            for artefact in run.artefacts.iter().filter(|a| a.manifest) {
                asked.artefacts.insert(artefact.id);
                if artefact.bad {
                    asked.artefacts.extend(guards.stand_ins(view, run, artefact));
                }
            }
        }
    }
    of
}

fn decide(view: &PlaceView, rules: &Rules, others: &Others, now: Timestamp) -> RetentionPlan {
    let mut plan = RetentionPlan::empty(view, now);
    let mut refusals = refusals::Refusals::default();
    let guards = protect::Guards::of(view, rules.keep_last);
    let judge = judge::Judge {
        view,
        rules,
        others,
        now,
        guards,
    };
    for run in view.newest_first() {
        judge.pass(run, &mut plan, &mut refusals);
    }
    plan.refused = refusals.into_lines();
    plan.expire.reverse();
    plan.finish.reverse();
    let going: BTreeSet<RunId> = plan.expire.iter().chain(&plan.finish).map(|r| r.run.run).collect();
    plan.spare = packs::spare(view);
    let swept = packs::sweep(view, rules, now, &going, &plan.spare);
    (plan.condemn, plan.delete_packs, plan.waiting) = (swept.condemn, swept.delete, swept.waiting);
    plan
}

impl RetentionPlan {
    fn empty(view: &PlaceView, now: Timestamp) -> Self {
        Self {
            place: view.place.clone(),
            at: now,
            keep: Vec::new(),
            expire: Vec::new(),
            finish: Vec::new(),
            forget: Vec::new(),
            spare: Vec::new(),
            condemn: Vec::new(),
            delete_packs: Vec::new(),
            waiting: Vec::new(),
            orphans: view.orphans.iter().map(|a| a.id).collect(),
            refused: Vec::new(),
            blocked: false,
        }
    }

    fn keeping(view: &PlaceView, now: Timestamp, why: &Keep) -> Self {
        let keep = view
            .newest_first()
            .into_iter()
            .map(|run| (run.described(), why.clone()));
        Self {
            keep: keep.collect(),
            ..Self::empty(view, now)
        }
    }

    /// Makes a plan that deletes nothing. Packs in use are still spared, since that only ever saves data.
    fn blocked(view: &PlaceView, now: Timestamp, refused: Vec<String>) -> Self {
        Self {
            refused,
            blocked: true,
            spare: packs::spare(view),
            ..Self::keeping(view, now, &Keep::Blocked)
        }
    }

    /// True if the plan changes nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let runs = self.expire.is_empty() && self.finish.is_empty() && self.forget.is_empty();
        runs && self.spare.is_empty() && self.condemn.is_empty() && self.delete_packs.is_empty()
    }
}

/// Packs with their sizes in bytes.
type PackSizes = Vec<(PackId, u64)>;

#[cfg(test)]
mod tests;
