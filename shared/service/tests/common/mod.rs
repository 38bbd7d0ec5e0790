//! The context of a service to test with: a repository in a directory, a configuration, a bus of its own. The tests of
//! all services share it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../repository/tests/common/mod.rs"]
mod repository;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use holdfast_bus::Delivery;
use holdfast_config::Settings;
use holdfast_events::What;
use holdfast_format::{
    Artefact, AskedBy, BusUser, Class, Expected, ExpectedSource, Listed, ObjectKey, Reason, RunId, Site, SourceKind,
    SourceName, Steps,
};
use holdfast_service::{Context, bus_options, open_bus};
use holdfast_tests::nats::Server;
use jiff::{SignedDuration, Timestamp};
pub use repository::*;
use tokio_util::sync::CancellationToken;

/// The time that anything may take.
pub const SOON: Duration = Duration::from_secs(30);

/// Returns the site of every service here.
pub fn site() -> Site {
    "here".parse().unwrap()
}

/// Writes a bed's keys and the configuration of a service on it, with `more` at its end, and loads it.
pub fn settings(bed: &Bed, nats: &Server, more: &str) -> Arc<Settings> {
    let dir = bed.scratch.path();
    write_private(&dir.join("backup.pub.asc"), &bed.ring.backup.public_armored);
    write_private(&dir.join("backup.asc"), &bed.ring.backup.secret_armored);
    write_private(&dir.join("owner.pub.asc"), &bed.ring.owner.public_armored);
    write_private(&dir.join("reader.sec.asc"), &bed.ring.reader.secret_armored);
    for (role, key) in &bed.ring.roles {
        write_private(&dir.join(format!("{role}.sec.asc")), &key.secret_armored);
    }
    let text = format!(
        "site = \"{}\"\nstate_dir = \"state\"\n[repository]\nurl = \"{}\"\n[encryption]\n\
         recipients = [\"backup.pub.asc\"]\nowner = \"owner.pub.asc\"\nreader_key = \"reader.sec.asc\"\n[nats]\nurl = \"{}\"\n{more}",
        site(),
        dir.join("place").display(),
        nats.url()
    );
    let file = dir.join("holdfast.toml");
    write_private(&file, &text);
    Arc::new(Settings::load(&file, &BTreeMap::new()).unwrap())
}

fn write_private(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Returns the context of a service on a bed, with `more` in its configuration.
pub async fn context(bed: &Bed, nats: &Server, more: &str) -> Context {
    let settings = settings(bed, nats, more);
    let bus = open_bus(&bus_options(&settings, &nats.url(), "test")).await.unwrap();
    Context::with(settings, bed.repository.clone(), bus).unwrap()
}

/// Returns the `count`th delivery of a job.
pub fn delivery(count: u64) -> Delivery {
    Delivery {
        count,
        lost: CancellationToken::new(),
    }
}

/// Returns the expectations of a run of one source, which has an hour and no steps after its close.
pub fn expected_of(run: RunId, source: &SourceName, kind: SourceKind) -> Expected {
    Expected {
        run,
        created: Timestamp::now(),
        reason: Reason::Manual,
        requester: AskedBy::User {
            name: BusUser::operator(),
            person: None,
        },
        site: site(),
        backup_type: "all".to_owned(),
        stack: None,
        sources: vec![ExpectedSource {
            name: source.clone(),
            kind,
            site: site(),
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
    }
}

/// Writes what a run expects, and the listing of its source.
pub async fn write_run(bed: &Bed, expected: &Expected, artefacts: &[Artefact]) {
    let run = expected.run;
    let source = expected.sources[0].name.clone();
    let key = ObjectKey::Expected(run);
    bed.repository.write(&key, expected).await.unwrap();
    let listed = Listed {
        run,
        source: source.clone(),
        at: now(),
        artefacts: artefacts.to_vec(),
        images: Vec::new(),
        notes: Vec::new(),
    };
    let key = ObjectKey::Listed(run, source);
    bed.repository.write(&key, &listed).await.unwrap();
}

/// Returns the first `count` facts of a run.
pub async fn facts(cx: &Context, run: RunId, count: usize) -> Vec<What> {
    let mut feed = cx.bus.facts(run).await.unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let next = tokio::time::timeout(SOON, feed.next()).await;
        found.push(next.expect("a fact comes").unwrap().unwrap().what);
    }
    found
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
