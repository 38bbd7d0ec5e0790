//! A deployment with real keys and directories, whose runs are written by hand, with a clock that stands still.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod captured;
mod cases;
mod records;
#[path = "../../../../shared/repository/tests/common/ring.rs"]
mod ring;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_config::Settings;
use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, AskedBy, BusUser, Class, Expected, Level, Listed, ObjectKey, PackId, PackRef,
    PlaceName, PointArtefact, PointStatus, Reason, Record, RestorePoint, RunId, SourceName, Steps, Verdict,
    Verification,
};
use holdfast_janitor::{Applied, Places, RetentionPlan, apply_place, plan_place};
use holdfast_repository::{Repository, RepositoryKeys};
use holdfast_sealing::SecretKeys;
use holdfast_storage::{Place, PlaceOptions, Prefix};
use holdfast_telemetry::clock::{Clock, ManualClock};
use jiff::SignedDuration;
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

#[allow(unused_imports, reason = "each test binary uses some")]
pub use cases::{LOCAL, WEEK, expired, has_refused, hold, pack, three};
use records::{digest, manifest, settings};
use ring::Ring;

pub const S3: &str = "s3";

pub fn name(place: &str) -> PlaceName {
    place.parse().unwrap()
}

async fn open(place: &str, path: &Path) -> Place {
    let options = PlaceOptions::new(Url::from_directory_path(path).unwrap());
    Place::open(name(place), options).await.unwrap()
}

pub struct Bed {
    pub dir: TempDir,
    keys: RepositoryKeys,
    /// The secret backup key.
    pub backup: SecretKeys,
    pub repository: Repository,
    pub settings: Arc<Settings>,
    pub clock: ManualClock,
}

impl Bed {
    /// Makes a repository with a target `s3`, which is a directory. `retention` is TOML.
    pub async fn new(retention: &str) -> Self {
        let dir = TempDir::new().unwrap();
        for place in ["local", S3] {
            std::fs::create_dir_all(dir.path().join(place)).unwrap();
        }
        let settings = settings(dir.path(), retention);
        let ring = Ring::new();
        let keys = ring.service();
        let backup = SecretKeys::from_bytes(ring.backup.secret_armored.as_bytes(), None).unwrap();
        let clock = ManualClock::new("2026-06-01T02:00:00Z".parse().unwrap());
        let place = open("local", &dir.path().join("local")).await;
        let repository = Repository::create(place, keys.clone(), ring.members(), clock.now())
            .await
            .unwrap();
        Self {
            dir,
            keys,
            backup,
            repository,
            settings,
            clock,
        }
    }

    /// Copies the deployment, as it is now, to another directory.
    pub async fn copy(&self) -> Self {
        let dir = TempDir::new().unwrap();
        let from = format!("{}/.", self.dir.path().display());
        let copied = Command::new("cp").args(["-a", &from]).arg(dir.path()).status().unwrap();
        assert!(copied.success());
        let place = open("local", &dir.path().join("local")).await;
        Self {
            repository: Repository::open(place, self.keys.clone()).await.unwrap(),
            settings: self.settings.clone(),
            keys: self.keys.clone(),
            backup: self.backup.clone(),
            clock: ManualClock::new(self.clock.now()),
            dir,
        }
    }

    pub fn places(&self) -> Places {
        Places::new(self.repository.clone(), &self.settings, self.clock.shared())
    }

    pub async fn plan(&self, place: &str) -> RetentionPlan {
        plan_place(&self.places(), &name(place), false).await.unwrap()
    }

    pub async fn clean(&self, place: &str) -> Applied {
        apply_place(&self.places(), &name(place), false, &|| false)
            .await
            .unwrap()
    }

    /// Cleans a place, which must succeed, and returns the plan.
    pub async fn cleaned(&self, place: &str) -> RetentionPlan {
        let applied = self.clean(place).await;
        assert!(applied.failed.is_none(), "{:?}", applied.failed);
        self.assert_whole(place).await;
        applied.plan
    }

    pub fn file(&self, place: &str, key: &ObjectKey) -> PathBuf {
        self.dir.path().join(place).join(key.to_string())
    }

    pub fn has(&self, place: &str, key: &ObjectKey) -> bool {
        self.file(place, key).exists()
    }

    pub fn damage(&self, place: &str, key: &ObjectKey) {
        let path = self.file(place, key);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        self.stamp(place, key);
    }

    pub fn pass(&self, days: i64) {
        let to = self.clock.now().checked_add(SignedDuration::from_hours(24 * days));
        self.clock.set(to.unwrap());
    }

    pub async fn write<T: Record>(&self, key: ObjectKey, record: &T) {
        self.repository.write(&key, record).await.unwrap();
        self.stamp("local", &key);
    }

