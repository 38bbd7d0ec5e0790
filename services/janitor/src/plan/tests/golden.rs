//! A plan in print, and its steps.

use holdfast_format::Class::{Daily, Monthly, Weekly};
use holdfast_format::{ObjectKey, RunId};

use super::model::Model;
use super::*;

fn place() -> (Model, RunId) {
    let mut model = Model::new("2026-11-24T03:00:00Z");
    model.whole(40, Daily, "shop");
    let half = model.whole(39, Daily, "shop");
    let tombstone = Tombstoned {
        at: time("2026-11-23T03:00:00Z"),
        rule: "older than daily = 7d".into(),
    };
    model
        .tombstones
        .insert(half, (tombstone, model.runs[&half].artefacts.clone()));
    model.objects.remove(&ObjectKey::RestorePoint(half));
    let month = model.whole(80, Monthly, "a\nb");
    model.runs.get_mut(&month).unwrap().hold = Some(Hold::Forever);
    model.whole(20, Weekly, "shop");
    let newest = model.whole(2, Daily, "shop");
    let due = model.store(200, time("2026-10-01T00:00:00Z"));
    model.condemned.insert(due, time("2026-11-22T00:00:00Z"));
    let again = model.artefacts[&model.runs[&newest].artefacts[0]].packs[0];
    model.condemned.insert(again, time("2026-11-22T00:00:00Z"));
    (model, newest)
}

fn planned(model: &Model) -> RetentionPlan {
    let mut view = model.view();
    view.orphans.push(ArtefactView {
        id: ArtefactId::from_bytes([7; 16]),
        subject: None,
        manifest: false,
        bad: false,
        verified: None,
        packs: Vec::new(),
        objects: Vec::new(),
    });
    plan(&view, Some(&rules("7d", "30d", "")), &Others::new(), model.now, false)
}

#[test]
fn the_dry_run_reads_like_this() {
    let (model, _) = place();
    assert_eq!(planned(&model).to_string(), include_str!("dry_run.txt"));
}

#[test]
fn the_steps_are_these() {
    let (model, newest) = place();
    let plan = planned(&model);
    let steps: Vec<String> = plan.steps().iter().map(|step| format!("{step}\n")).collect();
    assert_eq!(steps.concat(), include_str!("steps.txt"));
    let report = plan.report(newest, &plan.steps());
    assert_eq!((report.kept_runs, report.expired_runs.len()), (3, 1));
    assert_eq!((report.condemned, report.spared, report.freed_bytes), (2, 1, 1210));
    assert_eq!((report.total_deleted, report.deleted.len()), (12, 12));
    let nothing = plan.report(newest, &[]);
    assert_eq!((nothing.total_deleted, nothing.expired_runs.len()), (0, 0));
}
