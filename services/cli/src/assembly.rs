//! Every service in one process: for `holdfast up`, and for `holdfast run` on a host without a NATS server.

use std::sync::Arc;

use holdfast_bus::{BusOptions, PrivateServer};
use holdfast_capture::Staging;
use holdfast_config::{Period, Settings};
use holdfast_dumper::Dumper;
use holdfast_encryptor::Encryptor;
use holdfast_format::Role;
use holdfast_janitor::Janitor;
use holdfast_repository::Repository;
use holdfast_scheduler::Scheduler;
use holdfast_service::{Context, Serving, Stage, bus_options, open_bus, open_repository, secret_keys, serve};
use holdfast_session::open_staging;
use holdfast_syncer::Syncer;
use holdfast_telemetry::http::{self, Health};
use holdfast_verifier::Verifier;
use holdfast_volume_snapshotter::Snapshotter;
use tokio::task::JoinSet;

use crate::CliError;

/// The longest lease of work on a private server. Its workers are in this process alone: after a kill the next process
/// takes their jobs up so soon, instead of after a lease that allows for networks.
const PRIVATE_LEASE: Period = Period::seconds(15);

/// The purpose of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To stay: follows schedules, and shows its health.
    Up,
    /// For one run.
    Run,
}

/// All services of this process, at work.
pub(crate) struct Assembly {
    cx: Context,
    serving: Serving,
    keeping: JoinSet<()>,
    listening: Option<http::Server>,
    server: Option<PrivateServer>,
}

/// The folder of the private NATS server.
pub(crate) fn nats_dir(settings: &Settings) -> std::path::PathBuf {
    settings.state_dir.join("nats")
}

impl Assembly {
    /// Starts every service. Keys, repository and staging are looked at before anything runs.
    ///
    /// # Errors
    /// [`CliError`]; in particular [`holdfast_bus::ServerError::InUse`] if another process does this job already.
    pub(crate) async fn start(settings: Arc<Settings>, mode: Mode) -> Result<Self, CliError> {
        let settings = with_short_lease(settings);
        let repository = open_repository(&settings).await?;
        let staging = open_staging(&settings)?;
        let (server, options) = server(&settings).await?;
        let started = Self::over(settings, mode, repository, staging, &options).await;
        match started {
            Ok(assembly) => Ok(Self { server, ..assembly }),
            Err(error) => {
                if let Some(server) = server {
                    server.stop().await;
                }
                Err(error)
            }
        }
    }

    async fn over(
        settings: Arc<Settings>,
        mode: Mode,
        repository: Repository,
        staging: Arc<Staging>,
        options: &BusOptions,
    ) -> Result<Self, CliError> {
        for role in Role::ALL.iter().filter(|role| **role != Role::Operator) {
            repository.check_signs_as(*role, &settings.site)?;
        }
        let cx = Context::with(settings, repository, open_bus(options).await?)?;
        let stages = stages(&cx, staging).await?;
        let health = Health::new();
        let listening = match cx.settings.telemetry.listen.filter(|_| mode == Mode::Up) {
            Some(address) => {
                let served = http::serve(address, health.clone(), cx.drain.clone().cancelled_owned()).await;
                Some(served.map_err(|error| CliError::because("show health and metrics", error))?)
            }
            None => None,
        };
        let serving = serve(&cx, &stages, &health);
        let keeping = Scheduler::new(&cx).serve(mode == Mode::Up, &health);
        Ok(Self {
            cx,
            serving,
            keeping,
            listening,
            server: None,
        })
    }

    /// Returns the context that the services share.
    pub(crate) fn context(&self) -> &Context {
        &self.cx
    }

    /// Drains: running jobs may end within their time, the rest is given back to the queue. Then the server stops.
    pub(crate) async fn stop(mut self) {
        self.cx.drain.cancel();
        self.serving.ended().await;
        while self.keeping.join_next().await.is_some() {}
        if let Some(listening) = self.listening {
            listening.ended().await;
        }
        // The last handles of the connection: else it would be mended in vain.
        drop(self.cx);
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}

/// The bus to use: the configured server, or a private one that is started.
async fn server(settings: &Settings) -> Result<(Option<PrivateServer>, BusOptions), CliError> {
    if let Some(url) = &settings.nats.url {
        return Ok((None, bus_options(settings, url.as_str(), "holdfast")));
    }
    let server = PrivateServer::start(settings.nats.server_binary.as_deref(), &nats_dir(settings)).await?;
    let options = private_options(settings, &server.url(), server.auth());
    Ok((Some(server), options))
}

/// The settings with a lease that suits a private server, if there will be one.
fn with_short_lease(settings: Arc<Settings>) -> Arc<Settings> {
    if settings.nats.url.is_some() || settings.nats.lease <= PRIVATE_LEASE {
        return settings;
    }
    let mut settings = Arc::unwrap_or_clone(settings);
    settings.nats.lease = PRIVATE_LEASE;
    Arc::new(settings)
}

/// Returns the options of a connection to a private server.
pub(crate) fn private_options(settings: &Settings, url: &str, auth: holdfast_bus::Auth) -> BusOptions {
    BusOptions {
        auth,
        tls_ca: None,
        replicas: 1,
        ..bus_options(settings, url, "holdfast")
    }
}

/// Every stage, over one staging folder.
pub(crate) async fn stages(cx: &Context, staging: Arc<Staging>) -> Result<Vec<Arc<dyn Stage>>, CliError> {
    let syncer = Syncer::open(cx).await;
    let janitor = Janitor::new(cx);
    let keys =
        secret_keys(&cx.settings).map_err(|error| CliError::keys("verifier.secret_keys cannot be used", error))?;
    let verifier = Verifier::new(cx, keys);
    Ok(vec![
        Arc::new(Dumper::new(cx, staging.clone())),
        Arc::new(Snapshotter::new(cx, staging.clone())),
        Arc::new(Encryptor::new(cx, staging)),
        Arc::new(verifier),
        Arc::new(syncer),
        Arc::new(janitor),
    ])
}

/// Checks, before anything is captured, that this process can verify what it captures.
///
/// # Errors
/// [`CliError::Keys`] if there is no secret key, it cannot be used, or it opens nothing of what is captured.
pub(crate) fn check_verifier(settings: &Settings) -> Result<(), CliError> {
    let keys = secret_keys(settings);
    let Some(secret) = keys.map_err(|error| CliError::keys("verifier.secret_keys cannot be used", error))? else {
        return Err(CliError::no_key(
            "verifying beyond integrity needs a secret backup key: name it in verifier.secret_keys, or verify where it is",
        ));
    };
    let recipients =
        holdfast_sealing::Recipients::from_files(&settings.encryption.recipients, std::time::SystemTime::now());
    let recipients = recipients.map_err(|error| CliError::keys("encryption.recipients cannot be used", error))?;
    let held = secret.readers();
    if recipients.readers().iter().any(|reader| held.contains(reader)) {
        return Ok(());
    }
    Err(CliError::no_key(format!(
        "verifier.secret_keys ({}) open nothing that is sealed to encryption.recipients ({})",
        held.join(", "),
        recipients.readers().join(", ")
    )))
}
