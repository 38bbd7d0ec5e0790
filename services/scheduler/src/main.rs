//! The scheduler as a process of its own.

use std::process::ExitCode;

use holdfast_config::SecretSection;
use holdfast_scheduler::Scheduler;
use holdfast_service::run_process;

const SECRETS: &[SecretSection] = &[
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
];

fn main() -> ExitCode {
    run_process("scheduler", SECRETS, async |cx, health| {
        let tasks = Scheduler::new(cx).serve(true, health);
        tokio::spawn(tasks.join_all());
        Ok(Vec::new())
    })
}
