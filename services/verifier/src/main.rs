//! The verifier's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_verifier::main()
}
