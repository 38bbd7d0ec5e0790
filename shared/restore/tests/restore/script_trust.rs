//! `restore.py` believes what the owner's roster says of a record's signer, and nothing else.

use std::fs;
use std::time::SystemTime;

use holdfast_format::{Artefact, Captured, Digest, Member, ObjectKey, PointArtefact, PointStatus, Role};
use holdfast_sealing::{GeneratedKey, Profile, Signer, sign_and_seal};
use jiff::{SignedDuration, Timestamp};

use super::script::Kit;
use crate::common::archive::{Spec, tree};
use crate::common::{Repo, Ring, overwrite};

/// Signs an object with a key of the ring, and seals it as it stands at `key`. Returns the SHA-256 of what stands there then.
fn forge(repo: &Repo, key: &GeneratedKey, at: &ObjectKey, plain: &[u8]) -> Digest {
    let signer = Signer::from_bytes(key.secret_armored.as_bytes(), None, SystemTime::now()).unwrap();
    let reader = repo.repository.keys().reader.clone().unwrap();
    let readers = repo.recipients.union(&reader);
    let sealed = sign_and_seal(&signer, &readers, Profile::Gnupg, plain).unwrap();
    let path = repo.path(at);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if path.exists() {
        overwrite(&path, &sealed);
    } else {
        fs::write(&path, &sealed).unwrap();
    }
    holdfast_repository::sha256(&sealed)
}

/// Returns the JSON of a record.
fn plain(repo: &Repo, at: &ObjectKey) -> Vec<u8> {
    let sealed = fs::read(repo.path(at)).unwrap();
    repo.secret.open(&sealed, sealed.len()).unwrap()
}

#[test]
fn only_the_producer_signs_manifests_whatever_the_key_is_good_for_else() {
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", b"x")]);
    let key = ObjectKey::Manifest(id);
    let genuine = plain(&repo, &key);
    let id = id.to_string();
    let verify = ["verify", id.as_str()];
    for role in Role::ALL {
        forge(&repo, &ring.roles[role], &key, &genuine);
        if *role == Role::Producer {
            kit.expect(&repo, &verify, 0, &["good:"]);
        } else {
            let words = format!("a key of the role {role}; only producer may sign it");
            kit.expect(&repo, &verify, 4, &[&words]);
        }
    }
    // The owner signs rosters, and no manifests.
    forge(&repo, &ring.owner, &key, &genuine);
    kit.expect(
        &repo,
        &["list"],
        1,
        &["not listed", "a key that the roster does not name"],
    );
    // A manifest is no roster, and a producer is no owner.
    let roster = plain(&repo, &ObjectKey::Roster(1));
    forge(&repo, &ring.roles[&Role::Producer], &ObjectKey::Roster(1), &roster);
    kit.expect(&repo, &["list"], 4, &["roster/1", "signed by"]);
}

/// Issues a roster with these changes of its members.
fn issue(repo: &Repo, change: impl FnOnce(&mut Vec<Member>)) {
    let mut members = repo.repository.roster().0.members;
    change(&mut members);
    repo.runtime
        .block_on(repo.repository.issue(members, Timestamp::now()))
        .unwrap();
}

fn of_role(members: &mut [Member], role: Role) -> &mut Member {
    members.iter_mut().find(|member| member.role == role).unwrap()
}

#[test]
fn the_roster_must_be_one_chain_of_the_owners() {
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", b"x")]).to_string();
    let verify = ["verify", id.as_str()];
    issue(&repo, |members| members.extend(Ring::new().members()));
    issue(&repo, |members| {
        of_role(members, Role::Janitor).until = Some(Timestamp::now())
    });
    kit.expect(&repo, &verify, 0, &["note: roster 3", "good:"]);

    let at = |number| repo.path(&ObjectKey::Roster(number));
    let aside = repo.path(&ObjectKey::RestoreGuide);
    fs::rename(at(2), &aside).unwrap();
    kit.expect(&repo, &verify, 4, &["roster/2 is missing"]);
    fs::rename(&aside, at(2)).unwrap();
    fs::rename(at(1), &aside).unwrap();
    kit.expect(&repo, &verify, 4, &["roster/1 is missing"]);
    fs::rename(&aside, at(1)).unwrap();
    // The same words in another envelope are another issue: the third names the hash of the one that went.
    let words = plain(&repo, &ObjectKey::Roster(2));
    let whole = fs::read(at(2)).unwrap();
    forge(&repo, &ring.owner, &ObjectKey::Roster(2), &words);
    kit.expect(&repo, &verify, 4, &["roster/3 does not follow"]);
    overwrite(&at(2), &whole);
    kit.expect(&repo, &verify, 0, &["good:"]);
    fs::remove_dir_all(at(1).parent().unwrap()).unwrap();
    kit.expect(&repo, &verify, 4, &["the roster is missing"]);
}

