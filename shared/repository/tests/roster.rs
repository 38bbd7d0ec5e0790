//! Who may say what: records count by the roster of the owner, and by nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use common::ring::{key, member};
use common::{Bed, directory, now, run, shop, verification, write_artefact, write_artefact_to};
use holdfast_format::{
    Artefact, Class, Digest, Hold, Intrusion, Level, Manifest, ObjectKey, PointArtefact, PointStatus, Reason, Record,
    RestorePoint, Role, RosterError, RunId, Tombstone, Verification,
};
use holdfast_repository::{Repository, RepositoryError, Vouching};
use holdfast_sealing::{KeyPurpose, Profile, sign_and_seal};
use holdfast_storage::Place;
use jiff::{SignedDuration, Timestamp};

fn hold(n: u64) -> (ObjectKey, Hold) {
    let hold = Hold {
        run: run(n),
        until: None,
        at: now(),
        reason: None,
    };
    (ObjectKey::Hold(run(n)), hold)
}

async fn opened(bed: &Bed, roles: &[Role]) -> Repository {
    let place = bed.repository.place().clone();
    Repository::open(place, bed.ring.with_roles(roles)).await.unwrap()
}

/// Puts a record there that the key of `role` signed, as a thief of that key does, who heeds no table.
fn forge<T: Record>(bed: &Bed, role: Role, key: &ObjectKey, record: &T) {
    let json = holdfast_format::encode(bed.repository.id(), record).unwrap();
    let keys = bed.ring.with_roles(&[role]);
    let readers = bed.ring.recipients().union(&keys.reader.unwrap());
    let sealed = sign_and_seal(&keys.signers[0], &readers, Profile::Gnupg, &json).unwrap();
    let path = bed.file(key);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&path);
    std::fs::write(path, sealed).unwrap();
}

fn intrusion<T: std::fmt::Debug>(result: Result<T, RepositoryError>) -> Intrusion {
    match result {
        Err(error @ RepositoryError::Intrusion { .. }) => {
            assert!(error.is_damage(), "{error}");
            let RepositoryError::Intrusion { source, .. } = error else {
                unreachable!()
            };
            source
        }
        other => panic!("it was let in: {other:?}"),
    }
}

fn tombstone(n: u64) -> (ObjectKey, Tombstone) {
    let tombstone = Tombstone {
        run: run(n),
        at: now(),
        rule: "by hand".to_owned(),
        artefacts: Vec::new(),
    };
    (ObjectKey::Tombstone(run(n)), tombstone)
}

#[tokio::test]
async fn a_host_signs_what_its_role_may_and_nothing_else() {
    let bed = Bed::new().await;
    let (at, record) = hold(1);
    let producer = opened(&bed, &[Role::Producer]).await;
    let refused = producer.write(&at, &record).await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::NoSigner { wanted, .. } if wanted.contains("operator")),
        "{refused}"
    );
    assert!(!bed.file(&at).exists());
    let operator = opened(&bed, &[Role::Producer, Role::Operator]).await;
    operator.write(&at, &record).await.unwrap();
    assert_eq!(producer.read::<Hold>(&at).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_record_of_the_wrong_role_is_an_intrusion_that_is_named() {
    let bed = Bed::new().await;
    let written = write_artefact(&bed, run(1), 1).await;
    let artefact = shop(run(1));
    let good = verification(&artefact, "local", 1, Level::Restore, true);
    let verified = ObjectKey::Verified(artefact.id, good.id);
    for thief in [Role::Producer, Role::Scheduler, Role::Syncer, Role::Janitor] {
        forge(&bed, thief, &verified, &good);
        let found = intrusion(bed.repository.read::<Verification>(&verified).await);
        assert!(
            matches!(found, Intrusion::WrongRole { role, .. } if role == thief),
            "{found}"
        );
    }
    let (stone, record) = tombstone(1);
    for thief in [
        Role::Producer,
        Role::Scheduler,
        Role::Verifier,
        Role::Syncer,
        Role::Operator,
    ] {
        forge(&bed, thief, &stone, &record);
        intrusion(bed.repository.read::<Tombstone>(&stone).await);
    }
    let manifest = ObjectKey::Manifest(artefact.id);
    for thief in [
        Role::Scheduler,
        Role::Verifier,
        Role::Syncer,
        Role::Janitor,
        Role::Operator,
    ] {
        forge(&bed, thief, &manifest, &written.manifest);
        let fresh = opened(&bed, &[]).await;
        intrusion(fresh.manifest(artefact.id).await);
    }
}

#[tokio::test]
async fn a_key_that_the_roster_does_not_name_is_nobody() {
    let mut bed = Bed::new().await;
    let (at, record) = hold(1);
    let own = std::mem::replace(
        bed.ring.roles.get_mut(&Role::Operator).unwrap(),
        key(KeyPurpose::Signing, "stranger"),
    );
    forge(&bed, Role::Operator, &at, &record);
    let refused = bed.repository.read::<Hold>(&at).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::NotSigned { .. }), "{refused:?}");
    bed.ring.roles.insert(Role::Operator, own);
    forge(&bed, Role::Operator, &at, &record);
    assert!(bed.repository.read::<Hold>(&at).await.unwrap().is_some());
}

