//! A repository in a directory, a private bus, staging, and what the other stages would do.

#![allow(dead_code, unreachable_pub)]

#[path = "../../../repository/tests/common/mod.rs"]
mod repository;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt as _;
use holdfast_bus::{Delivery, Disposition, Handler, Queued, WorkerOptions};
use holdfast_capture::{Attempt, Receipt, Staging, capture_stream};
use holdfast_config::Settings;
use holdfast_events::{Job, What, Work, WorkStage};
use holdfast_format::{
    Artefact, ArtefactKind, Class, ContentsRef, Expected, ExpectedSource, Listed, ObjectKey, Reason, RunId, SourceKind,
    SourceName, Steps,
};
use holdfast_repository::{ContentsPut, SealedManifest};
use holdfast_sealing::Profile;
use holdfast_service::{Context, JobError, bus_options, open_bus};
use holdfast_session::{Input, Session, SourceFacts};
use holdfast_tests::nats::Server;
use jiff::{SignedDuration, Timestamp};
pub use repository::*;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Bytes that fill a pack, and less than two.
pub const PACK: usize = 20 << 20;

/// The time limit of every wait.
pub const SOON: Duration = Duration::from_secs(30);

/// Room for all that a test stages.
const ROOM: u64 = 1 << 30;

/// One host that captures.
pub struct Host {
    pub bed: Bed,
    pub nats: Server,
    pub cx: Context,
    pub staging: Arc<Staging>,
    staged: TempDir,
}

pub fn source() -> SourceName {
    "files".parse().unwrap()
}

/// The artefact of a run.
pub fn artefact(run: RunId) -> Artefact {
    Artefact::new(run, &source(), ArtefactKind::Directory, "files")
}

/// The job that captures the artefact of a run.
pub fn work(run: RunId) -> Work {
    work_for(run, &artefact(run))
}

pub fn work_for(run: RunId, artefact: &Artefact) -> Work {
    Work {
        run,
        site: "here".parse().unwrap(),
        job: Job::Capture {
            source: source(),
            kind: SourceKind::Files,
            artefact: artefact.id,
        },
    }
}

pub fn delivery(count: u64) -> Delivery {
    Delivery {
        count,
        lost: CancellationToken::new(),
    }
}

/// Bytes that do not compress, and in which no chunk is like another.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; size];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Reads bytes as a stream.
pub fn stream(bytes: &[u8], input: &mut Input<'_>) -> Result<SourceFacts, JobError> {
    capture_stream(bytes, input.packer, input.contents, &mut input.watch)?;
    Ok(SourceFacts::default())
}

