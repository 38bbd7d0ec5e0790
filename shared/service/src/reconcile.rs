//! The reconciler: at start, on reconnect and every so often it compares what runs expect with what the repository
//! holds, and publishes the work that is missing. Messages may be lost; what is written down is done all the same.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_events::Work;
use holdfast_format::RunId;
use holdfast_telemetry::propagate;
use tracing::Instrument as _;

use crate::proven_facts::{is_finished, none_if_damaged, proven_facts};
use crate::{Context, JobError, Stage};

/// The time between two comparisons, if nothing wakes the reconciler.
const EVERY: Duration = Duration::from_secs(60);

/// The time after its deadline for which a run that never finished is still looked at. The recorder needs some time to
/// write the end down, and a run may have to be ended days after its host died.
const GIVE_UP_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_hours(24 * 30);

/// Asks for whatever the unfinished runs lack.
pub struct Reconciler {
    cx: Context,
    stages: Vec<Arc<dyn Stage>>,
    finished: HashSet<RunId>,
}

impl Reconciler {
    /// A reconciler for the stages of this process.
    #[must_use]
    pub fn new(cx: Context, stages: Vec<Arc<dyn Stage>>) -> Self {
        Self {
            cx,
            stages,
            finished: HashSet::new(),
        }
    }

    /// Runs until the process drains.
    pub async fn run(mut self) {
        let mut reconnected = self.cx.bus.reconnected();
        loop {
            match self.once().await {
                Ok(0) => {}
                Ok(published) => tracing::info!(published, "the reconciler asked for missing work"),
                Err(error) => tracing::warn!(
                    reason = error.reason(),
                    "the reconciler could not look at the runs; trying again"
                ),
            }
            tokio::select! {
                () = self.cx.drain.cancelled() => return,
                _ = reconnected.changed() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Compares once, and publishes what is missing. Says how many jobs that were.
    ///
    /// # Errors
    /// If the repository or the bus cannot be reached. One unreadable run does not hold the others.
    pub async fn once(&mut self) -> Result<usize, JobError> {
        let mut published = 0;
        for run in unfinished(&self.cx, &mut self.finished).await? {
            match self.missing(run).await {
                Ok(works) => {
                    self.publish(run, &works).await?;
                    published += works.len();
                }
                Err(error) => {
                    tracing::warn!(%run, reason = error.reason(), "the reconciler cannot tell what a run lacks")
                }
            }
        }
        for stage in &self.stages {
            stage.tidy(&self.cx).await?;
        }
        Ok(published)
    }

    /// Publishes work in the run's own trace.
    async fn publish(&self, run: RunId, works: &[Work]) -> Result<(), JobError> {
        if works.is_empty() {
            return Ok(());
        }
        let span = tracing::info_span!("reconcile", %run);
        if let Some(expected) = self.cx.catalogue.expected(run).await? {
            propagate::set_parent(&span, &expected.trace);
        }
        Ok(self.cx.bus.publish_works(works).instrument(span).await?)
    }

    async fn missing(&self, run: RunId) -> Result<Vec<Work>, JobError> {
        let Some(found) = proven_facts(&self.cx.catalogue, run).await? else {
            return Ok(Vec::new());
        };
        let state = found.state();
        if state.expected.deadline < self.cx.now() {
            return Ok(Vec::new());
        }
        let mut works = Vec::new();
        for stage in &self.stages {
            match stage.missing(&self.cx, &state).await {
                Ok(missing) => works.extend(missing),
                // What one stage looks at holds the others not up.
                Err(error) => tracing::warn!(%run, reason = error.reason(), "a stage cannot tell what a run lacks"),
            }
        }
        Ok(works)
    }
}

/// Runs that have expectations and no end, newest first. `known` remembers those that have ended.
pub async fn unfinished(cx: &Context, known: &mut HashSet<RunId>) -> Result<Vec<RunId>, JobError> {
    let mut open = Vec::new();
    for run in cx.catalogue.runs().await? {
        if known.contains(&run) {
            continue;
        }
        let expected = match cx.catalogue.expected(run).await {
            Ok(expected) => expected,
            Err(error) => {
                none_if_damaged::<()>(error)?;
                // Nobody can tell any more what it was to bring. Said once.
                known.insert(run);
                continue;
            }
        };
        let Some(expected) = expected else {
            continue;
        };
        let given_up = expected
            .deadline
            .saturating_add(GIVE_UP_AFTER)
            .is_ok_and(|end| end < cx.now());
        if given_up || is_finished(&cx.catalogue, run).await? {
            known.insert(run);
        } else {
            open.push(run);
        }
    }
    Ok(open)
}
