//! The progress of a long job, and the order to end before its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Shared between a job and who watches it. A job asks it often whether to stop.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    read: AtomicU64,
    stopped: AtomicBool,
    order: Notify,
}

impl Progress {
    /// Plaintext bytes dealt with so far; the whole is the manifest's `stream.size` unless there is a selection.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Sealed bytes of packs read so far.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Asks the job to end. It answers with an error soon, and leaves nothing half-restored that looks whole.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.order.notify_waiters();
    }

    /// Waits until somebody asks the job to end.
    pub(crate) async fn wait_for_stop(&self) {
        let mut order = std::pin::pin!(self.order.notified());
        // Registered before the look, so that no order is missed between the two.
        order.as_mut().enable();
        if !self.stopped() {
            order.await;
        }
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(crate) fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Stops a job whose result nobody waits for any more.
pub(crate) struct StopOnDrop(Option<Arc<Progress>>);

impl StopOnDrop {
    pub(crate) fn new(progress: &Arc<Progress>) -> Self {
        Self(Some(progress.clone()))
    }

    /// Lets the progress go on: the job has ended, and the next one may use it.
    pub(crate) fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.stop();
        }
    }
}

/// The memory and threads that a job may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Packs fetched and opened at the same time. Each takes up to 24 MiB, and its sealed form beside it.
    pub threads: usize,
    /// Bytes of opened packs kept for a stream that goes back and forth between them.
    pub cache: u64,
}

impl Default for Limits {
    /// A thread for each core, two at least (one waits for the place while the other decrypts) and eight at most; 128 MiB.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads: cores.clamp(2, 8),
            cache: 128 << 20,
        }
    }
}
