//! The worker loop: jobs of one stage, taken one at a time per free slot.
//!
//! Each slot asks for one job, has it done in a task of its own, answers the server and asks again: nothing is fetched
//! ahead, so no job's time runs while it waits behind another. Slots share the durable consumer of their stage and site with
//! those of every other replica.

mod lease;
mod running;
mod slot;
mod task;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config, IntoConsumerConfig, pull};
use async_trait::async_trait;
use holdfast_events::{Work, WorkStage};
use holdfast_fault::Retryable as _;
use holdfast_format::{PlaceName, Site};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::connection::Bus;
use crate::error::BusError;
use running::Running;

/// The most jobs of one stage that all replicas together may have in hand at one site. It only has to be larger than
/// their slots.
const MAX_IN_HAND: i64 = 1024;

/// The jobs that a worker takes, and its limits.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    pub stage: WorkStage,
    /// The site whose jobs are taken.
    pub site: Site,
    /// The target, for a stage that has one.
    pub target: Option<PlaceName>,
    /// Number of jobs at once.
    pub parallel: usize,
    /// Number of deliveries before the server gives a job up. Part of the consumer, which all replicas share.
    pub max_deliver: i64,
    /// The time that a job may go without a sign of life before the server gives it to another. Part of the consumer.
    pub ack_wait: Duration,
    /// The time between two signs of life for a job that is being done; well below `ack_wait`.
    pub progress_every: Duration,
    /// The time that jobs in hand may take after a drain has begun.
    pub drain_timeout: Duration,
}

impl WorkerOptions {
    /// Makes options with 10 deliveries, 60 s for a sign of life, given every 15 s, and 10 s to drain.
    #[must_use]
    pub fn new(stage: WorkStage, site: Site, target: Option<PlaceName>, parallel: usize) -> Self {
        Self {
            stage,
            site,
            target,
            parallel,
            max_deliver: 10,
            ack_wait: Duration::from_secs(60),
            progress_every: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Does jobs. The same job may come more than once, also while it is being done elsewhere: act on what the repository
/// holds. Outputs durable, then the next work published, then the fact, then [`Disposition::Done`].
#[async_trait]
pub trait Handler: Send + Sync {
    /// Does the job. A panic counts as [`Disposition::RetryAfter`] 30 s.
    async fn handle(&self, work: Work, delivery: &Delivery) -> Disposition;
}

/// The circumstances of a job's delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Number of this delivery of the job, from 1.
    pub count: u64,
    /// Cancelled when the server may have given the job to another (no sign of life reached it for twice `ack_wait`), or
    /// when the time to drain is over. What is not finished within a second of the latter is aborted.
    pub lost: CancellationToken,
}

/// The end of a handler's work on a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The job is done, or there was nothing to do: it leaves the queue.
    Done,
    /// The job comes again after this time.
    RetryAfter(Duration),
    /// The job can never be done: it leaves the queue, and a copy is kept with this reason.
    Park(String),
}

pub(crate) struct Worker {
    bus: Bus,
    options: WorkerOptions,
    consumer: String,
    handler: Arc<dyn Handler>,
    running: Running,
    drain: CancellationToken,
    /// Cancelled at the end of the time to drain.
    overdue: CancellationToken,
}

impl Bus {
    /// Does jobs until `drain` is cancelled; then takes no more, gives those in hand [`WorkerOptions::drain_timeout`],
    /// gives back what is not done by then, and returns.
    ///
    /// Losses of the connection, of the consumer, of the stream and of the server's whole store are mended; after the
    /// latter two [`Bus::reconnected`] tells that work may have to be published again.
    ///
    /// # Errors
    /// [`BusError::Consumer`] and [`BusError::Topology`] if the server refuses the consumer or the streams for good.
    pub async fn run_worker(
        &self,
        options: WorkerOptions,
        handler: Arc<dyn Handler>,
        drain: CancellationToken,
    ) -> Result<(), BusError> {
        let consumer = self
            .subjects()
            .consumer(options.stage, &options.site, options.target.as_ref());
        let worker = Arc::new(Worker {
            bus: self.clone(),
            options,
            consumer,
            handler,
            running: Running::default(),
            drain,
            overdue: CancellationToken::new(),
        });
        worker.run().await
    }
}

impl Worker {
    async fn run(self: Arc<Self>) -> Result<(), BusError> {
        if let Err(error) = self
            .bus
            .ensure_consumer(&self.bus.names().work, &self.consumer_config())
            .await
            && !error.retry().is_later()
        {
            return Err(error);
        }
        tracing::info!(
            consumer = self.consumer,
            parallel = self.options.parallel,
            "worker takes jobs"
        );
        let mut slots = JoinSet::new();
        for _ in 0..self.options.parallel.max(1) {
            slots.spawn(self.clone().slot());
        }
        let watch = self.clone();
        let _watching = AbortOnDropHandle::new(tokio::spawn(async move {
            watch.drain.cancelled().await;
            tokio::time::sleep(watch.options.drain_timeout).await;
            watch.overdue.cancel();
        }));
        while let Some(ended) = slots.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(consumer = self.consumer, %error, "a slot of the worker failed and is started again");
                slots.spawn(self.clone().slot());
            }
        }
        tracing::info!(consumer = self.consumer, "worker has drained");
        Ok(())
    }

    fn consumer_config(&self) -> Config {
        let WorkerOptions {
            stage, site, target, ..
        } = &self.options;
        pull::Config {
            durable_name: Some(self.consumer.clone()),
            name: Some(self.consumer.clone()),
            description: Some(format!("holdfast: {stage} at {site}")),
            filter_subject: self.bus.subjects().work_filter(*stage, site, target.as_ref()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.options.ack_wait,
            max_deliver: self.options.max_deliver,
            max_ack_pending: MAX_IN_HAND,
            ..pull::Config::default()
        }
        .into_consumer_config()
    }
}
