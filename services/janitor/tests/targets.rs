//! Retention with targets: what they still lack, and retention at a target.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bed, LOCAL, S3, WEEK, expired, has_refused, hold, name, three};
use holdfast_format::{ObjectKey, PackId};
use holdfast_janitor::{CleanError, apply_place, plan_place};

#[tokio::test]
async fn a_target_that_lags_holds_local_runs() {
    let bed = Bed::new(WEEK).await;
    let [(first, a), (second, b), _] = three(&bed, &[S3, "unknown"]).await;
    let plan = bed.cleaned(LOCAL).await;
    assert!(
        plan.expire.is_empty() && has_refused(&plan, "target s3 could not be looked at"),
        "{:?}",
        plan.refused
    );
    bed.sync(first, a, true).await;
    let plan = bed.plan(LOCAL).await;
    assert_eq!(expired(&plan), [first]);
    assert!(
        has_refused(&plan, "target s3 lacks its database main/shop"),
        "{:?}",
        plan.refused
    );
    // A copy that is known to be damaged does not count.
    bed.verify(a, S3, false).await;
    assert!(expired(&bed.plan(LOCAL).await).is_empty());
    bed.verify(a, S3, true).await;
    bed.sync(second, b, false).await;
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [first, second]);
}

#[tokio::test]
async fn forged_objects_at_a_target_let_nothing_go_here() {
    let bed = Bed::new(WEEK).await;
    let [(first, a), (second, b), (third, c)] = three(&bed, &[S3]).await;
    bed.sync(third, c, true).await;
    assert!(expired(&bed.plan(LOCAL).await).is_empty());
    let forge = |key: &ObjectKey| {
        let path = bed.file(S3, key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "garbage").unwrap();
    };
    // Forged, as if the target had one run and had given the other up.
    forge(&ObjectKey::Manifest(a));
    forge(&ObjectKey::Tombstone(second));
    let plan = bed.cleaned(LOCAL).await;
    assert!(
        plan.expire.is_empty() && has_refused(&plan, "target s3 lacks its database main/shop"),
        "{:?}",
        plan.refused
    );
    assert_eq!(plan.refused.len(), 2);
    for key in [ObjectKey::Manifest(a), ObjectKey::Tombstone(second)] {
        std::fs::remove_file(bed.file(S3, &key)).unwrap();
    }
    bed.sync(first, a, true).await;
    bed.sync(second, b, true).await;
    // A copy with a verification that nobody signed counts as lacking.
    let forged = ObjectKey::Verified(b, uuid::Uuid::from_u128(7));
    forge(&forged);
    assert_eq!(expired(&bed.plan(LOCAL).await), [first]);
    std::fs::remove_file(bed.file(S3, &forged)).unwrap();
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [first, second]);
}

#[tokio::test]
async fn a_forged_tombstone_here_holds_everything_at_a_target() {
    let bed = Bed::new("[retention.s3]\ndaily = \"7d\"").await;
    let [(first, a), (second, b), (third, c)] = three(&bed, &[S3]).await;
    for (run, artefact) in [(first, a), (second, b), (third, c)] {
        bed.sync(run, artefact, true).await;
    }
    // The late run would name a pack that, at the target, only expired runs name.
    let (late, _) = bed.whole(&[1, 7], &[S3]).await;
    std::fs::create_dir_all(bed.dir.path().join(LOCAL).join("tombstones")).unwrap();
    std::fs::write(bed.file(LOCAL, &ObjectKey::Tombstone(late)), "garbage").unwrap();
    let plan = bed.cleaned(S3).await;
    assert!(
        plan.blocked && has_refused(&plan, &format!("{} at place local", ObjectKey::Tombstone(late))),
        "{:?}",
        plan.refused
    );
}

