//! Retention at real places: objects that are deleted, and faults that forbid all deletion.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bed, LOCAL, WEEK, expired, has_refused, hold, name, pack, three};
use holdfast_format::{Class, Damaged, Failure, FailureSubject, Level, ObjectKey, PackId, Stage};
use holdfast_janitor::{ApplyError, apply_place, plan_place};
use holdfast_telemetry::clock::Clock as _;
use jiff::SignedDuration;

#[tokio::test]
async fn runs_go_then_packs_then_tombstones() {
    let bed = Bed::new(WEEK).await;
    let [(first, a), (second, _), (third, _)] = three(&bed, &[]).await;
    let plan = bed.cleaned(LOCAL).await;
    assert_eq!(expired(&plan), [first, second]);
    assert!(!bed.has(LOCAL, &ObjectKey::Expected(first)) && !bed.has(LOCAL, &ObjectKey::Contents(a)));
    assert!(bed.has(LOCAL, &ObjectKey::Tombstone(first)) && bed.has(LOCAL, &ObjectKey::Expected(third)));
    assert!(bed.has(LOCAL, &pack(1)), "packs are condemned first");
    bed.pass(2);
    let plan = bed.cleaned(LOCAL).await;
    assert_eq!(plan.delete_packs.len(), 2);
    let there = [1, 2, 3, 4].map(|n| bed.has(LOCAL, &pack(n)));
    assert_eq!(there, [false, false, true, true]);
    assert!(!bed.has(LOCAL, &ObjectKey::Tombstone(first)), "nothing is left of it");
    bed.pass(2);
    assert!(bed.cleaned(LOCAL).await.is_idle());
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let bed = Bed::new(WEEK).await;
    three(&bed, &[]).await;
    let before = bed.keys(LOCAL).await;
    let plan = bed.plan(LOCAL).await;
    assert!(!plan.is_idle() && plan.lines().iter().any(|line| line.starts_with("give up")));
    assert_eq!(bed.keys(LOCAL).await, before);
}

#[tokio::test]
async fn a_run_is_kept_as_long_as_its_longest_kept_artefact() {
    let bed = Bed::new("[retention.local]\ndaily = \"7d\"\nmonthly = \"90d\"").await;
    let run = bed.begin(Class::Daily, |_| {}).await;
    bed.seal_as(Class::Monthly, run, &[9]).await;
    bed.record(run, false).await;
    bed.pass(1);
    let [(first, _), (second, _), _] = three(&bed, &[]).await;
    assert_eq!(expired(&bed.plan(LOCAL).await), [first, second]);
}

#[tokio::test]
async fn without_retention_nothing_goes() {
    let bed = Bed::new("").await;
    three(&bed, &[]).await;
    let before = bed.keys(LOCAL).await;
    let plan = bed.cleaned(LOCAL).await;
    assert!(plan.is_idle() && plan.keep.len() == 3);
    assert_eq!(bed.keys(LOCAL).await, before);
}

/// Writes a file to the place of an object, as somebody without any key can do.
fn forge(bed: &Bed, place: &str, key: &ObjectKey) {
    let path = bed.file(place, key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "garbage").unwrap();
}

