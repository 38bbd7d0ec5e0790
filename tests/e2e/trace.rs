//! One run is one trace, from the command to the last stage, in every process that takes part. No backup waits for the
//! collector of traces.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use holdfast_tests::otlp::{Collector, Span};
use holdfast_tests::output::{Output, code};
use holdfast_tests::postgres::{self, Cluster, percent_encoded};
use holdfast_tests::tree::{self, Shape};
use holdfast_tests::{Builder, Context, Result, Sandbox, ensure, nats};
use tokio::net::TcpSocket;

const WHOLE_RUN: &[&str] = &["run", "--verify", "--sync-offsite", "--cleanup", "--json"];

/// The name of the command's span, which is the root.
const ROOT: &str = "holdfast run";

/// The other spans of a run by name, each with its possible parents. Any job may have been published by a reconciler
/// that looked at that moment.
const STAGES: &[(&str, &[&str])] = &[
    ("trigger", &[ROOT]),
    ("list-files", &["trigger"]),
    ("list-postgres", &["trigger"]),
    ("capture-files", &["list-files"]),
    ("capture-postgres", &["list-postgres"]),
    ("seal", &["capture-files", "capture-postgres"]),
    ("close", &["capture-files", "capture-postgres", "seal"]),
    ("verify", &["close"]),
    ("sync", &["verify", "record"]),
    ("record", &["trigger"]),
    ("clean", &["record"]),
];
const RECONCILE: &str = "reconcile";

/// Texts that only the backup itself may contain.
const DATABASE: &str = "a-database-by-this-name";
const ROW: &str = "a row that is nobody's business";
const FILE: &str = "a-file-by-this-name";
const CONTENT: &str = "a text that is nobody's business";

/// The longest time between a command's last words and its end: an answer of the collector is waited for for five
/// seconds, and the machine may be busy.
const GOODBYE: Duration = Duration::from_secs(15);

/// A directory and a database, with a target and a retention.
struct Sources {
    cluster: Cluster,
    files: tempfile::TempDir,
}

impl Sources {
    fn make() -> Result<Self> {
        let cluster = Cluster::start()?;
        cluster.create_database(DATABASE)?;
        let row = postgres::literal(ROW);
        cluster.psql(DATABASE, &format!("CREATE TABLE t AS SELECT {row}::text AS x;"))?;
        let files = tempfile::tempdir()?;
        few_files(files.path())?;
        fs::write(files.path().join("uploads").join(FILE), CONTENT)?;
        Ok(Self { cluster, files })
    }

    fn builder(&self, collector: &Collector) -> Result<Builder> {
        let builder = Sandbox::builder()
            .postgres("main", &self.cluster)
            .directory("uploads", &self.files.path().join("uploads"))
            .target_directory("offsite")
            .section("retention", "local = { daily = \"7d\" }\noffsite = { daily = \"30d\" }")?;
        traced(builder, &collector.endpoint())
    }
}

fn few_files(dir: &Path) -> Result<()> {
    let shape = Shape {
        files: 10,
        ..Shape::default()
    };
    tree::generate(&dir.join("uploads"), 1, shape)
}

/// Makes a folder of ten files, for tests that look only at the end of a run.
fn small(dir: &Path, endpoint: &str) -> Result<Builder> {
    few_files(dir)?;
    traced(Sandbox::builder().directory("uploads", &dir.join("uploads")), endpoint)
}

fn traced(builder: Builder, endpoint: &str) -> Result<Builder> {
    builder.section("telemetry", &format!("otlp_endpoint = \"{endpoint}\""))
}

#[test]
fn one_run_is_one_trace_across_processes() -> Result<()> {
    let collector = Collector::start()?;
    let server = nats::Server::start()?;
    let sources = Sources::make()?;
    let sandbox = sources.builder(&collector)?.nats(&server).build()?;
    let mut up = sandbox.start(&["up"])?;
    let run = sandbox.run(WHOLE_RUN)?.good()?;
    let sent = collector.spans()?;
    ensure!(
        sent.iter().any(|span| span.name == ROOT),
        "the command ended before its span was sent: {sent:#?}"
    );
    up.stop(Duration::from_secs(30))?.expect(code::GOOD)?;
    check_trace(&collector, &run)
}

#[test]
fn one_run_is_one_trace_in_one_process() -> Result<()> {
    let collector = Collector::start()?;
    let sources = Sources::make()?;
    let sandbox = sources.builder(&collector)?.build()?;
    let run = sandbox.run(WHOLE_RUN)?.good()?;
    check_trace(&collector, &run)
}

