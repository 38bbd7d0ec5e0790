//! What is written down follows from the repository, whatever the bus tells.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../shared/service/tests/common/mod.rs"]
mod common;

use common::{Bed, context, digest, expected_of, run, shop, until, write_artefact, write_run};
use holdfast_events::{Fact, Outcome, What};
use holdfast_format::{
    Expected, Finished, ObjectKey, PlaceName, PointCopied, PointStatus, RestorePoint, RunId, SourceKind, SourceName,
};
use holdfast_scheduler::Scheduler;
use holdfast_service::Context;
use holdfast_telemetry::http::Health;
use holdfast_tests::nats::Server;
use tokio::task::JoinSet;

fn source() -> SourceName {
    "main".parse().unwrap()
}

fn expected(run: RunId) -> Expected {
    expected_of(run, &source(), SourceKind::Postgres)
}

struct Recording {
    bed: Bed,
    cx: Context,
    _nats: Server,
    _tasks: JoinSet<()>,
}

impl Recording {
    /// Starts a scheduler, and waits until it hears what is told.
    async fn start() -> Self {
        let nats = Server::start().unwrap();
        let bed = Bed::new().await;
        let cx = context(&bed, &nats, "").await;
        write_run(&bed, &expected(run(90)), &[shop(run(90))]).await;
        write_artefact(&bed, run(90), 1).await;
        let tasks = Scheduler::new(&cx).serve(false, &Health::default());
        let recording = Self {
            bed,
            cx,
            _nats: nats,
            _tasks: tasks,
        };
        recording.end_of(run(90)).await;
        recording
    }

    async fn tell(&self, run: RunId, what: What) {
        let fact = Fact {
            run,
            at: self.cx.now(),
            what,
        };
        self.cx.bus.publish_fact(&fact).await.unwrap();
    }

    /// Tells all that makes a run look whole, without a thing in the repository.
    async fn forge(&self, run: RunId) {
        let artefact = shop(run);
        for listed in Fact::listed(run, self.cx.now(), &source(), std::slice::from_ref(&artefact)) {
            self.tell(run, listed.what).await;
        }
        let sealed = What::ArtefactSealed {
            artefact: artefact.id,
            manifest: digest(b"forged"),
            size: 5,
            stored: 5,
            warnings: 0,
        };
        self.tell(run, sealed).await;
        self.tell(run, What::RunRecorded { complete: true }).await;
        let outcome = Outcome::Complete;
        self.tell(run, What::RunFinished { outcome }).await;
    }

    /// Waits until all that was told so far was heard: a run whose facts come later has its end.
    async fn heard(&self, probe: RunId) {
        write_run(&self.bed, &expected(probe), &[shop(probe)]).await;
        let sealed = write_artefact(&self.bed, probe, 1).await;
        for listed in Fact::listed(probe, self.cx.now(), &source(), &[shop(probe)]) {
            self.tell(probe, listed.what).await;
        }
        let what = What::ArtefactSealed {
            artefact: shop(probe).id,
            manifest: sealed.sha256,
            size: 5,
            stored: 5,
            warnings: 0,
        };
        self.tell(probe, what).await;
        self.end_of(probe).await;
    }

    async fn finished(&self, run: RunId) -> Option<Finished> {
        self.bed.repository.read(&ObjectKey::Finished(run)).await.unwrap()
    }

    async fn point(&self, run: RunId) -> Option<RestorePoint> {
        self.bed.repository.read(&ObjectKey::RestorePoint(run)).await.unwrap()
    }

    async fn end_of(&self, run: RunId) -> Finished {
        until("the run ends", async || self.finished(run).await.is_some()).await;
        self.finished(run).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_nothing_proves_are_written_down_nowhere_and_the_run_goes_on() {
    let recording = Recording::start().await;
    let forged = run(1);
    let key = ObjectKey::Expected(forged);
    recording.bed.repository.write(&key, &expected(forged)).await.unwrap();
    recording.forge(forged).await;
    recording.heard(run(2)).await;
    assert_eq!(recording.point(forged).await, None);
    assert_eq!(recording.finished(forged).await, None);

    // Then the work is done after all, and what is there is what counts.
    write_run(&recording.bed, &expected(forged), &[shop(forged)]).await;
    let sealed = write_artefact(&recording.bed, forged, 1).await;
    recording.forge(forged).await;
    assert_eq!(recording.end_of(forged).await.outcome, "complete");
    let point = recording.point(forged).await.unwrap();
    let PointStatus::Good { manifest, .. } = &point.artefacts[0].status else {
        panic!("{point:?}")
    };
    assert!(point.complete && *manifest == sealed.sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artefact_that_went_again_is_not_in_the_restore_point() {
    let recording = Recording::start().await;
    let gone = run(1);
    write_run(&recording.bed, &expected(gone), &[shop(gone)]).await;
    write_artefact(&recording.bed, gone, 1).await;
    let manifest = ObjectKey::Manifest(shop(gone).id);
    std::fs::remove_file(recording.bed.file(manifest)).unwrap();
    recording.forge(gone).await;
    recording.heard(run(2)).await;
    assert_eq!(recording.point(gone).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_counts_once_the_syncer_has_signed_for_it() {
    let recording = Recording::start().await;
    let copied = run(1);
    let target: PlaceName = "offsite".parse().unwrap();
    let mut expected = expected(copied);
    expected.steps.targets = vec![target.clone()];
    write_run(&recording.bed, &expected, &[shop(copied)]).await;
    write_artefact(&recording.bed, copied, 1).await;
    recording.forge(copied).await;
    let synced = What::PointSynced { target: target.clone() };
    recording.tell(copied, synced.clone()).await;
    recording.heard(run(2)).await;
    assert!(recording.point(copied).await.is_some());
    assert_eq!(recording.finished(copied).await, None);

    let record = PointCopied {
        run: copied,
        place: target.clone(),
        at: recording.cx.now(),
    };
    let key = ObjectKey::Copied(copied, target);
    recording.bed.repository.write(&key, &record).await.unwrap();
    recording.tell(copied, synced).await;
    assert_eq!(recording.end_of(copied).await.outcome, "complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_nothing_in_it_is_not_complete() {
    let recording = Recording::start().await;
    let empty = run(1);
    write_run(&recording.bed, &expected(empty), &[]).await;
    for listed in Fact::listed(empty, recording.cx.now(), &source(), &[]) {
        recording.tell(empty, listed.what).await;
    }
    let end = recording.end_of(empty).await;
    assert_eq!(end.outcome, "failed");
    assert!(end.failures[0].contains("no source has anything"), "{end:?}");
    assert!(!recording.point(empty).await.unwrap().complete);
}
