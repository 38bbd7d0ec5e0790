//! What retention does at one place, decided before anything is done: no I/O and no clock.
//!
//! [`plan`] looks at everything the place holds and says which runs are given up, which packs are condemned, spared
//! and deleted, and what it would have done and did not. [`Plan::lines`] prints that; [`Plan::steps`] is the same as
//! an ordered list, safe to stop after any step and to plan again from what is left.
//!
//! The rules, in the order in which they hold runs back:
//! 1. Without a `[retention.<place>]` section nothing is deleted there.
//! 2. If anything could not be read, the clock or the listing is not to be trusted, or the plan would delete more
//!    than a share of the place at once, nothing is deleted at all.
//! 3. A run is kept while it is pinned, held, has not ended, is younger than the grace, or within the longest period
//!    set for its class or one below it.
//! 4. What is past that goes only if it is dispensable: of each of its artefacts a newer one of the same database or
//!    directory was proven (verified by decrypting it or deeper; where nobody verifies it deeper, to level integrity), and
//!    nothing is known against that one. So a verdict only ever protects: what is found bad does not let an older one go,
//!    and does not go sooner itself.
//! 5. It is kept if it holds one of the last good artefacts of its kind, or a newer one, good or not; or if a target that
//!    the run is to be copied to lacks any of it.
//!
//! Packs go in two steps. What no kept manifest names is condemned; what was condemned longer than the grace ago,
//! and that no manifest at all names now, is deleted. That needs no lock against writers as long as two things hold:
//! no run lasts longer than the grace, and a writer that finds a condemned pack in its way stores it anew.

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
pub use rules::Rules;
pub use steps::Action;
pub use view::{ArtefactView, Hold, Object, Other, Others, PackView, PlaceView, RunView, Subject, Tombstoned};

/// What retention does at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The place.
    pub place: PlaceName,
    /// The time it was planned for: the `now` of all its ages, and the time of the marks that it writes.
    pub at: Timestamp,
    /// Runs that stay, newest first, and why.
    pub keep: Vec<(Described, Keep)>,
    /// Runs that are given up, oldest first.
    pub expire: Vec<Removal>,
    /// Runs given up earlier of which something is left.
    pub finish: Vec<Removal>,
    /// Tombstones that have done their work.
    pub forget: Vec<RunId>,
    /// Condemnations that are lifted.
    pub spare: Vec<(PackId, Spare)>,
    /// Packs that are condemned, with their bytes.
    pub condemn: Vec<(PackId, u64)>,
    /// Packs that are deleted, with their bytes.
    pub delete_packs: Vec<(PackId, u64)>,
    /// Packs whose grace is over, but which a run that began before they were condemned may still come to name.
    pub waiting: Vec<PackId>,
    /// Artefacts of runs that nothing is known of. They are told, and stay.
    pub orphans: Vec<ArtefactId>,
    /// What would have been done and was not, and why.
    pub refused: Vec<String>,
    /// Whether nothing at all is deleted for a reason that somebody should look at: the reason is in `refused`.
    pub blocked: bool,
}

/// A run as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The run.
    pub run: RunId,
    /// When it was started.
    pub started: Timestamp,
    /// What retention goes by.
    pub class: Class,
    /// A word that people find it by.
    pub label: Option<String>,
}

/// A run that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The run.
    pub run: Described,
    /// By which rule.
    pub rule: String,
    /// Its artefacts.
    pub artefacts: Vec<ArtefactId>,
    /// Its objects, in the order in which they go.
    pub objects: Vec<Object>,
}

/// Plans retention at the place that `view` shows.
///
/// `rules` is what is configured for it; `None` keeps everything. `others` are the places that the local one copies
/// to, or, for a target, the local one. `confirm` lifts the brake on large deletions, and nothing else.
///
/// The plan holds for the view it was made from: apply it at once, or plan again.
#[must_use]
pub fn plan(view: &PlaceView, rules: Option<&Rules>, others: &Others, now: Timestamp, confirm: bool) -> Plan {
    let Some(rules) = rules else {
        return Plan::keeping(view, now, &Keep::NoRetention);
    };
    let blocks = checks::blocks(view, now);
    if !blocks.is_empty() {
        return Plan::blocked(view, now, blocks);
    }
    let wanted = decide(view, rules, others, now);
    match brake::check(view, &wanted, rules) {
        Some(brake) if !confirm => Plan::blocked(view, now, vec![brake]),
        _ => wanted,
    }
}

/// What has to be known of a target before runs of the local place may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Runs that the target is to have, or to have had.
    pub runs: BTreeSet<RunId>,
    /// Artefacts that it is to have.
    pub artefacts: BTreeSet<ArtefactId>,
}

/// What has to be known of the targets of the place that `view` shows: of all that would go if they had everything.
#[must_use]
pub fn asked(view: &PlaceView, rules: Option<&Rules>, now: Timestamp) -> BTreeMap<PlaceName, Asked> {
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

fn decide(view: &PlaceView, rules: &Rules, others: &Others, now: Timestamp) -> Plan {
    let mut plan = Plan::empty(view, now);
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

impl Plan {
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

    /// Nothing goes. Condemnations are still lifted where a pack is in use: that only ever saves data.
    fn blocked(view: &PlaceView, now: Timestamp, refused: Vec<String>) -> Self {
        Self {
            refused,
            blocked: true,
            spare: packs::spare(view),
            ..Self::keeping(view, now, &Keep::Blocked)
        }
    }

    /// Whether applying it would change nothing.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let runs = self.expire.is_empty() && self.finish.is_empty() && self.forget.is_empty();
        runs && self.spare.is_empty() && self.condemn.is_empty() && self.delete_packs.is_empty()
    }
}

/// Packs by their bytes.
type Sized = Vec<(PackId, u64)>;

#[cfg(test)]
mod tests;
