//! Restores into the PostgreSQL server of a container.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_config::Connection;
use holdfast_docker::network::{JoinError, Joined};
use holdfast_docker::reach::{ReachError, reach};
use holdfast_fault::{Retry, Retryable};
use holdfast_format::ArtefactKind;
use holdfast_postgres::{PgError, Server};

use super::DockerHost;
use crate::database::{
    DatabaseError, DatabaseOptions, DatabaseReport, GlobalsOptions, GlobalsReport, replace_database, restore_database,
    restore_globals,
};
use crate::progress::Progress;
use crate::source::OpenArtefact;

/// A database or the globals were not restored into the server of a container.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The container cannot be reached. Nothing was done.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The server in the container does not let this process in. Nothing was done.
    #[error("connect to the PostgreSQL server of container {container}")]
    Server {
        /// The container's name.
        container: String,
        #[source]
        source: Box<PgError>,
    },
    /// The restore failed.
    #[error("restore into the PostgreSQL server of container {container}")]
    Restore {
        /// The container's name.
        container: String,
        #[source]
        source: Box<DatabaseError>,
    },
}

impl Retryable for ContainerError {
    fn retry(&self) -> Retry {
        match self {
            Self::Reach(source) => source.retry(),
            Self::Server { source, .. } => source.retry(),
            Self::Restore { source, .. } => source.retry(),
        }
    }
}

/// The networks that this process's own container was put into to reach databases.
///
/// If the value is dropped instead of left, the next recovery takes the container out of them.
#[derive(Debug, Default)]
pub struct JoinedNetworks(Vec<Joined>);

impl JoinedNetworks {
    /// Takes the container out of all networks, and returns the failures.
    pub async fn leave(self) -> Vec<JoinError> {
        let mut failures = Vec::new();
        for joined in self.0 {
            failures.extend(joined.leave().await.err());
        }
        failures
    }
}

/// Options of a restore into the server of a container.
#[derive(Clone, Debug, Default)]
pub struct ContainerOptions {
    /// Puts a database that is there out of the way, and gives roles that are there the captured attributes.
    pub replace: bool,
    /// Further folders to search for PostgreSQL's programs.
    pub client_dirs: Vec<PathBuf>,
}

/// The result of a restore into the server of a container.
#[derive(Debug)]
pub enum ContainerReport {
    /// A database was restored.
    Database(DatabaseReport),
    /// Roles and tablespaces were restored.
    Globals(GlobalsReport),
}

/// A PostgreSQL server in a container. Nothing is changed until [`ContainerServer::restore`].
#[derive(Debug)]
pub struct ContainerServer {
    server: Server,
    container: String,
}

impl ContainerServer {
    /// Finds the way to the server, and connects once. `database` is the one to restore into; none for the globals.
    ///
    /// A network that this process's container has to be in is joined, and put to `networks`, even if there is an error
    /// afterwards.
    ///
    /// # Errors
    /// [`ContainerError`] if there is no such container, it does not run, or it does not let this process in.
    pub async fn look(
        host: &DockerHost,
        container: &str,
        database: Option<&str>,
        networks: &mut JoinedNetworks,
    ) -> Result<Self, ContainerError> {
        let found = reach(&host.engine, &host.state_dir, container, host.own_container.as_deref()).await?;
        networks.0.extend(found.joined);
        let not_let_in = |source: PgError| ContainerError::Server {
            container: container.to_owned(),
            source: Box::new(source),
        };
        let first = &found.database;
        let connection = Connection::at(&found.address, first.port, &first.user, &first.database);
        let server = Server::at(&connection, found.password, None).map_err(not_let_in)?;
        // The database to restore into may not be there yet.
        server.connect().await.map_err(not_let_in)?;
        Ok(Self {
            server: server.with_database(database.unwrap_or(&first.database)),
            container: container.to_owned(),
        })
    }

    /// Restores a database, which is made if it does not exist, or the globals.
    ///
    /// # Errors
    /// [`ContainerError::Restore`]
    pub async fn restore(
        &self,
        artefact: Arc<OpenArtefact>,
        options: &ContainerOptions,
        progress: Arc<Progress>,
    ) -> Result<ContainerReport, ContainerError> {
        let restored = self.restore_kind(artefact, options, progress).await;
        restored.map_err(|source| ContainerError::Restore {
            container: self.container.clone(),
            source: Box::new(source),
        })
    }

    async fn restore_kind(
        &self,
        artefact: Arc<OpenArtefact>,
        options: &ContainerOptions,
        progress: Arc<Progress>,
    ) -> Result<ContainerReport, DatabaseError> {
        if artefact.manifest().captured.kind == ArtefactKind::Globals {
            let overwrite = options.replace;
            let done = restore_globals(artefact, &self.server, GlobalsOptions { overwrite }).await?;
            return Ok(ContainerReport::Globals(done));
        }
        let database = DatabaseOptions {
            create: true,
            client_dirs: options.client_dirs.clone(),
            ..DatabaseOptions::default()
        };
        let done = if options.replace {
            Box::pin(replace_database(artefact, &self.server, &database, progress)).await?
        } else {
            Box::pin(restore_database(artefact, &self.server, &database, progress)).await?
        };
        Ok(ContainerReport::Database(done))
    }
}
