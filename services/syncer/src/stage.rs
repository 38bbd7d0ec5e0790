//! The stage of the syncer, with one group of workers for each target.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use holdfast_bus::Delivery;
use holdfast_config::Target;
use holdfast_events::{Fact, Job, RunState, Work, WorkStage, missing};
use holdfast_format::{ArtefactId, Damaged, ObjectKey, PlaceName, PointCopied, RunId};
use holdfast_repository::Repository;
use holdfast_service::{Context, JobError, Stage, WorkerSpec, target_place};
use holdfast_telemetry::metrics::{self, Flow};
use tokio::sync::OnceCell;

use crate::proofs::{Key, Proofs, synced};
use crate::{Copied, Copier, CopyOptions, SyncError};

/// Copies artefacts and restore points to the configured targets.
pub struct Syncer {
    lanes: BTreeMap<PlaceName, Lane>,
    parallel: usize,
    proofs: Proofs,
}

/// The connection to one target.
struct Lane {
    target: Target,
    from: Repository,
    scratch: PathBuf,
    copier: OnceCell<Copier>,
}

impl Lane {
    /// Returns the copier to this target. Its place is opened at the first use, so that a target that is away does not
    /// hold up the others.
    async fn copier(&self) -> Result<&Copier, JobError> {
        let open = async || {
            let place = target_place(&self.target).await?;
            let options = CopyOptions::of(&self.target, self.scratch.clone());
            Ok(Copier::new(self.from.clone(), place, options))
        };
        self.copier.get_or_try_init(open).await
    }
}

impl Syncer {
    /// Makes the stage for the configured targets. A target that cannot be used now gets a warning; later its jobs
    /// report the same.
    pub async fn open(cx: &Context) -> Self {
        let mut lanes = BTreeMap::new();
        for target in &cx.settings.target {
            let lane = Lane {
                target: target.clone(),
                from: cx.repository.clone(),
                scratch: cx.scratch.clone(),
                copier: OnceCell::new(),
            };
            if let Err(error) = lane.copier().await {
                tracing::warn!(
                    target = %target.name,
                    reason = error.reason(),
                    "a target cannot be used now"
                );
            }
            lanes.insert(target.name.clone(), lane);
        }
        let proofs = Proofs::new(cx.bus.reconnected());
        Self {
            lanes,
            parallel: cx.settings.workers.sync,
            proofs,
        }
    }

    async fn copier(&self, target: &PlaceName) -> Result<&Copier, JobError> {
        match self.lanes.get(target) {
            Some(lane) => lane.copier().await,
            None => Err(JobError::Fail(format!(
                "there is no target {target} in this service's configuration"
            ))),
        }
    }

    async fn sync(&self, cx: &Context, run: RunId, artefact: ArtefactId, target: &PlaceName) -> Result<(), JobError> {
        cx.expected(run).await?;
        let copier = self.copier(target).await?;
        let copied = match copier.copy_artefact(artefact).await {
            Ok(copied) => copied,
            Err(error) => {
                mark(cx, artefact, &error).await;
                return Err(error.into());
            }
        };
        self.count(cx, artefact, copied).await?;
        tracing::info!(%run, %artefact, %target, bytes = copied.bytes, packs = copied.packs, "artefact copied");
        self.tell(cx, (run, Some(artefact), target.clone()), copied.bytes).await
    }

    async fn count(&self, cx: &Context, artefact: ArtefactId, copied: Copied) -> Result<(), JobError> {
        let metrics = metrics::global();
        if copied.objects == 0 {
            metrics.duplicate(WorkStage::Sync.as_str());
        }
        if let Some(sealed) = cx.repository.manifest(artefact).await? {
            let kind = sealed.manifest.captured.kind.as_str();
            metrics.bytes(Flow::Sent, kind, copied.bytes);
            metrics.artefact(kind, "synced");
        }
        Ok(())
    }

    async fn tell(&self, cx: &Context, key: Key, sent: u64) -> Result<(), JobError> {
        note_point(cx, &key).await?;
        cx.tell(key.0, synced(&key, sent)).await?;
        self.proofs.prove(key);
        Ok(())
    }

    async fn sync_point(&self, cx: &Context, run: RunId, target: &PlaceName) -> Result<(), JobError> {
        cx.expected(run).await?;
        let copied = self.copier(target).await?.copy_point(run).await?;
        metrics::global().bytes(Flow::Sent, "restore-point", copied.bytes);
        tracing::info!(%run, %target, "restore point copied");
        self.tell(cx, (run, None, target.clone()), copied.bytes).await
    }

