//! The verifier as a process of its own: what its program does, and `holdfast` if it is called by that name.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_service::{Stage, exit_code, run_process};

use crate::{Verifier, harden, secret_keys};

/// Runs the service until it is told to end, by its command line and configuration.
#[must_use]
pub fn main() -> ExitCode {
    // Before anything secret is in memory.
    if let Err(error) = harden() {
        return exit_code(Err(error.into()));
    }
    run_process("verifier", &[SecretSection::Verifier], async |cx, _| {
        Ok(vec![
            Arc::new(Verifier::new(cx, secret_keys(&cx.settings)?)) as Arc<dyn Stage>
        ])
    })
}
