//! A repository with real keys in real files: what is written comes back, and what was tampered with does not.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "../../storage/tests/common/s3.rs"]
mod s3;

use std::time::Duration;

use bytes::Bytes;
use common::{Bed, Ring, directory, draft, now, run, shop, write_artefact, write_artefact_to};
use holdfast_fault::Retryable as _;
use holdfast_format::{Content, ContentsError, Hold, ObjectKey, RecordError, RunId};
use holdfast_repository::{ContentsFile, ContentsPut, Repository, RepositoryError};
use holdfast_sealing::OpenError;
use holdfast_storage::{Place, PlaceOptions, Put};
use url::Url;

fn hold(run: RunId, reason: &str) -> Hold {
    Hold {
        run,
        until: None,
        at: now(),
        reason: Some(reason.to_owned()),
    }
}

#[tokio::test]
async fn a_repository_is_made_once_and_opened_by_whoever_has_a_key() {
    let bed = Bed::new().await;
    let place = bed.repository.place().clone();
    let again = Repository::create(place.clone(), bed.ring.service(), bed.ring.members(), now())
        .await
        .unwrap_err();
    assert!(matches!(again, RepositoryError::Exists { .. }), "{again:?}");
    for keys in [bed.ring.service(), bed.ring.restorer()] {
        let opened = Repository::open(place.clone(), keys).await.unwrap();
        assert_eq!(opened.id(), bed.repository.id());
        assert_eq!(opened.info(), bed.repository.info());
    }
    let other = Bed::new().await;
    assert_ne!(other.repository.info().chunk_key, bed.repository.info().chunk_key);
    assert_ne!(other.repository.info().chunker, bed.repository.info().chunker);
    let stranger = Repository::open(place.clone(), other.ring.service()).await.unwrap_err();
    assert!(matches!(stranger, RepositoryError::NoKey { .. }), "{stranger:?}");
    let mut distrustful = bed.ring.restorer();
    distrustful.owner = other.ring.owner();
    let unsigned = Repository::open(place, distrustful).await.unwrap_err();
    assert!(matches!(unsigned, RepositoryError::NotOwner { .. }), "{unsigned:?}");
    let empty = directory("empty", &bed.scratch.path().join("empty")).await;
    let nothing = Repository::open(empty, bed.ring.service()).await.unwrap_err();
    assert!(matches!(nothing, RepositoryError::NoRepository { .. }), "{nothing:?}");
}

#[tokio::test]
async fn records_are_written_once_and_read_back() {
    let bed = Bed::new().await;
    let key = ObjectKey::Hold(run(1));
    assert_eq!(bed.repository.read::<Hold>(&key).await.unwrap(), None);
    let first = hold(run(1), "audit");
    assert_eq!(bed.repository.write(&key, &first).await.unwrap(), Put::Created);
    let again = bed.repository.write(&key, &hold(run(1), "other")).await.unwrap();
    assert!(matches!(again, Put::AlreadyThere { .. }));
    assert_eq!(bed.repository.read::<Hold>(&key).await.unwrap(), Some(first));
    let wrong = bed
        .repository
        .write(&ObjectKey::Hold(run(2)), &hold(run(1), ""))
        .await
        .unwrap_err();
    assert!(matches!(wrong, RepositoryError::WrongKey { .. }), "{wrong:?}");
    let wrong = bed.repository.put_plain(&key, Bytes::new()).await.unwrap_err();
    assert!(matches!(wrong, RepositoryError::WrongKey { .. }), "{wrong:?}");
    let reader = Repository::open(bed.repository.place().clone(), bed.ring.restorer())
        .await
        .unwrap();
    assert!(reader.read::<Hold>(&key).await.unwrap().is_some());
    let refused = reader
        .write(&ObjectKey::Hold(run(3)), &hold(run(3), ""))
        .await
        .unwrap_err();
    assert!(matches!(refused, RepositoryError::ReadOnly), "{refused:?}");
}

