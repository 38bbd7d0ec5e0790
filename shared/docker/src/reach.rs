//! The way to the databases of a container: an address, the network that leads there, and the role's password.
//!
//! The asker is the container whose process wants to connect, or the engine's host. A host reaches every bridge. A
//! container reaches the networks that it is in, and is put into another one for a while if it has to be.

use std::path::Path;
use std::time::Duration;

use holdfast_config::Secret;
use holdfast_fault::{Retry, Retryable};

use crate::engine::{Engine, EngineError, Exec, Outcome};
use crate::facts::{Container, State};
use crate::inventory::{self, Database, DatabaseNetwork, Password, Selection};
use crate::network::{JoinError, Joined};

/// The time limit for reading a password in its container.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// The largest password file, in bytes.
const PASSWORD_MAX: usize = 64 * 1024;

/// The databases of a container cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("reach the databases of container {container}")]
pub struct ReachError {
    /// The container's name.
    pub container: String,
    #[source]
    pub problem: ReachProblem,
}

/// A reason why the databases of a container cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ReachProblem {
    /// No such container exists, or it is not marked as PostgreSQL.
    #[error("there is no container of this name with the label holdfast.postgres=true: bring it up first")]
    Missing,
    /// The labels or the environment of the container have faults.
    #[error("{0}")]
    Faults(String),
    /// The container does not run. The text says what it does instead.
    #[error("{0}")]
    State(&'static str),
    /// The container is in the host's network, and the asker is not.
    #[error("it is in the host's network, which the container {asker} is not: name it in a [[postgres]] of its own")]
    HostNetwork {
        /// The name of the container that asks.
        asker: String,
    },
    /// The engine has given the container no address.
    #[error("it has no address yet")]
    NoAddress,
    /// The container's password file cannot be read.
    #[error("its password file {path} cannot be read in it (exit code {code})")]
    PasswordFile {
        path: String,
        /// The exit code of the command that read the file.
        code: i64,
    },
    /// The password file is too large to hold a password.
    #[error("its password file {path} is larger than {PASSWORD_MAX} bytes")]
    PasswordSize { path: String },
    /// The password file was not read in time.
    #[error("its password file {path} was not read in time")]
    PasswordLate { path: String },
    /// The password file holds bytes that are no UTF-8.
    #[error("its password file {path} does not hold text")]
    PasswordText { path: String },
    /// The engine refuses, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The asker cannot be put into the network.
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl ReachProblem {
    /// Adds the container's name.
    #[must_use]
    pub fn of(self, container: &str) -> ReachError {
        ReachError {
            container: container.to_owned(),
            problem: self,
        }
    }
}

impl Retryable for ReachError {
    fn retry(&self) -> Retry {
        self.problem.retry()
    }
}

impl Retryable for ReachProblem {
    fn retry(&self) -> Retry {
        match self {
            Self::NoAddress | Self::PasswordLate { .. } => Retry::Later,
            Self::Missing
            | Self::Faults(_)
            | Self::State(_)
            | Self::HostNetwork { .. }
            | Self::PasswordFile { .. }
            | Self::PasswordSize { .. }
            | Self::PasswordText { .. } => Retry::Never,
            Self::Engine(error) => error.retry(),
            Self::Join(error) => error.retry(),
        }
    }
}

/// The address of a container's databases, and the network that leads there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The host name or address.
    pub address: String,
    /// The network that the asker has to be in. None for the host, which reaches every bridge.
    pub network: Option<&'a DatabaseNetwork>,
    /// True if the asker is in the network already.
    pub is_shared: bool,
}

impl<'a> Route<'a> {
    /// Finds the route from the asker: by a network that both are in, else by one of the database's own. Without an
    /// asker, the route begins at the engine's host.
    ///
    /// # Errors
    /// [`ReachProblem`] if the database is in the host's network and the asker is not, or has no address.
    pub fn find(database: &'a Database, asker: Option<&Container>) -> Result<Self, ReachProblem> {
        let on_host = asker.is_none_or(|asker| asker.network_mode == "host");
        if database.on_host_network {
            return match asker {
                Some(asker) if !on_host => Err(ReachProblem::HostNetwork {
                    asker: asker.name.clone(),
                }),
                _ => Ok(Route {
                    address: "127.0.0.1".to_owned(),
                    network: None,
                    is_shared: true,
                }),
            };
        }
        let is_shared = |network: &DatabaseNetwork| {
            let mut own = asker.into_iter().flat_map(|asker| asker.networks.values());
            own.any(|endpoint| endpoint.network_id == network.id)
        };
        let addressed = || {
            let networks = database.networks.iter();
            networks.filter_map(|network| {
                let address = network.address.clone().filter(|address| !address.is_empty())?;
                Some((network, address))
            })
        };
        let shared = addressed().find(|(network, _)| is_shared(network));
        let found = shared.or_else(|| addressed().next());
        let (network, address) = found.ok_or(ReachProblem::NoAddress)?;
        Ok(Route {
            address,
            network: (!on_host).then_some(network),
            is_shared: is_shared(network),
        })
    }
}

