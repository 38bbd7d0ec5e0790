//! Turns keys and records into the view for the plan. Pure.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{ArtefactId, Class, ObjectKey, PlaceName, PointStatus, RunId, Verification};
use jiff::Timestamp;

use super::read::{Records, Sealed};
use super::verified::{deepest_good, is_known_bad, last_good};
use super::{Inventory, Sight};
use crate::plan::{ArtefactView, Hold, Object, PlaceView, RunView, Subject, Tombstoned};

pub(super) fn sight(place: PlaceName, at: Timestamp, inventory: Inventory, records: Records) -> Sight {
    let mut builder = Builder {
        known: Known::of(&records),
        place,
        inventory,
        records,
    };
    let runs = builder.runs();
    let orphans = builder.orphans(&runs);
    let unreadable = builder.unreadable(&runs);
    let Builder {
        place,
        inventory,
        records,
        ..
    } = builder;
    let view = PlaceView {
        place,
        runs,
        orphans,
        packs: inventory.packs,
        condemned: records.condemned,
        unreadable,
        newest_record: records.newest,
        place_time: None,
    };
    Sight {
        view,
        at,
        verifications: records.verifications,
        holds: inventory.holds.into_iter().map(|(run, (_, at))| (run, at)).collect(),
        marks: inventory.damaged,
    }
}

/// Facts about artefacts that come from records, and not from the artefacts' own objects.
#[derive(Default)]
struct Known {
    /// For each artefact, the run that it belongs to.
    owners: BTreeMap<ArtefactId, RunId>,
    /// For each run, its artefacts.
    artefacts: BTreeMap<RunId, BTreeSet<ArtefactId>>,
    subjects: BTreeMap<ArtefactId, Subject>,
    /// Artefacts that a restore point or a failure record calls failed, with the time of that.
    failed: BTreeMap<ArtefactId, Timestamp>,
}

impl Known {
    fn of(records: &Records) -> Self {
        let mut known = Self::default();
        for (run, tombstone) in &records.tombstones {
            known.owners.extend(tombstone.artefacts.iter().map(|id| (*id, *run)));
        }
        known.failed.extend(records.failed.iter().map(|(id, at)| (*id, *at)));
        let listed = records.listed.iter();
        let listed = listed.flat_map(|l| l.artefacts.iter().map(|a| (l.run, l.source.clone(), a)));
        let points = records.points.values();
        let pointed = points.flat_map(|p| p.artefacts.iter().map(|a| (p.run, a.source.clone(), &a.artefact)));
        for (run, source, artefact) in listed.chain(pointed) {
            let kind = artefact.kind;
            let name = artefact.name.clone();
            known.owners.insert(artefact.id, run);
            known.subjects.insert(artefact.id, Subject { source, kind, name });
        }
        for point in records.points.values() {
            let failed = point
                .artefacts
                .iter()
                .filter(|a| matches!(a.status, PointStatus::Failed { .. }));
            for artefact in failed {
                let since = known.failed.entry(artefact.artefact.id).or_insert(point.recorded);
                *since = point.recorded.max(*since);
            }
        }
        for (id, sealed) in &records.manifests {
            known.owners.insert(*id, sealed.run);
            known.subjects.insert(*id, sealed.subject.clone());
        }
        for (id, run) in &known.owners {
            known.artefacts.entry(*run).or_default().insert(*id);
        }
        known
    }
}

struct Builder {
    known: Known,
    place: PlaceName,
    inventory: Inventory,
    records: Records,
}

impl Builder {
    /// Returns every run that has a record or a tombstone. A run that has only a hold has nothing to be given up.
    fn runs(&self) -> Vec<RunView> {
        let with_objects = self.inventory.runs.keys();
        let all: BTreeSet<RunId> = with_objects.chain(self.records.tombstones.keys()).copied().collect();
        all.into_iter().map(|run| self.run(run)).collect()
    }

    fn run(&self, run: RunId) -> RunView {
        let expected = self.records.expected.get(&run);
        let point = self.records.points.get(&run);
        let tombstone = self.records.tombstones.get(&run);
        let mut objects = self.inventory.runs.get(&run).cloned().unwrap_or_default();
        objects.extend(self.inventory.holds.get(&run).map(|(object, _)| object.clone()));
        let recorded = objects.iter().any(|o| matches!(o.key, ObjectKey::RestorePoint(_)));
        let by_id = || {
            i64::try_from(run.unix_ms())
                .ok()
                .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        };
        let started = expected
            .map(|e| e.created)
            .or_else(|| point.map(|p| p.started))
            .or_else(by_id);
        let class = [
            expected.map(|e| e.class),
            point.map(|p| p.class),
            self.class_of_artefacts(run),
        ];
        let label = expected
            .and_then(|e| e.label.clone())
            .or_else(|| point.and_then(|p| p.label.clone()));
        RunView {
            run,
            started: started.unwrap_or(Timestamp::MAX),
            class: class.into_iter().flatten().max().unwrap_or(Class::Daily),
            label,
            recorded,
            deadline: expected.map(|e| e.deadline),
            targets: expected.map(|e| e.steps.targets.clone()).unwrap_or_default(),
            hold: self.hold(run),
            tombstone: tombstone.map(|t| Tombstoned {
                at: t.at,
                rule: t.rule.clone(),
            }),
            artefacts: self.artefacts(run, tombstone.is_some()),
            objects,
        }
    }

