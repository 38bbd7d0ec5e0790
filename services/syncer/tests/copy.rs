//! Copies between directories: the objects that arrive, that are not sent twice, and that are refused.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs::File;
use std::time::{Duration, SystemTime};

use common::{
    Bed, artefact, begin_run, copier, directory, keys, now, pack, record_run, run, shop, target, target_file,
    verification,
};
use holdfast_fault::Retryable as _;
use holdfast_format::{Failure, FailureSubject, Finished, Hold, Level, ObjectKey, Stage};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_syncer::SyncError;

#[tokio::test]
async fn what_arrives_can_be_restored_from_the_target_alone() {
    let bed = Bed::new().await;
    let packs = [
        pack(&bed, 1, 5000).await,
        pack(&bed, 2, 70_000).await,
        pack(&bed, 3, 10).await,
    ];
    let sealed = artefact(&bed, &shop(run(1)), run(1), &packs).await;
    let verified = verification(&shop(run(1)), "local", 1, Level::Decrypt, true);
    let verified_key = ObjectKey::Verified(verified.artefact, verified.id);
    bed.repository.write(&verified_key, &verified).await.unwrap();
    let to = target(&bed).await;
    let copier = copier(&bed, &to);
    assert!(!copier.has_artefact(shop(run(1)).id).await.unwrap());

    let copied = copier.copy_artefact(shop(run(1)).id).await.unwrap();
    assert_eq!((copied.packs, copied.objects), (3, 6));
    assert_eq!(copied.bytes, copier.sent());
    assert!(copier.has_artefact(shop(run(1)).id).await.unwrap());

    let restorer = Repository::open(to.clone(), bed.ring.restorer()).await.unwrap();
    let there = restorer.manifest(shop(run(1)).id).await.unwrap().unwrap();
    assert_eq!(*there, *sealed);
    for pack in &packs {
        restorer.get_pack(pack).await.unwrap();
    }
    let contents = restorer
        .open_contents(&there.manifest, bed.scratch.path())
        .await
        .unwrap();
    assert_eq!(contents.reader().unwrap().count(), 5);
    assert_eq!(restorer.read(&verified_key).await.unwrap(), Some(verified));

    // A second copier, as another process has it, sends nothing.
    let again = common::copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap();
    assert_eq!(again, holdfast_syncer::Copied::default());
}

#[tokio::test]
async fn packs_that_an_earlier_artefact_brought_are_not_sent_again() {
    let bed = Bed::new().await;
    let old = pack(&bed, 1, 5000).await;
    let new = pack(&bed, 2, 5000).await;
    artefact(&bed, &shop(run(1)), run(1), &[old]).await;
    artefact(&bed, &shop(run(2)), run(2), &[old, new]).await;
    let to = target(&bed).await;
    let copier = copier(&bed, &to);
    assert_eq!(copier.copy_artefact(shop(run(1)).id).await.unwrap().packs, 1);
    assert_eq!(copier.copy_artefact(shop(run(2)).id).await.unwrap().packs, 1);
    // A verification that came later is copied alone.
    let verified = verification(&shop(run(1)), "local", 1, Level::Integrity, true);
    let key = ObjectKey::Verified(verified.artefact, verified.id);
    bed.repository.write(&key, &verified).await.unwrap();
    assert!(!copier.has_artefact(shop(run(1)).id).await.unwrap());
    let copied = copier.copy_artefact(shop(run(1)).id).await.unwrap();
    assert_eq!((copied.packs, copied.objects), (0, 1));
}

#[tokio::test]
async fn many_packs_are_looked_for_with_one_listing() {
    let bed = Bed::new().await;
    let sealed = pack(&bed, 0, 10).await;
    let bytes = bed.repository.get_pack(&sealed).await.unwrap();
    let mut packs = vec![sealed];
    for n in 1..300_u16 {
        let mut id = [9; 32];
        id[..2].copy_from_slice(&n.to_be_bytes());
        let id = holdfast_format::PackId::from_bytes(id);
        bed.repository
            .place()
            .put(&ObjectKey::Pack(id), bytes.clone(), None)
            .await
            .unwrap();
        packs.push(holdfast_format::PackRef { id, ..sealed });
    }
    artefact(&bed, &shop(run(1)), run(1), &packs).await;
    let to = target(&bed).await;
    to.put(&ObjectKey::Pack(packs[7].id), bytes, None).await.unwrap();
    let copier = copier(&bed, &to);
    assert_eq!(copier.copy_artefact(shop(run(1)).id).await.unwrap().packs, 299);
    assert_eq!(copier.copy_artefact(shop(run(1)).id).await.unwrap().objects, 0);
}

