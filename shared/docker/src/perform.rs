//! Carries out quiet times.
//!
//! Only one quiet time goes on at a time. [`Quiet::turn`] waits for the lock of the state folder, and first brings back
//! the containers that dead workers left quiet. Only then may a plan be made, from the engine's present state: before,
//! containers that another worker had stopped would look as if they had not run. [`Turn::begin`] carries the plan out,
//! and [`QuietTime::bring_back`] ends the quiet time. If a [`QuietTime`] is dropped, by a panic or a cancelled task,
//! its containers are brought back in the background. If even that is not possible, its intent stays on disk and its
//! lock is released, so that [`Quiet::recover`] finds it, in this or another process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_fault::{Retry, Retryable, chain};
use holdfast_telemetry::failpoint;
use tokio::time::Instant;

use crate::engine::{Engine, EngineError};
use crate::intent::{self, Held, Intent, IntentError};
use crate::labels::{Mode, OnFailure};
use crate::owned;
use crate::quiet::QuietPlan;
use crate::{helper, network};

mod bring_back;
mod hook;

pub use bring_back::{BackFailure, BackProblem, BroughtBack};
pub use hook::HookFailure;

/// The time for which calls to an engine that does not answer are repeated, before bringing back is left to a
/// successor.
const PATIENCE: Duration = Duration::from_secs(600);

/// The interval between attempts to take the lock.
const POLL: Duration = Duration::from_millis(100);

/// Makes quiet times on an engine. All workers of an engine share one state folder, and so one lock.
#[derive(Clone, Debug)]
pub struct Quiet {
    engine: Engine,
    state_dir: PathBuf,
    patience: Duration,
}

