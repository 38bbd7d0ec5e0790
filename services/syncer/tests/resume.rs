//! Copies that are cut off. Failpoints belong to the whole process, so there is only one test here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bed, artefact, copier, keys, pack, run, shop, target};
use holdfast_fault::Retryable as _;
use holdfast_format::ObjectKey;
use holdfast_syncer::SyncError;
use holdfast_telemetry::failpoint::{Action, set, set_nth};

#[tokio::test]
async fn a_copy_that_was_cut_off_goes_on_where_it_stopped() {
    let bed = Bed::new().await;
    let mut packs = Vec::new();
    for n in 1..=6 {
        packs.push(pack(&bed, n, 1000).await);
    }
    artefact(&bed, &shop(run(1)), run(1), &packs).await;
    let to = target(&bed).await;
    let id = shop(run(1)).id;
    let sent = |keys: &[ObjectKey]| keys.iter().filter(|k| matches!(k, ObjectKey::Pack(_))).count() as u64;
    let mut before = 0;
    for nth in [1, 2] {
        let point = set_nth("syncer.after_pack", Action::Error, nth);
        let error = copier(&bed, &to).copy_artefact(id).await.unwrap_err();
        drop(point);
        assert!(
            matches!(error, SyncError::Injected(_)) && error.retry().is_later(),
            "{error:?}"
        );
        let there = keys(&to).await;
        assert!(sent(&there) > before, "what was sent stays");
        assert!(sent(&there) < 6, "it was cut off");
        assert!(!there.contains(&ObjectKey::Manifest(id)));
        before = sent(&there);
    }
    let point = set("syncer.before_manifest", Action::Error);
    let error = copier(&bed, &to).copy_artefact(id).await.unwrap_err();
    drop(point);
    assert!(matches!(error, SyncError::Injected(_)), "{error:?}");
    let there = keys(&to).await;
    assert_eq!(sent(&there), 6);
    assert!(there.contains(&ObjectKey::Contents(id)) && !there.contains(&ObjectKey::Manifest(id)));

    let point = set("syncer.after_manifest", Action::Error);
    let error = copier(&bed, &to).copy_artefact(id).await.unwrap_err();
    drop(point);
    assert!(matches!(error, SyncError::Injected(_)), "{error:?}");
    assert_eq!(copier(&bed, &to).copy_artefact(id).await.unwrap().objects, 0);
    assert!(copier(&bed, &to).has_artefact(id).await.unwrap());
    let left = std::fs::read_dir(bed.scratch.path()).unwrap();
    let left = left
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("sync-"))
        .count();
    assert_eq!(left, 0, "no scratch folder is left");
}