#[tokio::test]
async fn what_is_damaged_here_is_not_sent() {
    let bed = Bed::new().await;
    let packs = [pack(&bed, 1, 5000).await, pack(&bed, 2, 5000).await];
    artefact(&bed, &shop(run(1)), run(1), &packs).await;
    bed.flip(ObjectKey::Pack(packs[1].id));
    let to = target(&bed).await;
    let error = copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap_err();
    assert!(
        matches!(&error, SyncError::Repository(RepositoryError::Damaged { .. })),
        "{error:?}"
    );
    assert_eq!(error.bad_pack(bed.repository.place().name()), Some(packs[1].id));
    assert!(!error.retry().is_later());
    assert!(!keys(&to).await.contains(&ObjectKey::Manifest(shop(run(1)).id)));
    assert!(!keys(&to).await.contains(&ObjectKey::Pack(packs[1].id)));
    // Damage of contents and manifest is noticed, too, before anything is sent.
    let bed = Bed::new().await;
    artefact(&bed, &shop(run(1)), run(1), &[pack(&bed, 1, 50).await]).await;
    bed.flip(ObjectKey::Contents(shop(run(1)).id));
    let to = target(&bed).await;
    let error = copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap_err();
    assert!(
        error.to_string().contains("contents at place local is damaged"),
        "{error}"
    );
    assert_eq!(error.bad_pack(bed.repository.place().name()), None);
    bed.flip(ObjectKey::Contents(shop(run(1)).id));
    bed.flip(ObjectKey::Manifest(shop(run(1)).id));
    let error = copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap_err();
    assert!(
        error.to_string().contains("manifest at place local is damaged"),
        "{error}"
    );
    assert!(!keys(&to).await.contains(&ObjectKey::Manifest(shop(run(1)).id)));
}

#[tokio::test]
async fn a_torn_upload_is_named_and_not_overwritten() {
    let bed = Bed::new().await;
    let only = pack(&bed, 1, 5000).await;
    artefact(&bed, &shop(run(1)), run(1), &[only]).await;
    let to = target(&bed).await;
    let key = ObjectKey::Pack(only.id);
    to.put(&key, bytes::Bytes::from_static(b"torn"), None).await.unwrap();
    let error = copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&key.to_string()) && text.contains("has 4 bytes") && text.contains("delete it"),
        "{text}"
    );
    assert!(!error.retry().is_later());
    to.delete(&key).await.unwrap();
    copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap();
}

#[tokio::test]
async fn an_older_sealing_of_the_same_pack_is_not_taken_for_this_one() {
    let bed = Bed::new().await;
    let only = pack(&bed, 1, 5000).await;
    artefact(&bed, &shop(run(1)), run(1), &[only]).await;
    let to = target(&bed).await;
    let key = ObjectKey::Pack(only.id);
    let age = |days: u64| {
        let file = File::options().write(true).open(target_file(&bed, &key)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400))
            .unwrap();
    };
    // The same plaintext sealed a second time has as many bytes, but others.
    let other = holdfast_sealing::seal(&bed.ring.recipients(), holdfast_sealing::Profile::Gnupg, &[1; 5000]).unwrap();
    assert_eq!(other.len() as u64, only.size);
    to.put(&key, other.into(), None).await.unwrap();
    age(40);
    let error = copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap_err();
    assert!(matches!(error, SyncError::OtherBytes { .. }), "{error:?}");
    assert_eq!(error.bad_pack(bed.repository.place().name()), Some(only.id));
    // A place that was filled from its target has the same packs, with later times.
    to.delete(&key).await.unwrap();
    to.put(&key, bed.repository.get_pack(&only).await.unwrap(), None)
        .await
        .unwrap();
    age(40);
    assert_eq!(copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap().packs, 0);
}

