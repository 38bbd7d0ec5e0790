//! The syncer's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_syncer::main()
}
