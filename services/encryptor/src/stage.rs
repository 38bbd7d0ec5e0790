//! The stage: its two jobs, and what it finds missing in staging.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_bus::Delivery;
use holdfast_capture::{Staged, Staging};
use holdfast_events::{Job, RunState, Work, WorkStage};
use holdfast_format::ObjectKey;
use holdfast_service::{Context, JobError, Stage, WorkerSpec};
use holdfast_session::{next_works, staged_artefacts};

use crate::close::close;
use crate::seal::{Benches, Sealers, seal};

async fn has_failed(cx: &Context, staged: &Staged) -> Result<bool, JobError> {
    let key = ObjectKey::ArtefactFailed(staged.run, staged.artefact, None);
    Ok(cx.repository.place().head(&key).await?.is_some())
}

/// Seals packs and closes artefacts.
pub struct Encryptor {
    staging: Arc<Staging>,
    sealers: Sealers,
    benches: Benches,
    seal: usize,
    close: usize,
}

impl Encryptor {
    /// The stage over this staging folder.
    #[must_use]
    pub fn new(cx: &Context, staging: Arc<Staging>) -> Self {
        let workers = &cx.settings.workers;
        Self {
            staging,
            sealers: Sealers::default(),
            benches: Benches::default(),
            seal: workers.seal,
            close: workers.close,
        }
    }
}

#[async_trait]
impl Stage for Encryptor {
    fn workers(&self) -> Vec<WorkerSpec> {
        vec![
            WorkerSpec::new(WorkStage::Seal, self.seal),
            WorkerSpec::new(WorkStage::Close, self.close),
        ]
    }

    async fn run(&self, cx: &Context, work: &Work, _: &Delivery) -> Result<(), JobError> {
        match &work.job {
            Job::Seal {
                artefact,
                attempt,
                pack,
            } => {
                let at = (&self.sealers, &self.benches);
                seal(cx, &self.staging, at, work.run, (*artefact, *attempt), *pack).await
            }
            Job::Close {
                source,
                artefact,
                attempt,
            } => {
                let closed = close(cx, &self.staging, work.run, source, (*artefact, *attempt)).await;
                if closed.is_ok() {
                    self.sealers.forget(*artefact);
                    self.benches.clear();
                }
                closed
            }
            _ => Err(JobError::Fail(format!("the encryptor does not do {}", work.stage()))),
        }
    }

    /// Plaintext of runs that have ended, or of artefacts that failed, has no business in staging any more.
    async fn tidy(&self, cx: &Context) -> Result<(), JobError> {
        for staged in self.staging.list()? {
            let over = cx.catalogue.finished(staged.run).await?.is_some() || has_failed(cx, &staged).await?;
            let Some(attempt) = self
                .staging
                .attempt(staged.run, staged.artefact, staged.attempt)?
                .filter(|_| over)
            else {
                continue;
            };
            tracing::info!(run = %staged.run, artefact = %staged.artefact, "the staging of an artefact that is finished or has failed is removed");
            attempt.discard()?;
        }
        Ok(())
    }

    /// Artefacts that are staged whole and have no manifest: their seals, or their close.
    async fn missing(&self, cx: &Context, state: &RunState) -> Result<Vec<Work>, JobError> {
        let run = state.expected.run;
        let mut works = Vec::new();
        for (artefact, attempt) in staged_artefacts(&self.staging, run)? {
            let Some(known) = state.artefacts.get(&artefact) else {
                continue;
            };
            let Some((source, _)) = known
                .listed
                .as_ref()
                .filter(|_| known.sealed.is_none() && known.failed.is_none())
            else {
                continue;
            };
            let Some(staged) = self.staging.attempt(run, artefact, attempt)? else {
                continue;
            };
            works.extend(next_works(&staged, &cx.site, source)?);
        }
        Ok(works)
    }
}
