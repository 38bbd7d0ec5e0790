//! The syncer as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_syncer::main()
}
