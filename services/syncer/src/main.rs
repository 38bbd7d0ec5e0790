//! The syncer as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_service::{Stage, run_process};
use holdfast_syncer::Syncer;

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
    SecretSection::Target,
];

fn main() -> ExitCode {
    run_process("syncer", SECRETS, async |cx, _| {
        Ok(vec![Arc::new(Syncer::open(cx).await?) as Arc<dyn Stage>])
    })
}