/// Returns the reason why nothing of the server can be reached, if there is one: faults of its labels, or its state.
#[must_use]
pub fn fault(database: &Database) -> Option<ReachProblem> {
    if !database.faults.is_empty() {
        let faults: Vec<String> = database.faults.iter().map(ToString::to_string).collect();
        return Some(ReachProblem::Faults(faults.join("; ")));
    }
    match database.state {
        State::Running => None,
        State::Paused => Some(ReachProblem::State("it is paused")),
        State::Restarting => Some(ReachProblem::State("it ends and is started again and again")),
        State::Stopped => Some(ReachProblem::State("it does not run")),
    }
}

/// Reads the role's password: from the container's environment, or from a file in the container.
///
/// # Errors
/// [`ReachProblem`] if the file cannot be read.
pub async fn password(engine: &Engine, database: &Database) -> Result<Option<Secret>, ReachProblem> {
    match &database.password {
        Password::Absent => Ok(None),
        Password::Value(password) => Ok(Some(password.clone())),
        Password::File(path) => Ok(Some(read_password(engine, &database.id, path).await?)),
    }
}

async fn read_password(engine: &Engine, container: &str, path: &str) -> Result<Secret, ReachProblem> {
    let exec = Exec {
        command: &["cat", "--", path],
        user: None,
        timeout: READ_WITHIN,
        keep: PASSWORD_MAX,
    };
    let read = engine.exec(container, &exec).await?;
    let path = path.to_owned();
    match read.outcome {
        Outcome::Ended(0) if !read.cut => {}
        Outcome::Ended(0) => return Err(ReachProblem::PasswordSize { path }),
        Outcome::Ended(code) => return Err(ReachProblem::PasswordFile { path, code }),
        Outcome::TimedOut => return Err(ReachProblem::PasswordLate { path }),
    }
    let text = String::from_utf8(read.stdout).map_err(|_| ReachProblem::PasswordText { path })?;
    // The image reads the file in the same way: without the line ends at the end.
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

/// A container's databases within the reach of an asker.
#[derive(Debug)]
pub struct Reached {
    /// The host name or address.
    pub address: String,
    pub database: Database,
    pub password: Option<Secret>,
    /// The network that the asker was put into for this. The caller leaves it when the work is done.
    pub joined: Option<Joined>,
}

/// Finds the way to the databases of the container of this name, and puts the asker into a network of it if there is no
/// other way.
///
/// `asker` is the id of the container that this process runs in. Without it, or if this engine has no such container,
/// the process runs on the engine's host.
///
/// # Errors
/// [`ReachError`] if there is no such container, it does not run, its password cannot be read, or the engine does not
/// answer.
pub async fn reach(
    engine: &Engine,
    state_dir: &Path,
    container: &str,
    asker: Option<&str>,
) -> Result<Reached, ReachError> {
    let reached = find_and_join(engine, state_dir, container, asker).await;
    reached.map_err(|problem| problem.of(container))
}

async fn find_and_join(
    engine: &Engine,
    state_dir: &Path,
    container: &str,
    asker: Option<&str>,
) -> Result<Reached, ReachProblem> {
    let containers = engine.containers().await?;
    let databases_alone = Selection {
        include: Vec::new(),
        exclude: Vec::new(),
        anonymous: false,
        databases: true,
    };
    let mut inventory = inventory::take(&containers, &[], &databases_alone);
    let database = inventory.databases.remove(container).ok_or(ReachProblem::Missing)?;
    if let Some(fault) = fault(&database) {
        return Err(fault);
    }
    let asker = asker.and_then(|id| containers.iter().find(|one| one.id == id));
    let route = Route::find(&database, asker)?;
    let password = password(engine, &database).await?;
    let joined = match (asker, route.network) {
        (Some(asker), Some(network)) if !route.is_shared => {
            Some(Joined::join(engine, state_dir, &network.id, &asker.id).await?)
        }
        _ => None,
    };
    Ok(Reached {
        address: route.address,
        database,
        password,
        joined,
    })
}

#[cfg(test)]
mod tests;
