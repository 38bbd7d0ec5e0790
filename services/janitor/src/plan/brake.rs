//! The brake. A mistake in the configuration, a wrong clock or an incomplete listing shows as a plan that deletes most
//! of a place.

use std::collections::BTreeSet;

use holdfast_format::{ObjectKey, RunId};

use super::{ArtefactView, PlaceView, RetentionPlan, Rules};

/// The number of objects below which the brake does not apply: in a small place, one run is a large share.
const SMALL: u64 = 20;

#[derive(Default)]
struct Tally {
    manifests: u64,
    packs: u64,
    bytes: u64,
}

impl Tally {
    fn add_artefacts<'a>(&mut self, artefacts: impl Iterator<Item = &'a ArtefactView>) {
        let objects = artefacts.flat_map(|a| &a.objects);
        for object in objects.filter(|o| matches!(o.key, ObjectKey::Manifest(_))) {
            self.manifests += 1;
            self.bytes = self.bytes.saturating_add(object.size);
        }
    }

    fn add_packs(&mut self, sizes: impl Iterator<Item = u64>) {
        for size in sizes {
            self.packs += 1;
            self.bytes = self.bytes.saturating_add(size);
        }
    }
}

/// Returns the reason why the plan deletes too much, if it does.
///
/// A pack counts when it is condemned, and again when it is deleted: at the first its data becomes unreachable, at the
/// second it can no longer be saved. Manifests are also counted alone, since they are few beside many packs.
pub(super) fn check(view: &PlaceView, plan: &RetentionPlan, rules: &Rules) -> Option<String> {
    let mut all = Tally::default();
    all.add_artefacts(view.artefacts());
    all.add_packs(view.packs.values().map(|pack| pack.size));
    if all.manifests + all.packs < SMALL {
        return None;
    }
    let mut going = Tally::default();
    let removed: BTreeSet<RunId> = plan.expire.iter().chain(&plan.finish).map(|r| r.run.run).collect();
    let runs = view.runs.iter().filter(|run| removed.contains(&run.run));
    going.add_artefacts(runs.flat_map(|run| &run.artefacts));
    going.add_packs(plan.condemn.iter().chain(&plan.delete_packs).map(|(_, size)| *size));
    let shares = [
        ("objects", going.manifests + going.packs, all.manifests + all.packs),
        ("bytes", going.bytes, all.bytes),
        (
            "manifests",
            going.manifests,
            if all.manifests < SMALL { 0 } else { all.manifests },
        ),
    ];
    let allowed = u128::from(rules.max_delete_percent);
    let (what, part, of) = shares
        .into_iter()
        .find(|(_, part, of)| *of > 0 && u128::from(*part) * 100 > u128::from(*of) * allowed)?;
    Some(format!(
        "{part} of {of} {what} would go, more than max_delete_percent = {allowed} allows at once ({} runs given up, {} packs \
         condemned, {} packs deleted): nothing is deleted unless that is confirmed",
        removed.len(),
        plan.condemn.len(),
        plan.delete_packs.len(),
    ))
}
