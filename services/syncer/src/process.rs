//! The syncer as a process: the body of its own program, and of `holdfast` when it is called by that name.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_format::Role;
use holdfast_service::{Stage, run_process};

use crate::Syncer;

/// Runs the service, as the command line and the configuration say, until it is told to end.
#[must_use]
pub fn main() -> ExitCode {
    run_process("syncer", Role::Syncer, &[SecretSection::Target], async |cx, _| {
        Ok(vec![Arc::new(Syncer::open(cx).await) as Arc<dyn Stage>])
    })
}
