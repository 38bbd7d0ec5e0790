//! A stage: what is missing, and how to do it; and the handler that puts it on the bus.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_bus::{Delivery, Disposition, Handler};
use holdfast_events::{Job, RunState, Work, WorkStage, missing};
use holdfast_format::{FailureSubject, PlaceName, Stage as StageName};

use crate::{Context, JobError};

/// One worker group that a stage wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// The stage whose work is taken.
    pub stage: WorkStage,
    /// The target whose copies are made. Only for the syncer.
    pub target: Option<PlaceName>,
    /// The most jobs at a time.
    pub parallel: usize,
}

impl WorkerSpec {
    /// Returns a group of workers for one stage, without a target.
    #[must_use]
    pub fn new(stage: WorkStage, parallel: usize) -> Self {
        Self {
            stage,
            target: None,
            parallel: parallel.max(1),
        }
    }

    /// True if these workers take this work.
    #[must_use]
    pub fn takes(&self, work: &Work) -> bool {
        let target = match &work.job {
            Job::Sync { target, .. } | Job::SyncPoint { target } => Some(target),
            _ => None,
        };
        work.stage() == self.stage && target == self.target.as_ref()
    }
}

/// A stage of the pipeline.
#[async_trait]
pub trait Stage: Send + Sync + 'static {
    /// The worker groups that it wants.
    fn workers(&self) -> Vec<WorkerSpec>;

    /// Does one job: acts on the repository's state, makes its output durable, publishes what comes next, tells the
    /// fact. It may be called again for a job that is done, and must then find so and only hand on.
    ///
    /// # Errors
    /// [`JobError`], which says what becomes of the job.
    async fn run(&self, cx: &Context, work: &Work, delivery: &Delivery) -> Result<(), JobError>;

    /// Puts away what it left behind for runs that have ended. Called by the reconciler.
    ///
    /// # Errors
    /// If something cannot be looked at or put away; the reconciler comes again.
    async fn tidy(&self, _: &Context) -> Result<(), JobError> {
        Ok(())
    }

    /// Does the stage's work beside its jobs, until the process drains.
    async fn attend(&self, _: &Context) {}

    /// The jobs of its worker groups that a run lacks the result of.
    ///
    /// # Errors
    /// If what it looks at cannot be read; the reconciler comes again.
    async fn missing(&self, cx: &Context, state: &RunState) -> Result<Vec<Work>, JobError> {
        let workers = self.workers();
        let ours = |work: &Work| work.site == cx.site && workers.iter().any(|w| w.takes(work));
        Ok(missing(state).into_iter().filter(ours).collect())
    }
}

/// A stage on the bus.
pub(crate) struct OnBus {
    pub(crate) cx: Context,
    pub(crate) stage: Arc<dyn Stage>,
}

#[async_trait]
impl Handler for OnBus {
    async fn handle(&self, work: Work, delivery: &Delivery) -> Disposition {
        let stage = work.stage();
        let begun = std::time::Instant::now();
        let result = self.stage.run(&self.cx, &work, delivery).await;
        let (outcome, disposition) = match result {
            Ok(()) => ("done", Disposition::Done),
            Err(JobError::Superseded(reason)) => {
                tracing::info!(%stage, run = %work.run, reason, "another worker took the job over");
                ("superseded", Disposition::Done)
            }
            Err(error) => self.not_done(&work, delivery, &error).await,
        };
        holdfast_telemetry::metrics::global().work(stage.as_str(), outcome, begun.elapsed());
        disposition
    }
}

impl OnBus {
    async fn not_done(&self, work: &Work, delivery: &Delivery, error: &JobError) -> (&'static str, Disposition) {
        let stage = work.stage();
        let run = work.run;
        let reason = error.reason();
        if let Some(delay) = error.next_attempt(delivery.count) {
            tracing::warn!(%stage, %run, reason, attempt = delivery.count, "job failed, will be tried again");
            return ("retried", Disposition::RetryAfter(delay));
        }
        tracing::error!(%stage, %run, reason, "job failed for good");
        match record_failure(&self.cx, work, reason).await {
            Ok(()) => ("failed", Disposition::Park(reason.to_owned())),
            Err(error) => {
                tracing::error!(%stage, %run, reason = error.reason(), "the failure could not be written down");
                ("retried", Disposition::RetryAfter(std::time::Duration::from_secs(5)))
            }
        }
    }
}

/// Returns the subject and the stage of the failure that a job's end means for its run.
pub(crate) fn subject_of(work: &Work) -> (FailureSubject, StageName) {
    match &work.job {
        Job::List { source, .. } => (FailureSubject::Source(source.clone()), StageName::List),
        Job::Capture { artefact, .. } => (FailureSubject::Artefact(*artefact), StageName::Capture),
        Job::Seal { artefact, .. } => (FailureSubject::Artefact(*artefact), StageName::Seal),
        Job::Close { artefact, .. } => (FailureSubject::Artefact(*artefact), StageName::Close),
        Job::Verify { artefact, .. } => (FailureSubject::Artefact(*artefact), StageName::Verify),
        Job::Sync { artefact, target, .. } => (FailureSubject::ArtefactAt(*artefact, target.clone()), StageName::Sync),
        Job::SyncPoint { target } => (FailureSubject::Place(target.clone()), StageName::Sync),
        Job::Clean { place } => (FailureSubject::Place(place.clone()), StageName::Clean),
    }
}

/// Writes down that a job cannot be done. Work of a run that the repository does not know leaves no record.
pub(crate) async fn record_failure(cx: &Context, work: &Work, reason: &str) -> Result<(), JobError> {
    if cx.catalogue.expected(work.run).await?.is_none() {
        tracing::warn!(run = %work.run, stage = %work.stage(), "stray work of an unknown run is dropped");
        return Ok(());
    }
    let (subject, stage) = subject_of(work);
    cx.fail(work.run, subject, stage, reason).await
}
