//! The janitor as a process of its own: what its program does, and `holdfast` if it is called by that name.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_service::{Stage, run_process};

use crate::Janitor;

/// Runs the service until it is told to end, by its command line and configuration.
#[must_use]
pub fn main() -> ExitCode {
    run_process("janitor", &[SecretSection::Target], async |cx, _| {
        Ok(vec![Arc::new(Janitor::new(cx)) as Arc<dyn Stage>])
    })
}
