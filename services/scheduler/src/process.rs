//! The scheduler as a process of its own: what its program does, and `holdfast` if it is called by that name.

use std::process::ExitCode;

use holdfast_service::run_process;

use crate::Scheduler;

/// Runs the service until it is told to end, by its command line and configuration.
#[must_use]
pub fn main() -> ExitCode {
    run_process("scheduler", &[], async |cx, health| {
        let tasks = Scheduler::new(cx).serve(true, health);
        tokio::spawn(tasks.join_all());
        Ok(Vec::new())
    })
}
