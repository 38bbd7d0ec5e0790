//! From the command line to its command.

use crate::args::{Cli, Command};
use crate::commands::{
    cleanup, config, doctor, hold, init, keys, list, rebuild, restore, run, show, status, sync, up, verify,
};
use crate::{CliError, Exit};

/// Does what the command line says. Futures are boxed: commands differ much in size, and the largest would count for all.
pub(crate) async fn dispatch(cli: Cli) -> Result<Exit, CliError> {
    let global = &cli.global;
    match cli.command {
        Command::Init(args) => Box::pin(init::run(global, &args)).await,
        Command::Up(args) => Box::pin(up::run(global, &args)).await,
        Command::Run(args) => Box::pin(run::run(global, &args)).await,
        Command::List(args) => Box::pin(list::run(global, &args)).await,
        Command::Show(args) => Box::pin(show::run(global, &args)).await,
        Command::Status(args) => Box::pin(status::run(global, &args)).await,
        Command::Doctor(args) => Box::pin(doctor::run(global, &args)).await,
        Command::Verify(args) => Box::pin(verify::run(global, &args)).await,
        Command::Restore(args) => Box::pin(restore::run(global, &args)).await,
        Command::Sync(args) => Box::pin(sync::run(global, &args)).await,
        Command::Cleanup(args) => Box::pin(cleanup::run(global, &args)).await,
        Command::Hold(args) => Box::pin(hold::run_hold(global, &args)).await,
        Command::Release(args) => Box::pin(hold::run_release(global, &args)).await,
        Command::Rebuild(args) => Box::pin(rebuild::run(global, &args)).await,
        Command::Config(command) => config::run(global, &command),
        Command::Keys(command) => Box::pin(keys::run(global, &command)).await,
    }
}
