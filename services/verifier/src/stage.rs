//! The stage of the verifier.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_bus::Delivery;
use holdfast_events::{Job, What, Work, WorkStage, after_verify};
use holdfast_format::{ArtefactId, Level, RunId};
use holdfast_restore::{Limits, Progress};
use holdfast_sealing::SecretKeys;
use holdfast_service::{Context, JobError, Stage, WorkerSpec, none_if_damaged};
use holdfast_telemetry::{failpoint, metrics};

use crate::options::trial_dir;
use crate::trial::sweep;
use crate::{Checked, VerifyOptions, record, verify_artefact};

/// Verifies artefacts at the repository's own place.
pub struct Verifier {
    keys: Option<SecretKeys>,
    parallel: usize,
}

impl Verifier {
    /// Makes the stage with these secret backup keys. Without keys, only level `integrity` is possible. Removes the
    /// trial folders that an earlier process left.
    #[must_use]
    pub fn new(cx: &Context, keys: Option<SecretKeys>) -> Self {
        if let Some(folder) = trial_dir(&cx.settings) {
            sweep(&folder);
        }
        if keys.is_none() {
            tracing::warn!("verifier.secret_keys names no key: only level integrity can be verified");
        }
        Self {
            keys,
            parallel: cx.settings.workers.verify.max(1),
        }
    }

    fn options(&self, cx: &Context, run: RunId, progress: Arc<Progress>) -> VerifyOptions {
        let Limits { threads, cache } = Limits::default();
        let parallel = self.parallel;
        let limits = Limits {
            threads: (threads / parallel).max(2),
            cache: cache / parallel as u64,
        };
        let options = VerifyOptions::of(&cx.settings, cx.scratch.clone(), cx.clock.clone());
        VerifyOptions {
            run: Some(run),
            limits,
            progress,
            ..options
        }
    }

    /// Verifies an artefact and publishes the progress. Stops when another worker gets the job.
    async fn verify(
        &self,
        cx: &Context,
        run: RunId,
        artefact: ArtefactId,
        level: Level,
        delivery: &Delivery,
    ) -> Result<Checked, JobError> {
        let progress = Arc::new(Progress::default());
        let options = self.options(cx, run, progress.clone());
        let verifying = verify_artefact(&cx.repository, self.keys.as_ref(), artefact, level, &options);
        let mut verifying = std::pin::pin!(verifying);
        let mut teller = cx.progress_of(run, artefact);
        loop {
            tokio::select! {
                done = &mut verifying => return Ok(done?),
                () = teller.tell(|| progress.done()) => {}
                () = delivery.lost.cancelled() => {
                    // Dropping the verification stops its thread.
                    return Err(JobError::Retry("the verification was broken off".to_owned()));
                }
            }
        }
    }
}

/// Returns the deepest level at which this artefact was found good here since it was sealed, if it is at least `level`.
async fn known_good(cx: &Context, artefact: ArtefactId, level: Level) -> Result<Option<Level>, JobError> {
    let Some(sealed) = cx.repository.manifest(artefact).await.or_else(none_if_damaged)? else {
        return Ok(None);
    };
    let (all, _) = cx.catalogue.readable_verifications(artefact).await?;
    let here = cx.repository.place().name();
    let since = sealed.manifest.captured.finished;
    let good = all
        .iter()
        .filter(|v| v.is_good() && v.place == *here && v.finished >= since && v.level.includes(level));
    Ok(good.map(|v| v.level).max())
}

#[async_trait]
impl Stage for Verifier {
    fn workers(&self) -> Vec<WorkerSpec> {
        vec![WorkerSpec::new(WorkStage::Verify, self.parallel)]
    }

    async fn run(&self, cx: &Context, work: &Work, delivery: &Delivery) -> Result<(), JobError> {
        let Job::Verify {
            source,
            artefact,
            level,
        } = &work.job
        else {
            return Err(JobError::Fail(format!("the verifier does not do {}", work.stage())));
        };
        let run = work.run;
        let artefact = *artefact;
        let expected = cx.expected(run).await?;
        let next = after_verify(&expected, source, artefact);
        if let Some(level) = known_good(cx, artefact, *level).await? {
            metrics::global().duplicate(WorkStage::Verify.as_str());
            return cx.hand_on(&next, run, What::ArtefactVerified { artefact, level }).await;
        }
        let checked = Box::pin(self.verify(cx, run, artefact, *level, delivery)).await?;
        let kind = checked.kind.map_or("unknown", holdfast_format::ArtefactKind::as_str);
        record(&cx.repository, &checked).await?;
        failpoint::hit_async("verifier.after_record").await?;
        if !checked.is_good() {
            metrics::global().artefact(kind, checked.verification.verdict.as_str());
            // The caller records and publishes this as the artefact's failure.
            return Err(JobError::Fail(checked.reason()));
        }
        metrics::global().artefact(kind, "verified");
        tracing::info!(%run, %artefact, %level, bytes = checked.verification.bytes_read, "artefact verified");
        cx.hand_on(
            &next,
            run,
            What::ArtefactVerified {
                artefact,
                level: *level,
            },
        )
        .await
    }
}
