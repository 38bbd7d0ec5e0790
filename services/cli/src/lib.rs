//! `holdfast`, the operator's command.
//!
//! - One file per command under `commands`; each takes its arguments and answers with an [`Exit`] or a [`CliError`].
//! - `assembly`: every service in one process, for `up` and for `run` on a host without a NATS server.
//! - `access`: a repository opened with what a host has, be it a whole configuration or one secret key.
//! - `age`: how old a source's newest good backup may be.
//! - `overview` and `resolve`: what is in a repository, and which of it somebody means.
//!
//! Results go to standard output, logs and progress to standard error.

mod access;
mod age;
mod args;
mod assembly;
mod checks;
mod commands;
mod dispatch;
mod error;
mod exit;
mod follow;
mod global;
mod human;
mod key_files;
mod link;
mod logs;
mod output;
mod overview;
mod parse;
mod person;
mod progress;
mod resolve;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;

pub use error::CliError;
pub use exit::Exit;

use args::Cli;
use dispatch::dispatch;
pub(crate) use global::Global;

/// The command line's definition, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line of this process; called by a service's name, that service.
pub fn main() -> ExitCode {
    match std::env::args_os().next().and_then(|name| service(Path::new(&name))) {
        Some(serve) => serve(),
        None => run(std::env::args_os()).into(),
    }
}

/// Returns the function of a service's program: so one program is enough for all services, as in an image.
fn service(name: &Path) -> Option<fn() -> ExitCode> {
    Some(match name.file_name()?.to_str()? {
        "holdfast-scheduler" => holdfast_scheduler::main,
        "holdfast-dumper" => holdfast_dumper::main,
        "holdfast-volume-snapshotter" => holdfast_volume_snapshotter::main,
        "holdfast-encryptor" => holdfast_encryptor::main,
        "holdfast-verifier" => holdfast_verifier::main,
        "holdfast-syncer" => holdfast_syncer::main,
        "holdfast-janitor" => holdfast_janitor::main,
        _ => return None,
    })
}

/// Runs a command line, its first word being the program's name; prints what it has to say, and gives the exit code.
pub fn run(words: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to standard output. Whoever reads it may have gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Good };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&CliError::because("start the runtime", error)),
    };
    let exit = match runtime.block_on(dispatch(cli)) {
        Ok(exit) => exit,
        Err(error) => failed(&error),
    };
    // A thread that still blocks on a place or a child must not hold the process back.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit
}

fn failed(error: &CliError) -> Exit {
    let text = holdfast_fault::chain(error).to_string();
    // Lines are kept, as those of a configuration's faults; all else that could steer a terminal is not.
    let text: Vec<String> = text.lines().map(human::shown).collect();
    eprintln!("error: {}", text.join("\n"));
    if let Some(advice) = error.advice() {
        eprintln!("what to do: {}", human::shown(&advice));
    }
    Exit::from(error)
}

#[cfg(test)]
mod tests;
