//! Containers that are made only to reach a volume's files through the engine.
//!
//! Where no container has a volume mounted, one is made that is never started. A file in the state folder, locked while
//! its owner lives, names it before it is made; so a successor finds and removes it.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncRead;
use uuid::Uuid;

use crate::engine::{Archive, Engine, EngineError, HelperSpec, Kind};
use crate::labels::HELPER;
use crate::owned::{self, Owned};

/// Where the volume is mounted.
const MOUNTED_AT: &str = "/holdfast";

/// What names in an archive for [`Helper::upload`] begin with, those that hard links lead to included.
pub const UPLOAD_PREFIX: &str = "holdfast/";

/// What all names of helpers begin with.
const PREFIX: &str = "holdfast-helper-";

/// A helper container cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The file that names it cannot be used.
    #[error("keep the name of a helper container in {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine has no image to make it of.
    #[error("make a helper container for volume {volume}: the engine has no image; any will do")]
    NoImage {
        /// The volume.
        volume: String,
    },
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Whether a helper may change its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may not.
    Read,
    /// It may.
    Write,
}

/// A container that has a volume mounted and is never started. To be removed by [`Helper::remove`]; if it is dropped, it
/// is removed in the background, or by the next recovery.
#[derive(Debug)]
pub struct Helper {
    engine: Engine,
    /// `None` once it is being removed.
    named: Option<Owned>,
    name: String,
}

impl Helper {
    /// Makes one for `volume`, of an image that is there.
    ///
    /// # Errors
    /// If the volume is not there, or there is no image, or the engine does not answer.
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
        // From here on it removes itself.
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
                // The engine may have made it all the same.
                let _ = helper.remove().await;
                Err(error.into())
            }
        }
    }

    /// The container's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The volume's files as a tar archive; names begin with `./`.
    ///
    /// # Errors
    /// As [`Engine::download`].
    pub async fn download(&self) -> Result<Archive, EngineError> {
        self.engine.download(&self.name, &format!("{MOUNTED_AT}/.")).await
    }

    /// Writes the entries of a tar archive into the volume. Their names must begin with [`UPLOAD_PREFIX`]; what does not
    /// ends with the container.
    ///
    /// # Errors
    /// As [`Engine::upload`].
    pub async fn upload(&self, tar: impl AsyncRead + Send + 'static) -> Result<(), EngineError> {
        // Into the root, since the engine refuses symbolic links that lead out of the folder that it unpacks in, and these
        // are the business of whoever made the volume.
        self.engine.upload(&self.name, "/", tar).await
    }

    /// Removes the container.
    ///
    /// # Errors
    /// If the engine does not; then the next recovery does.
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
        let (engine, name) = (self.engine.clone(), self.name.clone());
        runtime.spawn(async move {
            if let Err(error) = remove(&engine, &name, named).await {
                tracing::warn!("{}; the next recovery tries again", holdfast_fault::chain(&error));
            }
        });
    }
}

/// Removes the helpers of the dead; gives what failed.
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

/// Whether there may be one.
pub(crate) fn is_any(state_dir: &Path) -> bool {
    owned::list(&folder(state_dir), "helper").is_ok_and(|paths| !paths.is_empty())
}

async fn remove(engine: &Engine, name: &str, named: Owned) -> Result<(), HelperError> {
    match engine.remove_container(name).await {
        Ok(()) => {}
        // Somebody else is removing it.
        Err(error) if error.kind() == Kind::Conflict => {}
        Err(error) => return Err(error.into()),
    }
    let path = named.path().to_owned();
    named.remove().map_err(|source| HelperError::File { path, source })
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("helpers")
}
