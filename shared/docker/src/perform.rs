//! Quiet times, carried out.
//!
//! One quiet time at a time: [`Quiet::turn`] waits for the state folder's lock, and first brings back what the dead left
//! quiet. Only then is a plan made, from what the engine says now; else containers that another worker has stopped would
//! look as if they had not run. [`Turn::begin`] carries it out, and [`QuietTime::bring_back`] ends it. A [`QuietTime`]
//! that is dropped, by a panic or a cancelled task, brings back in the background; if even that is not possible, its
//! intent stays on disk and its lock goes, so that [`Quiet::recover`] finds it, here or in another process.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_fault::chain;
use holdfast_telemetry::failpoint;
use tokio::time::Instant;

use crate::engine::{Engine, EngineError};
use crate::intent::{self, Held, Intent, IntentError};
use crate::labels::{Mode, OnFailure};
use crate::owned;
use crate::quiet::Plan;
use crate::{helper, network};

mod back;
mod hook;

pub use back::{BackFailure, BackProblem, BroughtBack};
pub use hook::HookFailure;

/// How long an engine that does not answer is asked again, before bringing back is left to a successor.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the turn is asked for.
const POLL: Duration = Duration::from_millis(100);

/// Makes quiet times on an engine, by the rules of a state folder. All workers of an engine share one.
#[derive(Clone, Debug)]
pub struct Quiet {
    engine: Engine,
    state_dir: PathBuf,
    patience: Duration,
}

/// No container could be made quiet.
#[derive(Debug, thiserror::Error)]
pub enum QuietError {
    /// Another quiet time goes on.
    #[error("wait for a turn at {}: another quiet time has gone on for {waited:?}", lock.display())]
    Taken {
        /// The lock.
        lock: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The state folder cannot be used.
    #[error("lock {}", lock.display())]
    Lock {
        /// The lock.
        lock: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The intent cannot be written, so nothing was touched that it does not name.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// A hook that must not fail did.
    #[error("run the hook before of container {container}")]
    Hook {
        /// The container.
        container: String,
        /// How it failed.
        #[source]
        source: HookFailure,
    },
    /// A container could not be stopped or paused.
    #[error("make container {container} quiet")]
    Engine {
        /// The container.
        container: String,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// A test wants it.
    #[error(transparent)]
    Injected(#[from] failpoint::Injected),
}

/// A quiet time that could not begin. What had been done for it has been undone.
#[derive(Debug, thiserror::Error)]
#[error("make containers quiet")]
pub struct NotQuiet {
    /// Why.
    #[source]
    pub error: QuietError,
    /// How that went.
    pub brought_back: BroughtBack,
}

/// What was found of the dead, and done about it.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Quiet times that were ended in their stead.
    pub ended: Vec<Recovered>,
    /// Intents that cannot be read, and helper containers that cannot be removed.
    pub failures: Vec<RecoveryFailure>,
}

/// A quiet time that was ended in place of its dead owner.
#[derive(Debug)]
pub struct Recovered {
    /// The run.
    pub run: String,
    /// What was read.
    pub covers: String,
    /// How it went.
    pub brought_back: BroughtBack,
}

/// Something that the dead left cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryFailure {
    /// An intent.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// A helper container.
    #[error(transparent)]
    Helper(#[from] helper::HelperError),
    /// A network.
    #[error(transparent)]
    Network(#[from] network::JoinError),
}

/// The right to begin a quiet time: while it is there, nobody else has it.
#[derive(Debug)]
pub struct Turn {
    quiet: Quiet,
    /// Holds the lock.
    lock: File,
    recovery: Recovery,
}

/// A quiet time. It must be ended by [`QuietTime::bring_back`].
#[derive(Debug)]
#[must_use = "containers stay quiet until bring_back"]
pub struct QuietTime {
    /// `None` once it is being ended.
    begun: Option<Begun>,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Begun {
    quiet: Quiet,
    /// `None` if nothing is done to any container.
    held: Option<Held>,
    since: Option<Instant>,
    /// Let go of last.
    _turn: File,
}

/// Whether there may be something in a state folder that a dead worker left: what [`Quiet::recover`] would look at.
#[must_use]
pub fn has_abandoned(state_dir: &Path) -> bool {
    intent::is_any(state_dir) || helper::is_any(state_dir) || network::is_any(state_dir)
}

impl Quiet {
    /// For `engine`, with intents and locks below `state_dir`.
    #[must_use]
    pub fn new(engine: Engine, state_dir: &Path) -> Self {
        Self {
            engine,
            state_dir: state_dir.to_owned(),
            patience: PATIENCE,
        }
    }

    /// With another patience with an engine that does not answer: by default ten minutes.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Waits for the turn, and brings back what the dead left quiet.
    ///
    /// # Errors
    /// If it is not had within `wait`, or the state folder cannot be used.
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

    /// Brings back what the dead left quiet, and removes the helper containers that they left. To be called when a worker
    /// starts, and from time to time. If a quiet time goes on, there is nothing to do: its owner did it before.
    ///
    /// # Errors
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
                    let (run, covers) = (held.intent().run.clone(), held.intent().covers.clone());
                    tracing::warn!(
                        run,
                        covers,
                        "bringing back the containers of a quiet time whose owner died"
                    );
                    let brought_back = Box::pin(back::bring_back(&self.engine, held, self.patience)).await;
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
    /// What was brought back before this turn.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Writes down what will be done, runs the hooks before, and stops or pauses; each container is waited for. `covers`
    /// says what is read: `group shop`, `volume shop_files`.
    ///
    /// # Errors
    /// If anything fails that must not. Then all that was done is undone.
    pub async fn begin(self, run: &str, covers: &str, plan: &Plan) -> Result<QuietTime, NotQuiet> {
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
    /// What the user should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Starts or unpauses all, in reverse, and runs the hooks after. What was removed meanwhile is not missed; what does
    /// not start holds no other up. Goes on to its end even if it is not waited for.
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
                // Removed since the plan was made.
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
        let mut brought_back = back::bring_back(&self.quiet.engine, held, self.quiet.patience).await;
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
                tracing::warn!("a quiet time was given up; bringing its containers back");
                runtime.spawn(async move { begun.end().await.log() });
            }
            Err(_) => tracing::error!("a quiet time was given up; its containers stay quiet until the next recovery"),
        }
    }
}
