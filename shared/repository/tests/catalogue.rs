//! The catalogue's answers about whole, partial and damaged repositories.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{Bed, now, run, shop, verification, write_artefact};
use holdfast_format::{
    ArtefactId, ArtefactKind, Class, Damaged, Failure, FailureSubject, Level, Listed, ObjectKey, PackId, PointArtefact,
    PointStatus, Reason, RestorePoint, RunId, SourceName, Stage, Tombstone, Verdict,
};
use holdfast_repository::{Catalogue, RepositoryError};

async fn newest(catalogue: &Catalogue, before: Option<RunId>) -> Option<ArtefactId> {
    let source = "main".parse().unwrap();
    let found = catalogue.newest(&source, ArtefactKind::Database, "shop", before).await;
    found.unwrap().map(|found| found.manifest.captured.artefact)
}

async fn list(bed: &Bed, n: u64) {
    let source: SourceName = "main".parse().unwrap();
    let listed = Listed {
        run: run(n),
        source: source.clone(),
        at: now(),
        artefacts: vec![shop(run(n))],
        images: Vec::new(),
        notes: Vec::new(),
    };
    let key = ObjectKey::Listed(run(n), source);
    bed.repository.write(&key, &listed).await.unwrap();
}

async fn verify(bed: &Bed, n: u64, run: RunId, place: &str, level: Level, good: bool) {
    let record = verification(&shop(run), place, n, level, good);
    let key = ObjectKey::Verified(record.artefact, record.id);
    bed.repository.write(&key, &record).await.unwrap();
}

#[tokio::test]
async fn runs_come_newest_first_with_their_records() {
    let bed = Bed::new().await;
    let catalogue = Catalogue::new(bed.repository.clone());
    assert_eq!(catalogue.runs().await.unwrap(), []);
    let source: SourceName = "main".parse().unwrap();
    for n in [2, 3, 1] {
        list(&bed, n).await;
    }
    assert_eq!(catalogue.runs().await.unwrap(), [run(3), run(2), run(1)]);
    let listed = catalogue.listed(run(2), &source).await.unwrap().unwrap();
    assert_eq!(listed.artefacts, [shop(run(2))]);
    assert!(catalogue.expected(run(2)).await.unwrap().is_none());
    assert!(catalogue.restore_point(run(2)).await.unwrap().is_none());
    let point = RestorePoint {
        run: run(2),
        started: now(),
        recorded: now(),
        complete: false,
        reason: Reason::Manual,
        backup_type: "all".to_owned(),
        stack: None,
        class: Class::Daily,
        label: None,
        hold_until: None,
        artefacts: vec![PointArtefact {
            source: source.clone(),
            artefact: shop(run(2)),
            status: PointStatus::Failed {
                stage: Stage::Capture,
                reason: "gone".to_owned(),
            },
        }],
        failed_sources: BTreeMap::new(),
        images: Vec::new(),
        notes: Vec::new(),
    };
    bed.repository
        .write(&ObjectKey::RestorePoint(run(2)), &point)
        .await
        .unwrap();
    assert_eq!(
        *catalogue.restore_point(run(2)).await.unwrap().unwrap(),
        point,
        "an absence is not remembered"
    );
    std::fs::remove_file(bed.file(ObjectKey::RestorePoint(run(2)))).unwrap();
    assert_eq!(
        *catalogue.restore_point(run(2)).await.unwrap().unwrap(),
        point,
        "a record is"
    );
}

#[tokio::test]
async fn marks_of_damaged_packs_count_even_if_unreadable() {
    let bed = Bed::new().await;
    let catalogue = Catalogue::new(bed.repository.clone());
    assert!(catalogue.damaged_packs().await.unwrap().is_empty());
    let one = PackId::from_bytes([1; 32]);
    let two = PackId::from_bytes([2; 32]);
    for pack in [one, two] {
        let mark = Damaged {
            pack,
            at: now(),
            artefact: shop(run(1)).id,
            problem: "gone".to_owned(),
        };
        bed.repository.write(&ObjectKey::Damaged(pack), &mark).await.unwrap();
    }
    bed.flip(ObjectKey::Damaged(two));
    let damaged = catalogue.damaged_packs().await.unwrap();
    assert_eq!(damaged.into_iter().collect::<Vec<_>>(), [one, two]);
}

