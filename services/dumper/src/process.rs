//! The dumper as a process of its own: what its program does, and `holdfast` if it is called by that name.

use std::process::ExitCode;
use std::sync::Arc;

use crate::Dumper;
use holdfast_capture::Staging;
use holdfast_config::SecretSection;
use holdfast_service::{Stage, run_process, staging_dir};

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
    SecretSection::Postgres,
];

/// Runs the service until it is told to end, by its command line and configuration.
#[must_use]
pub fn main() -> ExitCode {
    run_process("dumper", SECRETS, async |cx, _| {
        let settings = &cx.settings;
        let staging = Arc::new(Staging::open(
            &staging_dir(settings)?,
            settings.staging.max_bytes.as_u64(),
        )?);
        Ok(vec![Arc::new(Dumper::new(cx, staging)) as Arc<dyn Stage>])
    })
}