    /// Returns the highest class among the run's artefacts, since labels may raise an artefact's class.
    fn class_of_artefacts(&self, run: RunId) -> Option<Class> {
        let ids = self.known.artefacts.get(&run).into_iter().flatten();
        let sealed = ids.filter_map(|id| self.records.manifests.get(id));
        sealed.map(|sealed| sealed.class).max()
    }

    /// Returns the latest hold that the run's records and its hold name.
    fn hold(&self, run: RunId) -> Option<Hold> {
        let expected = self
            .records
            .expected
            .get(&run)
            .and_then(|e| e.hold_until)
            .map(Hold::Until);
        let point = self
            .records
            .points
            .get(&run)
            .and_then(|p| p.hold_until)
            .map(Hold::Until);
        let held = self.records.holds.get(&run).map(hold_of);
        [expected, point, held].into_iter().flatten().reduce(later)
    }

    fn artefacts(&self, run: RunId, given_up: bool) -> Vec<ArtefactView> {
        let ids = self.known.artefacts.get(&run).into_iter().flatten();
        let left = |id: &&ArtefactId| !given_up || self.inventory.artefacts.contains_key(*id);
        ids.filter(left).map(|id| self.artefact(*id)).collect()
    }

    fn artefact(&self, id: ArtefactId) -> ArtefactView {
        let verifications = self.records.verifications.get(&id).map_or(&[][..], Vec::as_slice);
        let sealed = self.records.manifests.get(&id);
        let manifest = self.inventory.has_manifest(id);
        let bad = self.is_bad(id, sealed, verifications) || (manifest && sealed.is_none());
        let verified = deepest_good(verifications, &self.place).max(self.verified_by_point(id));
        ArtefactView {
            id,
            subject: self.known.subjects.get(&id).cloned(),
            manifest,
            bad,
            verified,
            packs: sealed.map(|sealed| sealed.packs.clone()).unwrap_or_default(),
            objects: self.inventory.artefacts.get(&id).cloned().unwrap_or_default(),
        }
    }

    /// True if the artefact is damaged and was not found good since: by its run, by a verification, or by the
    /// verification of an artefact that shares a pack with it.
    fn is_bad(&self, id: ArtefactId, sealed: Option<&Sealed>, verifications: &[Verification]) -> bool {
        let good = last_good(verifications, &self.place);
        let failed = self
            .known
            .failed
            .get(&id)
            .is_some_and(|at| good.is_none_or(|good| good < *at));
        let packs = sealed.map_or(&[][..], |sealed| sealed.packs.as_slice());
        // A mark that cannot be read says nothing about the artefact. It forbids all deletion.
        let mut since = packs.iter().filter_map(|pack| self.records.damaged.get(pack).copied());
        failed || is_known_bad(verifications, &self.place) || since.any(|at| good.is_none_or(|good| good < at))
    }

    fn verified_by_point(&self, id: ArtefactId) -> Option<holdfast_format::Level> {
        let point = self.records.points.get(self.known.owners.get(&id)?)?;
        let found = point.artefacts.iter().find(|a| a.artefact.id == id)?;
        match found.status {
            PointStatus::Good { verified, .. } => verified,
            PointStatus::Failed { .. } => None,
        }
    }

    fn orphans(&self, runs: &[RunView]) -> Vec<ArtefactView> {
        let owned: BTreeSet<ArtefactId> = runs.iter().flat_map(|run| &run.artefacts).map(|a| a.id).collect();
        let orphans = self.inventory.artefacts.keys().filter(|id| !owned.contains(*id));
        orphans.map(|id| self.artefact(*id)).collect()
    }

    /// Returns the unreadable objects, which forbid all deletion. For a run that is given up, only its tombstone
    /// counts: the objects that it named and held were checked when it was given up.
    fn unreadable(&mut self, runs: &[RunView]) -> Vec<String> {
        let gone: BTreeSet<RunId> = self.records.tombstones.keys().copied().collect();
        let mut texts = Vec::new();
        for (key, why) in std::mem::take(&mut self.records.unreadable) {
            let run = match &key {
                ObjectKey::Manifest(id) | ObjectKey::Verified(id, _) => self.known.owners.get(id).copied(),
                ObjectKey::Expected(run)
                | ObjectKey::Listed(run, _)
                | ObjectKey::RestorePoint(run)
                | ObjectKey::ArtefactFailed(run, ..) => Some(*run),
                _ => None,
            };
            if run.is_some_and(|run| gone.contains(&run)) {
                tracing::debug!(object = %key, why, "ignoring an unreadable object of a run that is given up");
            } else {
                texts.push(format!("{key} ({why})"));
            }
        }
        // Only the local place fills targets, so only there it matters which targets a run is copied to.
        if self.place == PlaceName::local() {
            let lost = runs.iter().filter(|r| r.recorded && r.tombstone.is_none());
            for run in lost.filter(|run| !has(&run.objects, &ObjectKey::Expected(run.run))) {
                let key = ObjectKey::Expected(run.run);
                texts.push(format!(
                    "{key} (it is missing; which targets the run is to be copied to is not known)"
                ));
            }
        }
        texts.sort();
        texts
    }
}

fn has(objects: &[Object], key: &ObjectKey) -> bool {
    objects.iter().any(|object| object.key == *key)
}

/// Returns the hold that a record of a hold stands for.
pub(crate) fn hold_of(hold: &holdfast_format::Hold) -> Hold {
    hold.until.map_or(Hold::Forever, Hold::Until)
}

/// Returns the hold that lasts longer.
pub(crate) fn later(a: Hold, b: Hold) -> Hold {
    match (a, b) {
        (Hold::Until(a), Hold::Until(b)) => Hold::Until(a.max(b)),
        _ => Hold::Forever,
    }
}
