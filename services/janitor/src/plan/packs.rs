//! Decides which packs are condemned, spared and deleted.

use std::collections::BTreeSet;
use std::fmt;

use holdfast_format::{PackId, RunId};
use jiff::Timestamp;

use super::{PackSizes, PlaceView, Rules};

/// The reason why a pack is no longer condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// A manifest names the pack.
    InUse,
    /// The pack was stored again after it was condemned.
    StoredAnew,
    /// The pack is gone, and only its mark is left.
    Gone,
}

impl fmt::Display for Spare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "a manifest names it",
            Self::StoredAnew => "stored anew since it was condemned",
            Self::Gone => "already deleted",
        })
    }
}

/// Returns the packs that are no longer condemned.
///
/// Any manifest counts here, even one that the same plan deletes: a capture that used it as a parent may be about to
/// name the pack. So the grace of the pack begins again.
pub(super) fn spare(view: &PlaceView) -> Vec<(PackId, Spare)> {
    let named: BTreeSet<PackId> = view.artefacts().flat_map(|a| a.packs.iter().copied()).collect();
    let why = |(id, at): (&PackId, &Timestamp)| {
        let why = match view.packs.get(id) {
            None => Spare::Gone,
            Some(_) if named.contains(id) => Spare::InUse,
            Some(pack) if pack.modified > *at => Spare::StoredAnew,
            Some(_) => return None,
        };
        Some((*id, why))
    };
    view.condemned.iter().filter_map(why).collect()
}

/// The packs of a plan.
#[derive(Default)]
pub(super) struct Swept {
    pub(super) condemn: PackSizes,
    pub(super) delete: PackSizes,
    pub(super) waiting: Vec<PackId>,
}

/// Decides which packs are condemned and deleted, if the runs `going` are deleted.
pub(super) fn sweep(
    view: &PlaceView,
    rules: &Rules,
    now: Timestamp,
    going: &BTreeSet<RunId>,
    spared: &[(PackId, Spare)],
) -> Swept {
    let staying = view.runs.iter().filter(|run| !going.contains(&run.run));
    let staying = staying.flat_map(|run| &run.artefacts).chain(&view.orphans);
    let named: BTreeSet<PackId> = staying.flat_map(|a| a.packs.iter().copied()).collect();
    let spared: BTreeSet<PackId> = spared.iter().map(|(id, _)| *id).collect();
    // A run has chosen the packs that it refers to after its start.
    let going_on = view.runs.iter().filter(|run| run.is_going_on(now));
    let oldest_going_on = going_on.map(|run| run.started).min();
    let mut swept = Swept::default();
    for (id, pack) in view.packs.iter().filter(|(id, _)| !spared.contains(*id)) {
        match view.condemned.get(id) {
            None if !named.contains(id) && rules.is_grace_over(pack.modified, now) => {
                swept.condemn.push((*id, pack.size));
            }
            Some(at) if rules.is_grace_over(*at, now) => {
                if oldest_going_on.is_some_and(|started| started <= *at) {
                    swept.waiting.push(*id);
                } else {
                    swept.delete.push((*id, pack.size));
                }
            }
            _ => {}
        }
    }
    swept
}
