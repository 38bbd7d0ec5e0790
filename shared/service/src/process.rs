//! The life of a service's process, on one screen: arguments, configuration, telemetry, connect, run, drain, exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use holdfast_config::{SecretSection, Settings};
use holdfast_format::Role;
use holdfast_telemetry::http::{self, Health};
use tokio_util::sync::CancellationToken;

use crate::{Context, Stage, bus_options, serve};

/// Exit code: bad usage or configuration.
const BAD_CONFIGURATION: u8 = 2;

/// The arguments of every service's command line.
#[derive(Debug, Parser)]
struct ProcessArgs {
    /// The configuration; else ./holdfast.toml, else /etc/holdfast/holdfast.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The exit code of a service that ended as ordered, or not.
#[must_use]
pub fn exit_code(result: Result<(), anyhow::Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad_configuration = error.downcast_ref::<holdfast_config::ConfigError>().is_some();
            tracing::error!(reason = format!("{error:#}"), "the service ends");
            eprintln!("error: {error:#}");
            if bad_configuration {
                ExitCode::from(BAD_CONFIGURATION)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

/// The sections whose secrets opening repository and bus takes.
const NEEDED: [SecretSection; 3] = [
    SecretSection::Repository,
    SecretSection::Encryption,
    SecretSection::Nats,
];

/// Runs one service until it is told to end: loads the configuration (with the secrets that every service needs, and those of
/// `further` alone), starts telemetry, opens repository and bus, and serves the stages that `stages` makes. It may tell its
/// own health besides theirs. The service must have a key of its role.
pub fn run_process<F>(service: &'static str, role: Role, further: &[SecretSection], stages: F) -> ExitCode
where
    F: AsyncFnOnce(&Context, &Health) -> anyhow::Result<Vec<Arc<dyn Stage>>>,
{
    let args = ProcessArgs::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit_code(Err(error.into())),
    };
    exit_code(runtime.block_on(run(service, role, &args, further, stages)))
}

async fn run<F>(
    service: &'static str,
    role: Role,
    args: &ProcessArgs,
    further: &[SecretSection],
    stages: F,
) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&Context, &Health) -> anyhow::Result<Vec<Arc<dyn Stage>>>,
{
    let path = Settings::find(args.config.as_deref())?;
    let secrets = [&NEEDED[..], further].concat();
    let settings = Arc::new(Settings::load_for(&path, &Settings::environment(), &secrets)?);
    let telemetry = holdfast_telemetry::init(holdfast_telemetry::Options::new(service, &settings.telemetry))?;
    let url = settings.nats.url.as_ref().ok_or_else(|| {
        anyhow::anyhow!("nats.url is not set: a service of its own needs a NATS server; `holdfast up` runs without")
    })?;
    let cx = Context::open(settings.clone(), &bus_options(&settings, url.as_str(), service)).await?;
    cx.repository.check_signs_as(role, &settings.site)?;
    let health = Health::default();
    let listening = match settings.telemetry.listen {
        Some(address) => Some(http::serve(address, health.clone(), cx.drain.clone().cancelled_owned()).await?),
        None => None,
    };
    shutdown_signal(cx.drain.clone());
    let stages = stages(&cx, &health).await?;
    tracing::info!(service, site = %cx.site, "the service takes jobs");
    serve(&cx, &stages, &health).ended().await;
    if let Some(listening) = listening {
        listening.ended().await;
    }
    if let Err(error) = tokio::task::spawn_blocking(move || telemetry.shutdown(Duration::from_secs(5))).await? {
        tracing::warn!(reason = %holdfast_fault::chain(&error), "traces were lost");
    }
    Ok(())
}

/// Cancels `drain` at the first SIGTERM or SIGINT.
pub fn shutdown_signal(drain: CancellationToken) {
    tokio::spawn(async move {
        let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            tracing::error!("SIGTERM cannot be listened for");
            return;
        };
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: the service ends its jobs"),
            _ = tokio::signal::ctrl_c() => tracing::info!("interrupted: the service ends its jobs"),
        }
        drain.cancel();
    });
}