#[tokio::test]
async fn what_nothing_here_depends_on_is_not_asked_of_targets() {
    let bed = Bed::new(WEEK).await;
    bed.whole(&[1], &["away"]).await;
    bed.pass(30);
    let plan = bed.cleaned(LOCAL).await;
    assert!(!has_refused(&plan, "target away"), "{:?}", plan.refused);
}

#[tokio::test]
async fn a_target_that_is_away_holds_local_runs_and_is_told() {
    let bed = Bed::new(WEEK).await;
    three(&bed, &["away"]).await;
    let plan = bed.cleaned(LOCAL).await;
    assert!(plan.expire.is_empty() && !plan.blocked);
    assert!(
        has_refused(&plan, "target away could not be looked at"),
        "{:?}",
        plan.refused
    );
}

#[tokio::test]
async fn a_target_has_its_own_rules_and_tells_that_it_had_the_run() {
    let bed = Bed::new("[retention.local]\ndaily = \"60d\"\n[retention.s3]\ndaily = \"7d\"").await;
    assert!(bed.cleaned(S3).await.is_idle(), "nothing was copied yet");
    let runs = three(&bed, &[S3]).await;
    for (run, artefact) in runs {
        bed.sync(run, artefact, true).await;
    }
    let [(first, a), (second, _), (third, _)] = runs;
    bed.write(ObjectKey::Hold(second), &hold(&bed, second, None)).await;
    let plan = bed.cleaned(S3).await;
    assert_eq!(expired(&plan), [first], "what is held locally is held there");
    assert!(!bed.has(S3, &ObjectKey::Manifest(a)) && bed.has(LOCAL, &ObjectKey::Manifest(a)));
    bed.pass(60);
    let (fourth, d) = bed.whole(&[8], &[S3]).await;
    bed.sync(fourth, d, true).await;
    bed.pass(2);
    bed.cleaned(S3).await;
    assert!(
        bed.has(S3, &ObjectKey::Tombstone(first)),
        "the run is still at the local place"
    );
    assert_eq!(expired(&bed.cleaned(LOCAL).await), [first, third]);
    bed.pass(2);
    bed.cleaned(S3).await;
    assert!(!bed.has(S3, &ObjectKey::Tombstone(first)));
}

#[tokio::test]
async fn a_target_keeps_packs_of_what_is_still_to_come() {
    let bed = Bed::new("[retention.s3]\ndaily = \"7d\"").await;
    let [(first, a), (second, b), (third, c)] = three(&bed, &[S3]).await;
    bed.sync(first, a, true).await;
    bed.sync(second, b, true).await;
    bed.sync(third, c, false).await;
    // A run is sealed and not copied yet. It names a pack that, at the target, only expired runs name.
    let (late, d) = bed.whole(&[1, 7], &[S3]).await;
    let plan = bed.cleaned(S3).await;
    assert_eq!(expired(&plan), [first]);
    assert_eq!(plan.orphans, [c], "what is not there is no orphan");
    assert!(
        !plan
            .condemn
            .iter()
            .any(|(pack, _)| *pack == PackId::from_bytes([1; 32]))
    );
    bed.pass(3);
    bed.cleaned(S3).await;
    bed.sync(late, d, true).await;
    bed.assert_whole(S3).await;
}

#[tokio::test]
async fn another_repository_is_not_touched() {
    let bed = Bed::new(WEEK).await;
    let other = Bed::new(WEEK).await;
    let (run, artefact) = other.whole(&[1], &[]).await;
    other.sync(run, artefact, true).await;
    let to = bed.dir.path().join(S3);
    std::fs::remove_dir_all(&to).unwrap();
    std::fs::rename(other.dir.path().join(S3), &to).unwrap();
    let refused = apply_place(&bed.places(), &name(S3), true, &|| false).await;
    assert!(matches!(refused, Err(CleanError::Look { .. })), "{refused:?}");
    let unknown = plan_place(&bed.places(), &name("b2"), false).await;
    assert!(matches!(unknown, Err(CleanError::UnknownPlace { .. })));
}
