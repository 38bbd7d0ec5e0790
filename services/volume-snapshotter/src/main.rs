//! The volume-snapshotter as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_capture::Staging;
use holdfast_config::SecretSection;
use holdfast_service::{Stage, run_process, staging_dir};
use holdfast_volume_snapshotter::Snapshotter;

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
];

fn main() -> ExitCode {
    run_process("volume-snapshotter", SECRETS, async |cx, _| {
        let settings = &cx.settings;
        let staging = Arc::new(Staging::open(
            &staging_dir(settings)?,
            settings.staging.max_bytes.as_u64(),
        )?);
        Ok(vec![Arc::new(Snapshotter::new(cx, staging)) as Arc<dyn Stage>])
    })
}
