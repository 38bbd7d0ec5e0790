//! The engine, through its interface: a narrow adapter over bollard.
//!
//! Every call has a time limit, and every error names the operation and the thing, keeps its cause and knows whether
//! trying again may help. Names are checked before they are sent, since they become parts of addresses.

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

/// How long the engine may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To answer an ordinary question.
    pub answer: Duration,
    /// To do what takes time: starting or stopping a container (beyond the container's own time), making a volume.
    pub act: Duration,
    /// Between two pieces of an archive.
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

/// What the client library may wait for an answer: we have limits of our own, by call.
const NO_LIMIT: u64 = 7 * 24 * 3600;

/// A Docker engine. Clones share it. Holds no connection open, so it survives a restart of the engine.
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

/// Which engine it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Of the engine: `20.10.24`.
    pub engine: String,
    /// Of its interface: `1.41`.
    pub api: String,
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub arch: String,
}

impl Engine {
    /// Connects to `host`: `unix:///var/run/docker.sock`, a path, or `tcp://address:port` (without TLS: a socket
    /// proxy), and agrees with the engine on a version of its interface.
    ///
    /// # Errors
    /// If it is no such address, or the engine does not answer.
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

    /// Where it is.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How long it may take.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Which engine it is.
    ///
    /// # Errors
    /// If it does not answer.
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

    /// An ordinary question.
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