#[test]
fn a_key_counts_within_its_time_to_the_second() {
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", b"x")]).to_string();
    let verify = ["verify", id.as_str()];
    // Signatures state whole seconds, and rosters do not: a record of the second in which its key ended counts.
    issue(&repo, |members| {
        of_role(members, Role::Producer).until = Some(Timestamp::now())
    });
    kit.expect(&repo, &verify, 0, &["good:"]);
    issue(&repo, |members| {
        of_role(members, Role::Producer).until = Some(Timestamp::now() - SignedDuration::from_hours(1));
    });
    kit.expect(&repo, &verify, 4, &["outside the time that the roster gives this key"]);
    issue(&repo, |members| {
        let producer = of_role(members, Role::Producer);
        producer.until = None;
        producer.sites = Some(vec!["elsewhere".parse().unwrap()]);
    });
    kit.expect(&repo, &verify, 4, &["which the roster does not have at the site"]);
}

#[test]
fn what_a_stolen_key_signed_counts_if_the_owner_or_the_scheduler_saw_it_or_by_request() {
    let (kit, ring) = Kit::new();
    let repo = Repo::with(&ring);
    let id = tree(&repo, &[Spec::dir("."), Spec::file("x", b"x")]);
    let key = ObjectKey::Manifest(id);
    let captured = repo.open(id).manifest().captured.clone();
    let id = id.to_string();
    let verify = ["verify", id.as_str()];
    let by_request = ["--accept-revoked", "verify", id.as_str()];
    let later = Timestamp::now() + SignedDuration::from_hours(1);
    issue(&repo, |members| of_role(members, Role::Producer).revoked = Some(later));
    kit.expect(
        &repo,
        &verify,
        4,
        &["revoked as stolen", "--accept-revoked", "with care"],
    );
    kit.expect(&repo, &by_request, 0, &["WARNING", "revoked as stolen", "good:"]);

    // The scheduler saw this very manifest; then another stands in its place.
    let manifest = plain(&repo, &key);
    let seen = holdfast_repository::sha256(&fs::read(repo.path(&key)).unwrap());
    let point = point(&repo, &captured, seen);
    forge(&repo, &ring.roles[&Role::Scheduler], &point.0, &point.1);
    kit.expect(&repo, &verify, 0, &["good:"]);
    forge(&repo, &ring.roles[&Role::Verifier], &point.0, &point.1);
    kit.expect(&repo, &verify, 4, &["revoked as stolen"]);
    forge(&repo, &ring.roles[&Role::Scheduler], &point.0, &point.1);
    forge(&repo, &ring.roles[&Role::Producer], &key, &manifest);
    kit.expect(&repo, &verify, 4, &["revoked as stolen"]);

    // The owner's word for what stands there now.
    let stolen = [ring.roles[&Role::Producer].fingerprint.clone()].into();
    let vouching = repo.runtime.block_on(repo.repository.vouch(&stolen, later)).unwrap();
    assert_eq!((vouching.vouched, vouching.refused), (1, 0));
    kit.expect(&repo, &verify, 0, &["good:"]);
    // Nobody's word helps what was signed after the theft.
    issue(&repo, |members| {
        of_role(members, Role::Producer).revoked = Some(Timestamp::now() - SignedDuration::from_hours(1));
    });
    kit.expect(&repo, &verify, 4, &["revoked as stolen"]);
}

/// Returns the restore point of an artefact's run that names a manifest, with its key.
fn point(repo: &Repo, captured: &Captured, manifest: Digest) -> (ObjectKey, Vec<u8>) {
    let artefact = PointArtefact {
        source: captured.source.clone(),
        artefact: Artefact {
            id: captured.artefact,
            kind: captured.kind,
            name: captured.name.clone(),
        },
        status: PointStatus::Good {
            manifest,
            verified: None,
        },
    };
    let record = serde_json::json!({
        "holdfast": "restore-point",
        "version": 1,
        "repository": repo.repository.id(),
        "run": captured.run,
        "artefacts": [artefact],
    });
    (
        ObjectKey::RestorePoint(captured.run),
        serde_json::to_vec(&record).unwrap(),
    )
}
