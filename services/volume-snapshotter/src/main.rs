//! The volume-snapshotter as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_volume_snapshotter::main()
}