/// Checks the spans that the collector has, which must be those of one run.
fn check_trace(collector: &Collector, run: &Output) -> Result<()> {
    let spans = collector.spans()?;
    let traces: BTreeSet<&str> = spans.iter().map(|span| span.trace.as_str()).collect();
    ensure!(traces.len() == 1, "there is more than one trace: {spans:#?}");

    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    ensure!(by_id.len() == spans.len(), "spans share an id: {spans:#?}");
    for span in &spans {
        let parent = span.parent.as_ref();
        let Some(id) = parent else {
            ensure!(span.name == ROOT, "a root that is not the command's: {span:#?}");
            continue;
        };
        let parent = by_id
            .get(id.as_str())
            .with_context(|| format!("its parent was never sent: {span:#?}"))?;
        ensure!(
            may_follow(&span.name, &parent.name),
            "{span:#?} is a child of {parent:#?}"
        );
    }
    let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!(count(ROOT), 1);
    assert_eq!(count("trigger"), 1);
    for (name, _) in STAGES {
        ensure!(count(name) > 0, "no span of {name}: {spans:#?}");
    }

    let run = run.json()?;
    let of_run = |span: &&Span| span.name != ROOT && span.name != "trigger";
    for span in spans.iter().filter(of_run) {
        assert_eq!(
            span.attributes.get("run").map(String::as_str),
            run["run"].as_str(),
            "{span:#?}"
        );
    }
    let artefacts = run["artefacts"].as_array().context("a run without artefacts")?;
    for artefact in artefacts {
        for name in ["seal", "close", "verify", "sync"] {
            let is_its = |span: &&Span| {
                span.name == name
                    && span.attributes.get("artefact").map(String::as_str) == artefact["artefact"].as_str()
            };
            ensure!(
                spans.iter().any(|span| is_its(&span)),
                "no span of {name} for {artefact}"
            );
        }
    }

    let password = percent_encoded(postgres::PASSWORD);
    for secret in [postgres::PASSWORD, &password, DATABASE, ROW, FILE, CONTENT] {
        ensure!(!collector.has_seen(secret), "the collector was told {secret:?}");
    }
    Ok(())
}

fn may_follow(name: &str, parent: &str) -> bool {
    if name == RECONCILE {
        return parent == "trigger";
    }
    let known = STAGES.iter().find(|(stage, _)| *stage == name);
    known.is_some_and(|(_, parents)| {
        let is_work = !["trigger", "record"].contains(&name);
        parents.contains(&parent) || (is_work && parent == RECONCILE)
    })
}

#[test]
fn a_collector_that_is_down_harms_no_run() -> Result<()> {
    // Bound, so that no other process gets the port, but not listening.
    let down = TcpSocket::new_v4()?;
    down.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let files = tempfile::tempdir()?;
    let sandbox = small(files.path(), &format!("http://{}", down.local_addr()?))?.build()?;
    let mut run = sandbox.start(&["run", "--verify", "--json"])?;
    run.wait_for("\"outcome\"", Duration::from_secs(60))?;
    let ended = run.finish(GOODBYE)?.good()?;
    assert_eq!(ended.json()?["outcome"], "complete");
    ended.says("spans are lost")?;
    Ok(())
}

#[test]
fn a_collector_that_hangs_holds_up_no_run() -> Result<()> {
    // The system accepts connections and buffers the requests, and nothing ever answers.
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let server = nats::Server::start()?;
    let files = tempfile::tempdir()?;
    let sandbox = small(files.path(), &format!("http://{}", hanging.local_addr()?))?
        .nats(&server)
        .build()?;
    let mut up = sandbox.start(&["up"])?;
    for _ in 0..2 {
        let mut run = sandbox.start(&["run", "--verify", "--json"])?;
        run.wait_for("\"outcome\"", Duration::from_secs(60))?;
        let ended = run.finish(GOODBYE)?.good()?;
        assert_eq!(ended.json()?["outcome"], "complete");
        ended.says("spans are lost")?;
    }
    up.stop(GOODBYE)?.expect(code::GOOD)?.says("spans are lost")?;

    let (mut connection, _) = hanging.accept()?;
    let mut begin = [0; 16];
    connection.read_exact(&mut begin)?;
    assert_eq!(&begin, b"POST /v1/traces ", "the collector was asked");
    Ok(())
}
