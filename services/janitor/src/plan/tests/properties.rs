//! Random places, times and stops: the promises of retention always hold.

use holdfast_format::{Class, Level, ObjectKey, PackId};
use proptest::prelude::*;

use super::model::Model;
use super::*;

const NAMES: [&str; 3] = ["shop", "blog", "wiki"];

/// An event between two cleanings.
#[derive(Clone, Debug)]
enum Event {
    /// A run of this class backs up some databases. Each is partly in packs of its newest predecessor.
    Backup(Class, Vec<(usize, u8)>),
    /// A run begins. It sees the packs that it will refer to, and stores a pack now; it names both only at `Land`.
    Begin(usize, u8),
    /// The runs that have begun end, if their deadline has not passed.
    Land,
    /// The n-th artefact is found bad.
    Damage(usize),
    /// The n-th artefact is verified to this level.
    Verify(usize, Level),
    /// The n-th run is held for some days.
    Hold(usize, i64),
    /// Some hours pass.
    Pass(i64),
    /// Retention is applied up to the n-th step, or completely.
    Clean(Option<usize>),
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![6 => Just(Class::Daily), 2 => Just(Class::Weekly), 1 => Just(Class::Monthly), 1 => Just(Class::Pinned)]
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![1 => Just(Level::Integrity), 4 => Just(Level::Decrypt), 1 => Just(Level::Restore)]
}

fn event() -> impl Strategy<Value = Event> {
    let artefacts = prop::collection::vec((0..NAMES.len(), 1u8..40), 0..3);
    prop_oneof![
        6 => (class(), artefacts).prop_map(|(class, artefacts)| Event::Backup(class, artefacts)),
        3 => (0..NAMES.len(), 1u8..40).prop_map(|(name, pack)| Event::Begin(name, pack)),
        2 => Just(Event::Land),
        1 => (0usize..20).prop_map(Event::Damage),
        6 => (0usize..20, level()).prop_map(|(n, level)| Event::Verify(n, level)),
        1 => (0usize..20, 0i64..20).prop_map(|(run, days)| Event::Hold(run, days)),
        6 => (1i64..60).prop_map(Event::Pass),
        6 => prop::option::of(0usize..30).prop_map(Event::Clean),
    ]
}

/// A writer between its start and its manifest.
struct Writer {
    run: RunId,
    name: &'static str,
    packs: Vec<PackId>,
}

struct World {
    model: Model,
    rules: Rules,
    writers: Vec<Writer>,
    stored: u8,
}

impl World {
    /// Returns the packs that a new artefact of this name refers to: those of the newest artefact, of runs that are not
    /// given up.
    fn parent(&self, name: &str) -> Vec<PackId> {
        let there = |a: &&ArtefactId| {
            self.model.artefacts[*a].subject.name == name && self.model.has(&ObjectKey::Manifest(**a))
        };
        let runs = self
            .model
            .runs
            .iter()
            .filter(|(run, _)| !self.model.tombstones.contains_key(run));
        let newest = runs.flat_map(|(_, run)| run.artefacts.iter().filter(there)).next_back();
        newest.map_or_else(Vec::new, |a| {
            self.model.artefacts[a].packs.iter().copied().take(2).collect()
        })
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Backup(class, artefacts) => {
                let run = self.model.begin(0, *class);
                for (name, pack) in artefacts {
                    let name = NAMES[*name];
                    let known = &self.model.runs[&run].artefacts;
                    if known.iter().any(|a| self.model.artefacts[a].subject.name == name) {
                        continue;
                    }
                    let mut packs = self.parent(name);
                    packs.push(self.model.store(*pack, self.model.now));
                    self.model.seal(run, name, packs);
                }
                self.model.record(run);
            }
            Event::Begin(name, pack) => {
                let name = NAMES[*name];
                let mut packs = self.parent(name);
                packs.push(self.model.store(*pack, self.model.now));
                let run = self.model.begin(0, Class::Daily);
                self.writers.push(Writer { run, name, packs });
            }
            Event::Land => self.land(),
            Event::Damage(n) => self.nth(*n, |known| known.bad = true),
            Event::Verify(n, level) => self.nth(*n, |known| {
                known.verified = known.verified.max(Some(*level));
                known.bad = false;
            }),
            Event::Hold(n, days) => {
                let until = self
                    .model
                    .now
                    .checked_add(jiff::SignedDuration::from_secs(days * DAY))
                    .unwrap();
                if let Some(run) = self.model.runs.values_mut().nth(*n) {
                    run.hold = Some(if *days == 0 { Hold::Forever } else { Hold::Until(until) });
                }
            }
            Event::Pass(hours) => self.model.pass(hours * HOUR),
            Event::Clean(steps) => self.clean(*steps),
        }
        self.model.assert_whole();
    }

    fn land(&mut self) {
        for writer in std::mem::take(&mut self.writers) {
            if self.model.runs[&writer.run].deadline <= self.model.now {
                continue;
            }
            self.stored = self.stored.wrapping_add(1);
            let mut packs = writer.packs;
            packs.push(self.model.store(self.stored % 40, self.model.now));
            self.model.seal(writer.run, writer.name, packs);
            self.model.record(writer.run);
        }
    }

    fn nth(&mut self, n: usize, change: impl Fn(&mut super::model::KnownArtefact)) {
        if let Some(known) = self.model.artefacts.values_mut().nth(n) {
            change(known);
        }
    }

    fn clean(&mut self, stop: Option<usize>) {
        let view = self.model.view();
        let plan = plan(&view, Some(&self.rules), &Others::new(), self.model.now, true);
        let held: Vec<_> = view
            .runs
            .iter()
            .filter(|r| r.hold.is_some_and(|h| h.is_in_force(self.model.now)))
            .collect();
        let held: Vec<_> = held.iter().map(|r| (r.run, self.model.objects_of(r.run))).collect();
        let before = self.model.must_stay();
        let steps = plan.steps();
        let stop = stop.unwrap_or(steps.len()).min(steps.len());
        for step in &steps[..stop] {
            if let Action::Delete { object, .. } = step
                && let ObjectKey::Manifest(id) = object.key
            {
                assert!(self.model.is_dispensable(id), "before {step}");
            }
            self.model.apply(step);
            self.model.assert_whole();
            assert_eq!(self.model.must_stay(), before, "after {step}");
            for (run, objects) in &held {
                assert_eq!(self.model.objects_of(*run), *objects, "held run {run} after {step}");
            }
        }
        if stop == steps.len() {
            let mut again = super::super::plan(
                &self.model.view(),
                Some(&self.rules),
                &Others::new(),
                self.model.now,
                true,
            );
            // A tombstone must outlive the objects that it marks; one whose grace is over is removed the next time. A
            // pack that was stored again and is still unused is condemned again then, for a whole grace.
            again.forget.clear();
            again
                .condemn
                .retain(|(pack, _)| plan.spare.iter().all(|(spared, _)| spared != pack));
            assert!(again.is_idle(), "planned again:\n{again}\nafter\n{plan}");
        }
    }
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let span = |text| prop::option::weighted(0.8, Just(text));
    (span("3d"), span("5d"), span("1 month"), 0u32..4).prop_map(|(daily, weekly, monthly, keep_last)| Rules {
        keep_last,
        ..rules(daily.unwrap_or(""), weekly.unwrap_or(""), monthly.unwrap_or(""))
    })
}