#[tokio::test]
async fn a_target_of_another_repository_is_refused() {
    let bed = Bed::new().await;
    artefact(&bed, &shop(run(1)), run(1), &[pack(&bed, 1, 50).await]).await;
    let sent = copier(&bed, &target(&bed).await)
        .copy_artefact(shop(run(1)).id)
        .await
        .unwrap();
    assert_eq!(sent.packs, 1);
    // Another repository, once with the same keys and once with other keys.
    for ring in [&bed.ring, &Bed::new().await.ring] {
        let folder = bed
            .scratch
            .path()
            .join(sent.bytes.to_string())
            .join(ring.backup.fingerprint.clone());
        let to = directory("other", &folder).await;
        Repository::create(to.clone(), ring.service(), ring.members(), now())
            .await
            .unwrap();
        let before = keys(&to).await;
        let error = copier(&bed, &to).copy_artefact(shop(run(1)).id).await.unwrap_err();
        let refused = matches!(
            &error,
            SyncError::Repository(RepositoryError::OtherRepository { .. } | RepositoryError::NoKey { .. })
        );
        assert!(refused && !error.retry().is_later(), "{error:?}");
        assert_eq!(keys(&to).await, before);
    }
    // A target that is emptied under a running service gets its identity again.
    let to = directory("offsite", &bed.scratch.path().join("second")).await;
    let copier = copier(&bed, &to);
    copier.copy_artefact(shop(run(1)).id).await.unwrap();
    for key in keys(&to).await {
        to.delete(&key).await.unwrap();
    }
    copier.copy_artefact(shop(run(1)).id).await.unwrap();
    assert!(keys(&to).await.contains(&ObjectKey::Repository));
}

#[tokio::test]
async fn a_restore_point_goes_last_and_only_to_a_target_that_has_its_artefacts() {
    let bed = Bed::new().await;
    let shop = shop(run(1));
    let sealed = artefact(&bed, &shop, run(1), &[pack(&bed, 1, 50).await]).await;
    begin_run(&bed, run(1), std::slice::from_ref(&shop)).await;
    let to = target(&bed).await;
    let copier = copier(&bed, &to);
    let none = copier.copy_point(run(1)).await.unwrap_err();
    assert!(matches!(none, SyncError::NoPoint { .. }), "{none:?}");
    record_run(&bed, run(1), &[(shop.clone(), sealed)]).await;
    let failure = Failure {
        run: run(1),
        subject: FailureSubject::Source("main".parse().unwrap()),
        stage: Stage::List,
        reason: "it was away".to_owned(),
        at: now(),
    };
    bed.repository.write(&failure.key(), &failure).await.unwrap();
    let finished = Finished {
        run: run(1),
        at: now(),
        outcome: "partial".to_owned(),
        failures: Vec::new(),
    };
    bed.repository
        .write(&ObjectKey::Finished(run(1)), &finished)
        .await
        .unwrap();
    let hold = Hold {
        run: run(1),
        until: None,
        at: now(),
        reason: None,
    };
    bed.repository.write(&ObjectKey::Hold(run(1)), &hold).await.unwrap();

    let lacks = copier.copy_point(run(1)).await.unwrap_err();
    assert!(
        matches!(lacks, SyncError::Lacks { .. }) && lacks.retry().is_later(),
        "{lacks:?}"
    );
    assert!(!copier.has_point(run(1)).await.unwrap());
    copier.copy_artefact(shop.id).await.unwrap();
    // A damaged record that only informs does not hold up the copy.
    bed.flip(failure.key());
    assert_eq!(copier.copy_point(run(1)).await.unwrap().objects, 3);
    assert!(copier.has_point(run(1)).await.unwrap());
    let of_run: Vec<ObjectKey> = keys(&to)
        .await
        .into_iter()
        .filter(|k| k.to_string().starts_with("runs/"))
        .collect();
    let listed = ObjectKey::Listed(run(1), "main".parse().unwrap());
    assert_eq!(
        of_run,
        [ObjectKey::Expected(run(1)), listed, ObjectKey::RestorePoint(run(1))]
    );
    assert_eq!(copier.copy_point(run(1)).await.unwrap().objects, 0);
}
