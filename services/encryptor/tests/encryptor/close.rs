//! Closing artefacts: contents and manifest once everything is sealed, then nothing is left in staging.

use holdfast_capture::Attempt;
use holdfast_events::What;
use holdfast_format::{ContentsWriter, ObjectKey};
use holdfast_repository::{ContentsPut, SealedManifest};
use holdfast_service::JobError;

use crate::common::{PACK, Sealing, artefact, close_job, close_of, digest, noise, receipt_of, run, seal, sync, waits};

fn superseded(result: Result<(), JobError>) -> String {
    match result {
        Err(JobError::Superseded(reason)) => reason,
        other => panic!("nothing took the job over: {other:?}"),
    }
}

async fn manifest(host: &Sealing, attempt: &Attempt) -> std::sync::Arc<SealedManifest> {
    let sealed = host.cx.repository.manifest(attempt.artefact()).await.unwrap();
    sealed.expect("there is a manifest")
}

#[tokio::test]
async fn a_closed_artefact_has_contents_and_a_manifest_that_name_what_is_stored() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(PACK + 1000, 1)).await;
    let draft = attempt.draft().unwrap().unwrap();
    host.seal_all(&attempt).await;
    let receipts = attempt.receipts().unwrap();
    host.run(&close_of(&attempt)).await.unwrap();

    let sealed = manifest(&host, &attempt).await;
    assert_eq!(sealed.manifest.captured, draft.captured);
    assert_eq!(sealed.manifest.packs.len(), draft.packs.len());
    for pack in &sealed.manifest.packs {
        let receipt = receipts[&pack.id];
        let stored = host.stored(ObjectKey::Pack(pack.id));
        assert_eq!(
            (pack.size, pack.sha256, pack.plain),
            (receipt.size, receipt.sha256, receipt.plain)
        );
        assert_eq!(digest(&stored), pack.sha256);
    }
    let contents = sealed.manifest.contents;
    assert_eq!(
        contents.sha256,
        digest(&host.stored(ObjectKey::Contents(attempt.artefact())))
    );
    assert_eq!(contents.plain, draft.contents_plain);
    let opened = host
        .cx
        .repository
        .open_contents(&sealed.manifest, &host.cx.scratch)
        .await;
    assert!(opened.unwrap().reader().unwrap().all(|line| line.is_ok()));

    assert!(host.staged().is_empty(), "{:?}", host.staged());
    assert!(host.was_asked(&sync(run(1))).await);
    let told = host.facts(run(1), 3).await;
    let What::ArtefactSealed {
        manifest, size, stored, ..
    } = &told[2]
    else {
        panic!("{told:?}")
    };
    let packs: u64 = sealed.manifest.packs.iter().map(|pack| pack.size).sum();
    assert_eq!((*manifest, *size), (sealed.sha256, (PACK + 1000) as u64));
    assert_eq!(*stored, packs + contents.size);
}

#[tokio::test]
async fn the_contents_are_one_frame_that_states_its_size() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let plain = attempt.draft().unwrap().unwrap().contents_plain;
    host.seal_all(&attempt).await;
    host.run(&close_of(&attempt)).await.unwrap();
    let stored = host.stored(ObjectKey::Contents(attempt.artefact()));
    // Metadata is sealed to the services as well.
    let reader = &host.bed.ring.reader.secret_armored;
    let keys = holdfast_sealing::SecretKeys::from_bytes(reader.as_bytes(), None).unwrap();
    let frame = keys.open(&stored, 1 << 20).unwrap();
    let stated = zstd::zstd_safe::get_frame_content_size(&frame).unwrap();
    assert_eq!(stated, Some(plain));
    assert_eq!(zstd::zstd_safe::find_frame_compressed_size(&frame), Ok(frame.len()));
}

#[tokio::test]
async fn closing_again_only_hands_on() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    host.seal_all(&attempt).await;
    host.run(&close_of(&attempt)).await.unwrap();
    let before = manifest(&host, &attempt).await;
    // Somebody captured once more before the manifest was there to be seen.
    let late = host.staging.begin(run(1), attempt.artefact()).unwrap();
    host.run(&close_of(&late)).await.unwrap();
    assert_eq!(manifest(&host, &attempt).await.sha256, before.sha256);
    assert!(host.staged().is_empty(), "{:?}", host.staged());
    let told = host.facts(run(1), 4).await;
    let What::ArtefactSealed { manifest, stored, .. } = &told[3] else {
        panic!("{told:?}")
    };
    assert_eq!((*manifest, *stored), (before.sha256, 0), "nothing was stored this time");
}