#[tokio::test]
async fn the_owners_key_signs_rosters_and_no_record() {
    let bed = Bed::new().await;
    let (at, record) = hold(1);
    let json = holdfast_format::encode(bed.repository.id(), &record).unwrap();
    let keys = bed.ring.service();
    let owner = keys.signers.last().unwrap();
    assert_eq!(owner.fingerprint(), bed.ring.owner.fingerprint);
    let sealed = sign_and_seal(owner, &bed.ring.recipients(), Profile::Gnupg, &json).unwrap();
    std::fs::create_dir_all(bed.file("holds")).unwrap();
    std::fs::write(bed.file(&at), sealed).unwrap();
    let reader = Repository::open(bed.repository.place().clone(), bed.ring.restorer())
        .await
        .unwrap();
    let refused = reader.read::<Hold>(&at).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::NotSigned { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_new_key_takes_over_and_what_the_old_one_signed_counts_on() {
    let mut bed = Bed::new().await;
    let first = write_artefact(&bed, run(1), 1).await;
    let (roster, _) = bed.repository.roster();
    let new = key(KeyPurpose::Signing, "producer 2");
    let mut members = roster.members.clone();
    for old in &mut members {
        if old.role == Role::Producer {
            old.until = Some(Timestamp::now());
        }
    }
    members.push(member(Role::Producer, &new));
    assert_eq!(bed.repository.issue(members, Timestamp::now()).await.unwrap(), 2);
    bed.ring.roles.insert(Role::Producer, new);
    let after = opened(&bed, Role::ALL).await;
    let second = write_artefact_to(&after, &bed.ring, bed.scratch.path(), run(2), 2).await;
    let restorer = Repository::open(bed.repository.place().clone(), bed.ring.restorer())
        .await
        .unwrap();
    for written in [&first, &second] {
        let id = written.manifest.captured.artefact;
        assert_eq!(*restorer.manifest(id).await.unwrap().unwrap(), *written);
    }
}

#[tokio::test]
async fn a_retired_key_signs_nothing_new() {
    let bed = Bed::new().await;
    let (roster, _) = bed.repository.roster();
    let hour = SignedDuration::from_hours(1);
    let mut members = roster.members.clone();
    for old in &mut members {
        old.from = Timestamp::now() - hour - hour;
        old.until = Some(Timestamp::now() - hour);
    }
    bed.repository.issue(members, Timestamp::now()).await.unwrap();
    let (at, record) = hold(1);
    let refused = bed.repository.write(&at, &record).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::NoSigner { .. }), "{refused:?}");
    forge(&bed, Role::Operator, &at, &record);
    let found = intrusion(bed.repository.read::<Hold>(&at).await);
    assert!(matches!(found, Intrusion::WrongTime { .. }), "{found}");
    let none = bed.repository.check_signs_as(Role::Operator, &"here".parse().unwrap());
    assert!(matches!(none, Err(RepositoryError::NoRoleKey { .. })), "{none:?}");
}

