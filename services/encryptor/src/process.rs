//! The encryptor as a process of its own: what its program does, and `holdfast` if it is called by that name.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_format::Role;
use holdfast_service::{Stage, run_process};
use holdfast_session::open_staging;

use crate::Encryptor;

/// Runs the service until it is told to end, by its command line and configuration.
#[must_use]
pub fn main() -> ExitCode {
    run_process("encryptor", Role::Producer, &[], async |cx, _| {
        let staging = open_staging(&cx.settings)?;
        Ok(vec![Arc::new(Encryptor::new(cx, staging)) as Arc<dyn Stage>])
    })
}