#[tokio::test]
async fn a_forged_mark_or_record_takes_no_guard_off_and_is_named() {
    let bed = Bed::new(WEEK).await;
    let [(first, _), (second, b), (third, c)] = three(&bed, &[]).await;
    assert_eq!(expired(&bed.plan(LOCAL).await), [first, second]);
    let marks = [
        ObjectKey::Damaged(PackId::from_bytes([4; 32])),
        ObjectKey::ArtefactFailed(third, c, None),
        ObjectKey::Verified(c, uuid::Uuid::from_u128(7)),
        ObjectKey::Verified(b, uuid::Uuid::from_u128(7)),
        ObjectKey::Tombstone(third),
        ObjectKey::Condemned(PackId::from_bytes([4; 32])),
        ObjectKey::Hold(first),
    ];
    for key in &marks {
        let bed = bed.copy().await;
        forge(&bed, LOCAL, key);
        let before = bed.keys(LOCAL).await;
        for _ in 0..2 {
            let plan = bed.cleaned(LOCAL).await;
            assert!(
                plan.blocked && has_refused(&plan, &key.to_string()),
                "{key}: {:?}",
                plan.refused
            );
            bed.pass(30);
        }
        assert_eq!(bed.keys(LOCAL).await, before, "{key}");
        // Without the forged object, all is as before.
        std::fs::remove_file(bed.file(LOCAL, key)).unwrap();
        bed.pass(-60);
        assert_eq!(expired(&bed.plan(LOCAL).await), [first, second], "{key}");
    }
    let all: Vec<ObjectKey> = marks
        .into_iter()
        .filter(|key| !matches!(key, ObjectKey::Hold(_)))
        .collect();
    for key in &all {
        forge(&bed, LOCAL, key);
    }
    let plan = bed.plan(LOCAL).await;
    for key in &all {
        assert!(
            has_refused(&plan, &key.to_string()),
            "{key} is not named: {:?}",
            plan.refused
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_holds_everything() {
    let bed = Bed::new(WEEK).await;
    let [(first, a), (_, b), (third, c)] = three(&bed, &[]).await;
    let pack = PackId::from_bytes([1; 32]);
    let mark = Damaged {
        pack,
        at: bed.clock.now(),
        artefact: a,
        problem: "torn".to_owned(),
    };
    bed.write(ObjectKey::Damaged(pack), &mark).await;
    let failure = Failure {
        run: first,
        subject: FailureSubject::Artefact(a),
        stage: Stage::Verify,
        reason: "torn".to_owned(),
        at: bed.clock.now(),
    };
    bed.write(failure.key(), &failure).await;
    bed.verify(c, LOCAL, true).await;
    bed.write(ObjectKey::Hold(third), &hold(&bed, third, None)).await;
    let all: Vec<ObjectKey> = bed
        .keys(LOCAL)
        .await
        .iter()
        .filter_map(|key| ObjectKey::parse(key))
        .collect();
    // The repository has the manifests in memory; the objects at the place count all the same.
    for id in [a, b, c] {
        bed.repository.manifest(id).await.unwrap();
    }
    for key in all {
        // The identity and the roster are read when the repository is opened: without them nobody gets here.
        let opens = matches!(key, ObjectKey::Repository | ObjectKey::Roster(_));
        if opens || matches!(key, ObjectKey::Pack(_) | ObjectKey::Contents(_)) {
            continue;
        }
        let bed = bed.copy().await;
        bed.damage(LOCAL, &key);
        let before = bed.keys(LOCAL).await;
        let plan = bed.cleaned(LOCAL).await;
        assert!(
            plan.blocked && has_refused(&plan, &key.to_string()),
            "{key}: {:?}",
            plan.refused
        );
        assert_eq!(bed.keys(LOCAL).await, before);
    }
    std::fs::remove_file(bed.file(LOCAL, &ObjectKey::Expected(first))).unwrap();
    let plan = bed.plan(LOCAL).await;
    assert!(
        plan.blocked && has_refused(&plan, "which targets"),
        "{:?}",
        plan.refused
    );
}

#[tokio::test]
async fn a_damaged_manifest_that_is_in_memory_still_holds_everything() {
    let bed = Bed::new(WEEK).await;
    let [_, _, (_, newest)] = three(&bed, &[]).await;
    let places = bed.places();
    assert!(!plan_place(&places, &name(LOCAL), false).await.unwrap().blocked);
    bed.repository.manifest(newest).await.unwrap();
    bed.damage(LOCAL, &ObjectKey::Manifest(newest));
    assert!(plan_place(&places, &name(LOCAL), false).await.unwrap().blocked);
}

#[tokio::test]
async fn a_missing_pack_holds_everything_until_it_is_known() {
    let bed = Bed::new(WEEK).await;
    let [(first, a), (second, b), _] = three(&bed, &[]).await;
    std::fs::remove_file(bed.file(LOCAL, &pack(2))).unwrap();
    let plan = bed.plan(LOCAL).await;
    assert!(
        plan.blocked && has_refused(&plan, "1 packs that manifests name"),
        "{:?}",
        plan.refused
    );
    // One of the two artefacts with this pack is verified, and the mark concerns the other.
    bed.verify(a, LOCAL, false).await;
    let id = PackId::from_bytes([2; 32]);
    let mark = Damaged {
        pack: id,
        at: bed.clock.now(),
        artefact: a,
        problem: "missing".to_owned(),
    };
    bed.write(ObjectKey::Damaged(id), &mark).await;
    let plan = bed.plan(LOCAL).await;
    assert_eq!(expired(&plan), [first, second]);
    bed.clean(LOCAL).await;
    assert!(bed.has(LOCAL, &ObjectKey::Damaged(id)), "too young");
    bed.pass(2);
    bed.cleaned(LOCAL).await;
    assert!(
        !bed.has(LOCAL, &ObjectKey::Damaged(id)),
        "nothing names the pack any more"
    );
    assert!(!bed.has(LOCAL, &ObjectKey::Manifest(b)));
}

#[tokio::test]
async fn a_damaged_packs_mark_goes_with_it() {
    let bed = Bed::new(WEEK).await;
    let [(_, a), _, (_, c)] = three(&bed, &[]).await;
    for number in [1, 3] {
        let pack = PackId::from_bytes([number; 32]);
        let at = bed.clock.now();
        let problem = "torn".to_owned();
        bed.write(
            ObjectKey::Damaged(pack),
            &Damaged {
                pack,
                at,
                artefact: a,
                problem,
            },
        )
        .await;
    }
    // The new run names pack 3 as well, so all three are damaged, and nothing goes.
    assert!(bed.cleaned(LOCAL).await.expire.is_empty());
    // A later verification finds the artefact good.
    bed.verify(c, LOCAL, true).await;
    bed.cleaned(LOCAL).await;
    bed.pass(2);
    bed.cleaned(LOCAL).await;
    assert!(!bed.has(LOCAL, &pack(1)) && !bed.has(LOCAL, &ObjectKey::Damaged(PackId::from_bytes([1; 32]))));
    assert!(bed.has(LOCAL, &pack(3)) && bed.has(LOCAL, &ObjectKey::Damaged(PackId::from_bytes([3; 32]))));
}

#[tokio::test]
async fn a_failed_artefact_stands_in_for_no_good_one() {
    let bed = Bed::new(WEEK).await;
    let (good, _) = bed.whole(&[1], &[]).await;
    bed.pass(1);
    let failed = bed.begin(Class::Daily, |_| {}).await;
    let artefact = bed.seal(failed, &[2]).await;
    bed.record(failed, true).await;
    bed.pass(9);
    let plan = bed.plan(LOCAL).await;
    assert!(expired(&plan).is_empty());
    for stays in [good, failed] {
        assert!(
            has_refused(&plan, &stays.to_string()),
            "the last good one and what is newer stay: {:?}",
            plan.refused
        );
    }
    // A later verification finds the artefact good.
    bed.verify(artefact, LOCAL, true).await;
    assert_eq!(expired(&bed.plan(LOCAL).await), [good]);
}

#[tokio::test]
async fn what_was_not_verified_lets_nothing_go() {
    let bed = Bed::new(WEEK).await;
    let mut runs = Vec::new();
    for number in [1, 2, 3] {
        let run = bed.begin(Class::Daily, |_| {}).await;
        let artefact = bed.seal(run, &[number]).await;
        bed.record_as(run, false, None).await;
        runs.push((run, artefact));
        bed.pass(10);
    }
    let plan = bed.cleaned(LOCAL).await;
    assert!(
        plan.expire.is_empty() && !plan.blocked && has_refused(&plan, "no newer good backup of database main/shop"),
        "{:?}",
        plan.refused
    );
    // Nobody verifies deeper, so integrity counts as proof, and the report says so.
    bed.verify_to(runs[1].1, LOCAL, Level::Integrity, true).await;
    let plan = bed.plan(LOCAL).await;
    assert_eq!(expired(&plan), [runs[0].0]);
    assert!(
        plan.expire[0]
            .rule
            .contains("to level integrity, and nobody verifies deeper")
    );
    bed.verify(runs[0].1, LOCAL, true).await;
    assert!(expired(&bed.plan(LOCAL).await).is_empty(), "somebody does");
    bed.verify(runs[2].1, LOCAL, true).await;
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [runs[0].0, runs[1].0]);
}

#[tokio::test]
async fn held_runs_stay_until_they_are_released() {
    let bed = Bed::new(WEEK).await;
    let from_the_start = bed.begin(Class::Daily, |expected| {
        expected.hold_until = Some(expected.created + SignedDuration::from_hours(24 * 30));
    });
    let from_the_start = from_the_start.await;
    bed.seal(from_the_start, &[9]).await;
    bed.record(from_the_start, false).await;
    let [(first, _), (second, _), _] = three(&bed, &[]).await;
    bed.write(ObjectKey::Hold(first), &hold(&bed, first, None)).await;
    bed.write(ObjectKey::Hold(second), &hold(&bed, second, Some(3))).await;
    let plan = bed.cleaned(LOCAL).await;
    assert!(
        plan.expire.is_empty() && has_refused(&plan, &format!("run {first}")),
        "{:?}",
        plan.refused
    );
    bed.pass(4);
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [second]);
    assert!(!bed.has(LOCAL, &ObjectKey::Hold(second)), "its hold goes with it");
    std::fs::remove_file(bed.file(LOCAL, &ObjectKey::Hold(first))).unwrap();
    bed.whole(&[5], &[]).await;
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [first]);
    bed.pass(20);
    bed.whole(&[6], &[]).await;
    assert!(expired(&bed.cleaned(LOCAL).await).contains(&from_the_start));
}

