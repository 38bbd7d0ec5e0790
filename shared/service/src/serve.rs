//! Running stages: one worker group each, the reconciler beside them, and an orderly end.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use holdfast_bus::{BusError, Queue, WorkerOptions};
use holdfast_telemetry::http::Health;
use tokio::task::JoinSet;

use crate::reconcile::Reconciler;
use crate::stage::{OnBus, record_failure};
use crate::{Context, Stage, WorkerSpec};

/// The time that running jobs have to finish after the order to end. A process manager gives ten seconds for
/// everything.
const DRAIN_WITHIN: Duration = Duration::from_secs(3);

/// The shortest lease of a job. Signs of life must have time to arrive.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// The time between two sweeps for jobs that stand still in the queue.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Stages at work. Ends when the context's `drain` is cancelled.
pub struct Serving {
    tasks: JoinSet<()>,
}

impl Serving {
    /// Waits until every worker has ended.
    pub async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts the workers of `stages`, their reconciler, and the watch over work whose deliveries ran out; `health` tells of the
/// workers and of the connection.
pub fn serve(cx: &Context, stages: &[Arc<dyn Stage>], health: &Health) -> Serving {
    let mut tasks = JoinSet::new();
    for stage in stages {
        let cx_of_stage = cx.clone();
        let attending = stage.clone();
        tasks.spawn(async move { attending.attend(&cx_of_stage).await });
        for spec in stage.workers() {
            let lease = cx.settings.nats.lease.as_std().max(SHORTEST_LEASE);
            let options = WorkerOptions {
                ack_wait: lease,
                progress_every: lease / 4,
                drain_timeout: DRAIN_WITHIN,
                ..WorkerOptions::new(spec.stage, cx.site.clone(), spec.target.clone(), spec.parallel)
            };
            let handler = Arc::new(OnBus {
                cx: cx.clone(),
                stage: stage.clone(),
            });
            let bus = cx.bus.clone();
            let drain = cx.drain.clone();
            let health = health.clone();
            tasks.spawn(async move {
                let name = format!("worker-{}", spec.stage);
                health.set(&name, Ok(()));
                if let Err(error) = bus.run_worker(options, handler, drain).await {
                    let reason = holdfast_fault::chain(&error).to_string();
                    tracing::error!(stage = %spec.stage, reason, "the worker group ended");
                    health.set(&name, Err(reason));
                }
            });
        }
    }
    tasks.spawn(Reconciler::new(cx.clone(), stages.to_vec()).run());
    tasks.spawn(watch_exhausted(cx.clone(), stages.to_vec()));
    let bus = cx.bus.clone();
    health.ask("nats", move || {
        let lost = || "not connected to the NATS server".to_owned();
        bus.is_connected().then_some(()).ok_or_else(lost)
    });
    Serving { tasks }
}

/// Files the failure of each job of these stages that the server delivers no more, so that none lies there for ever.
async fn watch_exhausted(cx: Context, stages: Vec<Arc<dyn Stage>>) {
    let queue = |spec: WorkerSpec| Queue {
        stage: spec.stage,
        site: cx.site.clone(),
        target: spec.target,
    };
    let queues: Vec<Queue> = stages.iter().flat_map(|stage| stage.workers()).map(queue).collect();
    if queues.is_empty() {
        return;
    }
    while !cx.drain.is_cancelled() {
        let watched = watch_once(&cx, &queues).await;
        if let Err(error) = watched {
            tracing::debug!(reason = %holdfast_fault::chain(&error), "the watch over exhausted work was interrupted; starting it again");
        }
        tokio::select! {
            () = cx.drain.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }
}

async fn watch_once(cx: &Context, queues: &[Queue]) -> Result<(), BusError> {
    let mut exhausted = cx.bus.exhausted(queues, SWEEP_EVERY).await?;
    loop {
        let next = tokio::select! {
            () = cx.drain.cancelled() => return Ok(()),
            next = exhausted.next() => next,
        };
        let Some(found) = next else { return Ok(()) };
        let reason = "its workers ended again and again while they did it; see their logs";
        match record_failure(cx, &found.work, reason).await {
            Ok(()) => found.remove().await?,
            Err(error) => tracing::warn!(reason = error.reason(), "exhausted work could not be written down yet"),
        }
    }
}
