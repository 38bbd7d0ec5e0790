//! A host whose captures are sealed and closed by an encryptor.

#![allow(dead_code, unreachable_pub)]

#[path = "../../../../shared/session/tests/session/common.rs"]
mod session;

use std::ops::Deref;
use std::path::PathBuf;

use holdfast_bus::Queued;
use holdfast_capture::{Attempt, Receipt};
use holdfast_encryptor::Encryptor;
use holdfast_events::{Job, Work};
use holdfast_format::{ArtefactId, ObjectKey, PackId, RunId};
use holdfast_sealing::SecretKeys;
use holdfast_service::{Context, JobError, Stage as _};
use holdfast_tests::nats::Server;
pub use session::*;
use tokio::sync::mpsc::UnboundedReceiver;

/// One host that captures, and its encryptor.
pub struct Sealing {
    host: Host,
    pub encryptor: Encryptor,
}

impl Deref for Sealing {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Sealing {
    pub async fn new() -> Self {
        let host = Host::new().await;
        let encryptor = Encryptor::new(&host.cx, host.staging.clone());
        Self { host, encryptor }
    }

    pub async fn run(&self, work: &Work) -> Result<(), JobError> {
        self.run_with(&self.cx, work).await
    }

    pub async fn run_with(&self, cx: &Context, work: &Work) -> Result<(), JobError> {
        self.encryptor.run(cx, work, &delivery(1)).await
    }

    /// The host's context on a bus that knows nothing, as if its own had lost all. The server ends when it is dropped.
    pub async fn on_empty_bus(&self) -> (Server, Context) {
        let empty = Server::start().unwrap();
        let cx = context(&self.bed, &empty, "").await;
        (empty, cx)
    }

    /// Seals all packs of an attempt.
    pub async fn seal_all(&self, attempt: &Attempt) {
        for pack in attempt.unsealed().unwrap() {
            self.run(&seal(attempt, pack)).await.unwrap();
        }
    }

    /// The only pack of an attempt.
    pub fn only_pack(&self, attempt: &Attempt) -> PackId {
        let packs = attempt.unsealed().unwrap();
        assert_eq!(packs.len(), 1);
        packs[0]
    }

    /// The file of a staged pack.
    pub fn staged_pack(&self, attempt: &Attempt, pack: PackId) -> PathBuf {
        self.folder(attempt).join(format!("{pack}.pack"))
    }

    /// The file of a pack's receipt.
    pub fn receipt(&self, attempt: &Attempt, pack: PackId) -> PathBuf {
        self.folder(attempt).join("receipts").join(format!("{pack}.receipt"))
    }

    fn folder(&self, attempt: &Attempt) -> PathBuf {
        let artefact = self.staging.dir().join(attempt.run().to_string());
        artefact
            .join(attempt.artefact().to_string())
            .join(attempt.number().to_string())
    }

    /// The bytes of a stored object.
    pub fn stored(&self, key: ObjectKey) -> Vec<u8> {
        std::fs::read(self.bed.file(key)).unwrap()
    }

    pub fn is_stored(&self, key: ObjectKey) -> bool {
        self.bed.file(key).exists()
    }

    /// Opens a sealed pack with a secret key, and returns its frame.
    pub fn opened(&self, pack: PackId, secret: &str) -> Vec<u8> {
        let keys = SecretKeys::from_bytes(secret.as_bytes(), None).unwrap();
        keys.open(&self.stored(ObjectKey::Pack(pack)), 64 << 20).unwrap()
    }
}

/// Tells whether a job waits in a context's queue, and puts it there.
pub async fn waits(cx: &Context, work: &Work) -> bool {
    cx.bus.publish_work(work).await.unwrap() == Queued::AlreadyThere
}

/// The next job that workers were given, in time.
pub async fn next(jobs: &mut UnboundedReceiver<Work>) -> Work {
    let next = tokio::time::timeout(SOON, jobs.recv()).await;
    next.expect("a job comes").unwrap()
}

/// The receipt of a pack that is sealed.
pub fn receipt_of(attempt: &Attempt, pack: PackId) -> Receipt {
    attempt.receipt(pack).unwrap().expect("there is a receipt")
}

pub fn seal(attempt: &Attempt, pack: PackId) -> Work {
    seal_job(attempt.run(), attempt.artefact(), attempt.number(), pack)
}

pub fn seal_job(run: RunId, artefact: ArtefactId, attempt: u32, pack: PackId) -> Work {
    let job = Job::Seal {
        artefact,
        attempt,
        pack,
    };
    Work { run, site: site(), job }
}

pub fn close_of(attempt: &Attempt) -> Work {
    close_job(attempt.run(), attempt.artefact(), attempt.number())
}

pub fn close_job(run: RunId, artefact: ArtefactId, attempt: u32) -> Work {
    let job = Job::Close {
        source: source(),
        artefact,
        attempt,
    };
    Work { run, site: site(), job }
}

/// The copy that follows an artefact's close.
pub fn sync(run: RunId) -> Work {
    let job = Job::Sync {
        source: source(),
        artefact: artefact(run).id,
        target: "offsite".parse().unwrap(),
    };
    Work { run, site: site(), job }
}
