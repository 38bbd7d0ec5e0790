//! Bringing containers back.

use std::future::Future;
use std::time::Duration;

use holdfast_fault::chain;
use holdfast_telemetry::failpoint;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::hook;
use crate::engine::{Engine, EngineError, Started};
use crate::facts::State;
use crate::intent::{Entry, Held};
use crate::labels::Mode;

/// How long is waited before an engine that did not answer is asked again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How long a container that was started may take to end at once.
const SETTLE: Duration = Duration::from_secs(1);

/// How bringing back went.
#[derive(Debug, Default)]
pub struct BroughtBack {
    /// Names of the containers that run again, in the order of starting.
    pub back: Vec<String>,
    /// Of those that were removed meanwhile.
    pub gone: Vec<String>,
    /// Of those that ran, or were frozen no more, before they were brought back: what was read meanwhile may not be
    /// consistent. A restart of the engine does that, by restart policies.
    pub disturbed: Vec<String>,
    /// Those that did not come back. Their intent stays, so that the next recovery tries again.
    pub failures: Vec<BackFailure>,
    /// What else the user should know.
    pub warnings: Vec<String>,
    /// From the first stop or pause until all were back.
    pub down_time: Option<Duration>,
    /// When all were back, before the hooks.
    pub(super) ended: Option<Instant>,
}

/// A container did not come back.
#[derive(Debug, thiserror::Error)]
#[error("bring back container {container}")]
pub struct BackFailure {
    /// Its name.
    pub container: String,
    /// Why.
    #[source]
    pub problem: BackProblem,
}

/// Why a container did not come back.
#[derive(Debug, thiserror::Error)]
pub enum BackProblem {
    /// The engine cannot, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It started, and ended.
    #[error("it started, and ended at once with exit code {exit_code}")]
    Ended {
        /// The code.
        exit_code: i64,
    },
    /// The process is ending.
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

/// Ends the quiet time of an intent: in the order of starting, then the hooks after.
pub(super) async fn bring_back(engine: &Engine, held: Held, patience: Duration) -> BroughtBack {
    let mut done = BroughtBack::default();
    let mut patience = Patience { left: patience };
    let containers = held.intent().containers.clone();
    for entry in containers.iter().rev().filter(|entry| entry.touched) {
        // Only tests make it fail, and they want the process to die here.
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
        let (step, failed) = (&entry.step, |failure: &BackFailure| {
            failure.container == entry.step.name
        });
        let Some(command) = &step.hooks.after else { continue };
        if done.gone.contains(&step.name) || done.failures.iter().any(failed) {
            continue;
        }
        if let Err(failure) = hook::run(engine, step, command).await {
            done.warnings.push(format!(
                "the hook after of container {} failed: {}",
                step.name,
                chain(&failure)
            ));
        }
    }
    if done.failures.is_empty()
        && let Err(error) = held.remove()
    {
        done.warnings.push(chain(&error).to_string());
    }
    done
}

/// Looks once more at what was started, after a moment: a program that cannot go on needs one to find that out.
async fn settle(engine: &Engine, containers: &[Entry], done: &mut BroughtBack) {
    let started = |entry: &&Entry| entry.step.action == Mode::Stop && done.back.contains(&entry.step.name);
    let started: Vec<&Entry> = containers.iter().filter(started).collect();
    if started.is_empty() {
        return;
    }
    tokio::time::sleep(SETTLE).await;
    for entry in started {
        let name = &entry.step.name;
        // An engine that does not answer now has done so a moment ago.
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

/// Asks an engine that does not answer again, for so long in all.
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
                Err(error) if error.is_transient() && !self.left.is_zero() => {
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

/// Brings one container back; `false` if it is not there any more.
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
        // Stopping or pausing was asked for, and is not done: it failed, or the engine is still about it, and would do it
        // after we had found the container running. Doing it again waits for that.
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
        // It ended while it was frozen, and so without finishing its work.
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
