//! The dumper as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_dumper::main()
}
