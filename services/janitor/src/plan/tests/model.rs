//! A place in memory: its objects, the facts known about them, and the effect of each step.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{Artefact, ArtefactId, ArtefactKind, Class, Level, ObjectKey, PackId, PlaceName, RunId};
use jiff::{SignedDuration, Timestamp};

use super::super::*;
use super::DAY;

#[derive(Clone, Debug)]
pub(super) struct KnownRun {
    pub(super) started: Timestamp,
    pub(super) class: Class,
    pub(super) deadline: Timestamp,
    pub(super) targets: Vec<PlaceName>,
    pub(super) hold: Option<Hold>,
    pub(super) artefacts: Vec<ArtefactId>,
}

#[derive(Clone, Debug)]
pub(super) struct KnownArtefact {
    pub(super) subject: Subject,
    pub(super) packs: Vec<PackId>,
    pub(super) bad: bool,
    pub(super) verified: Option<Level>,
}

/// The artefacts and subjects that a place must still have after a cleaning, complete or not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MustStay {
    /// Subjects with a good artefact.
    good: BTreeSet<Subject>,
    /// Subjects with a good artefact that was verified.
    verified: BTreeSet<Subject>,
    /// The newest artefact of each subject, good or not.
    newest: BTreeSet<ArtefactId>,
    /// The newest artefact of each subject that was ever proven, whatever was found since.
    ever_proven: BTreeSet<ArtefactId>,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) place: PlaceName,
    pub(super) now: Timestamp,
    pub(super) objects: BTreeMap<ObjectKey, u64>,
    pub(super) packs: BTreeMap<PackId, Timestamp>,
    pub(super) condemned: BTreeMap<PackId, Timestamp>,
    pub(super) tombstones: BTreeMap<RunId, (Tombstoned, Vec<ArtefactId>)>,
    pub(super) runs: BTreeMap<RunId, KnownRun>,
    pub(super) artefacts: BTreeMap<ArtefactId, KnownArtefact>,
    pub(super) unreadable: Vec<String>,
    next: u8,
}

impl Model {
    pub(super) fn new(now: &str) -> Self {
        Self {
            place: PlaceName::local(),
            now: super::time(now),
            objects: BTreeMap::new(),
            packs: BTreeMap::new(),
            condemned: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            runs: BTreeMap::new(),
            artefacts: BTreeMap::new(),
            unreadable: Vec::new(),
            next: 0,
        }
    }

    pub(super) fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Adds a run that was started `days` ago and has only its expectations.
    pub(super) fn begin(&mut self, days: i64, class: Class) -> RunId {
        let started = self.now.checked_sub(SignedDuration::from_secs(days * DAY)).unwrap();
        self.next += 1;
        let id = RunId::new(started.as_millisecond() as u64, [self.next; 10]);
        let run = KnownRun {
            started,
            class,
            deadline: started.checked_add(SignedDuration::from_hours(12)).unwrap(),
            targets: Vec::new(),
            hold: None,
            artefacts: Vec::new(),
        };
        self.runs.insert(id, run);
        self.objects.insert(ObjectKey::Expected(id), 10);
        id
    }

    /// Adds a pack stored at `at`. The same number gives the same pack. If it is there already, it keeps its time,
    /// unless it is condemned: then it is stored again, as writers must do.
    pub(super) fn store(&mut self, number: u8, at: Timestamp) -> PackId {
        let id = PackId::from_bytes([number; 32]);
        if !self.packs.contains_key(&id) || self.condemned.contains_key(&id) {
            self.packs.insert(id, at);
        }
        id
    }

    /// Adds a good artefact that names these packs to the run.
    pub(super) fn seal(&mut self, run: RunId, name: &str, packs: Vec<PackId>) -> ArtefactId {
        let source = "main".parse().unwrap();
        let id = Artefact::new(run, &source, ArtefactKind::Database, name).id;
        let subject = Subject {
            source: source.clone(),
            kind: ArtefactKind::Database,
            name: name.to_owned(),
        };
        let known = KnownArtefact {
            subject,
            packs,
            bad: false,
            verified: None,
        };
        self.artefacts.insert(id, known);
        self.runs.get_mut(&run).unwrap().artefacts.push(id);
        self.objects.insert(ObjectKey::Listed(run, source), 10);
        self.objects.insert(ObjectKey::Contents(id), 50);
        self.objects.insert(ObjectKey::Manifest(id), 20);
        id
    }

