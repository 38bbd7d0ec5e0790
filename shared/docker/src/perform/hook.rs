//! Runs the hooks of containers.

use std::time::Duration;

use holdfast_fault::{Retry, Retryable};

use crate::engine::{Engine, EngineError, Exec, Outcome};
use crate::quiet::QuietStep;

/// The number of bytes of a hook's output that messages keep.
const KEEP: usize = 2000;

/// The failure of a hook.
#[derive(Debug, thiserror::Error)]
pub enum HookFailure {
    /// The hook ended with an exit code other than 0.
    #[error("it ended with exit code {exit_code}{}", quoted(said))]
    Failed {
        exit_code: i64,
        /// The output, as one line.
        said: String,
    },
    /// The hook took too long. Its command goes on in the container.
    #[error("it did not end within {limit:?}, and may go on{}", quoted(said))]
    TimedOut {
        limit: Duration,
        /// The output so far, as one line.
        said: String,
    },
    /// The hook could not be run.
    #[error("it could not be run")]
    Engine(#[source] EngineError),
}

impl Retryable for HookFailure {
    /// A hook that was run and failed is not run again by itself: only its author knows what that does.
    fn retry(&self) -> Retry {
        match self {
            Self::Failed { .. } | Self::TimedOut { .. } => Retry::Never,
            Self::Engine(source) => source.retry(),
        }
    }
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("; it said: {text}")
    }
}

/// Runs `command` in the container of `step` as a hook.
pub(super) async fn run(engine: &Engine, step: &QuietStep, command: &str) -> Result<(), HookFailure> {
    let exec = Exec {
        command: &["/bin/sh", "-c", command],
        user: step.hooks.user.as_deref(),
        timeout: step.hooks.timeout,
        keep: KEEP,
    };
    let executed = engine.exec(&step.id, &exec).await.map_err(HookFailure::Engine)?;
    let output = if executed.stderr.is_empty() {
        &executed.stdout
    } else {
        &executed.stderr
    };
    // One line, without characters that a terminal would obey.
    let said = String::from_utf8_lossy(output);
    let said: Vec<_> = said
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let said = said.join(" ");
    match executed.outcome {
        Outcome::Ended(0) => Ok(()),
        Outcome::Ended(exit_code) => Err(HookFailure::Failed { exit_code, said }),
        Outcome::TimedOut => Err(HookFailure::TimedOut {
            limit: step.hooks.timeout,
            said,
        }),
    }
}
