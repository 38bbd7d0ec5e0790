//! Packs on their way to the encryptor while the capture goes on, and word of how far it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_bus::BusError;
use holdfast_events::{Job, Work};
use holdfast_format::{ArtefactId, PackId, RunId, Site};
use holdfast_service::{Context, JobError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// A task that asks for the seal of each staged pack. Ends once nobody can stage one any more.
pub(crate) struct HandOver {
    task: JoinHandle<Result<(), BusError>>,
}

/// The attempt whose packs are handed over.
#[derive(Clone)]
pub(crate) struct Attempted {
    pub(crate) run: RunId,
    pub(crate) site: Site,
    pub(crate) artefact: ArtefactId,
    pub(crate) number: u32,
}

impl Attempted {
    fn seal(&self, pack: PackId) -> Work {
        Work {
            run: self.run,
            site: self.site.clone(),
            job: Job::Seal {
                artefact: self.artefact,
                attempt: self.number,
                pack,
            },
        }
    }
}

impl HandOver {
    /// Starts the task. Packs are given to the sender; their number is bounded by the room in staging, not here. `bytes` is
    /// told as progress. If the bus does not take a job, `lost` is cancelled.
    pub(crate) fn start(
        cx: &Context,
        attempted: Attempted,
        bytes: Arc<AtomicU64>,
        lost: CancellationToken,
    ) -> (Self, UnboundedSender<PackId>) {
        let (staged, packs) = unbounded_channel();
        let cx = cx.clone();
        let task = async move {
            let handed = hand_over(&cx, &attempted, &bytes, packs).await;
            if handed.is_err() {
                // The encryptor's reconciler would find the pack too; but the bus is gone, so is our claim.
                lost.cancel();
            }
            handed
        };
        let task = tokio::spawn(task.in_current_span());
        (Self { task }, staged)
    }

    /// Waits until all packs are handed over. Their sender must have been dropped.
    ///
    /// # Errors
    /// [`JobError`] if the bus did not take one.
    pub(crate) async fn ended(self) -> Result<(), JobError> {
        Ok(self.task.await??)
    }
}

async fn hand_over(
    cx: &Context,
    attempted: &Attempted,
    bytes: &AtomicU64,
    mut packs: UnboundedReceiver<PackId>,
) -> Result<(), BusError> {
    let mut progress = cx.progress_of(attempted.run, attempted.artefact);
    loop {
        tokio::select! {
            pack = packs.recv() => match pack {
                Some(pack) => drop(cx.bus.publish_work(&attempted.seal(pack)).await?),
                None => return Ok(()),
            },
            () = progress.tell(|| bytes.load(Ordering::Relaxed)) => {}
        }
    }
}