    pub(super) fn record(&mut self, run: RunId) {
        self.objects.insert(ObjectKey::RestorePoint(run), 30);
    }

    /// Adds a recorded run of `days` ago, with one database `name` in one pack of its own, verified before it was
    /// recorded.
    pub(super) fn whole(&mut self, days: i64, class: Class, name: &str) -> RunId {
        let run = self.unverified(days, class, name);
        self.known(run).verified = Some(Level::Decrypt);
        run
    }

    /// Adds such a run, which nobody has verified.
    pub(super) fn unverified(&mut self, days: i64, class: Class, name: &str) -> RunId {
        let run = self.begin(days, class);
        let started = self.runs[&run].started;
        let pack = self.store(self.next, started);
        self.seal(run, name, vec![pack]);
        self.record(run);
        run
    }

    /// Returns the first artefact of a run.
    pub(super) fn known(&mut self, run: RunId) -> &mut KnownArtefact {
        let id = self.runs[&run].artefacts[0];
        self.artefacts.get_mut(&id).unwrap()
    }

    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        self.objects.contains_key(key)
    }

    pub(super) fn view(&self) -> PlaceView {
        let packs = self.packs.iter().map(|(id, at)| {
            (
                *id,
                PackView {
                    size: 1000,
                    modified: *at,
                },
            )
        });
        PlaceView {
            place: self.place.clone(),
            runs: self.runs.keys().filter_map(|run| self.run_view(*run)).collect(),
            orphans: Vec::new(),
            packs: packs.collect(),
            condemned: self.condemned.clone(),
            unreadable: self.unreadable.clone(),
            newest_record: None,
            place_time: None,
        }
    }

    fn run_view(&self, id: RunId) -> Option<RunView> {
        let known = &self.runs[&id];
        let of_run = |key: &ObjectKey| matches!(key, ObjectKey::Expected(r) | ObjectKey::RestorePoint(r) | ObjectKey::Listed(r, _) if *r == id);
        let objects = self.select(of_run);
        let tombstone = self.tombstones.get(&id);
        let named = tombstone.map_or(known.artefacts.clone(), |(_, artefacts)| artefacts.clone());
        let artefacts = named.into_iter().map(|a| self.artefact_view(a)).collect();
        (tombstone.is_some() || !objects.is_empty()).then(|| RunView {
            run: id,
            started: known.started,
            class: known.class,
            label: None,
            recorded: self.has(&ObjectKey::RestorePoint(id)),
            deadline: self.has(&ObjectKey::Expected(id)).then_some(known.deadline),
            targets: known.targets.clone(),
            hold: known.hold,
            tombstone: tombstone.map(|(t, _)| t.clone()),
            artefacts,
            objects,
        })
    }

    fn artefact_view(&self, id: ArtefactId) -> ArtefactView {
        let known = &self.artefacts[&id];
        let manifest = self.has(&ObjectKey::Manifest(id));
        ArtefactView {
            id,
            subject: manifest.then(|| known.subject.clone()),
            manifest,
            bad: known.bad,
            verified: known.verified,
            packs: if manifest { known.packs.clone() } else { Vec::new() },
            objects: self.select(|key| {
                matches!(key, ObjectKey::Manifest(a) | ObjectKey::Contents(a) | ObjectKey::Verified(a, _) if *a == id)
            }),
        }
    }

    fn select(&self, which: impl Fn(&ObjectKey) -> bool) -> Vec<Object> {
        let found = self.objects.iter().filter(|(key, _)| which(key));
        let object = |(key, size): (&ObjectKey, &u64)| Object {
            key: key.clone(),
            size: *size,
        };
        found.map(object).collect()
    }

    pub(super) fn apply(&mut self, action: &Action) {
        match action {
            Action::WriteTombstone { run, rule, artefacts } => {
                let rule = rule.clone();
                let tombstone = (Tombstoned { at: self.now, rule }, artefacts.clone());
                self.tombstones.entry(*run).or_insert(tombstone);
            }
            Action::Condemn(pack) => {
                self.condemned.entry(*pack).or_insert(self.now);
            }
            Action::Delete { object, .. } => match &object.key {
                ObjectKey::Pack(pack) => drop(self.packs.remove(pack)),
                ObjectKey::Condemned(pack) => drop(self.condemned.remove(pack)),
                ObjectKey::Tombstone(run) => drop(self.tombstones.remove(run)),
                key => drop(self.objects.remove(key)),
            },
        }
    }

    pub(super) fn apply_all(&mut self, plan: &RetentionPlan) {
        for step in plan.steps() {
            self.apply(&step);
            self.assert_whole();
        }
    }

    /// Checks that no manifest names a pack that is gone.
    pub(super) fn assert_whole(&self) {
        for (id, known) in self
            .artefacts
            .iter()
            .filter(|(id, _)| self.has(&ObjectKey::Manifest(**id)))
        {
            for pack in &known.packs {
                assert!(self.packs.contains_key(pack), "{id} names {pack}, which is gone");
            }
        }
    }

    /// Returns the artefacts whose manifests are here.
    fn here(&self) -> impl Iterator<Item = (&ArtefactId, &KnownArtefact)> {
        self.artefacts
            .iter()
            .filter(|(id, _)| self.has(&ObjectKey::Manifest(**id)))
    }

    /// Returns the artefacts and subjects that a cleaning must leave.
    pub(super) fn must_stay(&self) -> MustStay {
        let subjects = |which: &dyn Fn(&KnownArtefact) -> bool| {
            let all = self.here().filter(|(_, known)| which(known));
            all.map(|(_, known)| known.subject.clone()).collect()
        };
        let mut newest: BTreeMap<&Subject, (bool, RunId, ArtefactId)> = BTreeMap::new();
        let mut ever_proven = newest.clone();
        for (run, known) in &self.runs {
            for id in known.artefacts.iter().filter(|id| self.has(&ObjectKey::Manifest(**id))) {
                let artefact = &self.artefacts[id];
                let found = (!self.tombstones.contains_key(run), *run, *id);
                let keep = |of: &mut BTreeMap<_, (bool, RunId, ArtefactId)>| {
                    let last = of.entry(&artefact.subject).or_insert(found);
                    *last = found.max(*last);
                };
                keep(&mut newest);
                if artefact.verified >= Some(Level::Decrypt) {
                    keep(&mut ever_proven);
                }
            }
        }
        let ids = |of: BTreeMap<_, (bool, RunId, ArtefactId)>| of.into_values().map(|(.., id)| id).collect();
        MustStay {
            good: subjects(&|known| !known.bad),
            verified: subjects(&|known| !known.bad && known.verified.is_some()),
            newest: ids(newest),
            ever_proven: ids(ever_proven),
        }
    }

    /// True if a newer artefact of the same subject is here and proven, with nothing known against it, in a run that is
    /// not given up.
    pub(super) fn is_dispensable(&self, id: ArtefactId) -> bool {
        let subject = &self.artefacts[&id].subject;
        let deepest = self
            .here()
            .filter(|(_, a)| a.subject == *subject)
            .filter_map(|(_, a)| a.verified)
            .max();
        let level = deepest.map_or(Level::Decrypt, |deepest| deepest.min(Level::Decrypt));
        let run_of = |id: &ArtefactId| {
            self.runs
                .iter()
                .find(|(_, run)| run.artefacts.contains(id))
                .map(|(run, _)| *run)
        };
        let newer = |other: &ArtefactId| run_of(other) > run_of(&id);
        let stays = |other: &ArtefactId| run_of(other).is_some_and(|run| !self.tombstones.contains_key(&run));
        self.here().any(|(other, a)| {
            a.subject == *subject && !a.bad && a.verified >= Some(level) && newer(other) && stays(other)
        })
    }

    pub(super) fn objects_of(&self, run: RunId) -> Vec<Object> {
        let view = self.run_view(run);
        view.map_or_else(Vec::new, |run| super::super::steps::in_order(&run))
    }
}
