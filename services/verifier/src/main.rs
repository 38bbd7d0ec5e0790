//! The verifier as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_service::{Stage, exit_code, run_process};
use holdfast_verifier::{Verifier, harden, secret_keys};

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
    SecretSection::Verifier,
];

fn main() -> ExitCode {
    // Before anything secret is in memory.
    if let Err(error) = harden() {
        return exit_code(Err(error.into()));
    }
    run_process("verifier", SECRETS, async |cx, _| {
        Ok(vec![
            Arc::new(Verifier::new(cx, secret_keys(&cx.settings)?)) as Arc<dyn Stage>
        ])
    })
}
