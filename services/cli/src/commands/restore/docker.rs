//! Into a Docker volume.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use holdfast_config::Settings;
use holdfast_docker::engine::{Engine, EngineError};
use holdfast_docker::facts::{Labels, Volume, is_name};
use holdfast_docker::helper::{Access, Helper, HelperError, UPLOAD_PREFIX};
use holdfast_fault::Retryable as _;
use holdfast_restore::{Limits, Progress, Selection, StreamError, write_upload};
use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream, ReadBuf};
use tokio_util::io::SyncIoBridge;

use super::{Opened, interrupt};
use crate::progress::Meter;
use crate::{CliError, human};

/// What a target begins with that is a volume.
const PREFIX: &str = "docker:";

/// Where an engine usually listens, for who restores without a configuration.
const HOST: &str = "unix:///var/run/docker.sock";

/// How much of an archive of an empty volume is looked at: headers of its root, and the end.
const EMPTY_MAX: usize = 16 * 1024;

/// The name of the volume, if the target is one.
pub(crate) fn volume_of(to: &Path) -> Option<Result<&str, CliError>> {
    let name = to.to_str()?.strip_prefix(PREFIX)?;
    Some(if is_name(name) {
        Ok(name)
    } else {
        Err(CliError::Usage(format!(
            "{:?} is no name of a Docker volume: letters, digits, and after the first of them also _ . -",
            human::shown(name)
        )))
    })
}

/// What becomes of what a volume holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Nothing is restored.
    Refuse,
    /// What is in the way is replaced, the rest stays.
    Overwrite,
    /// It is gone, once all of the backup is there.
    Replace,
}

/// A volume that may be restored into.
pub(crate) struct Target {
    engine: Engine,
    name: String,
    /// Whether it has to be made.
    new: bool,
    /// Where its files are seen, if they are.
    path: Option<PathBuf>,
    /// Whether all that it holds gives way.
    replaced: bool,
    labels: Labels,
    volumes_dir: Option<PathBuf>,
    state_dir: PathBuf,
}

/// Where what is to be undone is written down.
pub(crate) fn state_dir(settings: Option<&Settings>) -> PathBuf {
    settings.map_or_else(std::env::temp_dir, |settings| settings.state_dir.clone())
}

impl Target {
    /// Looks at the volume of that name.
    ///
    /// # Errors
    /// If a container that runs has it mounted, it is not empty and may not be changed, or the engine does not answer.
    pub(crate) async fn look(settings: Option<&Settings>, name: &str, existing: Existing) -> Result<Self, CliError> {
        let section = settings.and_then(|settings| settings.docker.as_ref());
        let engine = engine(settings).await?;
        let volume = match engine.volume(name).await {
            Ok(volume) => Some(volume),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(engine_error(error)),
        };
        let volumes_dir = section.and_then(|section| section.volumes_dir.clone());
        let mut target = Self {
            engine,
            name: name.to_owned(),
            new: volume.is_none(),
            path: None,
            replaced: false,
            labels: Labels::new(),
            volumes_dir,
            state_dir: state_dir(settings),
        };
        if let Some(volume) = &volume {
            target.refuse_in_use().await?;
            target.path = path_of(volume, target.volumes_dir.as_deref());
            if existing != Existing::Overwrite && !target.is_empty().await? {
                target.replaced = existing == Existing::Replace;
                if !target.replaced {
                    return Err(CliError::refused(
                        format!("volume {name} is not empty"),
                        "name a new one, or ask for what is there to be replaced (restore volume --overwrite, restore stack \
                         --replace)",
                    ));
                }
                if target.path.is_none() {
                    return Err(CliError::refused(
                        format!("volume {name} is not empty, and only the engine reaches its files"),
                        "remove it with its containers, and restore it anew",
                    ));
                }
            }
        }
        Ok(target)
    }

