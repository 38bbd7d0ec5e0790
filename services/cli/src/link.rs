//! The ways to those who work: services elsewhere, another process of this host, or this very process.

use std::sync::Arc;
use std::time::Duration;

use holdfast_bus::{Bus, PrivateServer, RunningServer, ServerError};
use holdfast_config::Settings;
use holdfast_repository::Catalogue;
use holdfast_service::{bus_options, open_bus};
use tokio::time::Instant;

use crate::CliError;
use crate::access::Access;
use crate::assembly::{Assembly, Mode, nats_dir, private_options};

/// The longest time for which the folder of the private server may be between two owners.
const CHANGING: Duration = Duration::from_secs(30);

/// The processes that do the work.
pub(crate) enum Link {
    /// The command's own process.
    Own(Box<Assembly>),
    /// Another process of this host, on whose private server we are guests: it may end while we wait.
    Guest(Box<(Bus, Access, Arc<Settings>)>),
    /// Services of their own.
    Services(Box<(Bus, Access)>),
}

impl Link {
    /// Finds who works, and starts the services in this process if nobody does.
    ///
    /// # Errors
    /// [`CliError`]
    pub(crate) async fn open(settings: &Arc<Settings>) -> Result<Self, CliError> {
        if let Some(url) = &settings.nats.url {
            let access = Access::open(settings, None).await?;
            let bus = open_bus(&bus_options(settings, url.as_str(), "holdfast-cli")).await?;
            return Ok(Self::Services(Box::new((bus, access))));
        }
        let until = Instant::now() + CHANGING;
        loop {
            let failure = match Assembly::start(settings.clone(), Mode::Run).await {
                Ok(assembly) => return Ok(Self::Own(Box::new(assembly))),
                Err(CliError::Server(error)) if matches!(*error, ServerError::InUse { .. }) => CliError::Server(error),
                Err(error) => return Err(error),
            };
            // The other process may just be starting, or ending.
            let failure = match PrivateServer::running(&nats_dir(settings)) {
                Some(running) => match Self::guest(settings, running).await {
                    Ok(link) => return Ok(link),
                    Err(error) => error,
                },
                None => failure,
            };
            if Instant::now() >= until {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn guest(settings: &Arc<Settings>, running: RunningServer) -> Result<Self, CliError> {
        let access = Access::open(settings, None).await?;
        let bus = open_bus(&private_options(settings, &running.url, running.auth)).await?;
        Ok(Self::Guest(Box::new((bus, access, settings.clone()))))
    }

    /// The bus.
    pub(crate) fn bus(&self) -> &Bus {
        match self {
            Self::Own(assembly) => &assembly.context().bus,
            Self::Guest(link) => &link.0,
            Self::Services(link) => &link.0,
        }
    }

    /// Returns the records of the repository.
    pub(crate) fn catalogue(&self) -> &Catalogue {
        match self {
            Self::Own(assembly) => &assembly.context().catalogue,
            Self::Guest(link) => &link.1.catalogue,
            Self::Services(link) => &link.1.catalogue,
        }
    }

    /// True if this process does the work.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    /// True if the worker has ended, so that this process may take over.
    pub(crate) fn is_orphaned(&self) -> bool {
        match self {
            Self::Guest(link) => PrivateServer::running(&nats_dir(&link.2)).is_none(),
            Self::Own(_) | Self::Services(_) => false,
        }
    }

    /// Ends what this process started.
    pub(crate) async fn end(self) {
        if let Self::Own(assembly) = self {
            assembly.stop().await;
        }
    }
}