#[tokio::test]
async fn gpg_opens_a_record_and_sees_its_signature() {
    let bed = Bed::new().await;
    let home = tempfile::TempDir::new().unwrap();
    let gpg = |args: &[&str]| {
        let mut command = std::process::Command::new("gpg");
        command
            .arg("--homedir")
            .arg(home.path())
            .args(["--batch", "--trust-model", "always"]);
        command.args(args).output().unwrap()
    };
    for (name, armoured) in [
        ("backup", bed.ring.backup.secret_armored.as_str()),
        ("owner", bed.ring.owner.public_armored.as_str()),
    ] {
        let path = home.path().join(name);
        std::fs::write(&path, armoured).unwrap();
        assert!(gpg(&["--import", path.to_str().unwrap()]).status.success());
    }
    let output = gpg(&["--decrypt", bed.file(ObjectKey::Repository).to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("Good signature"), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&bed.repository.id().to_string()), "{text}");
    std::process::Command::new("gpgconf")
        .arg("--homedir")
        .arg(home.path())
        .args(["--kill", "all"])
        .status()
        .unwrap();
}

#[tokio::test]
async fn a_changed_byte_is_damage_with_a_name() {
    let bed = Bed::new().await;
    let written = write_artefact(&bed, run(1), 1).await;
    let manifest = &written.manifest;
    let contents = ObjectKey::Contents(manifest.captured.artefact);
    let pack = ObjectKey::Pack(manifest.packs[0].id);
    bed.flip(&pack);
    let error = bed.repository.get_pack(&manifest.packs[0]).await.unwrap_err();
    assert!(
        error.is_damage() && !error.retry().is_later() && error.to_string().contains(&pack.to_string()),
        "{error}"
    );
    bed.flip(&contents);
    let error = bed
        .repository
        .open_contents(manifest, bed.scratch.path())
        .await
        .unwrap_err();
    assert!(
        error.is_damage() && error.to_string().contains(&contents.to_string()),
        "{error}"
    );
    let key = ObjectKey::Manifest(manifest.captured.artefact);
    bed.flip(&key);
    assert!(
        bed.repository
            .manifest(manifest.captured.artefact)
            .await
            .unwrap()
            .is_some(),
        "known from before"
    );
    let fresh = bed.repository.at(bed.repository.place().clone());
    let error = fresh.manifest(manifest.captured.artefact).await.unwrap_err();
    assert!(
        error.is_damage() && error.to_string().contains(&key.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_cut_long_or_missing_is_told_apart() {
    let bed = Bed::new().await;
    let manifest = write_artefact(&bed, run(1), 1).await.manifest;
    let pack = manifest.packs[0];
    let path = bed.file(ObjectKey::Pack(pack.id));
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(bed.repository.get_pack(&pack).await.unwrap(), whole);
    for other in [&whole[..whole.len() - 1], &[&whole[..], b"x"].concat()] {
        std::fs::write(&path, other).unwrap();
        let error = bed.repository.get_pack(&pack).await.unwrap_err();
        assert!(matches!(error, RepositoryError::Damaged { .. }), "{error:?}");
    }
    std::fs::remove_file(&path).unwrap();
    let error = bed.repository.get_pack(&pack).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::Missing { .. }) && error.is_damage(),
        "{error:?}"
    );
    std::fs::remove_file(bed.file(ObjectKey::Contents(manifest.captured.artefact))).unwrap();
    let error = bed
        .repository
        .open_contents(&manifest, bed.scratch.path())
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Missing { .. }), "{error:?}");
}

