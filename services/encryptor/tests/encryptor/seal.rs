//! Sealing packs: once each, for all readers, and again after every kind of interruption.

use std::sync::Arc;
use std::time::SystemTime;

use holdfast_capture::Wait;
use holdfast_encryptor::Encryptor;
use holdfast_events::WorkStage;
use holdfast_format::{ObjectKey, PackId};
use holdfast_repository::{Catalogue, Repository, RepositoryKeys};
use holdfast_sealing::{KeyPurpose, Profile, Recipients, generate};
use holdfast_service::{Context, JobError, Stage as _};
use holdfast_session::Session;

use crate::common::{
    PACK, Sealing, artefact, close_job, close_of, delivery, digest, expected, next, noise, now, receipt_of, run, seal,
    seal_job, stream, waits, work,
};

/// A context whose repository has other keys.
async fn with_keys(host: &Sealing, keys: RepositoryKeys) -> Context {
    let place = host.bed.repository.place().clone();
    let repository = Repository::open(place, keys).await.unwrap();
    Context {
        catalogue: Arc::new(Catalogue::new(repository.clone())),
        repository,
        ..host.cx.clone()
    }
}

fn failed(result: Result<(), JobError>) -> String {
    match result {
        Err(JobError::Fail(reason)) => reason,
        other => panic!("it did not fail for good: {other:?}"),
    }
}

fn superseded(result: Result<(), JobError>) -> String {
    match result {
        Err(JobError::Superseded(reason)) => reason,
        other => panic!("nothing took the job over: {other:?}"),
    }
}

#[tokio::test]
async fn a_sealed_pack_opens_to_what_was_staged_and_a_receipt_takes_its_place() {
    let host = Sealing::new().await;
    let bytes = noise(1000, 1);
    let attempt = host.capture(run(1), bytes.clone()).await;
    let pack = host.only_pack(&attempt);
    let frame = std::fs::read(host.staged_pack(&attempt, pack)).unwrap();
    host.run(&seal(&attempt, pack)).await.unwrap();

    assert_eq!(host.opened(pack, &host.bed.ring.backup.secret_armored), frame);
    assert_eq!(zstd::bulk::decompress(&frame, 1 << 20).unwrap(), bytes);
    let stored = host.stored(ObjectKey::Pack(pack));
    let receipt = receipt_of(&attempt, pack);
    assert_eq!((receipt.size, receipt.plain), (stored.len() as u64, 1000));
    assert_eq!(receipt.sha256, digest(&stored));
    assert!(
        !host.staged_pack(&attempt, pack).exists(),
        "the plaintext is still there"
    );
    assert!(host.was_asked(&close_of(&attempt)).await);
}

#[tokio::test]
async fn sealing_twice_gives_one_pack_and_one_receipt_and_asks_for_the_close_again() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    host.run(&seal(&attempt, pack)).await.unwrap();
    let stored = host.stored(ObjectKey::Pack(pack));
    let receipt = receipt_of(&attempt, pack);
    // What the first one asked for can be lost.
    let (_empty, cx) = host.on_empty_bus().await;
    host.run_with(&cx, &seal(&attempt, pack)).await.unwrap();
    assert_eq!(host.stored(ObjectKey::Pack(pack)), stored);
    assert_eq!(receipt_of(&attempt, pack), receipt);
    assert!(waits(&cx, &close_of(&attempt)).await);
}

#[tokio::test]
async fn a_lost_receipt_is_written_again_for_the_pack_that_is_stored() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let frame = std::fs::read(host.staged_pack(&attempt, pack)).unwrap();
    host.run(&seal(&attempt, pack)).await.unwrap();
    let stored = host.stored(ObjectKey::Pack(pack));
    let receipt = receipt_of(&attempt, pack);

    std::fs::write(host.staged_pack(&attempt, pack), frame).unwrap();
    std::fs::remove_file(host.receipt(&attempt, pack)).unwrap();
    // Another process: its session key is another, and so would be its sealed bytes.
    let other = Encryptor::new(&host.cx, host.staging.clone());
    let job = seal(&attempt, pack);
    other.run(&host.cx, &job, &delivery(2)).await.unwrap();
    assert_eq!(
        host.stored(ObjectKey::Pack(pack)),
        stored,
        "a stored pack is never written twice"
    );
    assert_eq!(receipt_of(&attempt, pack), receipt);
    assert!(!host.staged_pack(&attempt, pack).exists());
}

