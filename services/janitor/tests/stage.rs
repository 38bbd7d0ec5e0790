//! The stage with a real bus.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Bed, name};
use futures::StreamExt as _;
use holdfast_bus::{Bus, BusOptions, Delivery, PrivateServer};
use holdfast_events::{Job, What, Work};
use holdfast_format::{Class, ObjectKey, RunId};
use holdfast_janitor::Janitor;
use holdfast_service::{Context, JobError, Stage};
use holdfast_telemetry::failpoint::{self, Action as Fault};
use tokio_util::sync::CancellationToken;

/// Lets one test run at a time, since failpoints and metrics belong to the whole process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const RULES: &str = "[retention.local]\ndaily = \"7d\"";

fn nats_server() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tools/nats-server-path");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

struct Rig {
    bed: Bed,
    cx: Context,
    janitor: Janitor,
    server: PrivateServer,
}

impl Rig {
    async fn new() -> Self {
        let bed = Bed::new(RULES).await;
        let server = PrivateServer::start(Some(&nats_server()), &bed.dir.path().join("nats"))
            .await
            .unwrap();
        let mut options = BusOptions::new(server.url());
        options.auth = server.auth();
        let bus = Bus::connect(&options).await.unwrap();
        bus.ensure_topology().await.unwrap();
        let mut cx = Context::with(bed.settings.clone(), bed.repository.clone(), bus).unwrap();
        cx.clock = bed.clock.shared();
        let janitor = Janitor::new(&cx);
        Self {
            bed,
            cx,
            janitor,
            server,
        }
    }

    /// Begins a run that asks for cleaning, and returns its id.
    async fn run(&self) -> RunId {
        let run = self
            .bed
            .begin(Class::Daily, |expected| expected.steps.clean = vec![name("local")])
            .await;
        self.bed.seal(run, &[9]).await;
        self.bed.record(run, false).await;
        run
    }

    async fn clean(&self, run: RunId) -> Result<(), JobError> {
        let job = Job::Clean { place: name("local") };
        let work = Work {
            run,
            site: self.cx.site.clone(),
            job,
        };
        let delivery = Delivery {
            count: 1,
            lost: CancellationToken::new(),
        };
        self.janitor.run(&self.cx, &work, &delivery).await
    }

    /// Returns the first `count` facts of a run.
    async fn facts(&self, run: RunId, count: usize) -> Vec<What> {
        let facts = self
            .cx
            .bus
            .facts(run)
            .await
            .unwrap()
            .take(count)
            .map(|fact| fact.unwrap().what);
        tokio::time::timeout(Duration::from_secs(30), facts.collect())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn it_reports_once_and_tells_as_often_as_it_is_asked() {
    let _alone = ALONE.lock().await;
    let rig = Rig::new().await;
    let (old, _) = rig.bed.whole(&[1], &[]).await;
    rig.bed.pass(9);
    let run = rig.run().await;
    // The first attempt dies half-way; its steps are in the report all the same.
    let fault = failpoint::set("janitor.after_tombstone", Fault::Error);
    let killed = rig.clean(run).await;
    drop(fault);
    assert!(matches!(killed, Err(JobError::Retry(_))), "{killed:?}");
    assert!(rig.cx.catalogue.cleaned(run, &name("local")).await.unwrap().is_none());
    rig.clean(run).await.unwrap();
    let report = rig.cx.catalogue.cleaned(run, &name("local")).await.unwrap().unwrap();
    assert_eq!(report.expired_runs, [old]);
    assert!(report.total_deleted > 0 && report.total_deleted == report.deleted.len() as u64);
    assert!(!rig.bed.has("local", &ObjectKey::Expected(old)));

    rig.bed.pass(30);
    rig.clean(run).await.unwrap();
    let want = What::PlaceCleaned {
        place: name("local"),
        expired: 1,
        deleted: report.total_deleted,
        freed: report.freed_bytes,
    };
    assert_eq!(rig.facts(run, 2).await, [want.clone(), want]);
    let stray = rig.clean(RunId::new(1, [1; 10])).await;
    assert!(matches!(stray, Err(JobError::Fail(_))), "{stray:?}");
    rig.server.stop().await;
}

#[tokio::test]
async fn a_blocked_plan_is_no_failure_of_the_run() {
    let _alone = ALONE.lock().await;
    let rig = Rig::new().await;
    let (_, artefact) = rig.bed.whole(&[1], &[]).await;
    rig.bed.damage("local", &ObjectKey::Manifest(artefact));
    rig.bed.pass(9);
    let run = rig.run().await;
    rig.clean(run).await.unwrap();
    let report = rig.cx.catalogue.cleaned(run, &name("local")).await.unwrap().unwrap();
    assert!(report.expired_runs.is_empty() && report.total_deleted == 0);
    assert!(
        report.refused.iter().any(|why| why.contains("cannot be read")),
        "{:?}",
        report.refused
    );
    let metrics = holdfast_telemetry::metrics::global().text().unwrap();
    assert!(
        metrics.contains("holdfast_retention_blocked{place=\"local\"} 1"),
        "{metrics}"
    );

    // The end of the process is no failure, either.
    let next = rig.run().await;
    rig.bed.pass(1);
    std::fs::remove_file(rig.bed.file("local", &ObjectKey::Manifest(artefact))).unwrap();
    rig.cx.drain.cancel();
    let stopped = rig.clean(next).await;
    assert!(matches!(stopped, Err(JobError::Superseded(_))), "{stopped:?}");
    rig.server.stop().await;
}
