//! Helper containers, made only to reach a volume's files through the engine.
//!
//! A volume that no container has mounted is reached through a container that is made for it and never started. A file
//! in the state folder names that container before it is made. The file is locked while its owner lives, so that a
//! successor finds and removes the containers of dead owners.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_fault::{Retry, Retryable};
use tokio::io::AsyncRead;
use uuid::Uuid;

use crate::engine::{Archive, Engine, EngineError, HelperSpec, Kind};
use crate::labels::HELPER;
use crate::owned::{self, Owned};

/// The path at which a helper has the volume mounted.
const MOUNTED_AT: &str = "/holdfast";

/// The beginning of all entry names in an archive for [`Helper::upload`], and of the targets of hard links in it.
pub const UPLOAD_PREFIX: &str = "holdfast/";

/// The beginning of the names of all helpers.
const PREFIX: &str = "holdfast-helper-";

/// An error of making or removing a helper container.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The file that names the helper cannot be used.
    #[error("keep the name of a helper container in {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The engine has no image to make a helper of.
    #[error("make a helper container for volume {volume}: the engine has no image; any will do")]
    NoImage { volume: String },
    /// The engine refuses, or does not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Retryable for HelperError {
    fn retry(&self) -> Retry {
        match self {
            Self::File { source, .. } => Retry::of_io(source),
            Self::NoImage { .. } => Retry::Never,
            Self::Engine(source) => source.retry(),
        }
    }
}

/// The access that a helper has to its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The volume is mounted read-only.
    Read,
    /// The volume is mounted for writing.
    Write,
}

/// A container that has a volume mounted and is never started. Removed by [`Helper::remove`]; if the value is dropped
/// instead, the container is removed in the background, or by the next recovery.
#[derive(Debug)]
pub struct Helper {
    engine: Engine,
    /// The file that names the helper; `None` once the helper is being removed.
    named: Option<Owned>,
    name: String,
}

impl Helper {
    /// Makes a helper for `volume`, of any image that the engine has.
    ///
    /// # Errors
    /// If the volume is not there, the engine has no image, or it does not answer.
    pub async fn create(engine: &Engine, state_dir: &Path, volume: &str, access: Access) -> Result<Self, HelperError> {
        let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
        let path = folder(state_dir).join(&name).with_extension("helper");
        let mut images = engine.images().await?.into_iter();
        let Some(image) = images.next() else {
            return Err(HelperError::NoImage {
                volume: volume.to_owned(),
            });
        };
        let named = Owned::create(&path, b"").map_err(|source| HelperError::File { path, source })?;
        // From here on, dropping the value removes the container.
        let helper = Self {
            engine: engine.clone(),
            named: Some(named),
            name,
        };
        let spec = HelperSpec {
            name: &helper.name,
            image: &image.id,
            volume,
            mounted_at: MOUNTED_AT,
            writable: access == Access::Write,
            labels: &[(HELPER, "true")],
        };
        match engine.create_helper(&spec).await {
            Ok(_) => Ok(helper),
            Err(error) => {
                // The engine may have made the container in spite of the error.
                let _ = helper.remove().await;
                Err(error.into())
            }
        }
    }

    /// Returns the container's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads the volume's files as a tar archive, with names that begin with `./`.
    ///
    /// # Errors
    /// As [`Engine::download`].
    pub async fn download(&self) -> Result<Archive, EngineError> {
        self.engine.download(&self.name, &format!("{MOUNTED_AT}/.")).await
    }

    /// Writes the entries of a tar archive into the volume. Their names must begin with [`UPLOAD_PREFIX`]; other
    /// entries land in the container itself, and vanish with it.
    ///
    /// # Errors
    /// As [`Engine::upload`].
    pub async fn upload(&self, tar: impl AsyncRead + Send + 'static) -> Result<(), EngineError> {
        // Uploads to the root folder: the engine refuses symbolic links that lead out of the folder that it unpacks in,
        // and a volume may well hold such links.
        self.engine.upload(&self.name, "/", tar).await
    }

    /// Removes the container.
    ///
    /// # Errors
    /// If the engine does not remove the container; then the next recovery does.
    pub async fn remove(mut self) -> Result<(), HelperError> {
        match self.named.take() {
            Some(named) => remove(&self.engine, &self.name, named).await,
            None => Ok(()),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let (Some(named), Ok(runtime)) = (self.named.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let engine = self.engine.clone();
        let name = self.name.clone();
        runtime.spawn(async move {
            if let Err(error) = remove(&engine, &name, named).await {
                tracing::warn!("{}; the next recovery tries again", holdfast_fault::chain(&error));
            }
        });
    }
}

/// Removes the helpers of dead owners, and returns the failures.
pub(crate) async fn sweep(engine: &Engine, state_dir: &Path) -> Vec<HelperError> {
    let folder = folder(state_dir);
    let paths = match owned::list(&folder, "helper") {
        Ok(paths) => paths,
        Err(source) => return vec![HelperError::File { path: folder, source }],
    };
    let mut failures = Vec::new();
    for path in paths {
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        if !name.starts_with(PREFIX) {
            continue;
        }
        match Owned::adopt(&path) {
            Ok(None) => {}
            Ok(Some((named, _))) => failures.extend(remove(engine, &name, named).await.err()),
            Err(source) => failures.push(HelperError::File { path, source }),
        }
    }
    failures
}

/// True if there is a helper, of a living or a dead owner.
pub(crate) fn is_any(state_dir: &Path) -> bool {
    owned::may_hold(&folder(state_dir), "helper")
}

async fn remove(engine: &Engine, name: &str, named: Owned) -> Result<(), HelperError> {
    match engine.remove_container(name).await {
        Ok(()) => {}
        // The engine is removing the container already.
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error.into()),
    }
    let path = named.path().to_owned();
    named.remove().map_err(|source| HelperError::File { path, source })
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("helpers")
}