#[tokio::test]
async fn what_is_not_sealed_yet_is_asked_to_be_sealed_and_not_closed() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let (_empty, cx) = host.on_empty_bus().await;
    host.run_with(&cx, &close_of(&attempt)).await.unwrap();
    assert!(waits(&cx, &seal(&attempt, pack)).await);
    assert!(!host.is_stored(ObjectKey::Manifest(attempt.artefact())));
    assert!(!host.is_stored(ObjectKey::Contents(attempt.artefact())));
}

#[tokio::test]
async fn an_attempt_that_is_gone_or_not_whole_is_not_closed() {
    let host = Sealing::new().await;
    host.begin_run(&crate::common::expected(run(1))).await;
    let id = artefact(run(1)).id;
    let gone = superseded(host.run(&close_job(run(1), id, 1)).await);
    assert!(gone.contains("gone from staging"), "{gone}");
    let attempt = host.staging.begin(run(1), id).unwrap();
    let open = superseded(host.run(&close_of(&attempt)).await);
    assert!(open.contains("not whole"), "{open}");
    assert!(!host.is_stored(ObjectKey::Manifest(id)));
    assert!(attempt.is_current(), "whoever captures goes on");
}

#[tokio::test]
async fn work_of_a_run_that_nobody_knows_is_a_stray() {
    let host = Sealing::new().await;
    let stray = host.run(&close_job(run(1), artefact(run(1)).id, 1)).await;
    assert!(
        matches!(&stray, Err(JobError::Fail(reason)) if reason.contains("stray")),
        "{stray:?}"
    );
}

#[tokio::test]
async fn contents_of_an_attempt_that_never_had_a_manifest_are_replaced() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let id = attempt.artefact();
    let draft = host.bed.scratch.path().join("other-contents");
    let (lines, _) = ContentsWriter::new(Vec::new(), id).unwrap().finish(Vec::new()).unwrap();
    std::fs::write(&draft, zstd::bulk::compress(&lines, 3).unwrap()).unwrap();
    let put = host.bed.repository.put_contents(id, &draft).await.unwrap();
    let ContentsPut::Stored { sha256: other, .. } = put else {
        panic!("other contents were there")
    };
    host.seal_all(&attempt).await;
    host.run(&close_of(&attempt)).await.unwrap();
    let contents = manifest(&host, &attempt).await.manifest.contents;
    assert_ne!(contents.sha256, other);
    assert_eq!(contents.sha256, digest(&host.stored(ObjectKey::Contents(id))));
}

#[tokio::test]
async fn packs_of_an_earlier_run_are_named_and_neither_sealed_nor_counted_again() {
    let host = Sealing::new().await;
    let bytes = noise(PACK + 1000, 1);
    let first = host.capture(run(1), bytes.clone()).await;
    host.seal_all(&first).await;
    host.run(&close_of(&first)).await.unwrap();
    let before = manifest(&host, &first).await;

    let second = host.capture(run(2), bytes).await;
    assert_eq!(second.unsealed().unwrap(), []);
    host.run(&close_of(&second)).await.unwrap();
    let after = manifest(&host, &second).await;
    assert_eq!(after.manifest.packs, before.manifest.packs);
    let told = host.facts(run(2), 3).await;
    let What::ArtefactSealed { stored, .. } = &told[2] else {
        panic!("{told:?}")
    };
    assert_eq!(*stored, after.manifest.contents.size);
}

#[tokio::test]
async fn a_receipt_for_another_plaintext_closes_nothing() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    host.seal_all(&attempt).await;
    let mut receipt = receipt_of(&attempt, pack);
    receipt.plain += 1;
    attempt.put_receipt(pack, &receipt).unwrap();
    let again = host.run(&close_of(&attempt)).await;
    assert!(matches!(again, Err(JobError::Retry(_))), "{again:?}");
    assert!(!host.is_stored(ObjectKey::Manifest(attempt.artefact())));
}
