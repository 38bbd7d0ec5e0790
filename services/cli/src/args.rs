//! The command line.

use clap::{Parser, Subcommand};

use crate::commands;
use crate::global::Global;

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and all good
  1  finished, with failures
  2  bad usage or configuration
  3  nothing answered in time
  4  refused for safety";

/// Backs up databases and directories, proves the backups, and gives them back.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, after_help = EXIT_CODES, subcommand_required = true)]
pub(crate) struct Cli {
    /// The arguments of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a configuration, keys and a repository.
    Init(commands::init::InitArgs),
    /// Run every service in this process, until told to end.
    Up(commands::up::UpArgs),
    /// Make a backup, and wait for its end.
    Run(commands::run::RunArgs),
    /// List what can be restored.
    List(commands::list::ListArgs),
    /// Show one artefact or one run in full.
    Show(commands::show::ShowArgs),
    /// Say of every source how old its newest good backup is.
    Status(commands::status::StatusArgs),
    /// Look whether everything that a backup needs is there and works.
    Doctor(commands::doctor::DoctorArgs),
    /// Read backups back and say what is wrong with them.
    Verify(commands::verify::VerifyArgs),
    /// Give a database, roles, a directory or files back.
    Restore(commands::restore::RestoreArgs),
    /// Copy to off-site targets what they lack.
    Sync(commands::sync::SyncArgs),
    /// Apply retention now, or show what it would do.
    Cleanup(commands::cleanup::CleanupArgs),
    /// Keep a run, whatever retention says.
    Hold(commands::hold::HoldArgs),
    /// Let retention go by its rules again for a run that was held.
    Release(commands::hold::ReleaseArgs),
    /// Make the state in NATS again from the repository: facts and missing work of unfinished runs.
    Rebuild(commands::rebuild::RebuildArgs),
    /// Check or show the configuration.
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// Make, list or check keys.
    #[command(subcommand)]
    Keys(commands::keys::KeysCommand),
}
