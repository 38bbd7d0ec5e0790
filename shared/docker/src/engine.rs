//! Calls to the engine: a narrow adapter over bollard.
//!
//! Every call has a time limit. Every error names the operation and the thing, keeps its cause, and says if a later
//! attempt may succeed. Names are checked before they are sent, since they become parts of addresses.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

mod archive;
mod containers;
mod convert;
mod error;
mod events;
mod exec;
mod stores;

pub use archive::Archive;
pub use containers::{HelperSpec, Started, Stopped};
pub use error::{EngineError, Kind};
pub use events::{Event, EventKind};
pub use exec::{Exec, Executed, Outcome};

/// Time limits for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The limit of a call that only asks.
    pub answer: Duration,
    /// The limit of a call that takes time: starting or stopping a container (beyond the container's own stop time), or
    /// making a volume.
    pub act: Duration,
    /// The longest pause between two pieces of an archive.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            act: Duration::from_secs(120),
            idle: Duration::from_secs(120),
        }
    }
}

/// The time limit that bollard is given, in seconds. It never matters: each call has a limit of its own.
const NO_LIMIT: u64 = 7 * 24 * 3600;

/// A Docker engine. Clones share one client. No connection is kept open, so the value stays usable when the engine
/// restarts.
#[derive(Clone)]
pub struct Engine {
    client: Docker,
    host: String,
    limits: Limits,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// The version of an engine and the system it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The version of the engine, such as `20.10.24`.
    pub engine: String,
    /// The version of the engine's interface, such as `1.41`.
    pub api: String,
    /// The operating system, such as `linux`.
    pub os: String,
    /// The processor architecture, such as `amd64`.
    pub arch: String,
}

impl Engine {
    /// Connects to `host`: `unix:///var/run/docker.sock`, a path, or `tcp://address:port` (without TLS, for a socket
    /// proxy). Agrees with the engine on a version of its interface.
    ///
    /// # Errors
    /// If `host` is no such address, or the engine does not answer.
    pub async fn connect(host: &str, limits: Limits) -> Result<Self, EngineError> {
        let refused = |source| EngineError::of_bollard("connect to", format!("the Docker engine at {host}"), source);
        let client = match host.strip_prefix("unix://").unwrap_or(host) {
            path if path.starts_with('/') => Docker::connect_with_unix(path, NO_LIMIT, API_DEFAULT_VERSION),
            _ if host.starts_with("tcp://") || host.starts_with("http://") => {
                Docker::connect_with_http(host, NO_LIMIT, API_DEFAULT_VERSION)
            }
            _ => Err(bollard::errors::Error::UnsupportedURISchemeError { uri: host.to_owned() }),
        };
        let client = client.map_err(refused)?;
        let mut engine = Self {
            client,
            host: host.to_owned(),
            limits,
        };
        let agree = engine.client.clone().negotiate_version();
        let thing = format!("the Docker engine at {host}");
        engine.client = engine.call("connect to", &thing, limits.answer, agree).await?;
        Ok(engine)
    }

    /// Returns the address that the engine was connected by.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the time limits of calls.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Asks the engine for its version.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn version(&self) -> Result<Version, EngineError> {
        let version = self
            .ask("ask the version of", "the Docker engine", self.client.version())
            .await?;
        Ok(Version {
            engine: version.version.unwrap_or_default(),
            api: version.api_version.unwrap_or_default(),
            os: version.os.unwrap_or_default(),
            arch: version.arch.unwrap_or_default(),
        })
    }

    /// Makes a call that only asks, with the limit for answers.
    async fn ask<T>(
        &self,
        operation: &'static str,
        thing: &str,
        question: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        self.call(operation, thing, self.limits.answer, question).await
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        thing: &str,
        limit: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|source| EngineError::of_bollard(operation, thing, source)),
            Err(_) => Err(EngineError::no_answer(operation, thing, limit)),
        }
    }
}