    /// With labels for a volume that has to be made.
    pub(crate) fn with_labels(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    async fn refuse_in_use(&self) -> Result<(), CliError> {
        let containers = self.engine.containers().await.map_err(engine_error)?;
        let uses = |one: &&holdfast_docker::facts::Container| {
            let mut mounts = one.mounts.iter();
            one.state != holdfast_docker::facts::State::Stopped
                && mounts.any(|mount| mount.volume.as_deref() == Some(self.name.as_str()))
        };
        let users: Vec<&str> = containers.iter().filter(uses).map(|one| one.name.as_str()).collect();
        if users.is_empty() {
            return Ok(());
        }
        Err(CliError::refused(
            format!("volume {} is mounted in {}", self.name, users.join(", ")),
            "stop them first, or name another volume",
        ))
    }

    async fn is_empty(&self) -> Result<bool, CliError> {
        if let Some(path) = &self.path {
            let mut entries = std::fs::read_dir(path)
                .map_err(|error| CliError::because(format!("look into {}", path.display()), error))?;
            return Ok(entries.next().is_none());
        }
        let helper = self.helper(Access::Read).await?;
        let looked = async {
            let archive = helper.download().await.map_err(engine_error)?;
            let mut beginning = Vec::new();
            let read = archive.take(EMPTY_MAX as u64).read_to_end(&mut beginning).await;
            read.map_err(|error| CliError::because(format!("look into volume {}", self.name), error))?;
            Ok(holds_only_its_root(&beginning))
        };
        let looked = looked.await;
        helper.remove().await.map_err(helper_error)?;
        looked
    }

    async fn helper(&self, access: Access) -> Result<Helper, CliError> {
        let made = Helper::create(&self.engine, &self.state_dir, &self.name, access).await;
        made.map_err(helper_error)
    }

    /// Makes the volume if it is not there. Where its files can then be written, unless only the engine can.
    ///
    /// # Errors
    /// If the engine does not.
    pub(crate) async fn make(&mut self) -> Result<Option<Way>, CliError> {
        if self.new {
            // Compose knows its volumes by these labels; ours are the operator's wishes, and come along.
            let made = self.engine.create_volume(&self.name, &self.labels).await;
            self.path = path_of(&made.map_err(engine_error)?, self.volumes_dir.as_deref());
        }
        let Some(path) = self.path.clone() else {
            return Ok(None);
        };
        let beside = |what: &str| path.with_file_name(format!("_data.holdfast-{what}"));
        Ok(Some(Way {
            beside: self.replaced.then(|| (beside("new"), beside("old"))),
            path,
        }))
    }

    /// Writes all of an artefact through the engine.
    ///
    /// # Errors
    /// If the artefact is damaged, or the engine does not take it.
    pub(crate) async fn upload(&self, opened: &Opened, select: Selection) -> Result<(), CliError> {
        let progress = Arc::new(Progress::default());
        let meter = Meter::of(
            &opened.manifest().captured.name,
            opened.manifest().captured.stream.size,
            &progress,
        );
        let helper = self.helper(Access::Write).await?;
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (artefact, writing) = (opened.artefact.clone(), progress.clone());
        let whole = Arc::new(AtomicBool::new(false));
        let theirs = UnlessBrokenOff {
            inner: theirs,
            whole: whole.clone(),
        };
        let bridge = SyncIoBridge::new(ours);
        let mut written = tokio::task::spawn_blocking(move || {
            let mut out = std::io::BufWriter::with_capacity(1 << 18, bridge);
            let (prefix, limits) = (UPLOAD_PREFIX.as_bytes(), Limits::default());
            write_upload(artefact.origin(), &select, prefix, limits, &writing, &mut out)?;
            std::io::Write::flush(&mut out).map_err(StreamError::Write)?;
            whole.store(true, Ordering::SeqCst);
            Ok(())
        });
        let stop = interrupt();
        let sent = tokio::select! {
            sent = helper.upload(theirs) => sent.map_err(engine_error),
            () = stop.cancelled() => {
                progress.stop();
                Err(CliError::failed("stopped: the volume holds a part of the backup"))
            }
        };
        let made = (&mut written).await;
        let removed = helper.remove().await.map_err(helper_error);
        drop(meter);
        // What the artefact lacks is the cause of what the engine says of its end.
        match made {
            Ok(Ok(()) | Err(StreamError::Write(_) | StreamError::Stopped)) => {}
            Ok(Err(error)) => {
                return Err(CliError::because("the volume was not restored, or only in part", error));
            }
            Err(error) => return Err(CliError::because("restoring was broken off", error)),
        }
        sent?;
        removed
    }
}

/// An archive that fails at its end unless it was written whole: the engine would take a part for the whole.
struct UnlessBrokenOff {
    inner: DuplexStream,
    whole: Arc<AtomicBool>,
}

impl AsyncRead for UnlessBrokenOff {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        let at_end = matches!(read, Poll::Ready(Ok(()))) && into.filled().len() == before;
        if at_end && !self.whole.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::Error::other("the archive was broken off")));
        }
        read
    }
}

