//! The arguments that every command has.

use std::path::PathBuf;

use clap::Args;

/// The arguments of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Global {
    /// The configuration; else ./holdfast.toml, else /etc/holdfast/holdfast.toml.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Log this to standard error: a level, or directives such as `info,holdfast_bus=debug`. `up` goes by the
    /// configuration, all others log warnings.
    #[arg(long, value_name = "LEVEL", global = true)]
    pub(crate) log: Option<String>,
}
