//! The stage of the janitor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use holdfast_bus::Delivery;
use holdfast_events::{Job, What, Work, WorkStage};
use holdfast_format::{CleanReport, ObjectKey, PlaceName, RunId};
use holdfast_service::{Context, JobError, Stage, WorkerSpec};
use holdfast_storage::Put;
use holdfast_telemetry::metrics;

use crate::plan::Keep;
use crate::{Action, Applied, Places, apply_place};

/// Applies retention at the configured places, after the runs that ask for it.
///
/// A plan may delete nothing for a reason that somebody should look at: something unreadable, missing packs, a wrong
/// clock, the brake. That does not make the run fail, since its backups are as good as without retention, and an old
/// manifest must not close a gate that waits for the run. It is logged as a warning, shown as
/// `holdfast_retention_blocked`, and named in the report. A step that fails does count: then the state of the place is
/// unknown, and the run ends without this step.
pub struct Janitor {
    places: Places,
    /// The steps of earlier attempts at a job, so that the report has them all.
    begun: Mutex<BTreeMap<(RunId, PlaceName), Vec<Action>>>,
    blocked: Arc<Mutex<BTreeMap<PlaceName, bool>>>,
}

impl Janitor {
    /// Makes the stage for the configured places. Each is opened when it is first needed.
    #[must_use]
    pub fn new(cx: &Context) -> Self {
        let places = Places::new(cx.repository.clone(), &cx.settings, cx.clock.clone());
        let blocked: Arc<Mutex<BTreeMap<PlaceName, bool>>> = Arc::default();
        let shown = Arc::clone(&blocked);
        let help = "Whether retention deletes nothing at a place until somebody has looked, by place";
        metrics::global().gauge("holdfast_retention_blocked", help, move || {
            let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let sample =
                |(place, is): (&PlaceName, &bool)| (vec![("place", place.to_string())], f64::from(u8::from(*is)));
            shown.iter().map(sample).collect()
        });
        Self {
            places,
            begun: Mutex::default(),
            blocked,
        }
    }

    async fn clean(&self, cx: &Context, run: RunId, place: &PlaceName, delivery: &Delivery) -> Result<(), JobError> {
        cx.expected(run).await?;
        if let Some(report) = cx.catalogue.cleaned(run, place).await? {
            metrics::global().duplicate(WorkStage::Clean.as_str());
            return tell(cx, &report).await;
        }
        // A report would be written into a run whose other objects are being deleted.
        if cx.repository.place().head(&ObjectKey::Tombstone(run)).await?.is_some() {
            return Err(JobError::Superseded(format!("run {run} was given up by retention")));
        }
        let stop = || delivery.lost.is_cancelled() || cx.drain.is_cancelled();
        let mut applied = Box::pin(apply_place(&self.places, place, false, &stop)).await?;
        self.show(place, &applied);
        self.take_up(run, place, &mut applied);
        if let Some(error) = applied.failed.take() {
            return Err(error.into());
        }
        let report = applied.report(run);
        if cx
            .repository
            .write(&ObjectKey::Cleaned(run, place.clone()), &report)
            .await?
            == Put::Created
        {
            self.forget(run, place);
            return tell(cx, &report).await;
        }
        // Another janitor had the job, too. Its report stands.
        let stands = cx.catalogue.cleaned(run, place).await?;
        self.forget(run, place);
        tell(cx, stands.as_deref().unwrap_or(&report)).await
    }

    fn show(&self, place: &PlaceName, applied: &Applied) {
        let plan = &applied.plan;
        self.blocked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place.clone(), plan.blocked);
        for reason in &plan.refused {
            if plan.blocked {
                tracing::warn!(%place, reason, "retention deletes nothing");
            } else {
                tracing::info!(%place, reason, "retention holds back");
            }
        }
        let unproven = plan.keep.iter().filter(|(_, keep)| matches!(keep, Keep::Unproven(..)));
        let unproven = unproven.count();
        if unproven > 0 {
            tracing::warn!(
                %place, runs = unproven,
                "retention keeps runs past their time, since no newer backup was verified"
            );
        }
        tracing::info!(
            %place,
            kept = plan.keep.len(),
            given_up = plan.expire.len(),
            condemned = plan.condemn.len(),
            packs_deleted = plan.delete_packs.len(),
            done = applied.done.len(),
            "retention planned and applied"
        );
    }

    /// Puts the steps of earlier attempts before those of this one, and remembers all of them.
    fn take_up(&self, run: RunId, place: &PlaceName, applied: &mut Applied) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let all = begun.entry((run, place.clone())).or_default();
        all.append(&mut applied.done);
        applied.done.clone_from(all);
    }

    fn forget(&self, run: RunId, place: &PlaceName) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.remove(&(run, place.clone()));
    }
}

async fn tell(cx: &Context, report: &CleanReport) -> Result<(), JobError> {
    let what = What::PlaceCleaned {
        place: report.place.clone(),
        expired: report.expired_runs.len() as u64,
        deleted: report.total_deleted,
        freed: report.freed_bytes,
    };
    cx.tell(report.run, what).await
}

#[async_trait]
impl Stage for Janitor {
    fn workers(&self) -> Vec<WorkerSpec> {
        vec![WorkerSpec::new(WorkStage::Clean, 1)]
    }

    async fn run(&self, cx: &Context, work: &Work, delivery: &Delivery) -> Result<(), JobError> {
        let Job::Clean { place } = &work.job else {
            return Err(JobError::Fail(format!("the janitor does not do {}", work.stage())));
        };
        let cleaned = self.clean(cx, work.run, place, delivery).await;
        if cleaned
            .as_ref()
            .is_err_and(|error| error.next_attempt(delivery.count).is_none())
        {
            self.forget(work.run, place);
        }
        cleaned
    }
}