pub fn expected(run: RunId) -> Expected {
    Expected {
        run,
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
            targets: vec!["offsite".parse().unwrap()],
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

struct Taking(mpsc::UnboundedSender<Work>);

#[async_trait]
impl Handler for Taking {
    async fn handle(&self, work: Work, _: &Delivery) -> Disposition {
        let _ = self.0.send(work);
        Disposition::Done
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
    pub async fn new() -> Self {
        Self::with_room(ROOM).await
    }

    /// A host whose staging is bounded.
    pub async fn with_room(bytes: u64) -> Self {
        let bed = Bed::new().await;
        let nats = Server::start().unwrap();
        let cx = context(&bed, &nats).await;
        let staged = TempDir::new().unwrap();
        let staging = Arc::new(Staging::open(staged.path(), bytes).unwrap());
        Self {
            bed,
            nats,
            cx,
            staging,
            staged,
        }
    }

    /// Writes what a run expects, and that its source has one artefact.
    pub async fn begin_run(&self, expected: &Expected) {
        self.begin_run_of(expected, vec![artefact(expected.run)]).await;
    }

    pub async fn begin_run_of(&self, expected: &Expected, artefacts: Vec<Artefact>) {
        let run = expected.run;
        let repository = &self.bed.repository;
        repository.write(&ObjectKey::Expected(run), expected).await.unwrap();
        let listed = Listed {
            run,
            source: source(),
            at: now(),
            artefacts,
            images: Vec::new(),
            notes: Vec::new(),
        };
        let key = ObjectKey::Listed(run, source());
        repository.write(&key, &listed).await.unwrap();
    }

    /// The session of a run's artefact, at its first delivery.
    pub async fn session(&self, run: RunId) -> Session {
        self.session_of(run, &delivery(1)).await
    }

    pub async fn session_of(&self, run: RunId, delivery: &Delivery) -> Session {
        let begun = Session::begin(&self.cx, &self.staging, &work(run), delivery).await;
        begun.unwrap().expect("there is something to capture")
    }

    /// Captures bytes as a run's artefact.
    pub async fn capture(&self, run: RunId, bytes: Vec<u8>) -> Attempt {
        self.begin_run(&expected(run)).await;
        let session = self.session(run).await;
        let captured = session.capture(now(), move |mut input| stream(&bytes, &mut input));
        captured.await.unwrap();
        self.attempt(run)
    }

    /// The newest attempt at a run's artefact.
    pub fn attempt(&self, run: RunId) -> Attempt {
        let attempt = self.staging.latest(run, artefact(run).id).unwrap();
        attempt.expect("an attempt is staged")
    }

    /// True if a job waits in the queue. Asks for it to find out.
    pub async fn was_asked(&self, work: &Work) -> bool {
        self.cx.bus.publish_work(work).await.unwrap() == Queued::AlreadyThere
    }

    /// Takes jobs of a stage as its workers would; they count as done.
    pub fn take(&self, stage: WorkStage) -> mpsc::UnboundedReceiver<Work> {
        let (taken, works) = mpsc::unbounded_channel();
        let options = WorkerOptions::new(stage, self.cx.site.clone(), None, 1);
        let bus = self.cx.bus.clone();
        let drain = self.cx.drain.clone();
        tokio::spawn(async move { bus.run_worker(options, Arc::new(Taking(taken)), drain).await });
        works
    }

    /// The next `count` facts of a run, from its first.
    pub async fn facts(&self, run: RunId, count: usize) -> Vec<What> {
        let mut feed = self.cx.bus.facts(run).await.unwrap();
        let mut found = Vec::new();
        while found.len() < count {
            let next = tokio::time::timeout(SOON, feed.next()).await;
            found.push(next.expect("a fact comes").unwrap().unwrap().what);
        }
        found
    }

    /// Names of everything in the staging folder but its lock.
    pub fn staged(&self) -> Vec<String> {
        let mut names: Vec<String> = names_below(self.staged.path());
        names.retain(|name| name != ".lock");
        names
    }
}

fn names_below(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        names.push(entry.file_name().to_string_lossy().into_owned());
        if entry.path().is_dir() {
            names.extend(names_below(&entry.path()));
        }
    }
    names
}

/// Seals what is staged, as the encryptor would.
pub async fn seal_packs(bed: &Bed, attempt: &Attempt) {
    let mut frame = Vec::new();
    for id in attempt.unsealed().unwrap() {
        assert!(attempt.read_pack_into(id, &mut frame).unwrap());
        let plain = zstd::zstd_safe::get_frame_content_size(&frame).ok().flatten();
        let sealed = holdfast_sealing::seal(&bed.ring.recipients(), Profile::Gnupg, &frame).unwrap();
        let receipt = Receipt {
            size: sealed.len() as u64,
            sha256: digest(&sealed),
            plain: plain.unwrap() as u32,
        };
        let key = ObjectKey::Pack(id);
        bed.repository.place().put(&key, sealed.into(), None).await.unwrap();
        attempt.put_receipt(id, &receipt).unwrap();
    }
}

/// Seals an attempt and closes its artefact, as the encryptor would.
pub async fn close(bed: &Bed, attempt: &Attempt) -> Arc<SealedManifest> {
    seal_packs(bed, attempt).await;
    let artefact = attempt.artefact();
    let mut lines = Vec::new();
    std::io::Read::read_to_end(&mut attempt.read_contents().unwrap().unwrap(), &mut lines).unwrap();
    let file = bed.scratch.path().join(format!("contents-of-{artefact}"));
    std::fs::write(&file, zstd::bulk::compress(&lines, 3).unwrap()).unwrap();
    let ContentsPut::Stored { size, sha256 } = bed.repository.put_contents(artefact, &file).await.unwrap() else {
        panic!("other contents were there");
    };
    let contents = ContentsRef {
        size,
        sha256,
        plain: lines.len() as u64,
    };
    let draft = attempt.draft().unwrap().expect("the attempt is whole");
    let manifest = draft.manifest(&attempt.receipts().unwrap(), contents).unwrap();
    let key = ObjectKey::Manifest(artefact);
    bed.repository.write(&key, &manifest).await.unwrap();
    attempt.discard().unwrap();
    bed.repository.manifest(artefact).await.unwrap().unwrap()
}

/// The context of a service on this bed.
pub async fn context(bed: &Bed, nats: &Server) -> Context {
    let dir = bed.scratch.path();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    write("backup.pub.asc", &bed.ring.backup.public_armored);
    write("pipeline.asc", &bed.ring.pipeline.secret_armored);
    private(&dir.join("pipeline.asc"));
    let text = format!(
        "site = \"here\"\nstate_dir = \"state\"\n[repository]\nurl = \"{}\"\n[encryption]\n\
         recipients = [\"backup.pub.asc\"]\npipeline_key = \"pipeline.asc\"\n[nats]\nurl = \"{}\"\n",
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