#[tokio::test]
async fn a_plaintext_that_outlived_its_receipt_is_not_sealed_again_and_goes_with_the_attempt() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let file = host.staged_pack(&attempt, pack);
    let frame = std::fs::read(&file).unwrap();
    host.run(&seal(&attempt, pack)).await.unwrap();
    let receipt = receipt_of(&attempt, pack);
    std::fs::write(&file, frame).unwrap();
    host.run(&seal(&attempt, pack)).await.unwrap();
    assert_eq!(receipt_of(&attempt, pack), receipt);
    host.run(&close_of(&attempt)).await.unwrap();
    assert!(host.staged().is_empty(), "{:?}", host.staged());
}

#[tokio::test]
async fn every_recipient_can_open_a_pack() {
    let host = Sealing::new().await;
    let second = generate(KeyPurpose::Backup, "second", None, SystemTime::now()).unwrap();
    let files = [&host.bed.ring.backup, &second].map(|key| key.public_armored.clone().into_bytes());
    let recipients = Recipients::from_bytes(&files, SystemTime::now()).unwrap();
    let keys = RepositoryKeys {
        recipients: Some(recipients.clone()),
        ..host.bed.ring.service()
    };
    let cx = with_keys(&host, keys).await;
    host.begin_run(&expected(run(1))).await;
    let begun = Session::begin(&cx, &host.staging, &work(run(1)), &delivery(1)).await;
    let session = begun.unwrap().expect("there is something to capture");
    let captured = session.capture(now(), |mut input| stream(&noise(1000, 1), &mut input));
    captured.await.unwrap();
    let attempt = host.attempt(run(1));
    let pack = host.only_pack(&attempt);
    let frame = std::fs::read(host.staged_pack(&attempt, pack)).unwrap();
    host.run_with(&cx, &seal(&attempt, pack)).await.unwrap();
    for reader in [&host.bed.ring.backup, &second] {
        assert_eq!(host.opened(pack, &reader.secret_armored), frame);
    }
    host.run_with(&cx, &close_of(&attempt)).await.unwrap();
    let sealed = cx.repository.manifest(attempt.artefact()).await.unwrap().unwrap();
    assert_eq!(sealed.manifest.captured.recipients, recipients.fingerprints());
    assert_eq!(sealed.manifest.captured.readers, recipients.readers());
}

#[tokio::test]
async fn a_pack_that_somebody_else_put_for_other_readers_is_refused_and_nothing_is_lost() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let stranger = generate(KeyPurpose::Backup, "stranger", None, SystemTime::now()).unwrap();
    let public = stranger.public_armored.clone().into_bytes();
    let readers = Recipients::from_bytes(&[public], SystemTime::now()).unwrap();
    let foreign = holdfast_sealing::seal(&readers, Profile::Gnupg, b"something").unwrap();
    let place = host.bed.repository.place();
    place
        .put(&ObjectKey::Pack(pack), foreign.clone().into(), None)
        .await
        .unwrap();

    let reason = failed(host.run(&seal(&attempt, pack)).await);
    assert!(reason.contains("not sealed to"), "{reason}");
    assert!(attempt.receipt(pack).unwrap().is_none());
    assert!(host.staged_pack(&attempt, pack).exists());
    assert_eq!(host.stored(ObjectKey::Pack(pack)), foreign);
}

#[tokio::test]
async fn a_pack_is_not_sealed_to_other_keys_than_its_capture_counts_on() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let other = generate(KeyPurpose::Backup, "other", None, SystemTime::now()).unwrap();
    let files = [other.public_armored.clone().into_bytes()];
    let recipients = Recipients::from_bytes(&files, SystemTime::now()).unwrap();
    let keys = RepositoryKeys {
        recipients: Some(recipients.clone()),
        ..host.bed.ring.service()
    };
    // An encryptor that was started before or after the keys were changed.
    let cx = with_keys(&host, keys).await;
    let reason = failed(host.run_with(&cx, &seal(&attempt, pack)).await);
    assert!(
        reason.contains("Restart all services") && reason.contains(&recipients.readers()[0]),
        "{reason}"
    );
    assert!(!host.is_stored(ObjectKey::Pack(pack)) && attempt.receipt(pack).unwrap().is_none());
    host.run(&seal(&attempt, pack)).await.unwrap();
    let reason = failed(host.run_with(&cx, &close_of(&attempt)).await);
    assert!(reason.contains("Restart all services"), "{reason}");
    assert!(!host.is_stored(ObjectKey::Contents(attempt.artefact())));
}

