//! The content of a place, by its keys alone.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{ArtefactId, ObjectKey, PackId, RunId};
use holdfast_storage::{Listed, Place, Prefix, StorageError};
use jiff::Timestamp;

use crate::plan::{Object, PackView};

/// The listing of a whole place.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) packs: BTreeMap<PackId, PackView>,
    pub(crate) condemned: Vec<PackId>,
    /// Marks of damaged packs, with the time of each.
    pub(crate) damaged: BTreeMap<PackId, Timestamp>,
    /// All objects of each artefact.
    pub(crate) artefacts: BTreeMap<ArtefactId, Vec<Object>>,
    /// All objects below `runs/`, by run.
    pub(crate) runs: BTreeMap<RunId, Vec<Object>>,
    pub(crate) tombstones: Vec<RunId>,
    /// Holds, with the time of each.
    pub(crate) holds: BTreeMap<RunId, (Object, Timestamp)>,
}

/// The order of listing. A manifest names packs that were there before it, and a hold counts until the last moment.
const IN_ORDER: [Prefix; 7] = [
    Prefix::Packs,
    Prefix::Condemned,
    Prefix::Damaged,
    Prefix::Artefacts,
    Prefix::Runs,
    Prefix::Tombstones,
    Prefix::Holds,
];

impl Inventory {
    /// Lists all objects of the place.
    pub(crate) async fn of(place: &Place) -> Result<Self, StorageError> {
        Self::below(place, &IN_ORDER).await
    }

    /// Lists everything except packs and their marks.
    pub(crate) async fn without_packs(place: &Place) -> Result<Self, StorageError> {
        Self::below(place, &IN_ORDER[3..]).await
    }

    async fn below(place: &Place, prefixes: &[Prefix]) -> Result<Self, StorageError> {
        let mut all = Self::default();
        for prefix in prefixes {
            for object in place.list(*prefix).await?.objects {
                all.take(object);
            }
        }
        Ok(all)
    }

    fn take(&mut self, listed: Listed) {
        let Listed { key, size, modified } = listed;
        let object = Object { key: key.clone(), size };
        match key {
            ObjectKey::Pack(id) => drop(self.packs.insert(id, PackView { size, modified })),
            ObjectKey::Condemned(id) => self.condemned.push(id),
            ObjectKey::Damaged(id) => drop(self.damaged.insert(id, modified)),
            ObjectKey::Manifest(id) | ObjectKey::Contents(id) | ObjectKey::Verified(id, _) => {
                self.artefacts.entry(id).or_default().push(object);
            }
            ObjectKey::Expected(run)
            | ObjectKey::Listed(run, _)
            | ObjectKey::SourceFailed(run, _)
            | ObjectKey::ArtefactFailed(run, ..)
            | ObjectKey::PlaceFailed(run, _)
            | ObjectKey::RestorePoint(run)
            | ObjectKey::Copied(run, _)
            | ObjectKey::Cleaned(run, _)
            | ObjectKey::Finished(run) => self.runs.entry(run).or_default().push(object),
            ObjectKey::Tombstone(run) => self.tombstones.push(run),
            ObjectKey::Hold(run) => drop(self.holds.insert(run, (object, modified))),
            // These objects lie at the top of the place, below none of the prefixes.
            ObjectKey::RestoreGuide
            | ObjectKey::RestoreScript
            | ObjectKey::Repository
            | ObjectKey::Roster(_)
            | ObjectKey::Vouched(_) => {}
        }
    }

    /// Returns the keys of artefacts' objects for which `wanted` returns true.
    pub(crate) fn of_artefacts(&self, wanted: impl Fn(&ObjectKey) -> bool) -> Vec<ObjectKey> {
        keys(self.artefacts.values(), wanted)
    }

    /// Returns the keys of runs' objects for which `wanted` returns true.
    pub(crate) fn of_runs(&self, wanted: impl Fn(&ObjectKey) -> bool) -> Vec<ObjectKey> {
        keys(self.runs.values(), wanted)
    }

    /// Returns the runs that have records here, without those in `given_up`.
    pub(crate) fn runs_without(&self, given_up: &BTreeSet<RunId>) -> BTreeSet<RunId> {
        let runs = self.runs.keys().copied();
        runs.filter(|run| !given_up.contains(run)).collect()
    }

    /// True if the artefact's manifest is here.
    pub(crate) fn has_manifest(&self, id: ArtefactId) -> bool {
        let objects = self.artefacts.get(&id);
        objects.is_some_and(|all| all.iter().any(|o| o.key == ObjectKey::Manifest(id)))
    }
}

fn keys<'a>(objects: impl Iterator<Item = &'a Vec<Object>>, wanted: impl Fn(&ObjectKey) -> bool) -> Vec<ObjectKey> {
    let keys = objects.flatten().map(|object| &object.key);
    keys.filter(|key| wanted(key)).cloned().collect()
}
