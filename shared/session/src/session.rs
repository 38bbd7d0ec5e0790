//! The begin of a capture. It finds out if there is anything to capture.

use std::sync::Arc;

use holdfast_bus::Delivery;
use holdfast_capture::Staging;
use holdfast_events::{Job, Work};
use holdfast_format::{Artefact, ArtefactId, Class, Expected, RunId, SourceKind, SourceName};
use holdfast_service::{Context, JobError};
use tokio_util::sync::CancellationToken;

use crate::next_work::{ask_for_next, hand_on_sealed};

/// A capture that is to be done: nothing of it is staged or sealed yet.
pub struct Session {
    pub(crate) cx: Context,
    pub(crate) staging: Arc<Staging>,
    pub(crate) work: Work,
    pub(crate) expected: Arc<Expected>,
    pub(crate) source: SourceName,
    kind: SourceKind,
    pub(crate) artefact: Artefact,
    pub(crate) class: Class,
    pub(crate) delivery: u64,
    pub(crate) lost: CancellationToken,
}

impl Session {
    /// Looks at what is there already. `None` if the artefact is sealed, or staged whole by an earlier attempt: then only
    /// the next step was asked for again.
    ///
    /// # Errors
    /// [`JobError`] if the work makes no sense or the repository cannot be read.
    pub async fn begin(
        cx: &Context,
        staging: &Arc<Staging>,
        work: &Work,
        delivery: &Delivery,
    ) -> Result<Option<Self>, JobError> {
        let Job::Capture { source, kind, artefact } = &work.job else {
            return Err(JobError::Fail(format!("{} is no capture", work.stage())));
        };
        let expected = cx.expected(work.run).await?;
        let listed = cx.listed(work.run, source, *artefact).await?;
        if let Some(sealed) = cx.repository.manifest(*artefact).await? {
            hand_on_sealed(cx, &expected, source, &sealed, 0).await?;
            return Ok(None);
        }
        if expected.deadline < cx.now() {
            return Err(JobError::Fail(format!(
                "it was not captured before the run's deadline, {}",
                expected.deadline
            )));
        }
        if let Some(attempt) = staging.latest(work.run, *artefact)?
            && attempt.draft()?.is_some()
        {
            ask_for_next(cx, &attempt, source).await?;
            return Ok(None);
        }
        Ok(Some(Self {
            cx: cx.clone(),
            staging: staging.clone(),
            work: work.clone(),
            class: expected.class,
            expected,
            source: source.clone(),
            kind: *kind,
            artefact: listed,
            delivery: delivery.count,
            lost: delivery.lost.clone(),
        }))
    }

    /// Begins the capture of another artefact of the same source and run, in place of its own job.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn sibling(&self, artefact: ArtefactId) -> Result<Option<Self>, JobError> {
        let job = Job::Capture {
            source: self.source.clone(),
            kind: self.kind,
            artefact,
        };
        let work = Work {
            job,
            ..self.work.clone()
        };
        let delivery = Delivery {
            count: self.delivery,
            lost: self.lost.clone(),
        };
        Self::begin(&self.cx, &self.staging, &work, &delivery).await
    }

    /// The artefact that is to be captured.
    #[must_use]
    pub fn artefact(&self) -> &Artefact {
        &self.artefact
    }

    /// Returns the artefact's run.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.work.run
    }

    /// Returns the artefact's source.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Gives the artefact a class of its own, if that is kept longer than the run's.
    #[must_use]
    pub fn at_least(mut self, class: Option<Class>) -> Self {
        self.class = self.class.max(class.unwrap_or(self.class));
        self
    }

    /// A token that is cancelled when the job is no longer this worker's.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}