#[tokio::test]
async fn damaged_staged_bytes_are_never_sealed() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let file = host.staged_pack(&attempt, pack);
    let frame = std::fs::read(&file).unwrap();
    let cut = frame[..frame.len() - 1].to_vec();
    let longer = [frame.as_slice(), b"x"].concat();
    let mut headless = frame.clone();
    headless[0] ^= 1;
    for damaged in [Vec::new(), cut, longer, headless, b"plain text".to_vec()] {
        std::fs::write(&file, &damaged).unwrap();
        let reason = failed(host.run(&seal(&attempt, pack)).await);
        assert!(reason.contains(&pack.to_string()), "{reason}");
        assert!(!host.is_stored(ObjectKey::Pack(pack)));
        assert!(attempt.receipt(pack).unwrap().is_none());
    }
    std::fs::write(&file, frame).unwrap();
    host.run(&seal(&attempt, pack)).await.unwrap();
}

#[tokio::test]
async fn a_job_whose_staging_is_gone_says_so_unless_the_artefact_is_closed() {
    let host = Sealing::new().await;
    let id = artefact(run(1)).id;
    let pack = PackId::from_bytes([7; 32]);
    let gone = superseded(host.run(&seal_job(run(1), id, 1, pack)).await);
    assert!(
        gone.contains("gone from staging") && gone.contains(&id.to_string()),
        "{gone}"
    );

    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let gone = superseded(host.run(&seal(&attempt, pack)).await);
    assert!(
        gone.contains("gone from staging"),
        "a pack that the attempt never had: {gone}"
    );
    let only = host.only_pack(&attempt);
    host.seal_all(&attempt).await;
    host.run(&close_of(&attempt)).await.unwrap();
    host.run(&seal_job(run(1), id, 1, only)).await.unwrap();
}

#[tokio::test]
async fn an_attempt_that_a_later_one_replaced_is_not_sealed() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    host.staging.begin(run(1), attempt.artefact()).unwrap();
    superseded(host.run(&seal(&attempt, pack)).await);
    assert!(!host.is_stored(ObjectKey::Pack(pack)));
}

#[tokio::test]
async fn packs_are_sealed_while_the_capture_goes_on_and_no_close_is_asked_for() {
    let host = Sealing::new().await;
    host.begin_run(&expected(run(1))).await;
    let mut asked = host.take(WorkStage::Close);
    let attempt = host.staging.begin(run(1), artefact(run(1)).id).unwrap();
    let pack = PackId::from_bytes([1; 32]);
    let wait = Wait {
        stop: &|| false,
        deadline: None,
    };
    attempt.compress_pack(pack, &noise(1000, 1), 1, &wait).unwrap();
    host.run(&seal(&attempt, pack)).await.unwrap();
    assert_eq!(receipt_of(&attempt, pack).plain, 1000);
    // One that is asked for now is the first that comes.
    let other = close_job(run(1), artefact(run(2)).id, 1);
    host.cx.bus.publish_work(&other).await.unwrap();
    assert_eq!(next(&mut asked).await, other);
}

#[tokio::test]
async fn the_last_pack_alone_asks_for_the_close_and_all_share_one_session_key() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(PACK + 1000, 1)).await;
    let packs = attempt.unsealed().unwrap();
    assert!(packs.len() > 1);
    let mut asked = host.take(WorkStage::Close);
    host.seal_all(&attempt).await;
    assert_eq!(next(&mut asked).await, close_of(&attempt));
    let other = close_job(run(1), artefact(run(2)).id, 1);
    host.cx.bus.publish_work(&other).await.unwrap();
    assert_eq!(next(&mut asked).await, other, "it was asked for more than once");

    // The packet with the session key comes first, and is the same bytes.
    let head = |pack| host.stored(ObjectKey::Pack(pack))[..64].to_vec();
    assert!(packs.iter().all(|pack| head(*pack) == head(packs[0])));
    let another = host.capture(run(2), noise(1000, 2)).await;
    let pack = host.only_pack(&another);
    host.seal_all(&another).await;
    assert_ne!(head(pack), head(packs[0]), "another artefact has another key");
}

#[tokio::test]
async fn a_host_that_only_restores_seals_nothing() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    let keys = RepositoryKeys {
        recipients: None,
        ..host.bed.ring.service()
    };
    let cx = with_keys(&host, keys).await;
    let reason = failed(host.run_with(&cx, &seal(&attempt, pack)).await);
    assert!(reason.contains("encryption.recipients"), "{reason}");
    assert!(!host.is_stored(ObjectKey::Pack(pack)));
}
