//! Networks that a container of Holdfast joins for a while, to reach a database.
//!
//! Before anything is done, a file in the state folder names the network and the container. The file is locked while
//! its owner lives, so that a successor finds the file of a dead owner and takes the container out again.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_fault::{Retry, Retryable};
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineError};
use crate::owned::{self, Owned};

/// An error of joining or leaving a network.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The file that names the network cannot be used.
    #[error("keep the name of a joined network in {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The engine refuses, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Retryable for JoinError {
    fn retry(&self) -> Retry {
        match self {
            Self::File { source, .. } => Retry::of_io(source),
            Self::Engine(error) => error.retry(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Names {
    network: String,
    container: String,
}

/// A container in a network that it was not in before. Ended by [`Joined::leave`]; if the value is dropped instead, the
/// next recovery ends it.
#[derive(Debug)]
pub struct Joined {
    engine: Engine,
    named: Owned,
    network: String,
    container: String,
}

impl Joined {
    /// Puts `container` into `network`, both given by id.
    ///
    /// If the network or the container is not there, or the engine does not answer.
    pub async fn join(engine: &Engine, state_dir: &Path, network: &str, container: &str) -> Result<Self, JoinError> {
        let name = format!("{}-{}.joined", short(network), short(container));
        let path = folder(state_dir).join(name);
        let names = Names {
            network: network.to_owned(),
            container: container.to_owned(),
        };
        let file = |source| JoinError::File {
            path: path.clone(),
            source,
        };
        let text = serde_json::to_vec(&names).map_err(|error| file(error.into()))?;
        let named = match Owned::create(&path, &text) {
            Ok(named) => named,
            // The file of a dead owner, who wanted the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let adopted = Owned::adopt(&path).map_err(file)?;
                adopted.map(|(named, _)| named).ok_or_else(|| file(error))?
            }
            Err(error) => return Err(file(error)),
        };
        let joined = Self {
            engine: engine.clone(),
            named,
            network: network.to_owned(),
            container: container.to_owned(),
        };
        match engine.join_network(network, container).await {
            Ok(()) => Ok(joined),
            Err(error) => {
                // The engine may have joined the network in spite of the error.
                let _ = joined.leave().await;
                Err(error.into())
            }
        }
    }

    /// Takes the container out of the network.
    ///
    /// # Errors
    /// If the engine does not answer; then the next recovery takes the container out.
    pub async fn leave(self) -> Result<(), JoinError> {
        self.engine.leave_network(&self.network, &self.container).await?;
        let path = self.named.path().to_owned();
        self.named.remove().map_err(|source| JoinError::File { path, source })
    }
}

/// Takes the containers of dead owners out of their networks, and returns the failures.
pub(crate) async fn sweep(engine: &Engine, state_dir: &Path) -> Vec<JoinError> {
    let folder = folder(state_dir);
    let paths = match owned::list(&folder, "joined") {
        Ok(paths) => paths,
        Err(source) => return vec![JoinError::File { path: folder, source }],
    };
    let mut failures = Vec::new();
    for path in paths {
        let (named, content) = match Owned::adopt(&path) {
            Ok(Some(adopted)) => adopted,
            Ok(None) => continue,
            Err(source) => {
                failures.push(JoinError::File { path, source });
                continue;
            }
        };
        match serde_json::from_slice::<Names>(&content) {
            Ok(Names { network, container }) => {
                let joined = Joined {
                    engine: engine.clone(),
                    named,
                    network,
                    container,
                };
                failures.extend(joined.leave().await.err());
            }
            Err(error) => failures.push(JoinError::File {
                path,
                source: error.into(),
            }),
        }
    }
    failures
}

/// True if a dead owner may have left a container in a network.
pub(crate) fn is_any(state_dir: &Path) -> bool {
    owned::may_hold(&folder(state_dir), "joined")
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("networks")
}
