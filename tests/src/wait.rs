//! Waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is asked for: often enough not to be felt, seldom enough not to be a load.
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `condition` holds.
///
/// # Errors
/// If it does not within `deadline` (named by `what`), or if asking failed.
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
