//! The stage: its two jobs, each handed to the engine that the source is of.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_bus::Delivery;
use holdfast_capture::Staging;
use holdfast_events::{Job, RunState, Work, WorkStage};
use holdfast_service::{Context, JobError, Stage, WorkerSpec};
use holdfast_session::{Session, missing_captures, write_listing};

use crate::postgres;

/// Lists and dumps PostgreSQL servers.
pub struct Dumper {
    staging: Arc<Staging>,
    list: usize,
    capture: usize,
}

impl Dumper {
    /// The stage over this staging folder.
    #[must_use]
    pub fn new(cx: &Context, staging: Arc<Staging>) -> Self {
        let workers = &cx.settings.workers;
        Self {
            staging,
            list: workers.list,
            capture: workers.capture,
        }
    }
}

#[async_trait]
impl Stage for Dumper {
    fn workers(&self) -> Vec<WorkerSpec> {
        vec![
            WorkerSpec::new(WorkStage::ListPostgres, self.list),
            WorkerSpec::new(WorkStage::CapturePostgres, self.capture),
        ]
    }

    async fn run(&self, cx: &Context, work: &Work, delivery: &Delivery) -> Result<(), JobError> {
        match &work.job {
            Job::List { source, .. } => {
                if let Some(listed) = cx.catalogue.listed(work.run, source).await? {
                    return write_listing(cx, work.run, source, listed.artefacts.clone()).await;
                }
                let artefacts = postgres::artefacts(cx, work.run, source).await?;
                write_listing(cx, work.run, source, artefacts).await
            }
            Job::Capture { source, .. } => {
                let Some(session) = Session::begin(cx, &self.staging, work, delivery).await? else {
                    return Ok(());
                };
                postgres::capture(cx, session, source).await
            }
            _ => Err(JobError::Fail(format!("the dumper does not do {}", work.stage()))),
        }
    }

    async fn missing(&self, cx: &Context, state: &RunState) -> Result<Vec<Work>, JobError> {
        Ok(missing_captures(cx, &self.staging, &self.workers(), state)?)
    }
}