/// Makes the roster in which the key of a role is revoked.
async fn revoke(bed: &Bed, role: Role, at: Timestamp) {
    let (roster, _) = bed.repository.roster();
    let mut members = roster.members.clone();
    for stolen in &mut members {
        if stolen.role == role {
            stolen.revoked = Some(at);
        }
    }
    bed.repository.issue(members, Timestamp::now()).await.unwrap();
}

#[tokio::test]
async fn of_a_stolen_key_only_that_counts_which_the_owner_vouches_for() {
    let bed = Bed::new().await;
    let first = write_artefact(&bed, run(1), 1).await;
    let id = first.manifest.captured.artefact;
    let fingerprints = BTreeSet::from([bed.ring.roles[&Role::Producer].fingerprint.clone()]);
    let stolen = Timestamp::now() + SignedDuration::from_secs(1);
    let vouching = bed.repository.vouch(&fingerprints, stolen).await.unwrap();
    assert_eq!(vouching, Vouching { vouched: 1, refused: 0 });
    // The thief signs a manifest and says that it was made before.
    let forged = shop(run(2));
    let mut manifest = first.manifest.clone();
    manifest.captured.artefact = forged.id;
    manifest.captured.run = run(2);
    forge(&bed, Role::Producer, &ObjectKey::Manifest(forged.id), &manifest);
    revoke(&bed, Role::Producer, stolen).await;
    let fresh = opened(&bed, Role::ALL).await;
    assert_eq!(*fresh.manifest(id).await.unwrap().unwrap(), first);
    let found = intrusion(fresh.manifest(forged.id).await);
    assert!(matches!(found, Intrusion::Revoked { .. }), "{found}");
    let none = fresh.check_signs_as(Role::Producer, &"here".parse().unwrap());
    assert!(matches!(none, Err(RepositoryError::NoRoleKey { .. })), "{none:?}");
}

