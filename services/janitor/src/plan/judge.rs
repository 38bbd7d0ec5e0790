//! Decides if one run stays.

use holdfast_format::PlaceName;
use jiff::Timestamp;

use super::protect::Guards;
use super::refusals::Refusals;
use super::{
    ArtefactView, Hold, Keep, Other, Others, PlaceView, Removal, RetentionPlan, Rules, RunView, Tombstoned, steps,
};

pub(super) struct Judge<'a> {
    pub(super) view: &'a PlaceView,
    pub(super) rules: &'a Rules,
    pub(super) others: &'a Others,
    pub(super) now: Timestamp,
    pub(super) guards: Guards,
}

impl Judge<'_> {
    /// Adds the run to the plan: to those that stay, or to those that are deleted.
    pub(super) fn pass(&self, run: &RunView, plan: &mut RetentionPlan, refusals: &mut Refusals) {
        if let Some(tombstone) = &run.tombstone {
            return self.finish(run, tombstone, plan, refusals);
        }
        let rule = match self.age(run) {
            Ok(rule) => rule,
            Err(keep) => {
                plan.keep.push((run.described(), self.held(run).unwrap_or(keep)));
                return;
            }
        };
        let kept_back = self
            .held(run)
            .or_else(|| self.guards.keep(run))
            .or_else(|| self.lacking(run));
        match kept_back {
            Some(keep) => {
                refusals.add(&format!("run {} is {rule}, but stays", run.run), &keep);
                plan.keep.push((run.described(), keep));
            }
            None => plan.expire.push(removal(run, self.with_proof(run, rule))),
        }
    }

    /// Returns the rule, with a remark if the proof of newer artefacts is weaker than it could be.
    fn with_proof(&self, run: &RunView, mut rule: String) -> String {
        if self.guards.rests_on_integrity(run) {
            rule.push_str("; newer ones are proven to level integrity, and nobody verifies deeper");
        }
        rule
    }

    /// Returns the rule by which the run is too old, or the reason why it is not.
    fn age(&self, run: &RunView) -> Result<String, Keep> {
        if run.class == holdfast_format::Class::Pinned {
            return Err(Keep::Pinned);
        }
        if run.is_going_on(self.now) {
            return Err(Keep::GoingOn(run.deadline));
        }
        if !self.rules.is_grace_over(run.started, self.now) {
            return Err(Keep::Young);
        }
        match self.rules.reach(run.class, self.now) {
            None => Err(Keep::NoPeriod(run.class)),
            Some(reach) if run.started >= reach.cutoff => Err(Keep::Within(reach.class, reach.span)),
            Some(reach) => Ok(format!("older than {} = {}", reach.class, reach.span)),
        }
    }

    fn held(&self, run: &RunView) -> Option<Keep> {
        let hold = run.hold.filter(|hold| hold.is_in_force(self.now))?;
        Some(Keep::Held(match hold {
            Hold::Until(until) => Some(until),
            Hold::Forever => None,
        }))
    }

    /// Returns what a target still lacks of the run. Only the local place is asked, since targets are filled from
    /// there.
    ///
    /// A bad artefact is never copied, so the target must have one that can stand in for it.
    fn lacking(&self, run: &RunView) -> Option<Keep> {
        if self.view.place != PlaceName::local() {
            return None;
        }
        run.targets.iter().find_map(|target| match self.others.get(target)? {
            Other::Unseen(why) => Some(Keep::Unseen(target.clone(), why.clone())),
            Other::Seen { given_up, .. } if given_up.contains(&run.run) => None,
            Other::Seen { artefacts, .. } => {
                let stands_in = |a: &ArtefactView| !self.guards.stand_ins(self.view, run, a).is_disjoint(artefacts);
                let has = |a: &ArtefactView| artefacts.contains(&a.id) || (a.bad && stands_in(a));
                let first = run.artefacts.iter().find(|a| a.manifest && !has(a))?;
                Some(Keep::Lacks(target.clone(), first.subject.clone()))
            }
        })
    }

    /// Decides about a run that was given up earlier. It may have been held since, or all newer runs may have turned
    /// out bad; then the rest of it stays.
    fn finish(&self, run: &RunView, tombstone: &Tombstoned, plan: &mut RetentionPlan, refusals: &mut Refusals) {
        let mut left = removal(run, tombstone.rule.clone());
        if left.objects.is_empty() {
            if self.may_forget(run, tombstone) {
                plan.forget.push(run.run);
            }
            return;
        }
        match self.held(run).or_else(|| self.guards.keep(run)) {
            Some(keep) => {
                let since = tombstone.at;
                let what = format!("run {} was given up at {since}, but what is left of it stays", run.run);
                refusals.add(&what, &keep);
                plan.keep.push((run.described(), keep));
            }
            None => {
                left.rule.push_str(", begun earlier");
                plan.finish.push(left);
            }
        }
    }

    /// True if a tombstone may be removed. A tombstone at a target tells the local place that the target had the run
    /// and must not get it again, so it stays as long as the local place has the run.
    fn may_forget(&self, run: &RunView, tombstone: &Tombstoned) -> bool {
        let local = PlaceName::local();
        let settled = self.view.place == local
            || matches!(self.others.get(&local), Some(Other::Seen { runs, .. }) if !runs.contains(&run.run));
        settled && self.rules.is_grace_over(tombstone.at, self.now)
    }
}

fn removal(run: &RunView, rule: String) -> Removal {
    Removal {
        run: run.described(),
        rule,
        artefacts: run.artefacts.iter().map(|a| a.id).collect(),
        objects: steps::in_order(run),
    }
}
