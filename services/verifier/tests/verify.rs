//! Verifications of artefacts that were really captured: good ones, damaged ones, and failures that are neither.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::process::Stdio;

use common::{
    Bed, backup_keys, capture_directory, capture_dump, directory, directory_artefact, options, run, shop, tree,
};
use holdfast_fault::Retryable as _;
use holdfast_format::{ArtefactId, Level, ObjectKey, Verdict};
use holdfast_repository::{Catalogue, Repository};
use holdfast_tests::postgres::Cluster;
use holdfast_verifier::{Checked, VerifyError, VerifyOptions, record, verify_artefact};

async fn verify(bed: &Bed, level: Level) -> Checked {
    let id = directory_artefact(run(1)).id;
    verify_artefact(&bed.repository, Some(&backup_keys(bed)), id, level, &options(bed))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_captured_is_good_at_every_level() {
    let bed = Bed::new().await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    assert_eq!(sealed.manifest.packs.len(), 2);
    let bytes: u64 = sealed.manifest.packs.iter().map(|p| p.size).sum();
    // One set of options serves many verifications.
    let keys = backup_keys(&bed);
    let id = sealed.manifest.captured.artefact;
    let options = options(&bed);
    for level in [Level::Integrity, Level::Decrypt, Level::Restore] {
        let checked = verify_artefact(&bed.repository, Some(&keys), id, level, &options)
            .await
            .unwrap();
        let v = &checked.verification;
        assert!(checked.is_good(), "{level}: {}", checked.reason());
        assert!(v.recipients_proven && v.bytes_read >= bytes, "{v:?}");
        assert_eq!((v.level, v.place.as_str(), v.id.get_version_num()), (level, "local", 7));
    }
    let trial = std::fs::read_dir(bed.scratch.path().join("trial")).unwrap();
    assert_eq!(trial.count(), 0, "no plaintext is left");
    // Sealed objects are checked without any secret key.
    let checked = verify_artefact(&bed.repository, None, id, Level::Integrity, &options)
        .await
        .unwrap();
    assert!(checked.is_good());
    record(&bed.repository, &checked).await.unwrap();
    let recorded = Catalogue::new(bed.repository.clone()).verifications(id).await.unwrap();
    assert_eq!(*recorded[0], checked.verification);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_at_every_level_and_its_packs_are_marked() {
    let bed = Bed::new().await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    let packs: Vec<_> = sealed.manifest.packs.iter().map(|p| p.id).collect();
    bed.flip(ObjectKey::Pack(packs[0]));
    std::fs::remove_file(bed.file(ObjectKey::Pack(packs[1]))).unwrap();
    for level in [Level::Integrity, Level::Decrypt, Level::Restore] {
        let checked = verify(&bed, level).await;
        assert!(!checked.is_good());
        let mut objects: Vec<_> = checked.verification.findings.iter().map(|f| f.object.clone()).collect();
        let mut keys: Vec<_> = packs.iter().map(|id| ObjectKey::Pack(*id).to_string()).collect();
        objects.sort();
        keys.sort();
        assert_eq!(objects, keys, "{level}");
        let reason = checked.reason();
        assert!(
            reason.starts_with("2 findings at place local") && reason.contains("missing"),
            "{reason}"
        );
        assert_eq!(checked.damaged.len(), 2);
        record(&bed.repository, &checked).await.unwrap();
    }
    let catalogue = Catalogue::new(bed.repository.clone());
    let marked = bed
        .repository
        .place()
        .list(holdfast_storage::Prefix::Damaged)
        .await
        .unwrap();
    assert_eq!(marked.objects.len(), 2);
    assert!(catalogue.is_known_bad(directory_artefact(run(1)).id).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_read_from_the_place_and_not_from_memory() {
    let bed = Bed::new().await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    let id = sealed.manifest.captured.artefact;
    let object = async || {
        verify(&bed, Level::Decrypt).await.verification.findings[0]
            .object
            .clone()
    };
    let contents = ObjectKey::Contents(id);
    bed.flip(&contents);
    assert_eq!(object().await, contents.to_string());
    bed.flip(&contents);
    let kept = std::fs::read(bed.file(&contents)).unwrap();
    std::fs::remove_file(bed.file(&contents)).unwrap();
    assert_eq!(object().await, contents.to_string());
    std::fs::write(bed.file(&contents), kept).unwrap();
    let manifest = ObjectKey::Manifest(id);
    bed.flip(&manifest);
    assert_eq!(object().await, manifest.to_string());
    std::fs::remove_file(bed.file(&manifest)).unwrap();
    assert_eq!(object().await, manifest.to_string());
    // The repository itself still has the manifest in memory.
    assert!(bed.repository.manifest(id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_damages_a_target_marks_nothing_here() {
    let bed = Bed::new().await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    let to = directory("offsite", &bed.scratch.path().join("offsite")).await;
    bed.repository.copy_identity_to(&to).await.unwrap();
    let there = bed.repository.at(to.clone());
    let id = sealed.manifest.captured.artefact;
    for key in [
        ObjectKey::Manifest(id),
        ObjectKey::Contents(id),
        ObjectKey::Pack(sealed.manifest.packs[0].id),
    ] {
        to.put(&key, std::fs::read(bed.file(&key)).unwrap().into(), None)
            .await
            .unwrap();
    }
    let keys = backup_keys(&bed);
    let checked = verify_artefact(&there, Some(&keys), id, Level::Decrypt, &options(&bed))
        .await
        .unwrap();
    assert!(!checked.is_good());
    assert_eq!(checked.verification.place.as_str(), "offsite");
    assert!(
        checked.damaged.contains_key(&sealed.manifest.packs[1].id),
        "{:?}",
        checked.damaged
    );
    record(&bed.repository, &checked).await.unwrap();
    let marked = bed
        .repository
        .place()
        .list(holdfast_storage::Prefix::Damaged)
        .await
        .unwrap();
    assert_eq!(marked.objects, []);
    let catalogue = Catalogue::new(bed.repository.clone());
    assert_eq!(catalogue.verifications(id).await.unwrap().len(), 1);
    assert!(!catalogue.is_known_bad(id).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_or_a_folder_that_is_missing_is_no_damage() {
    let bed = Bed::new().await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    let id = sealed.manifest.captured.artefact;
    let stranger = backup_keys(&Bed::new().await);
    for keys in [None, Some(&stranger)] {
        let checked = verify_artefact(&bed.repository, keys, id, Level::Decrypt, &options(&bed))
            .await
            .unwrap();
        assert_eq!(checked.verification.verdict, Verdict::Unknown);
        let reason = checked.reason();
        for said in [
            "could not be judged",
            "verifier.secret_keys",
            &sealed.manifest.captured.readers[0],
        ] {
            assert!(reason.contains(said), "{reason}");
        }
        record(&bed.repository, &checked).await.unwrap();
    }
    says_nothing(&bed, id).await;
    // It is no proof either, and takes nothing from what is one.
    let keys = backup_keys(&bed);
    let checked = verify(&bed, Level::Decrypt).await;
    assert!(checked.is_good(), "{}", checked.reason());
    let trial = async |trial| {
        let options = VerifyOptions { trial, ..options(&bed) };
        verify_artefact(&bed.repository, Some(&keys), id, Level::Restore, &options)
            .await
            .unwrap_err()
    };
    let none = trial(None).await;
    assert!(matches!(none, VerifyError::NoFolder { .. }), "{none:?}");
    let file = trial(Some(bed.scratch.path().join("tree/large"))).await;
    assert!(matches!(file, VerifyError::Folder { .. }), "{file:?}");
    // The verification fails without a word about the artefact.
    let stopped = options(&bed);
    stopped.progress.stop();
    let error = verify_artefact(&bed.repository, Some(&keys), id, Level::Decrypt, &stopped)
        .await
        .unwrap_err();
    assert!(error.retry().is_later(), "{error:?}");
}

/// Checks that verifications are recorded, and that nothing follows from them.
async fn says_nothing(bed: &Bed, id: ArtefactId) {
    let place = bed.repository.place();
    let marked = place.list(holdfast_storage::Prefix::Damaged).await.unwrap();
    assert_eq!(marked.objects, []);
    let catalogue = Catalogue::new(bed.repository.clone());
    assert!(!catalogue.is_known_bad(id).await.unwrap());
    let all = catalogue.verifications(id).await.unwrap();
    assert!(
        !all.is_empty()
            && all
                .iter()
                .all(|v| v.verdict == Verdict::Unknown && !v.findings.is_empty())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_no_key_at_hand_opens_or_whose_signer_is_not_known_is_unknown() {
    let bed = Bed::new().await;
    let id = capture_directory(&bed, run(1), &tree(&bed))
        .await
        .manifest
        .captured
        .artefact;
    let other = Bed::new().await;
    capture_directory(&other, run(1), &tree(&other)).await;
    let key = ObjectKey::Manifest(id);
    std::fs::remove_file(bed.file(&key)).unwrap();
    std::fs::copy(other.file(&key), bed.file(&key)).unwrap();
    // The backup key of the other repository opens it, but its signer is not trusted here.
    let mut keys = bed.ring.service();
    keys.secret = keys.secret.union(&backup_keys(&other));
    let place = bed.repository.place().clone();
    let reading = Repository::open(place, keys).await.unwrap();
    for (repository, said) in [
        (&bed.repository, "with the keys of this host"),
        (&reading, "trusted signer"),
    ] {
        let checked = verify_artefact(
            repository,
            Some(&backup_keys(&bed)),
            id,
            Level::Integrity,
            &options(&bed),
        )
        .await
        .unwrap();
        assert!(checked.reason().contains(said), "{}", checked.reason());
        record(&bed.repository, &checked).await.unwrap();
    }
    says_nothing(&bed, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_place_is_not_mounted_nothing_is_called_missing() {
    let bed = Bed::new().await;
    let id = capture_directory(&bed, run(1), &tree(&bed))
        .await
        .manifest
        .captured
        .artefact;
    let place = bed.scratch.path().join("place");
    let away = bed.scratch.path().join("away");
    std::fs::rename(&place, &away).unwrap();
    std::fs::create_dir(&place).unwrap();
    let error = verify_artefact(&bed.repository, None, id, Level::Integrity, &options(&bed))
        .await
        .unwrap_err();
    assert!(matches!(error, VerifyError::Repository { .. }), "{error:?}");
    std::fs::remove_dir(&place).unwrap();
    std::fs::rename(&away, &place).unwrap();
    assert!(verify(&bed, Level::Integrity).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_read_by_pg_restore_and_not_restored() {
    let cluster = Cluster::start().unwrap();
    cluster.create_database("shop").unwrap();
    cluster
        .psql(
            "shop",
            "CREATE TABLE t (n int); INSERT INTO t SELECT generate_series(1, 1000);",
        )
        .unwrap();
    let mut dump = cluster.client("pg_dump", "shop");
    dump.args(["--format=custom", "--compress=0"]).stderr(Stdio::inherit());
    let dump = dump.output().unwrap();
    assert!(dump.status.success());
    let bed = Bed::new().await;
    let keys = backup_keys(&bed);
    capture_dump(&bed, run(1), &dump.stdout).await;
    let id = shop(run(1)).id;
    let checked = verify_artefact(&bed.repository, Some(&keys), id, Level::Decrypt, &options(&bed))
        .await
        .unwrap();
    assert!(checked.is_good(), "{}", checked.reason());
    let error = verify_artefact(&bed.repository, Some(&keys), id, Level::Restore, &options(&bed))
        .await
        .unwrap_err();
    assert!(
        matches!(error, VerifyError::NoServer { kind: "database", .. }),
        "{error:?}"
    );
    // A stream that is just as captured, and still no complete dump.
    capture_dump(&bed, run(2), &dump.stdout[..dump.stdout.len() / 2]).await;
    let id = shop(run(2)).id;
    let checked = verify_artefact(&bed.repository, Some(&keys), id, Level::Decrypt, &options(&bed))
        .await
        .unwrap();
    assert!(!checked.is_good());
}
