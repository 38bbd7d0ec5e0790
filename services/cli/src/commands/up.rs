//! `holdfast up`: every service in one process, until it is told to end.

use std::sync::Arc;

use clap::Args;
use holdfast_config::SecretSection;
use holdfast_service::shutdown_signal;

use crate::assembly::{Assembly, Mode};
use crate::logs::Logs;
use crate::{CliError, Exit, Global, access};

/// Arguments of `up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {}

/// Runs every service, follows schedules, and serves health and metrics if `telemetry.listen` is set. SIGTERM and
/// SIGINT drain: running jobs have some seconds, the rest is taken up at the next start.
pub(crate) async fn run(global: &Global, _: &UpArgs) -> Result<Exit, CliError> {
    access::harden()?;
    let settings = access::load(global, SecretSection::ALL)?;
    check_schedules(&settings)?;
    let logs = Logs::service(global, &settings)?;
    let done = serve(settings).await;
    logs.end().await;
    done.map(|()| Exit::Good)
}

/// A schedule that is never followed must not go unnoticed until a backup is wanted.
fn check_schedules(settings: &holdfast_config::Settings) -> Result<(), CliError> {
    let faults = super::config::schedule_faults(settings);
    let faults: Vec<String> = faults.into_iter().map(|(key, rule)| format!("{key}: {rule}")).collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(CliError::Usage(faults.join("; ")))
    }
}

async fn serve(settings: Arc<holdfast_config::Settings>) -> Result<(), CliError> {
    let assembly = Assembly::start(settings, Mode::Up).await?;
    let cx = assembly.context();
    shutdown_signal(cx.drain.clone());
    tracing::info!(site = %cx.site, repository = cx.repository.place().describe(), "holdfast is up");
    cx.drain.cancelled().await;
    assembly.stop().await;
    Ok(())
}
