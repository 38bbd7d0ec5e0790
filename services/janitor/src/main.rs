//! The janitor as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_janitor::Janitor;
use holdfast_service::{Stage, run_process};

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
    SecretSection::Target,
];

fn main() -> ExitCode {
    run_process("janitor", SECRETS, async |cx, _| {
        Ok(vec![Arc::new(Janitor::open(cx)?) as Arc<dyn Stage>])
    })
}