    /// Returns the copies of a run that `state` does not know of, at targets of this service.
    fn unknown(&self, state: &RunState) -> Vec<Key> {
        let expected = &state.expected;
        let run = state.expected.run;
        let mut keys = Vec::new();
        for target in expected.steps.targets.iter().filter(|t| self.lanes.contains_key(*t)) {
            let open = state
                .artefacts
                .iter()
                .filter(|(_, a)| a.is_good(expected) && !a.synced.contains(target));
            keys.extend(open.map(|(id, _)| (run, Some(*id), target.clone())));
            if state.recorded.is_some() && !state.points.contains_key(target) {
                keys.push((run, None, target.clone()));
            }
        }
        keys
    }

    async fn is_proven(&self, key: &Key) -> Result<bool, JobError> {
        if self.proofs.is_proven(key) {
            return Ok(true);
        }
        let copier = self.copier(&key.2).await?;
        Ok(match key.1 {
            Some(artefact) => copier.has_artefact(artefact).await?,
            None => copier.has_point(key.0).await?,
        })
    }

    /// Applies the copies that the targets have to `state`, and publishes their facts again.
    async fn prove(&self, cx: &Context, state: &mut RunState) -> Result<(), JobError> {
        self.proofs.refresh();
        let mut away: Vec<PlaceName> = Vec::new();
        for key in self.unknown(state) {
            if away.contains(&key.2) {
                continue;
            }
            match self.is_proven(&key).await {
                Ok(false) => continue,
                Ok(true) => {}
                Err(error) => {
                    // The job for this copy will fail and be reported. Here nothing is known of the target.
                    tracing::debug!(
                        target = %key.2, reason = error.reason(),
                        "a target cannot be asked for its copies now"
                    );
                    away.push(key.2);
                    continue;
                }
            }
            let fact = Fact {
                run: key.0,
                at: cx.now(),
                what: synced(&key, 0),
            };
            if let Err(error) = state.apply(&fact) {
                tracing::debug!(run = %key.0, %error, "ignoring a copy that does not fit the state of its run");
                continue;
            }
            note_point(cx, &key).await?;
            if self.proofs.prove(key.clone())
                && let Err(error) = cx.bus.publish_fact(&fact).await
            {
                self.proofs.was_not_announced(&key);
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Writes down that a target has a restore point: a run's end is recorded by that, and not by what the bus tells.
async fn note_point(cx: &Context, (run, artefact, place): &Key) -> Result<(), JobError> {
    if artefact.is_some() || cx.catalogue.copied(*run, place).await?.is_some() {
        return Ok(());
    }
    let record = PointCopied {
        run: *run,
        place: place.clone(),
        at: cx.now(),
    };
    let key = ObjectKey::Copied(*run, place.clone());
    cx.repository.write(&key, &record).await?;
    Ok(())
}

/// Marks the pack that cannot be copied as damaged, so that no later capture refers to it. The caller reports the
/// failure.
async fn mark(cx: &Context, artefact: ArtefactId, error: &SyncError) {
    let Some(pack) = error.bad_pack(cx.repository.place().name()) else {
        return;
    };
    let problem = error.to_string();
    let damaged = Damaged {
        pack,
        at: cx.now(),
        artefact,
        problem,
    };
    if let Err(error) = cx.repository.write(&ObjectKey::Damaged(pack), &damaged).await {
        tracing::warn!(%pack, error = %holdfast_fault::chain(&error), "a pack could not be marked as damaged");
    }
}

#[async_trait]
impl Stage for Syncer {
    fn workers(&self) -> Vec<WorkerSpec> {
        let spec = |target: &PlaceName| WorkerSpec {
            target: Some(target.clone()),
            ..WorkerSpec::new(WorkStage::Sync, self.parallel)
        };
        self.lanes.keys().map(spec).collect()
    }

    /// Copies. Goes on if the lease is lost: any copied object serves the worker that does the job next, and nobody
    /// undoes it.
    async fn run(&self, cx: &Context, work: &Work, _: &Delivery) -> Result<(), JobError> {
        match &work.job {
            Job::Sync { artefact, target, .. } => self.sync(cx, work.run, *artefact, target).await,
            Job::SyncPoint { target } => self.sync_point(cx, work.run, target).await,
            _ => Err(JobError::Fail(format!("the syncer does not do {}", work.stage()))),
        }
    }

    /// Returns the jobs for copies that the targets do not have. For copies that they have, publishes the facts again:
    /// the bus may have lost them, and no other service can prove them.
    async fn missing(&self, cx: &Context, state: &RunState) -> Result<Vec<Work>, JobError> {
        let mut state = state.clone();
        if state.expected.site == cx.site && state.finished.is_none() {
            self.prove(cx, &mut state).await?;
        }
        let workers = self.workers();
        let ours = |work: &Work| work.site == cx.site && workers.iter().any(|w| w.takes(work));
        Ok(missing(&state).into_iter().filter(ours).collect())
    }
}