    /// Sets the time of an object's file to the test's clock.
    pub fn stamp(&self, place: &str, key: &ObjectKey) {
        let file = std::fs::File::options()
            .append(true)
            .open(self.file(place, key))
            .unwrap();
        file.set_modified(self.clock.now().into()).unwrap();
    }

    /// Begins a run that starts now and is due in six hours.
    pub async fn begin(&self, class: Class, change: impl FnOnce(&mut Expected)) -> RunId {
        let now = self.clock.now();
        let run = RunId::new(
            now.as_millisecond() as u64,
            *Uuid::new_v4().as_bytes().first_chunk().unwrap(),
        );
        let mut expected = Expected {
            run,
            trace: BTreeMap::new(),
            created: now,
            reason: Reason::Manual,
            requester: AskedBy::User {
                name: BusUser::operator(),
                person: None,
            },
            site: "host-a".parse().unwrap(),
            backup_type: "all".to_owned(),
            stack: None,
            sources: Vec::new(),
            steps: Steps::default(),
            class,
            label: None,
            hold_until: None,
            fresh: false,
            deadline: now + SignedDuration::from_hours(6),
        };
        change(&mut expected);
        self.write(ObjectKey::Expected(run), &expected).await;
        run
    }

    /// Stores a pack, unless it is there.
    pub async fn pack(&self, number: u8) -> PackId {
        let id = PackId::from_bytes([number; 32]);
        let key = ObjectKey::Pack(id);
        if !self.has("local", &key) {
            let place = self.repository.place();
            place.put(&key, Bytes::from(vec![number; 4000]), None).await.unwrap();
            self.stamp("local", &key);
        }
        id
    }

    /// Lists this artefact as all that its source has.
    async fn list(&self, run: RunId, source: &SourceName, artefact: &Artefact) {
        let listed = Listed {
            run,
            source: source.clone(),
            at: self.clock.now(),
            artefacts: vec![artefact.clone()],
            images: Vec::new(),
            notes: Vec::new(),
        };
        self.write(ObjectKey::Listed(run, source.clone()), &listed).await;
    }

    /// Seals the database `shop` with these packs, as a daily backup.
    pub async fn seal(&self, run: RunId, packs: &[u8]) -> ArtefactId {
        self.seal_as(Class::Daily, run, packs).await
    }

    /// Seals the database `shop` with these packs, as a backup of this class.
    pub async fn seal_as(&self, class: Class, run: RunId, packs: &[u8]) -> ArtefactId {
        let source: SourceName = "main".parse().unwrap();
        let artefact = Artefact::new(run, &source, ArtefactKind::Database, "shop");
        self.list(run, &source, &artefact).await;
        let mut refs = Vec::new();
        for number in packs {
            let id = self.pack(*number).await;
            refs.push(PackRef {
                id,
                size: 4000,
                sha256: digest(&[*number; 4000]),
                plain: 5,
                used: 5,
            });
        }
        let contents = ObjectKey::Contents(artefact.id);
        let place = self.repository.place();
        place
            .put(&contents, Bytes::from_static(b"contents"), None)
            .await
            .unwrap();
        let mut manifest = manifest(&artefact, run, source, self.clock.now(), refs);
        manifest.captured.class = class;
        self.write(ObjectKey::Manifest(artefact.id), &manifest).await;
        artefact.id
    }

    /// Ends a run, whose artefact was verified to level decrypt, or failed.
    pub async fn record(&self, run: RunId, failed: bool) {
        self.record_as(run, failed, Some(Level::Decrypt)).await;
    }

    /// Ends a run, whose artefact was verified to this level.
    pub async fn record_as(&self, run: RunId, failed: bool, verified: Option<Level>) {
        let source: SourceName = "main".parse().unwrap();
        let status = match failed {
            true => PointStatus::Failed {
                stage: holdfast_format::Stage::Verify,
                reason: "damaged".to_owned(),
            },
            false => PointStatus::Good {
                manifest: digest(b""),
                verified,
            },
        };
        let artefact = Artefact::new(run, &source, ArtefactKind::Database, "shop");
        self.write_point(run, artefact, status).await;
    }

