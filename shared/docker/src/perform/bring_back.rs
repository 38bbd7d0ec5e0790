//! Brings containers back after a quiet time.

use std::future::Future;
use std::time::Duration;

use holdfast_fault::{Retryable as _, chain};
use holdfast_telemetry::failpoint;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::hook;
use crate::engine::{Engine, EngineError, Started};
use crate::facts::State;
use crate::intent::{Entry, Held};
use crate::labels::{self, Mode};

/// The first and the longest pause before a call to an engine that did not answer is repeated.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The time that a container may run after its start before its state is looked at again.
const SETTLE: Duration = Duration::from_secs(1);

/// The result of bringing containers back.
#[derive(Debug, Default)]
pub struct BroughtBack {
    /// Names of the containers that run again, in the order of starting.
    pub back: Vec<String>,
    /// Names of the containers that were removed meanwhile.
    pub gone: Vec<String>,
    /// Names of the containers that ran again before they were brought back, so that the data read meanwhile may not be
    /// consistent. A restart of the engine does that, by restart policies.
    pub disturbed: Vec<String>,
    /// The containers that did not come back. Their intent stays on disk, so that the next recovery tries again.
    pub failures: Vec<BackFailure>,
    /// Remarks for the user, as sentences.
    pub warnings: Vec<String>,
    /// The time from the first stop or pause until all were back; `None` if no container was touched.
    pub down_time: Option<Duration>,
    /// The moment at which all were back, before the hooks after.
    pub(super) ended: Option<Instant>,
}

/// A container that did not come back.
#[derive(Debug, thiserror::Error)]
#[error("bring back container {container}")]
pub struct BackFailure {
    pub container: String,
    #[source]
    pub problem: BackProblem,
}

/// A reason why a container did not come back.
#[derive(Debug, thiserror::Error)]
pub enum BackProblem {
    /// The engine fails to start or unpause the container, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The container started, and ended at once.
    #[error("it started, and ended at once with exit code {exit_code}")]
    Ended { exit_code: i64 },
    /// The process is shutting down.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

impl BroughtBack {
    pub(super) fn interrupted(error: &JoinError) -> Self {
        let failure = BackFailure {
            container: "(all of the quiet time)".to_owned(),
            problem: BackProblem::Interrupted(error.to_string()),
        };
        Self {
            failures: vec![failure],
            ..Self::default()
        }
    }

