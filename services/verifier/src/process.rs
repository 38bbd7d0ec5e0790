//! The verifier as a process: the body of its own program, and of `holdfast` when it is called by that name.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_format::Role;
use holdfast_service::{Stage, exit_code, harden, run_process, secret_keys};

use crate::Verifier;

/// Runs the service, as the command line and the configuration say, until it is told to end.
#[must_use]
pub fn main() -> ExitCode {
    // Hardens the process before a secret is in its memory.
    if let Err(error) = harden() {
        return exit_code(Err(error.into()));
    }
    run_process("verifier", Role::Verifier, &[SecretSection::Verifier], async |cx, _| {
        Ok(vec![
            Arc::new(Verifier::new(cx, secret_keys(&cx.settings)?)) as Arc<dyn Stage>
        ])
    })
}
