//! A plan as single steps, in an order in which it is safe to stop anywhere.

use std::fmt;

use holdfast_format::{ArtefactId, ObjectKey, PackId, RunId};

use super::{Object, Removal, RetentionPlan, RunView};

/// One step. Doing it again, or for something that is gone already, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Records that a run is given up, before anything of it is deleted.
    WriteTombstone {
        run: RunId,
        rule: String,
        /// The artefacts of the run.
        artefacts: Vec<ArtefactId>,
    },
    /// Condemns a pack.
    Condemn(PackId),
    /// Deletes one object.
    Delete { object: Object, rule: String },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteTombstone { run, rule, .. } => write!(f, "write {} ({rule})", ObjectKey::Tombstone(*run)),
            Self::Condemn(pack) => write!(f, "write {}", ObjectKey::Condemned(*pack)),
            Self::Delete { object, rule } => write!(f, "delete {} ({rule})", object.key),
        }
    }
}

impl RetentionPlan {
    /// Returns the plan's steps. They are done one after the other, until one fails.
    ///
    /// First come steps that only save data. Then runs: each tombstone before the deletions of its run, and first the
    /// objects by which others find the run. Then the marks of packs that nothing names any more. Last the packs whose
    /// grace is over, each before its mark.
    #[must_use]
    pub fn steps(&self) -> Vec<Action> {
        let mut steps = Vec::new();
        for (pack, why) in &self.spare {
            steps.push(delete(mark(*pack), &why.to_string()));
        }
        for removal in &self.finish {
            steps.extend(deletions(removal));
        }
        for removal in &self.expire {
            steps.push(Action::WriteTombstone {
                run: removal.run.run,
                rule: removal.rule.clone(),
                artefacts: removal.artefacts.clone(),
            });
            steps.extend(deletions(removal));
        }
        steps.extend(self.condemn.iter().map(|(pack, _)| Action::Condemn(*pack)));
        for (pack, size) in &self.delete_packs {
            let key = ObjectKey::Pack(*pack);
            steps.push(delete(Object { key, size: *size }, "no manifest names it"));
            steps.push(delete(mark(*pack), "its pack is deleted"));
        }
        for run in &self.forget {
            let key = ObjectKey::Tombstone(*run);
            steps.push(delete(Object { key, size: 0 }, "nothing is left of its run"));
        }
        steps
    }
}

fn deletions(removal: &Removal) -> impl Iterator<Item = Action> {
    removal.objects.iter().map(|o| delete(o.clone(), &removal.rule))
}

fn delete(object: Object, rule: &str) -> Action {
    let rule = rule.to_owned();
    Action::Delete { object, rule }
}

/// Marks have some hundred bytes, which do not count as freed.
fn mark(pack: PackId) -> Object {
    let key = ObjectKey::Condemned(pack);
    Object { key, size: 0 }
}

/// Returns a run's objects in the order in which they are deleted: the restore point, by which the run is found; for
/// each artefact the manifest, by which it is found, and then the rest; then the run's records, and last the
/// expectations, which say what the run was.
pub(super) fn in_order(run: &RunView) -> Vec<Object> {
    let mut objects: Vec<Object> = run.objects.clone();
    objects.extend(run.artefacts.iter().flat_map(|a| a.objects.iter().cloned()));
    objects.sort_by(|a, b| (rank(&a.key), &a.key).cmp(&(rank(&b.key), &b.key)));
    objects
}

fn rank(key: &ObjectKey) -> (u8, Option<ArtefactId>, u8) {
    match key {
        ObjectKey::RestorePoint(_) => (0, None, 0),
        ObjectKey::Manifest(id) => (1, Some(*id), 0),
        ObjectKey::Contents(id) => (1, Some(*id), 1),
        ObjectKey::Verified(id, _) => (1, Some(*id), 2),
        ObjectKey::Hold(_) => (3, None, 0),
        ObjectKey::Expected(_) => (4, None, 0),
        _ => (2, None, 0),
    }
}