    pub(super) fn log(&self) {
        for failure in &self.failures {
            tracing::error!("{}", chain(failure));
        }
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// Ends the quiet time of an intent: brings its containers back in the order of starting, then runs the hooks after.
pub(super) async fn bring_back(engine: &Engine, held: Held, patience: Duration) -> BroughtBack {
    let mut done = BroughtBack::default();
    let mut patience = Patience { left: patience };
    let containers = held.intent().containers.clone();
    for entry in containers.iter().rev().filter(|entry| entry.touched) {
        // Only tests set this failpoint, and they let the process die here, so an error has no meaning.
        let _ = failpoint::hit_async("docker.before_back").await;
        let name = entry.step.name.clone();
        match restore(engine, entry, &mut patience, &mut done).await {
            Ok(true) => done.back.push(name),
            Ok(false) => done.gone.push(name),
            Err(problem) => done.failures.push(BackFailure {
                container: name,
                problem,
            }),
        }
    }
    done.ended = Some(Instant::now());
    settle(engine, &containers, &mut done).await;
    for entry in containers.iter().rev().filter(|entry| entry.hooked) {
        let name = &entry.step.name;
        if !done.gone.contains(name) && !done.failures.iter().any(|failure| failure.container == *name) {
            after(engine, entry, held.is_adopted(), &mut done).await;
        }
    }
    if done.failures.is_empty()
        && let Err(error) = held.remove()
    {
        done.warnings.push(chain(&error).to_string());
    }
    done
}

/// Runs the hook after of a container. Of a dead owner's intent, the hook is the one that the container's labels have now.
async fn after(engine: &Engine, entry: &Entry, is_adopted: bool, done: &mut BroughtBack) {
    let name = &entry.step.name;
    let mut step = entry.step.clone();
    if is_adopted {
        step.hooks = match engine.container(&step.id).await {
            Ok(found) => labels::of_container(&found.labels).policy.hooks,
            // A container that was removed meanwhile has nothing to do after.
            Err(error) if error.is_not_found() => return,
            Err(error) => {
                let why = chain(&error);
                done.warnings
                    .push(format!("the hook after of container {name} is not known: {why}"));
                return;
            }
        };
    }
    let Some(command) = &step.hooks.after else { return };
    if let Err(failure) = hook::run(engine, &step, command).await {
        done.warnings.push(format!(
            "the hook after of container {name} failed: {}",
            chain(&failure)
        ));
    }
}

/// Looks again after a moment at the containers that were started, since a program needs some time to find out that it
/// cannot run.
async fn settle(engine: &Engine, containers: &[Entry], done: &mut BroughtBack) {
    let started = |entry: &&Entry| entry.step.action == Mode::Stop && done.back.contains(&entry.step.name);
    let started: Vec<&Entry> = containers.iter().filter(started).collect();
    if started.is_empty() {
        return;
    }
    tokio::time::sleep(SETTLE).await;
    for entry in started {
        let name = &entry.step.name;
        // The engine answered a moment ago, so the container keeps the result that it has.
        let Ok(now) = engine.container(&entry.step.id).await else {
            continue;
        };
        if now.state == State::Stopped {
            done.back.retain(|back| back != name);
            done.failures.push(BackFailure {
                container: name.clone(),
                problem: BackProblem::Ended {
                    exit_code: now.exit_code.unwrap_or_default(),
                },
            });
        }
    }
}

/// Repeats calls to an engine that does not answer, for this time in all.
struct Patience {
    left: Duration,
}

impl Patience {
    async fn with<T, F>(&mut self, mut call: impl FnMut() -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, EngineError>>,
    {
        let mut pause = AGAIN.0;
        loop {
            let asked = Instant::now();
            match call().await {
                Err(error) if error.retry().is_later() && !self.left.is_zero() => {
                    tracing::warn!("{}; asking again", chain(&error));
                    tokio::time::sleep(pause.min(self.left)).await;
                    self.left = self.left.saturating_sub(asked.elapsed());
                    pause = (pause * 2).min(AGAIN.1);
                }
                answer => return answer,
            }
        }
    }
}

/// Brings one container back. Returns false if the container does not exist any more.
async fn restore(
    engine: &Engine,
    entry: &Entry,
    patience: &mut Patience,
    done: &mut BroughtBack,
) -> Result<bool, BackProblem> {
    let id = &entry.step.id;
    let mut now = match patience.with(|| engine.container(id)).await {
        Err(error) if error.is_not_found() => return Ok(false),
        found => found?,
    };
    if now.started_at != entry.step.started_at {
        done.disturbed.push(entry.step.name.clone());
    } else if now.runs() {
        // The stop or pause was asked for, and has not happened: it failed, or the engine is still at it and would
        // finish after the container was found running here. Asking again waits for that.
        let quietened = patience.with(|| quieten(engine, entry)).await;
        if let Err(error) = quietened {
            done.warnings.push(format!(
                "container {} could not be made quiet: {}",
                now.name,
                chain(&error)
            ));
        }
        now = match patience.with(|| engine.container(id)).await {
            Err(error) if error.is_not_found() => return Ok(false),
            found => found?,
        };
    } else if entry.step.action == Mode::Pause && now.state == State::Stopped {
        // The container ended while it was frozen, and so without finishing its work.
        done.disturbed.push(entry.step.name.clone());
    }
    match now.state {
        State::Running | State::Restarting => Ok(true),
        State::Paused => unpause(engine, id, patience).await,
        State::Stopped => start(engine, id, patience).await,
    }
}

async fn quieten(engine: &Engine, entry: &Entry) -> Result<(), EngineError> {
    let done = match entry.step.action {
        Mode::Stop => engine.stop(&entry.step.id, entry.step.stop_timeout).await.map(|_| ()),
        Mode::Pause => engine.pause(&entry.step.id).await,
        Mode::Live => Ok(()),
    };
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    }
}

async fn unpause(engine: &Engine, id: &str, patience: &mut Patience) -> Result<bool, BackProblem> {
    match patience.with(|| engine.unpause(id)).await {
        Err(error) if error.is_not_found() => Ok(false),
        done => Ok(done.map(|()| true)?),
    }
}

async fn start(engine: &Engine, id: &str, patience: &mut Patience) -> Result<bool, BackProblem> {
    match patience.with(|| engine.start(id)).await {
        Ok(Started::Running) => Ok(true),
        Ok(Started::Ended { exit_code }) => Err(BackProblem::Ended { exit_code }),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
