//! The encryptor as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_capture::Staging;
use holdfast_config::SecretSection;
use holdfast_encryptor::Encryptor;
use holdfast_service::{Stage, run_process, staging_dir};

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
];

fn main() -> ExitCode {
    run_process("encryptor", SECRETS, async |cx, _| {
        let settings = &cx.settings;
        let staging = Arc::new(Staging::open(
            &staging_dir(settings)?,
            settings.staging.max_bytes.as_u64(),
        )?);
        Ok(vec![Arc::new(Encryptor::new(cx, staging)) as Arc<dyn Stage>])
    })
}