#[tokio::test]
async fn a_record_under_another_key_or_of_another_repository_is_refused() {
    let bed = Bed::new().await;
    let one = ObjectKey::Hold(run(1));
    let two = ObjectKey::Hold(run(2));
    bed.repository.write(&one, &hold(run(1), "")).await.unwrap();
    std::fs::copy(bed.file(&one), bed.file(&two)).unwrap();
    let error = bed.repository.read::<Hold>(&two).await.unwrap_err();
    let misplaced = |error: &RepositoryError| {
        let RepositoryError::Record { source, .. } = error else {
            return false;
        };
        matches!(source, RecordError::Misplaced { .. }) && error.is_damage()
    };
    assert!(misplaced(&error), "{error:?}");
    // The same keys, so only what the record says gives it away.
    let place = directory("other", &bed.scratch.path().join("other")).await;
    let other = Repository::create(place, bed.ring.service(), bed.ring.members(), now())
        .await
        .unwrap();
    other.write(&one, &hold(run(1), "")).await.unwrap();
    std::fs::copy(bed.scratch.path().join("other").join(one.to_string()), bed.file(&one)).unwrap();
    let error = bed.repository.read::<Hold>(&one).await.unwrap_err();
    assert!(misplaced(&error), "{error:?}");
    let unsigned = holdfast_sealing::seal(&bed.ring.service().reader.unwrap(), Default::default(), b"{}");
    std::fs::write(bed.file(&one), unsigned.unwrap()).unwrap();
    let error = bed.repository.read::<Hold>(&one).await.unwrap_err();
    assert!(matches!(error, RepositoryError::NotSigned { .. }), "{error:?}");
}

fn tables(file: &ContentsFile) -> usize {
    let lines: Result<Vec<Content>, _> = file.reader().unwrap().collect();
    lines
        .unwrap()
        .iter()
        .filter(|line| matches!(line, Content::Table(..)))
        .count()
}

fn leftovers(bed: &Bed) -> usize {
    let entries = std::fs::read_dir(bed.scratch.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("contents-")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_are_read_as_often_as_wanted_and_leave_nothing() {
    let bed = Bed::new().await;
    let manifest = write_artefact(&bed, run(1), 1).await.manifest;
    for keys in [bed.ring.service(), bed.ring.restorer()] {
        let repository = Repository::open(bed.repository.place().clone(), keys).await.unwrap();
        let file = repository.open_contents(&manifest, bed.scratch.path()).await.unwrap();
        assert_eq!(leftovers(&bed), 1);
        for _ in 0..2 {
            assert_eq!(tables(&file), 3);
        }
        drop(file);
        assert_eq!(leftovers(&bed), 0);
    }
    for plain in [manifest.contents.plain - 1, manifest.contents.plain + 1] {
        let mut lying = manifest.clone();
        lying.contents.plain = plain;
        let file = bed.repository.open_contents(&lying, bed.scratch.path()).await.unwrap();
        let read: Result<Vec<Content>, _> = match file.reader() {
            Ok(reader) => reader.map(|line| line.map_err(|error| file.error(error))).collect(),
            Err(error) => Err(error),
        };
        assert!(read.unwrap_err().is_damage(), "{plain}");
    }
}

#[tokio::test]
async fn contents_of_two_attempts_are_compared_and_never_replaced() {
    let bed = Bed::new().await;
    let artefact = shop(run(1));
    let (first, _) = draft(bed.scratch.path(), &artefact, 1000);
    let (same, _) = draft(bed.scratch.path(), &artefact, 1000);
    let (other, _) = draft(bed.scratch.path(), &artefact, 1001);
    let stored = bed.repository.put_contents(artefact.id, &first).await.unwrap();
    let bytes = std::fs::read(bed.file(ObjectKey::Contents(artefact.id))).unwrap();
    let expected = (bytes.len() as u64, common::digest(&bytes));
    assert!(matches!(stored, ContentsPut::Stored { size, sha256 } if (size, sha256) == expected));
    assert_eq!(bed.repository.put_contents(artefact.id, &same).await.unwrap(), stored);
    let refused = bed.repository.put_contents(artefact.id, &other).await.unwrap();
    assert!(matches!(refused, ContentsPut::Other { size, sha256 } if (size, sha256) == expected));
    assert_eq!(
        std::fs::read(bed.file(ObjectKey::Contents(artefact.id))).unwrap(),
        bytes
    );
    bed.flip(ObjectKey::Contents(artefact.id));
    let error = bed.repository.put_contents(artefact.id, &same).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Damaged { .. }), "{error:?}");
    assert_eq!(leftovers(&bed), 0);
}

