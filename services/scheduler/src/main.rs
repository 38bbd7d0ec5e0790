//! The scheduler as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use holdfast_config::SecretSection;
use holdfast_scheduler::Scheduler;
use holdfast_service::run_process;

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
];

fn main() -> ExitCode {
    run_process("scheduler", SECRETS, async |cx| {
        let scheduler = Scheduler::new(cx);
        tokio::spawn(scheduler.clone().record());
        tokio::spawn(scheduler.clone().tick());
        let triggers = scheduler.clone();
        tokio::spawn(async move {
            if let Err(error) = Arc::clone(&triggers).serve_triggers().await {
                tracing::error!(reason = %holdfast_telemetry::chain(&error), "requests for runs are not answered");
            }
        });
        Ok(Vec::new())
    })
}