#[tokio::test]
async fn failures_are_gathered() {
    let bed = Bed::new().await;
    let catalogue = Catalogue::new(bed.repository.clone());
    let subjects = [
        FailureSubject::Source("main".parse().unwrap()),
        FailureSubject::Artefact(shop(run(1)).id),
        FailureSubject::ArtefactAt(shop(run(1)).id, "s3".parse().unwrap()),
        FailureSubject::Place("s3".parse().unwrap()),
    ];
    for subject in &subjects {
        let failure = Failure {
            run: run(1),
            subject: subject.clone(),
            stage: Stage::Sync,
            reason: "no".to_owned(),
            at: now(),
        };
        bed.repository.write(&failure.key(), &failure).await.unwrap();
    }
    let found = catalogue.failures(run(1)).await.unwrap();
    let mut found: Vec<_> = found.iter().map(|failure| failure.subject.clone()).collect();
    found.sort();
    assert_eq!(found, subjects);
    assert!(catalogue.failures(run(2)).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_newest_artefact_may_be_of_an_unfinished_run() {
    let bed = Bed::new().await;
    let catalogue = Catalogue::new(bed.repository.clone());
    assert_eq!(newest(&catalogue, None).await, None);
    let source = "main".parse().unwrap();
    // Run 2 brought nothing, run 4 has not come further than contents, run 3 has no restore point.
    for n in [1, 3] {
        write_artefact(&bed, run(n), n).await;
    }
    for n in [2, 4] {
        list(&bed, n).await;
    }
    for n in [1, 3] {
        bed.repository
            .place()
            .put(
                &ObjectKey::Expected(run(n)),
                bytes::Bytes::from_static(b"unreadable, and not asked"),
                None,
            )
            .await
            .unwrap();
    }
    let (draft, _) = common::draft(bed.scratch.path(), &shop(run(4)), 1);
    bed.repository.put_contents(shop(run(4)).id, &draft).await.unwrap();
    assert_eq!(newest(&catalogue, None).await, Some(shop(run(3)).id));
    assert_eq!(newest(&catalogue, Some(run(3))).await, Some(shop(run(1)).id));
    assert_eq!(newest(&catalogue, Some(run(1))).await, None);
    for (kind, name) in [(ArtefactKind::Globals, "shop"), (ArtefactKind::Database, "shop2")] {
        assert!(catalogue.newest(&source, kind, name, None).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn bad_and_given_up_artefacts_are_no_parents_but_count_in_the_sequence() {
    let bed = Bed::new().await;
    let catalogue = Catalogue::new(bed.repository.clone());
    let source = "main".parse().unwrap();
    for n in [1, 2, 3, 4] {
        write_artefact(&bed, run(n), n).await;
        list(&bed, n).await;
    }
    verify(&bed, 1, run(4), "local", Level::Integrity, true).await;
    assert_eq!(newest(&catalogue, None).await, Some(shop(run(4)).id));
    verify(&bed, 2, run(4), "offsite", Level::Integrity, false).await;
    assert_eq!(
        newest(&catalogue, None).await,
        Some(shop(run(4)).id),
        "bad elsewhere is not bad here"
    );
    verify(&bed, 3, run(4), "local", Level::Decrypt, false).await;
    verify(&bed, 4, run(4), "local", Level::Integrity, true).await;
    assert_eq!(
        newest(&catalogue, None).await,
        Some(shop(run(3)).id),
        "a shallower look does not clear it"
    );
    let seen = catalogue.verifications(shop(run(4)).id).await.unwrap();
    assert_eq!(
        seen.iter().map(|v| v.is_good()).collect::<Vec<_>>(),
        [true, false, false, true]
    );
    let latest = catalogue
        .latest(&source, ArtefactKind::Database, "shop", None)
        .await
        .unwrap();
    assert_eq!(latest.next_sequence(), 5);
    let tombstone = Tombstone {
        run: run(3),
        at: now(),
        rule: "daily".to_owned(),
        artefacts: vec![shop(run(3)).id],
    };
    bed.repository
        .write(&ObjectKey::Tombstone(run(3)), &tombstone)
        .await
        .unwrap();
    assert_eq!(newest(&catalogue, None).await, Some(shop(run(2)).id));
    assert!(catalogue.is_given_up(run(3)).await.unwrap() && !catalogue.is_given_up(run(2)).await.unwrap());
    verify(&bed, 5, run(4), "local", Level::Restore, true).await;
    assert_eq!(
        newest(&catalogue, None).await,
        Some(shop(run(4)).id),
        "a deeper look clears it"
    );
    // What somebody without a key puts there says nothing; nobody builds on what it may be about.
    let forged = bed.file(ObjectKey::Tombstone(run(4)));
    std::fs::write(forged, "garbage").unwrap();
    let error = catalogue.is_given_up(run(4)).await.unwrap_err();
    assert!(error.is_damage(), "{error:?}");
    assert_eq!(newest(&catalogue, None).await, Some(shop(run(2)).id));
}

#[tokio::test]
async fn a_verification_that_came_to_no_judgement_or_cannot_be_read_says_and_hides_nothing() {
    let bed = Bed::new().await;
    let id = shop(run(1)).id;
    write_artefact(&bed, run(1), 1).await;
    list(&bed, 1).await;
    let mut unknown = verification(&shop(run(1)), "local", 1, Level::Restore, true);
    unknown.verdict = Verdict::Unknown;
    let key = ObjectKey::Verified(id, unknown.id);
    bed.repository.write(&key, &unknown).await.unwrap();
    let catalogue = Catalogue::new(bed.repository.clone());
    assert!(!catalogue.is_known_bad(id).await.unwrap());
    assert_eq!(newest(&catalogue, None).await, Some(id));

    verify(&bed, 2, run(1), "local", Level::Integrity, false).await;
    let mut later = unknown.clone();
    later.id = uuid::Uuid::from_u128(99);
    later.finished += jiff::SignedDuration::from_hours(9);
    let key = ObjectKey::Verified(id, later.id);
    bed.repository.write(&key, &later).await.unwrap();
    assert!(catalogue.is_known_bad(id).await.unwrap(), "it clears nothing");

    // What somebody puts there who has no key.
    std::fs::remove_file(bed.file(&key)).unwrap();
    std::fs::write(bed.file(&key), "garbage").unwrap();
    let catalogue = Catalogue::new(bed.repository.clone());
    let (read, unreadable) = catalogue.readable_verifications(id).await.unwrap();
    assert_eq!((read.len(), unreadable), (2, vec![key]));
    assert!(catalogue.calls_bad(&read));
}

#[tokio::test]
async fn damaged_manifests_are_passed_over_and_counted_and_a_wrong_key_is_an_error() {
    let bed = Bed::new().await;
    let source = "main".parse().unwrap();
    for n in [1, 2] {
        write_artefact(&bed, run(n), n).await;
        list(&bed, n).await;
    }
    bed.flip(ObjectKey::Manifest(shop(run(2)).id));
    let catalogue = Catalogue::new(bed.repository.at(bed.repository.place().clone()));
    assert_eq!(newest(&catalogue, None).await, Some(shop(run(1)).id));
    let latest = catalogue
        .latest(&source, ArtefactKind::Database, "shop", None)
        .await
        .unwrap();
    assert_eq!((latest.unreadable, latest.next_sequence()), (1, 3));
    let foreign = Bed::new().await;
    let key = ObjectKey::Manifest(shop(run(1)).id);
    std::fs::create_dir_all(foreign.file(&key).parent().unwrap()).unwrap();
    std::fs::copy(bed.file(&key), foreign.file(&key)).unwrap();
    std::fs::create_dir_all(foreign.file(format!("runs/{}", run(1)))).unwrap();
    let catalogue = Catalogue::new(foreign.repository.clone());
    let error = catalogue
        .newest(&source, ArtefactKind::Database, "shop", None)
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::NoKey { .. }), "{error:?}");
}