    /// Writes the restore point of a run with this one artefact. It names the manifest that stands there.
    async fn write_point(&self, run: RunId, artefact: Artefact, mut status: PointStatus) {
        if let PointStatus::Good { manifest, .. } = &mut status
            && let Ok(Some(sealed)) = self.repository.manifest(artefact.id).await
        {
            *manifest = sealed.sha256;
        }
        let expected: Expected = self.repository.read(&ObjectKey::Expected(run)).await.unwrap().unwrap();
        let point = RestorePoint {
            run,
            started: expected.created,
            recorded: self.clock.now(),
            complete: matches!(status, PointStatus::Good { .. }),
            reason: expected.reason,
            backup_type: expected.backup_type,
            stack: None,
            class: expected.class,
            label: expected.label,
            hold_until: expected.hold_until,
            artefacts: vec![PointArtefact {
                source: "main".parse().unwrap(),
                artefact,
                status,
            }],
            failed_sources: BTreeMap::new(),
            images: Vec::new(),
            notes: Vec::new(),
        };
        self.write(ObjectKey::RestorePoint(run), &point).await;
    }

    /// Makes a complete daily run that is copied to these targets.
    pub async fn whole(&self, packs: &[u8], targets: &[&str]) -> (RunId, ArtefactId) {
        let targets = targets.iter().map(|t| name(t)).collect();
        let run = self
            .begin(Class::Daily, |expected| expected.steps.targets = targets)
            .await;
        let artefact = self.seal(run, packs).await;
        self.record(run, false).await;
        (run, artefact)
    }

    /// Records a verification to level decrypt, a minute after the last event.
    pub async fn verify(&self, artefact: ArtefactId, place: &str, good: bool) {
        self.verify_to(artefact, place, Level::Decrypt, good).await;
    }

    /// Records a verification to this level, a minute after the last event.
    pub async fn verify_to(&self, artefact: ArtefactId, place: &str, level: Level, good: bool) {
        self.clock.advance(std::time::Duration::from_secs(60));
        let record = Verification {
            id: Uuid::new_v4(),
            artefact,
            run: None,
            place: name(place),
            level,
            verdict: if good { Verdict::Good } else { Verdict::Damaged },
            findings: Vec::new(),
            total_findings: 0,
            started: self.clock.now(),
            finished: self.clock.now(),
            bytes_read: 0,
            recipients_proven: false,
        };
        self.write(ObjectKey::Verified(artefact, record.id), &record).await;
    }

    /// Copies all objects of a run to the target; the restore point only if `point` is true.
    pub async fn sync(&self, run: RunId, artefact: ArtefactId, point: bool) {
        let target = open(S3, &self.dir.path().join(S3)).await;
        self.repository.copy_identity_to(&target).await.unwrap();
        let sealed = self.repository.manifest(artefact).await.unwrap().unwrap();
        let mut keys: Vec<ObjectKey> = sealed.manifest.packs.iter().map(|p| ObjectKey::Pack(p.id)).collect();
        let place = self.repository.place();
        let listed = place.list(Prefix::Artefact(artefact)).await.unwrap().objects;
        keys.extend(listed.into_iter().map(|o| o.key));
        if point {
            keys.extend(
                place
                    .list(Prefix::Run(run))
                    .await
                    .unwrap()
                    .objects
                    .into_iter()
                    .map(|o| o.key),
            );
        }
        for key in keys {
            let from = self.file("local", &key);
            let to = self.file(S3, &key);
            if !to.exists() {
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(from, &to).unwrap();
                self.stamp(S3, &key);
            }
        }
    }

    async fn at(&self, place: &str) -> Repository {
        self.repository.at(open(place, &self.dir.path().join(place)).await)
    }

    /// Returns the keys of all objects.
    pub async fn keys(&self, place: &str) -> BTreeSet<String> {
        let all = self.at(place).await.place().list(Prefix::All).await.unwrap();
        all.objects.into_iter().map(|o| o.key.to_string()).collect()
    }

    /// Checks that no manifest lacks a pack or its contents, and that no restore point that is not given up lacks a
    /// good artefact.
    pub async fn assert_whole(&self, place: &str) {
        let repository = self.at(place).await;
        let keys = self.keys(place).await;
        let there = |key: ObjectKey| keys.contains(&key.to_string());
        for key in keys.iter().filter_map(|key| ObjectKey::parse(key)) {
            match key {
                ObjectKey::Manifest(id) => {
                    let Ok(Some(sealed)) = repository.manifest(id).await else {
                        continue;
                    };
                    assert!(there(ObjectKey::Contents(id)), "{id} has no contents");
                    for pack in &sealed.manifest.packs {
                        assert!(there(ObjectKey::Pack(pack.id)), "{id} lacks pack {}", pack.id);
                    }
                }
                ObjectKey::RestorePoint(run) if !there(ObjectKey::Tombstone(run)) => {
                    let Ok(Some(point)) = repository.read::<RestorePoint>(&ObjectKey::RestorePoint(run)).await else {
                        continue;
                    };
                    for good in point.good() {
                        assert!(there(ObjectKey::Manifest(good.artefact.id)), "{run} lacks an artefact");
                    }
                }
                _ => {}
            }
        }
    }
}
