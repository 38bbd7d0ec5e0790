//! A host with an engine that is none, a repository in a directory, and a private bus.

#![allow(dead_code, unreachable_pub)]

pub mod engine;
#[path = "../../../../shared/repository/tests/common/mod.rs"]
mod repository;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Engine;
use holdfast_bus::Delivery;
use holdfast_capture::{Draft, Staging};
use holdfast_config::Settings;
use holdfast_events::{Job, Work};
use holdfast_format::{
    Artefact, ArtefactKind, Class, Expected, ExpectedSource, Listed, ObjectKey, Reason, SourceKind, SourceName, Steps,
};
use holdfast_service::{Context, JobError, Stage as _, bus_options, open_bus};
use holdfast_tests::nats::Server;
use holdfast_volume_snapshotter::Snapshotter;
use jiff::{SignedDuration, Timestamp};
pub use repository::*;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The time limit of every wait.
pub const SOON: Duration = Duration::from_secs(30);

/// One host that captures volumes.
pub struct Host {
    pub engine: Engine,
    pub cx: Context,
    pub snapshotter: Arc<Snapshotter>,
    pub staging: Arc<Staging>,
    bed: Bed,
    _nats: Server,
    /// On a disk: in memory, there is no pre-copy.
    _volumes: TempDir,
    _staged: TempDir,
}

fn source() -> SourceName {
    "docker".parse().unwrap()
}

/// The artefact of a volume.
pub fn volume(name: &str) -> Artefact {
    Artefact::new(run(1), &source(), ArtefactKind::Volume, name)
}

/// The job that captures a volume.
pub fn work(name: &str) -> Work {
    Work {
        run: run(1),
        site: "here".parse().unwrap(),
        job: Job::Capture {
            source: source(),
            kind: SourceKind::Files,
            artefact: volume(name).id,
        },
    }
}

pub fn delivery() -> Delivery {
    Delivery {
        count: 1,
        lost: CancellationToken::new(),
    }
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Host {
    /// A host that reads its volumes so: `path`, `archive`.
    pub async fn reading(read: &str) -> Self {
        let bed = Bed::new().await;
        let nats = Server::start().unwrap();
        let volumes = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let engine = Engine::start(volumes.path()).await;
        let docker = format!(
            "[docker]\nhost = \"{}\"\nvolumes_dir = \"{}\"\n[docker.volumes]\nread = \"{read}\"\n[workers]\ncapture = 4\n",
            engine.url(),
            volumes.path().display()
        );
        let cx = context(&bed, &nats, &docker).await;
        let staged = TempDir::new().unwrap();
        let staging = Arc::new(Staging::open(staged.path(), 1 << 30).unwrap());
        Self {
            engine,
            snapshotter: Arc::new(Snapshotter::new(&cx, staging.clone())),
            cx,
            staging,
            bed,
            _nats: nats,
            _volumes: volumes,
            _staged: staged,
        }
    }

    /// Writes that the run is to bring these volumes.
    pub async fn list(&self, volumes: &[&str]) {
        let expected = Expected {
            run: run(1),
            created: Timestamp::now(),
            reason: Reason::Manual,
            site: "here".parse().unwrap(),
            backup_type: "all".to_owned(),
            stack: None,
            sources: vec![ExpectedSource {
                name: source(),
                kind: SourceKind::Files,
                site: "here".parse().unwrap(),
            }],
            steps: Steps {
                verify: None,
                targets: Vec::new(),
                clean: Vec::new(),
            },
            class: Class::Daily,
            label: None,
            hold_until: None,
            fresh: false,
            trace: BTreeMap::new(),
            deadline: Timestamp::now() + SignedDuration::from_hours(1),
        };
        let listed = Listed {
            run: run(1),
            source: source(),
            at: now(),
            artefacts: volumes.iter().map(|name| volume(name)).collect(),
            images: Vec::new(),
            notes: Vec::new(),
        };
        let repository = &self.bed.repository;
        repository.write(&ObjectKey::Expected(run(1)), &expected).await.unwrap();
        let key = ObjectKey::Listed(run(1), source());
        repository.write(&key, &listed).await.unwrap();
    }

    /// Does the job of a volume.
    pub async fn capture(&self, name: &str) -> Result<(), JobError> {
        self.snapshotter.run(&self.cx, &work(name), &delivery()).await
    }

    /// Begins the job of a volume.
    pub fn begin(&self, name: &str) -> Running {
        let delivery = delivery();
        let lost = delivery.lost.clone();
        let snapshotter = self.snapshotter.clone();
        let cx = self.cx.clone();
        let work = work(name);
        let task = tokio::spawn(async move { snapshotter.run(&cx, &work, &delivery).await });
        Running { task, lost }
    }

    /// The draft of a volume that is staged whole.
    pub fn draft(&self, name: &str) -> Option<Draft> {
        let attempt = self.staging.latest(run(1), volume(name).id).unwrap()?;
        attempt.draft().unwrap()
    }

    /// True if nothing is staged, whole or not.
    pub fn nothing_is_staged(&self) -> bool {
        self.staging.list().unwrap().is_empty()
    }

    /// Waits until all containers run again.
    pub async fn all_back(&self) {
        until("all containers are back", async || self.engine.quiet().is_empty()).await;
    }
}

/// A job that is being done.
pub struct Running {
    pub task: tokio::task::JoinHandle<Result<(), JobError>>,
    pub lost: CancellationToken,
}

impl Running {
    pub async fn ended(self) -> Result<(), JobError> {
        let ended = tokio::time::timeout(SOON, self.task).await;
        ended.expect("the job ends").unwrap()
    }

    /// Drops the job where it stands, as a worker does that has to end.
    pub async fn drop(self) {
        self.lost.cancel();
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

async fn context(bed: &Bed, nats: &Server, docker: &str) -> Context {
    let dir = bed.scratch.path();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("backup.pub.asc", &bed.ring.backup.public_armored);
    write("pipeline.asc", &bed.ring.pipeline.secret_armored);
    private(&dir.join("pipeline.asc"));
    let text = format!(
        "site = \"here\"\nstate_dir = \"state\"\n[repository]\nurl = \"{}\"\n[encryption]\n\
         recipients = [\"backup.pub.asc\"]\npipeline_key = \"pipeline.asc\"\n[nats]\nurl = \"{}\"\n{docker}",
        dir.join("place").display(),
        nats.url()
    );
    write("holdfast.toml", &text);
    let settings = Arc::new(Settings::load(&dir.join("holdfast.toml"), &BTreeMap::new()).unwrap());
    let bus = open_bus(&bus_options(&settings, &nats.url(), "test")).await.unwrap();
    Context::with(settings, bed.repository.clone(), bus).unwrap()
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
