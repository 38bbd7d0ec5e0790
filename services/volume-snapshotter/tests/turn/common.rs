//! A host with an engine that is none, a repository in a directory, and a private bus.

#![allow(dead_code, unreachable_pub)]

pub mod engine;
#[path = "../../../../shared/service/tests/common/mod.rs"]
mod service;

use std::sync::Arc;

use engine::{Engine, Held};
use holdfast_capture::{Draft, Staging};
use holdfast_events::{Job, Work};
use holdfast_format::{Artefact, ArtefactKind, SourceKind, SourceName};
use holdfast_service::{Context, JobError, Stage as _};
use holdfast_tests::nats::Server;
use holdfast_volume_snapshotter::Snapshotter;
pub use service::*;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

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
        let expected = expected_of(run(1), &source(), SourceKind::Files);
        let artefacts: Vec<Artefact> = volumes.iter().map(|name| volume(name)).collect();
        write_run(&self.bed, &expected, &artefacts).await;
    }

    /// Does the job of a volume.
    pub async fn capture(&self, name: &str) -> Result<(), JobError> {
        self.snapshotter.run(&self.cx, &work(name), &delivery(1)).await
    }

    /// Begins the job of a volume.
    pub fn begin(&self, name: &str) -> Running {
        let delivery = delivery(1);
        let lost = delivery.lost.clone();
        let snapshotter = self.snapshotter.clone();
        let cx = self.cx.clone();
        let work = work(name);
        let task = tokio::spawn(async move { snapshotter.run(&cx, &work, &delivery).await });
        Running { task, lost }
    }

    /// Begins the job of the volume `data`, up to a call to the engine, which is held.
    pub async fn begin_up_to(&self, call: &str) -> (Running, Held) {
        let mut held = self.engine.hold(call);
        let job = self.begin("data");
        held.reached().await;
        (job, held)
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