/// Where a volume's files are written.
pub(crate) struct Way {
    /// Its folder.
    path: PathBuf,
    /// If what it holds gives way: where the files are made, and where the old ones go until they are removed.
    beside: Option<(PathBuf, PathBuf)>,
}

impl Way {
    /// The folder to restore into.
    pub(crate) fn folder(&self) -> Result<&Path, CliError> {
        let Some((fresh, old)) = &self.beside else {
            return Ok(&self.path);
        };
        // Of a restore that was killed.
        for left in [fresh, old] {
            remove(left)?;
        }
        Ok(fresh)
    }

    /// Puts what was restored in its place, if it is whole; else the old files stay.
    pub(crate) fn finish(&self, whole: bool) -> Result<(), CliError> {
        let Some((fresh, old)) = &self.beside else {
            return Ok(());
        };
        if !whole {
            return remove(fresh);
        }
        let rename = |from: &Path, to: &Path| {
            std::fs::rename(from, to)
                .map_err(|error| CliError::because(format!("rename {} to {}", from.display(), to.display()), error))
        };
        rename(&self.path, old)?;
        if let Err(error) = rename(fresh, &self.path) {
            rename(old, &self.path)?;
            return Err(error);
        }
        remove(old)
    }
}

fn remove(folder: &Path) -> Result<(), CliError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::because(format!("remove {}", folder.display()), error))
        }
        _ => Ok(()),
    }
}

/// Where a volume's files are seen, if they can be written there.
fn path_of(volume: &Volume, volumes_dir: Option<&Path>) -> Option<PathBuf> {
    let path = volume.folder(volumes_dir);
    (volume.is_plain() && std::fs::read_dir(&path).is_ok()).then_some(path)
}

/// Whether an archive holds nothing but the folder itself.
fn holds_only_its_root(archive: &[u8]) -> bool {
    let mut archive = tar::Archive::new(archive);
    let Ok(entries) = archive.entries() else { return false };
    let mut names = entries.map(|entry| entry.ok().map(|entry| entry.path_bytes().into_owned()));
    names.all(|name| name.is_some_and(|name| matches!(name.as_slice(), b"./" | b"." | b"holdfast/" | b"holdfast")))
}

/// The engine that is configured, else the usual one.
pub(crate) async fn engine(settings: Option<&Settings>) -> Result<Engine, CliError> {
    let section = settings.and_then(|settings| settings.docker.as_ref());
    let host = section.map_or(HOST, |section| section.host.as_str());
    Engine::connect(host, holdfast_docker::engine::Limits::default())
        .await
        .map_err(engine_error)
}

/// The labels that a new volume gets: those that it had.
pub(crate) fn labels_of(opened: &Opened) -> Labels {
    let volume = opened.manifest().captured.volume.as_ref();
    volume.map(|volume| volume.labels.clone()).unwrap_or_default()
}

fn engine_error(error: EngineError) -> CliError {
    if error.retry().is_later() {
        return CliError::NoAnswer(holdfast_fault::chain(&error).to_string());
    }
    CliError::because("the Docker engine does not do it", error)
}

fn helper_error(error: HelperError) -> CliError {
    match error {
        HelperError::Engine(error) => engine_error(error),
        other => CliError::because("the volume cannot be reached", other),
    }
}
