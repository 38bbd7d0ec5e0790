//! The janitor's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_janitor::main()
}
