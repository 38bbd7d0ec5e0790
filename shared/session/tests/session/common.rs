//! A repository in a directory, a private bus, staging, and what the other stages would do.

#![allow(dead_code, unreachable_pub)]

#[path = "../../../service/tests/common/mod.rs"]
mod service;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_bus::{Delivery, Disposition, Handler, Queued, WorkerOptions};
use holdfast_capture::{Attempt, Receipt, Staging, capture_stream};
use holdfast_events::{Job, What, Work, WorkStage};
use holdfast_format::{Artefact, ArtefactKind, ContentsRef, Expected, ObjectKey, RunId, SourceKind, SourceName};
use holdfast_repository::{ContentsPut, Repository, SealedManifest};
use holdfast_sealing::{Profile, Recipients};
use holdfast_service::{Context, JobError};
use holdfast_session::{Input, Session, SourceFacts};
use holdfast_tests::nats::Server;
pub use service::*;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Bytes that fill a pack, and less than two.
pub const PACK: usize = 20 << 20;

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
    let mut expected = expected_of(run, &source(), SourceKind::Files);
    expected.steps.targets = vec!["offsite".parse().unwrap()];
    expected
}

struct Taking(mpsc::UnboundedSender<Work>);

#[async_trait]
impl Handler for Taking {
    async fn handle(&self, work: Work, _: &Delivery) -> Disposition {
        let _ = self.0.send(work);
        Disposition::Done
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
        let cx = context(&bed, &nats, "").await;
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
        write_run(&self.bed, expected, &artefacts).await;
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
        facts(&self.cx, run, count).await
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
    seal_packs_to(bed, attempt, &bed.ring.recipients()).await;
}

async fn seal_packs_to(bed: &Bed, attempt: &Attempt, recipients: &Recipients) {
    let mut frame = Vec::new();
    for id in attempt.unsealed().unwrap() {
        assert!(attempt.read_pack_into(id, &mut frame).unwrap());
        let plain = zstd::zstd_safe::get_frame_content_size(&frame).ok().flatten();
        let sealed = holdfast_sealing::seal(recipients, Profile::Gnupg, &frame).unwrap();
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
    close_at(&bed.repository, bed, attempt, &bed.ring.recipients()).await
}

/// Seals an attempt to these recipients, and closes its artefact in the repository of a context.
pub async fn close_with(cx: &Context, bed: &Bed, attempt: &Attempt, recipients: &Recipients) -> Arc<SealedManifest> {
    close_at(&cx.repository, bed, attempt, recipients).await
}

async fn close_at(
    repository: &Repository,
    bed: &Bed,
    attempt: &Attempt,
    recipients: &Recipients,
) -> Arc<SealedManifest> {
    seal_packs_to(bed, attempt, recipients).await;
    let artefact = attempt.artefact();
    let mut lines = Vec::new();
    std::io::Read::read_to_end(&mut attempt.read_contents().unwrap().unwrap(), &mut lines).unwrap();
    let file = bed.scratch.path().join(format!("contents-of-{artefact}"));
    std::fs::write(&file, zstd::bulk::compress(&lines, 3).unwrap()).unwrap();
    let ContentsPut::Stored { size, sha256 } = repository.put_contents(artefact, &file).await.unwrap() else {
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
    repository.write(&key, &manifest).await.unwrap();
    attempt.discard().unwrap();
    repository.manifest(artefact).await.unwrap().unwrap()
}