/// A reason why containers could not be made quiet.
#[derive(Debug, thiserror::Error)]
pub enum QuietError {
    /// Another quiet time goes on.
    #[error("wait for a turn at {}: another quiet time has gone on for {waited:?}", lock.display())]
    Taken {
        /// The path of the lock.
        lock: PathBuf,
        /// The time that was spent waiting.
        waited: Duration,
    },
    /// The lock, or the state folder, cannot be used.
    #[error("lock {}", lock.display())]
    Lock {
        /// The path of the lock.
        lock: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The intent cannot be written. Only containers that an earlier state of the intent names were touched.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// A hook failed whose failure is not allowed.
    #[error("run the hook before of container {container}")]
    Hook {
        container: String,
        /// The failure of the hook.
        #[source]
        source: HookFailure,
    },
    /// A container could not be stopped or paused.
    #[error("make container {container} quiet")]
    Engine {
        container: String,
        #[source]
        source: EngineError,
    },
    /// A failpoint fired, which happens in tests only.
    #[error(transparent)]
    Injected(#[from] failpoint::Injected),
}

impl Retryable for QuietError {
    fn retry(&self) -> Retry {
        match self {
            Self::Taken { .. } => Retry::Later,
            Self::Lock { source, .. } => Retry::of_io(source),
            Self::Intent(source) => source.retry(),
            Self::Hook { source, .. } => source.retry(),
            Self::Engine { source, .. } => source.retry(),
            Self::Injected(source) => source.retry(),
        }
    }
}

/// An error of beginning a quiet time. The containers that had been made quiet for it have been brought back.
#[derive(Debug, thiserror::Error)]
#[error("make containers quiet")]
pub struct NotQuiet {
    #[source]
    pub error: QuietError,
    /// The result of bringing containers back.
    pub brought_back: BroughtBack,
}

impl Retryable for NotQuiet {
    fn retry(&self) -> Retry {
        self.error.retry()
    }
}

/// The result of cleaning up after dead workers.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Quiet times of dead workers that were ended.
    pub ended: Vec<Recovered>,
    /// Leftovers of dead workers that could not be removed.
    pub failures: Vec<RecoveryFailure>,
}

/// A quiet time that was ended in place of its dead owner.
#[derive(Debug)]
pub struct Recovered {
    /// The id of the run that the quiet time belonged to.
    pub run: String,
    /// The group or volume that was read: `group shop`, `volume shop_files`.
    pub covers: String,
    /// The result of bringing the containers back.
    pub brought_back: BroughtBack,
}

/// A leftover of a dead worker that cannot be removed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryFailure {
    /// An intent cannot be read.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// A helper container cannot be removed.
    #[error(transparent)]
    Helper(#[from] helper::HelperError),
    /// A container cannot be taken out of a network.
    #[error(transparent)]
    Network(#[from] network::JoinError),
}

/// The right to begin a quiet time. While a process holds it, no other can get it.
#[derive(Debug)]
pub struct Turn {
    quiet: Quiet,
    /// Holds the lock while it is open.
    lock: File,
    recovery: Recovery,
}

/// A quiet time that goes on. To be ended by [`QuietTime::bring_back`].
#[derive(Debug)]
#[must_use = "containers stay quiet until bring_back"]
pub struct QuietTime {
    /// The state to end; `None` once it is being ended.
    begun: Option<Begun>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Begun {
    quiet: Quiet,
    /// The intent on disk; `None` if no container is treated in any way.
    held: Option<Held>,
    since: Option<Instant>,
    /// Holds the lock while it is open. The last field, so that the lock is released last.
    _turn: File,
}

/// True if a state folder may hold something that a dead worker left, so that [`Quiet::recover`] has something to look
/// at.
#[must_use]
pub fn has_abandoned(state_dir: &Path) -> bool {
    intent::is_any(state_dir) || helper::is_any(state_dir) || network::is_any(state_dir)
}

impl Quiet {
    /// Makes quiet times for `engine`, with intents and locks below `state_dir`.
    #[must_use]
    pub fn new(engine: Engine, state_dir: &Path) -> Self {
        Self {
            engine,
            state_dir: state_dir.to_owned(),
            patience: PATIENCE,
        }
    }

    /// Sets the time for which calls to an engine that does not answer are repeated. By default ten minutes.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Waits for the right to begin a quiet time, and brings back the containers that dead workers left quiet.
    ///
    /// # Errors
    /// If another quiet time goes on for longer than `wait`, or the state folder cannot be used.
    pub async fn turn(&self, wait: Duration) -> Result<Turn, QuietError> {
        let end = Instant::now() + wait;
        let lock = loop {
            if let Some(lock) = self.try_lock()? {
                break lock;
            }
            if Instant::now() >= end {
                return Err(QuietError::Taken {
                    lock: self.lock_file(),
                    waited: wait,
                });
            }
            tokio::time::sleep(POLL).await;
        };
        let recovery = self.recover_all().await?;
        Ok(Turn {
            quiet: self.clone(),
            lock,
            recovery,
        })
    }

    /// Brings back the containers that dead workers left quiet, and removes their helper containers and network
    /// memberships. To be called when a worker starts, and from time to time. Does nothing while a quiet time goes on,
    /// since its owner has done the same before.
    ///
    /// If the state folder cannot be used.
    pub async fn recover(&self) -> Result<Recovery, QuietError> {
        match self.try_lock()? {
            None => Ok(Recovery::default()),
            Some(_lock) => self.recover_all().await,
        }
    }

    async fn recover_all(&self) -> Result<Recovery, QuietError> {
        let mut recovery = Recovery::default();
        for held in intent::abandoned(&self.state_dir)? {
            match held {
                Ok(held) => {
                    let run = held.intent().run.clone();
                    let covers = held.intent().covers.clone();
                    tracing::warn!(
                        run,
                        covers,
                        "bringing back the containers of a quiet time whose owner died"
                    );
                    let brought_back = Box::pin(bring_back::bring_back(&self.engine, held, self.patience)).await;
                    recovery.ended.push(Recovered {
                        run,
                        covers,
                        brought_back,
                    });
                }
                Err(error) => recovery.failures.push(error.into()),
            }
        }
        let swept = helper::sweep(&self.engine, &self.state_dir).await;
        recovery.failures.extend(swept.into_iter().map(RecoveryFailure::from));
        let swept = network::sweep(&self.engine, &self.state_dir).await;
        recovery.failures.extend(swept.into_iter().map(RecoveryFailure::from));
        Ok(recovery)
    }

    fn lock_file(&self) -> PathBuf {
        intent::folder(&self.state_dir).join("turn.lock")
    }

    fn try_lock(&self) -> Result<Option<File>, QuietError> {
        let lock = self.lock_file();
        let open = || {
            owned::make_folder(&intent::folder(&self.state_dir))?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&lock)?;
            Ok(owned::lock(&file)?.then_some(file))
        };
        open().map_err(|source| QuietError::Lock {
            lock: lock.clone(),
            source,
        })
    }
}

impl Turn {
    /// Returns the result of the clean-up before this turn.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Writes the intent, runs the hooks before, and stops or pauses the containers one after the other, waiting for
    /// each. `covers` names the group or volume that is read: `group shop`, `volume shop_files`.
    ///
    /// If a step fails whose failure is not allowed. Then the containers that were touched have been brought back.
    pub async fn begin(self, run: &str, covers: &str, plan: &QuietPlan) -> Result<QuietTime, NotQuiet> {
        let nothing_done = |error: QuietError| NotQuiet {
            error,
            brought_back: BroughtBack::default(),
        };
        let held = if plan.is_empty() {
            None
        } else {
            let intent = Intent::new(run, covers, &plan.steps);
            Some(Held::write(&self.quiet.state_dir, intent).map_err(|error| nothing_done(error.into()))?)
        };
        let mut time = QuietTime {
            begun: Some(Begun {
                quiet: self.quiet,
                held,
                since: None,
                _turn: self.lock,
            }),
            warnings: plan.warnings.clone(),
        };
        match time.enter().await {
            Ok(()) => Ok(time),
            Err(error) => {
                let brought_back = time.bring_back().await;
                Err(NotQuiet { error, brought_back })
            }
        }
    }
}

impl QuietTime {
    /// Returns remarks for the user, as sentences.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts or unpauses all containers in reverse order, and runs the hooks after. A container that was removed
    /// meanwhile is no failure, and a container that does not start does not hold up the others. Goes on to the end
    /// even if the caller stops waiting.
    pub async fn bring_back(mut self) -> BroughtBack {
        let Some(begun) = self.begun.take() else {
            return BroughtBack::default();
        };
        match tokio::spawn(begun.end()).await {
            Ok(brought_back) => brought_back,
            Err(error) => BroughtBack::interrupted(&error),
        }
    }

    async fn enter(&mut self) -> Result<(), QuietError> {
        let Some(begun) = &mut self.begun else { return Ok(()) };
        let Some(held) = &mut begun.held else { return Ok(()) };
        let engine = &begun.quiet.engine;
        failpoint::hit_async("docker.after_intent").await?;
        let count = held.intent().containers.len();
        for at in (0..count).rev() {
            let step = held.intent().containers[at].step.clone();
            if step.hooks.is_empty() {
                continue;
            }
            held.note(|intent| intent.containers[at].hooked = true)?;
            let Some(command) = &step.hooks.before else { continue };
            if let Err(failure) = hook::run(engine, &step, command).await {
                match step.hooks.on_failure {
                    OnFailure::Fail => {
                        return Err(QuietError::Hook {
                            container: step.name,
                            source: failure,
                        });
                    }
                    OnFailure::Warn => self.warnings.push(format!(
                        "the hook before of container {} failed: {}",
                        step.name,
                        chain(&failure)
                    )),
                }
            }
        }
        for at in 0..count {
            let step = held.intent().containers[at].step.clone();
            if step.action == Mode::Live {
                continue;
            }
            held.note(|intent| intent.containers[at].touched = true)?;
            failpoint::hit_async("docker.before_quiet").await?;
            begun.since.get_or_insert_with(Instant::now);
            let quiet = match step.action {
                Mode::Stop => engine
                    .stop(&step.id, step.stop_timeout)
                    .await
                    .map(|stopped| stopped.killed),
                _ => engine.pause(&step.id).await.map(|()| false),
            };
            match quiet {
                Ok(true) => self.warnings.push(format!(
                    "container {} did not stop in time and was killed: its volumes may hold unfinished work",
                    step.name
                )),
                Ok(false) => {}
                // The container was removed after the plan was made.
                Err(error) if error.is_not_found() => {}
                Err(source) => {
                    return Err(QuietError::Engine {
                        container: step.name,
                        source,
                    });
                }
            }
            failpoint::hit_async("docker.after_quiet").await?;
        }
        Ok(())
    }
}

impl Begun {
    async fn end(self) -> BroughtBack {
        let Some(held) = self.held else {
            return BroughtBack::default();
        };
        let mut brought_back = bring_back::bring_back(&self.quiet.engine, held, self.quiet.patience).await;
        brought_back.down_time = self
            .since
            .map(|since| brought_back.ended.unwrap_or_else(Instant::now) - since);
        brought_back
    }
}

impl Drop for QuietTime {
    fn drop(&mut self) {
        let Some(begun) = self.begun.take() else { return };
        if begun.held.is_none() {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                tracing::warn!("a quiet time was dropped before its end; bringing its containers back");
                runtime.spawn(async move { begun.end().await.log() });
            }
            Err(_) => tracing::error!(
                "a quiet time was dropped before its end; its containers stay quiet until the next recovery"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
