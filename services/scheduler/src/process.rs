//! The scheduler as a process: the body of its own program, and of `holdfast` when it is called by that name.

use std::process::ExitCode;

use holdfast_format::Role;
use holdfast_service::run_process;

use crate::Scheduler;

/// Runs the service, as the command line and the configuration say, until it is told to end.
#[must_use]
pub fn main() -> ExitCode {
    run_process("scheduler", Role::Scheduler, &[], async |cx, health| {
        let tasks = Scheduler::new(cx).serve(true, health);
        tokio::spawn(tasks.join_all());
        Ok(Vec::new())
    })
}
