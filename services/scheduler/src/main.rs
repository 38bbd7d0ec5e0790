//! The scheduler's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_scheduler::main()
}
