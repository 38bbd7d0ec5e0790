//! Jobs of the encryptor that were cut off at each of their points, and done again. Fail points are of the whole process,
//! so these tests have a program of their own, and take turns in it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../encryptor/common.rs"]
mod common;

use common::{Sealing, close_of, digest, noise, receipt_of, run, seal, sync};
use holdfast_events::Work;
use holdfast_format::ObjectKey;
use holdfast_service::JobError;
use holdfast_telemetry::failpoint::{Action, set};
use tokio::sync::Mutex;

static TURN: Mutex<()> = Mutex::const_new(());

/// Does a job that fails at this point.
async fn cut_off(host: &Sealing, work: &Work, point: &str) {
    let _set = set(point, Action::Error);
    let cut = host.run(work).await;
    assert!(
        matches!(&cut, Err(JobError::Retry(reason)) if reason.contains(point)),
        "{cut:?}"
    );
}

/// Names of files beside the folders of runs.
fn loose_files(host: &Sealing) -> Vec<String> {
    let mut names = host.staged();
    names.retain(|name| name.starts_with('.'));
    names
}

#[tokio::test]
async fn a_seal_that_was_cut_off_before_its_receipt_finds_its_pack_stored() {
    let _turn = TURN.lock().await;
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    cut_off(&host, &seal(&attempt, pack), "encryptor.after_pack").await;
    let stored = host.stored(ObjectKey::Pack(pack));
    assert!(attempt.receipt(pack).unwrap().is_none());
    assert!(
        host.staged_pack(&attempt, pack).exists(),
        "the plaintext goes only after the receipt"
    );

    host.run(&seal(&attempt, pack)).await.unwrap();
    assert_eq!(host.stored(ObjectKey::Pack(pack)), stored);
    let receipt = receipt_of(&attempt, pack);
    assert_eq!((receipt.size, receipt.sha256), (stored.len() as u64, digest(&stored)));
    assert!(!host.staged_pack(&attempt, pack).exists());
}

#[tokio::test]
async fn a_close_that_was_cut_off_before_its_manifest_keeps_its_contents_and_leaves_no_file() {
    let _turn = TURN.lock().await;
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    host.seal_all(&attempt).await;
    cut_off(&host, &close_of(&attempt), "encryptor.before_manifest").await;
    let contents = host.stored(ObjectKey::Contents(attempt.artefact()));
    assert!(!host.is_stored(ObjectKey::Manifest(attempt.artefact())));
    assert!(attempt.is_current());
    assert!(loose_files(&host).is_empty(), "{:?}", host.staged());

    host.run(&close_of(&attempt)).await.unwrap();
    assert_eq!(host.stored(ObjectKey::Contents(attempt.artefact())), contents);
    let sealed = host.cx.repository.manifest(attempt.artefact()).await.unwrap().unwrap();
    assert_eq!(sealed.manifest.contents.sha256, digest(&contents));
    assert!(host.staged().is_empty(), "{:?}", host.staged());
}

#[tokio::test]
async fn a_close_that_was_cut_off_after_its_manifest_hands_on_and_tidies_the_next_time() {
    let _turn = TURN.lock().await;
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    host.seal_all(&attempt).await;
    cut_off(&host, &close_of(&attempt), "encryptor.after_manifest").await;
    let manifest = host.stored(ObjectKey::Manifest(attempt.artefact()));
    assert!(attempt.is_current());

    host.run(&close_of(&attempt)).await.unwrap();
    assert_eq!(host.stored(ObjectKey::Manifest(attempt.artefact())), manifest);
    assert!(host.was_asked(&sync(run(1))).await);
    assert!(host.staged().is_empty(), "{:?}", host.staged());
}
