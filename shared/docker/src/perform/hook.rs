//! Hooks.

use std::time::Duration;

use crate::engine::{Engine, EngineError, Exec, Outcome};
use crate::quiet::Step;

/// How much of a hook's output is kept for messages.
const KEEP: usize = 2000;

/// How a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookFailure {
    /// With an exit code.
    #[error("it ended with exit code {exit_code}{}", quoted(said))]
    Failed {
        /// The code.
        exit_code: i64,
        /// What it printed.
        said: String,
    },
    /// It took too long.
    #[error("it did not end within {limit:?}, and may go on{}", quoted(said))]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// What it had printed.
        said: String,
    },
    /// It could not be run.
    #[error("it could not be run")]
    Engine(#[source] EngineError),
}

fn quoted(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("; it said: {text}")
    }
}

/// Runs a hook of a container.
pub(super) async fn run(engine: &Engine, step: &Step, command: &str) -> Result<(), HookFailure> {
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
    // One line, and nothing in it that a terminal would obey.
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