#[tokio::test]
async fn what_was_stored_or_signed_after_the_theft_is_not_vouched_for() {
    let bed = Bed::new().await;
    write_artefact(&bed, run(1), 1).await;
    let fingerprints = BTreeSet::from([bed.ring.roles[&Role::Producer].fingerprint.clone()]);
    let before = Timestamp::now() - SignedDuration::from_hours(1);
    let vouching = bed.repository.vouch(&fingerprints, before).await.unwrap();
    assert_eq!(vouching, Vouching { vouched: 0, refused: 1 });
    let others = BTreeSet::from([bed.ring.roles[&Role::Janitor].fingerprint.clone()]);
    let vouching = bed.repository.vouch(&others, Timestamp::now()).await.unwrap();
    assert_eq!(vouching, Vouching::default());
    let host = opened(&bed, Role::ALL).await;
    let refused = host
        .vouch(&fingerprints, Timestamp::now() + SignedDuration::from_secs(2))
        .await;
    assert!(matches!(refused, Err(RepositoryError::NoSigner { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_roster_that_another_key_issued_gives_nobody_a_role_and_shuts_nobody_out() {
    let bed = Bed::new().await;
    let mut members = bed.ring.members();
    members.retain(|member| member.role != Role::Janitor);
    let mut thief = member(Role::Janitor, &bed.ring.roles[&Role::Producer]);
    members.retain(|member| member.role != Role::Producer);
    thief.from = Timestamp::UNIX_EPOCH;
    members.push(thief);
    let (current, sha256) = bed.repository.roster();
    let forged = holdfast_format::Roster {
        number: current.number + 1,
        previous: Some(sha256),
        issued: Timestamp::now(),
        members,
        info: current.info.clone(),
    };
    forge(&bed, Role::Producer, &ObjectKey::Roster(2), &forged);
    // It is passed over: nobody gets a role by it, and nobody is shut out.
    let place = bed.repository.place().clone();
    let opened = Repository::open(place.clone(), bed.ring.service()).await.unwrap();
    assert_eq!(opened.roster().0, current);
    // Between genuine issues it is damage.
    let third = holdfast_format::Roster { number: 3, ..forged };
    let json = holdfast_format::encode(bed.repository.id(), &third).unwrap();
    let keys = bed.ring.service();
    let readers = bed.ring.recipients().union(&keys.reader.unwrap());
    let sealed = sign_and_seal(keys.signers.last().unwrap(), &readers, Profile::Gnupg, &json).unwrap();
    std::fs::write(bed.file(ObjectKey::Roster(3)), sealed).unwrap();
    let refused = Repository::open(place, bed.ring.service()).await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::NotSigned { key, .. } if **key == ObjectKey::Roster(2)),
        "{refused:?}"
    );
}

/// The restore point of a run with one artefact.
fn point(run: RunId, artefact: &Artefact, manifest: Digest) -> RestorePoint {
    let status = PointStatus::Good {
        manifest,
        verified: None,
    };
    RestorePoint {
        run,
        started: now(),
        recorded: now(),
        complete: true,
        reason: Reason::Manual,
        backup_type: "all".to_owned(),
        stack: None,
        class: Class::Daily,
        label: None,
        hold_until: None,
        artefacts: vec![PointArtefact {
            source: "main".parse().unwrap(),
            artefact: artefact.clone(),
            status,
        }],
        failed_sources: BTreeMap::new(),
        images: Vec::new(),
        notes: Vec::new(),
    }
}

async fn reopened(bed: &Bed) -> Result<Repository, RepositoryError> {
    Repository::open(bed.repository.place().clone(), bed.ring.restorer()).await
}

#[tokio::test]
async fn a_repository_without_its_roster_is_refused_in_words() {
    let bed = Bed::new().await;
    let members = bed.ring.members();
    bed.repository.issue(members.clone(), Timestamp::now()).await.unwrap();
    bed.repository.issue(members, Timestamp::now()).await.unwrap();
    assert_eq!(reopened(&bed).await.unwrap().roster().0.number, 3);
    std::fs::rename(bed.file("roster/2"), bed.file("kept")).unwrap();
    let refused = reopened(&bed).await.unwrap_err();
    let RepositoryError::Roster { source, .. } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*source, RosterError::Missing { number: 2 });
    std::fs::remove_dir_all(bed.file("roster")).unwrap();
    let refused = reopened(&bed).await.unwrap_err();
    assert!(
        refused.to_string().contains("earlier release")
            && matches!(
                refused,
                RepositoryError::Roster {
                    source: RosterError::Missing { number: 1 },
                    ..
                }
            ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_backup_key_that_was_made_later_opens_the_newest_roster() {
    let mut bed = Bed::new().await;
    bed.ring.backup = key(KeyPurpose::Backup, "second");
    let later = Repository::open(bed.repository.place().clone(), bed.ring.service())
        .await
        .unwrap();
    later.issue(bed.ring.members(), Timestamp::now()).await.unwrap();
    let (at, record) = hold(1);
    later.write(&at, &record).await.unwrap();
    let restorer = reopened(&bed).await.unwrap();
    assert_eq!(restorer.roster().0.number, 2);
    assert_eq!(restorer.read::<Hold>(&at).await.unwrap(), Some(record));
}

#[tokio::test]
async fn a_copy_has_the_rosters_and_words_and_a_copy_of_a_copy_too() {
    let bed = Bed::new().await;
    write_artefact(&bed, run(1), 1).await;
    let fingerprints = BTreeSet::from([bed.ring.roles[&Role::Producer].fingerprint.clone()]);
    let until = Timestamp::now() + SignedDuration::from_secs(1);
    bed.repository.vouch(&fingerprints, until).await.unwrap();
    revoke(&bed, Role::Producer, until).await;
    let place = |name: &str| {
        let path = bed.scratch.path().join(name);
        let name = name.to_owned();
        async move { directory(&name, &path).await }
    };
    let (one, two): (Place, Place) = (place("one").await, place("two").await);
    let source = opened(&bed, Role::ALL).await;
    for _ in 0..2 {
        source.copy_identity_to(&one).await.unwrap();
    }
    let copy = Repository::open(one, bed.ring.service()).await.unwrap();
    copy.copy_identity_to(&two).await.unwrap();
    let names = |path: &Path| -> BTreeSet<_> {
        let folders = ["roster", "vouched"].map(|folder| std::fs::read_dir(path.join(folder)).unwrap());
        folders
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    };
    let all = names(&bed.file(""));
    assert_eq!(all.len(), 3);
    assert_eq!(names(&bed.scratch.path().join("two")), all);
}

#[tokio::test]
async fn a_producers_key_speaks_for_its_sites_only() {
    let bed = Bed::new().await;
    let mut members = bed.ring.members();
    for producer in &mut members {
        if producer.role == Role::Producer {
            producer.sites = Some(vec!["elsewhere".parse().unwrap()]);
        }
    }
    bed.repository.issue(members, Timestamp::now()).await.unwrap();
    let written = Bed::new().await;
    let sample = write_artefact(&written, run(1), 1).await;
    let artefact: Artefact = shop(run(1));
    let at = ObjectKey::Manifest(artefact.id);
    let refused = bed.repository.write(&at, &sample.manifest).await.unwrap_err();
    assert!(matches!(refused, RepositoryError::NoSigner { .. }), "{refused:?}");
    forge(&bed, Role::Producer, &at, &sample.manifest);
    let found = intrusion(bed.repository.read::<Manifest>(&at).await);
    assert!(matches!(found, Intrusion::WrongSite { .. }), "{found}");
}

#[tokio::test]
async fn a_repository_that_was_made_by_half_is_made_anew_and_one_that_lost_its_identity_is_not_touched() {
    let bed = Bed::new().await;
    std::fs::remove_file(bed.file(ObjectKey::Repository)).unwrap();
    let place = bed.repository.place().clone();
    let make = || Repository::create(place.clone(), bed.ring.service(), bed.ring.members(), now());
    let made = make().await.unwrap();
    assert_ne!(made.id(), bed.repository.id());
    let (at, record) = hold(1);
    made.write(&at, &record).await.unwrap();
    std::fs::remove_file(bed.file(ObjectKey::Repository)).unwrap();
    let refused = make().await.unwrap_err();
    assert!(
        matches!(&refused, RepositoryError::Remains { found, .. } if **found == at),
        "{refused:?}"
    );
    assert!(bed.file(&at).exists() && bed.file("roster/1").exists());
}

#[tokio::test]
async fn a_manifest_that_took_the_place_of_the_recorded_one_is_damage() {
    let bed = Bed::new().await;
    let written = write_artefact(&bed, run(1), 1).await;
    let artefact = shop(run(1));
    let fresh = async || opened(&bed, &[]).await;
    let first = fresh().await;
    let manifest = first.manifest(artefact.id).await.unwrap().unwrap();
    first.check_named(&manifest).await.unwrap();

    let point = point(run(1), &artefact, written.sha256);
    bed.repository
        .write(&ObjectKey::RestorePoint(run(1)), &point)
        .await
        .unwrap();
    fresh().await.check_named(&manifest).await.unwrap();

    // The producer's key is good, and signs another manifest for the same artefact.
    let mut other = written.manifest.clone();
    other.captured.started += SignedDuration::from_secs(1);
    forge(&bed, Role::Producer, &ObjectKey::Manifest(artefact.id), &other);
    let repository = fresh().await;
    let swapped = repository.manifest(artefact.id).await.unwrap().unwrap();
    let refused = repository.check_named(&swapped).await.unwrap_err();
    assert!(
        refused.is_damage() && !refused.is_unknown() && refused.to_string().contains("restore point"),
        "{refused}"
    );
}