#[tokio::test]
async fn a_target_gets_the_same_identity_and_another_repository_is_left_alone() {
    let bed = Bed::new().await;
    let guide = Bytes::from_static(b"# How to restore\n");
    bed.repository
        .put_plain(&ObjectKey::RestoreGuide, guide.clone())
        .await
        .unwrap();
    let target = directory("offsite", &bed.scratch.path().join("offsite")).await;
    for _ in 0..2 {
        bed.repository.copy_identity_to(&target).await.unwrap();
    }
    assert_eq!(target.get(&ObjectKey::RestoreGuide, 100).await.unwrap(), guide);
    assert_eq!(target.head(&ObjectKey::RestoreScript).await.unwrap(), None);
    let opened = Repository::open(target.clone(), bed.ring.restorer()).await.unwrap();
    assert_eq!(opened.id(), bed.repository.id());
    bed.repository.check_identity_at(&target).await.unwrap();
    let taken = directory("taken", &bed.scratch.path().join("taken")).await;
    let other = Repository::create(taken.clone(), bed.ring.service(), bed.ring.members(), now())
        .await
        .unwrap();
    let error = bed.repository.copy_identity_to(&taken).await.unwrap_err();
    assert!(
        matches!(error, RepositoryError::OtherRepository { found, .. } if found == other.id()),
        "{error:?}"
    );
    assert_eq!(taken.head(&ObjectKey::RestoreGuide).await.unwrap(), None);
}

#[tokio::test]
async fn a_scratch_folder_that_cannot_be_read_is_not_taken_for_damaged_contents() {
    let bed = Bed::new().await;
    let written = write_artefact(&bed, run(1), 1).await;
    let scratch = bed.scratch.path().join("fetched");
    std::fs::create_dir(&scratch).unwrap();
    let file = bed.repository.open_contents(&written.manifest, &scratch).await.unwrap();
    let eio = std::io::Error::from_raw_os_error(5);
    let midway = ContentsError::Read(std::io::Error::other(OpenError::Read { source: eio }));
    assert!(matches!(file.error(midway), RepositoryError::Scratch { .. }));
    // A folder opens like a file, and does not read like one.
    let fetched = std::fs::read_dir(&scratch).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&fetched).unwrap();
    std::fs::create_dir(&fetched).unwrap();
    let error = file.reader().err().unwrap();
    assert!(
        matches!(&error, RepositoryError::Scratch { path, .. } if *path == fetched) && !error.is_damage(),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_a_bucket_works_alike() {
    let server = tokio::task::spawn_blocking(s3::S3Server::shared).await.unwrap();
    server.make_bucket("repository");
    let options = PlaceOptions {
        endpoint: Some(Url::parse(&format!("http://127.0.0.1:{}", server.port)).unwrap()),
        access_key_id: Some("AKIATEST".to_owned().into()),
        secret_access_key: Some("secret".to_owned().into()),
        allow_http: true,
        path_style: true,
        retry_for: Duration::from_secs(5),
        ..PlaceOptions::new(Url::parse("s3://repository/holdfast").unwrap())
    };
    let place = Place::open("bucket".parse().unwrap(), options).await.unwrap();
    let ring = Ring::new();
    let scratch = tempfile::TempDir::new().unwrap();
    let made = Repository::create(place.clone(), ring.service(), ring.members(), now())
        .await
        .unwrap();
    let written = write_artefact_to(&made, &ring, scratch.path(), run(1), 1).await;
    let opened = Repository::open(place, ring.restorer()).await.unwrap();
    let read = opened
        .manifest(written.manifest.captured.artefact)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*read, written);
    let file = opened.open_contents(&read.manifest, scratch.path()).await.unwrap();
    assert_eq!(tables(&file), 3);
    let sealed = opened.get_pack(&read.manifest.packs[0]).await.unwrap();
    assert_eq!(opened.keys().secret.open(&sealed, 100).unwrap(), b"hello");
}