#[tokio::test]
async fn the_brake_is_lifted_by_confirming() {
    let bed = Bed::new(&format!("{WEEK}\n[janitor]\nmax_delete_percent = 30")).await;
    for number in 0..20 {
        bed.whole(&[number], &[]).await;
        bed.pass(1);
    }
    let plan = bed.cleaned(LOCAL).await;
    assert!(
        plan.blocked && has_refused(&plan, "max_delete_percent = 30"),
        "{:?}",
        plan.refused
    );
    let applied = apply_place(&bed.places(), &name(LOCAL), true, &|| false).await.unwrap();
    assert!(applied.failed.is_none() && applied.plan.expire.len() == 13);
    bed.assert_whole(LOCAL).await;
}

#[tokio::test]
async fn it_stops_when_told_and_what_crashes_left_is_swept() {
    let bed = Bed::new(WEEK).await;
    let [(_, a), ..] = three(&bed, &[]).await;
    let leftover = bed.dir.path().join(LOCAL).join(format!("artefacts/{a}/contents#1"));
    std::fs::write(&leftover, "half").unwrap();
    let file = std::fs::File::options().append(true).open(&leftover).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let before = bed.keys(LOCAL).await;
    let stopped = apply_place(&bed.places(), &name(LOCAL), false, &|| true).await.unwrap();
    assert!(matches!(stopped.failed, Some(ApplyError::Stopped { .. })) && stopped.done.is_empty());
    assert_eq!(bed.keys(LOCAL).await, before);
    assert!(leftover.exists());
    bed.cleaned(LOCAL).await;
    assert!(!leftover.exists());
}

#[tokio::test]
async fn a_clock_that_is_wrong_holds_everything() {
    let bed = Bed::new(WEEK).await;
    three(&bed, &[]).await;
    bed.pass(-2);
    let plan = bed.cleaned(LOCAL).await;
    assert!(
        plan.blocked && has_refused(&plan, "one of the clocks is wrong"),
        "{:?}",
        plan.refused
    );
}
