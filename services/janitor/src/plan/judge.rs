//! One run: does it stay?

use holdfast_format::PlaceName;
use jiff::Timestamp;

use super::protect::Guards;
use super::refusals::Refusals;
use super::{ArtefactView, Hold, Keep, Other, Others, PlaceView, Plan, Removal, Rules, RunView, Tombstoned, steps};

pub(super) struct Judge<'a> {
    pub(super) view: &'a PlaceView,
    pub(super) rules: &'a Rules,
    pub(super) others: &'a Others,
    pub(super) now: Timestamp,
    pub(super) guards: Guards,
}

impl Judge<'_> {
    /// Puts the run where it belongs in the plan.
    pub(super) fn pass(&self, run: &RunView, plan: &mut Plan, refusals: &mut Refusals) {
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

    /// The rule, and what the proof of newer ones is if it is not all that it could be.
    fn with_proof(&self, run: &RunView, mut rule: String) -> String {
        if self.guards.rests_on_integrity(run) {
            rule.push_str("; newer ones are proven to level integrity, and nobody verifies deeper");
        }
        rule
    }

    /// The rule by which it is past its time, else why it is not.
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

    /// What a target still lacks of it. The local place alone is what targets are filled from.
    ///
    /// A bad artefact is never copied. The target has to have one that can stand in for it.
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

    /// What becomes of a run that was given up earlier. Since then it may have been held, or all newer ones may have
    /// turned out bad: then what is left of it stays.
    fn finish(&self, run: &RunView, tombstone: &Tombstoned, plan: &mut Plan, refusals: &mut Refusals) {
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

    /// A target's tombstone tells the local place that the target had the run and is not to get it again, so it stays
    /// as long as the run is there.
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
