//! Waits for a condition with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The interval between questions: short enough not to delay a test, long enough not to be a load.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` returns true.
///
/// # Errors
/// If the condition is not met within `deadline` (the error has `what`), or if it fails.
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + deadline;
    loop {
        if condition()? {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!("waited {deadline:?} in vain: {what}");
        }
        std::thread::sleep(INTERVAL);
    }
}