/// Returns the objects that a plan takes away.
fn gone(plan: &RetentionPlan) -> BTreeSet<ObjectKey> {
    let deleted = |action: Action| match action {
        // The mark of a condemned pack is removed to save the pack.
        Action::Delete { object, .. } => Some(object.key).filter(|key| !matches!(key, ObjectKey::Condemned(_))),
        Action::Condemn(pack) => Some(ObjectKey::Pack(pack)),
        Action::WriteTombstone { .. } => None,
    };
    plan.steps().into_iter().filter_map(deleted).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// No manifest is ever left without its packs. Of everything, these stay: the newest artefact, the last good one,
    /// the last verified one, and the last that was ever proven. An artefact that goes has a newer one that is proven.
    /// Runs that are held are not touched. A plan that was carried out leaves nothing to do.
    #[test]
    fn stopping_anywhere_does_no_harm(rules in some_rules(), events in prop::collection::vec(event(), 1..80)) {
        let mut world = World { model: Model::new("2026-11-24T03:00:00Z"), rules, writers: Vec::new(), stored: 0 };
        for event in &events {
            world.happen(event);
        }
        world.happen(&Event::Clean(None));
    }

    /// However many artefacts are found bad: nothing goes that would not have gone without that.
    #[test]
    fn a_verdict_only_protects(
        rules in some_rules(),
        events in prop::collection::vec(event(), 1..60),
        found_bad in prop::collection::vec(0usize..20, 1..6),
    ) {
        let mut world = World { model: Model::new("2026-11-24T03:00:00Z"), rules, writers: Vec::new(), stored: 0 };
        for event in &events {
            world.happen(event);
        }
        let planned = |world: &World| {
            plan(&world.model.view(), Some(&world.rules), &Others::new(), world.model.now, true)
        };
        let mut before = gone(&planned(&world));
        for n in found_bad {
            world.happen(&Event::Damage(n));
            let after = gone(&planned(&world));
            prop_assert!(after.is_subset(&before), "{:?}", after.difference(&before));
            before = after;
        }
    }

    /// In any place, an unreadable record or a missing section deletes nothing.
    #[test]
    fn what_is_not_understood_deletes_nothing(rules in some_rules(), events in prop::collection::vec(event(), 1..40)) {
        let mut world = World { model: Model::new("2026-11-24T03:00:00Z"), rules, writers: Vec::new(), stored: 0 };
        for event in &events {
            world.happen(event);
        }
        world.model.pass(60 * DAY);
        let mut view = world.model.view();
        prop_assert!(plan(&view, None, &Others::new(), world.model.now, true).is_idle());
        view.unreadable.push("holds/x".into());
        let blocked = plan(&view, Some(&world.rules), &Others::new(), world.model.now, true);
        let only_marks = blocked.steps().iter().all(|step| {
            matches!(step, Action::Delete { object, .. } if matches!(object.key, ObjectKey::Condemned(_)))
        });
        prop_assert!(only_marks && blocked.blocked);
    }
}
