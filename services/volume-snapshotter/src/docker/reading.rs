//! Reading one volume: at a path of this host, or through the engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_capture::{LAYOUT, Root, TreeOutcome, TreeSpec, capture_archive, capture_tree};
use holdfast_config::ReadVolumes;
use holdfast_docker::engine::{Archive, Engine};
use holdfast_docker::facts::State;
use holdfast_docker::helper::{Access, Helper};
use holdfast_docker::inventory::{User, VolumeEntry};
use holdfast_docker::quiet::Covered;
use holdfast_fault::chain;
use holdfast_format::{Class, VolumeInfo, VolumeUser};
use holdfast_service::{JobError, is_in_memory};
use holdfast_session::{Input, SourceFacts};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::io::SyncIoBridge;

use super::{Docker, Seen};
use crate::stage::tools;

/// The words before a secret in a driver's options: `o=username=x,password=y`.
const SECRETS: [&str; 3] = ["password=", "pass=", "credentials="];

/// The access to a volume's files.
enum ReadBy {
    /// At a path of this host.
    Path(PathBuf),
    /// Through the engine: at this place of a container that has it mounted, else of one that is made for it.
    Archive(Option<(String, String)>),
}

/// One volume that is about to be read.
pub(super) struct Reading {
    entry: VolumeEntry,
    read_by: ReadBy,
    engine: Engine,
    state_dir: PathBuf,
    /// Bounds the number of volumes of a group that are read at the same time.
    turns: Arc<Semaphore>,
}

impl Docker {
    /// Finds out how a volume is read.
    pub(super) async fn reading(&self, entry: VolumeEntry, seen: &Seen) -> Result<Reading, JobError> {
        let read_by = self.read_by(&entry, seen).await?;
        Ok(Reading {
            read_by,
            entry,
            engine: self.engine().await?.clone(),
            state_dir: self.state_dir.clone(),
            turns: self.reading.clone(),
        })
    }

    async fn read_by(&self, entry: &VolumeEntry, seen: &Seen) -> Result<ReadBy, JobError> {
        let volume = &entry.volume;
        let read = self.section.volumes.read;
        let path = volume.folder(self.section.volumes_dir.as_deref());
        if read == ReadVolumes::Archive {
            return Ok(ReadBy::Archive(mounted_alone(entry, seen)));
        }
        let looked_at = path.clone();
        let opened = tokio::task::spawn_blocking(move || std::fs::read_dir(&looked_at).map(drop)).await?;
        match opened {
            Ok(()) if volume.is_plain() && path.is_absolute() => Ok(ReadBy::Path(path)),
            _ if read == ReadVolumes::Auto => Ok(ReadBy::Archive(mounted_alone(entry, seen))),
            Ok(()) => Err(JobError::Fail(format!(
                "volume {} is mounted by its driver's own rules, so its mount point cannot be relied on: \
                 docker.volumes.read must be auto or archive",
                volume.name
            ))),
            Err(error) => Err(JobError::Fail(format!(
                "volume {} cannot be read at {}: {error}; mount the engine's volumes there (docker.volumes_dir), or set \
                 docker.volumes.read to auto",
                volume.name,
                path.display()
            ))),
        }
    }
}

/// Returns a container that has the volume mounted with nothing else mounted below, and the path there.
fn mounted_alone(entry: &VolumeEntry, seen: &Seen) -> Option<(String, String)> {
    let alone = |user: &&User| {
        let container = seen.containers.iter().find(|one| one.id == user.id);
        let below = format!("{}/", user.destination.trim_end_matches('/'));
        container.is_some_and(|one| !one.mounts.iter().any(|mount| mount.destination.starts_with(&below)))
    };
    let user = entry.users.iter().find(alone)?;
    Some((user.id.clone(), format!("{}/.", user.destination.trim_end_matches('/'))))
}

/// A volume, as a plan of quiet times names it.
pub(super) fn covered(entry: &VolumeEntry) -> Covered {
    Covered {
        volume: entry.volume.name.clone(),
        mode: entry.mode,
    }
}

impl Reading {
    /// The class that the volume has of its own.
    pub(super) fn class(&self) -> Option<Class> {
        self.entry.class
    }

    /// The group that the volume is of.
    pub(super) fn group(&self) -> Option<&str> {
        self.entry.group.as_deref()
    }

    pub(super) fn covered(&self) -> Covered {
        covered(&self.entry)
    }

    /// True if a pre-copy's findings can say anything about the volume's later state.
    pub(super) fn takes_precopy(&self) -> bool {
        match &self.read_by {
            // In memory, writes through maps never show in the times of files.
            ReadBy::Path(path) => !is_in_memory(path),
            ReadBy::Archive(_) => true,
        }
    }

    /// Reads the volume while its containers run. `None` if the engine breaks its archive off.
    pub(super) fn precopy(&self, input: Input<'_>) -> Result<Option<SourceFacts>, JobError> {
        let stop = input.watch.stop;
        match (self.read(input), &self.read_by) {
            (Ok(found), _) => Ok(Some(found)),
            // An engine breaks an archive off when a file in it changes: which it no longer does once all are quiet.
            (Err(error), ReadBy::Archive(_)) if !stop() && !matches!(error, JobError::Superseded(_)) => {
                let volume = &self.entry.volume.name;
                let reason = error.reason();
                tracing::info!(volume, reason, "a volume could not be read while its containers run");
                Ok(None)
            }
            (Err(error), _) => Err(error),
        }
    }

    pub(super) fn read(&self, mut input: Input<'_>) -> Result<SourceFacts, JobError> {
        let runtime = Handle::current();
        // Closed never: it is ours.
        let _turn = runtime.block_on(self.turns.acquire()).ok();
        let (outcome, read) = match &self.read_by {
            ReadBy::Path(path) => (self.at_path(path, &mut input)?, "path"),
            ReadBy::Archive(Some((container, path))) => {
                let archive = runtime.block_on(self.engine.download(container, path))?;
                (self.archive(archive, &runtime, &mut input)?, "archive")
            }
            ReadBy::Archive(None) => (self.through_helper(&runtime, &mut input)?, "archive"),
        };
        Ok(SourceFacts {
            counts: outcome.counts,
            database: None,
            volume: Some(self.info(read)),
            warnings: outcome.warnings,
            tools: tools(LAYOUT),
            closing: outcome.closing,
        })
    }

    fn at_path(&self, path: &Path, input: &mut Input<'_>) -> Result<TreeOutcome, JobError> {
        let spec = TreeSpec::new(vec![Root::directory(path)], &[], false)?;
        let earlier = input.earlier.as_ref();
        Ok(capture_tree(
            &spec,
            earlier,
            input.packer,
            input.contents,
            &mut input.watch,
        )?)
    }

    /// Reads through a container that is made for it.
    fn through_helper(&self, runtime: &Handle, input: &mut Input<'_>) -> Result<TreeOutcome, JobError> {
        let volume = &self.entry.volume.name;
        let helper = runtime.block_on(Helper::create(&self.engine, &self.state_dir, volume, Access::Read));
        let helper = helper?;
        let archive = runtime.block_on(helper.download());
        let captured = match archive {
            Ok(archive) => self.archive(archive, runtime, input),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = runtime.block_on(helper.remove()) {
            tracing::warn!(volume, "{}; the next recovery tries again", chain(&error));
        }
        captured
    }

    fn archive(&self, archive: Archive, runtime: &Handle, input: &mut Input<'_>) -> Result<TreeOutcome, JobError> {
        let archive = SyncIoBridge::new_with_handle(archive, runtime.clone());
        let earlier = input.earlier.as_ref();
        let captured = capture_archive(archive, earlier, input.packer, input.contents, &mut input.watch);
        captured.map_err(|error| JobError::from(error).during(&format!("read volume {}", self.entry.volume.name)))
    }

    fn info(&self, read: &str) -> VolumeInfo {
        let entry = &self.entry;
        let user = |user: &User| VolumeUser {
            container: user.name.clone(),
            destination: user.destination.clone(),
            writable: user.writable,
            running: user.state == State::Running,
        };
        let secret = |value: &str| SECRETS.iter().any(|word| value.to_ascii_lowercase().contains(word));
        let options = entry.volume.options.iter().map(|(name, value)| {
            let shown = if secret(&format!("{name}={value}")) {
                "(not kept: it holds a secret)"
            } else {
                value
            };
            (name.clone(), shown.to_owned())
        });
        VolumeInfo {
            driver: entry.volume.driver.clone(),
            options: options.collect(),
            labels: entry.volume.labels.clone(),
            stack: entry.stack.clone(),
            containers: entry.users.iter().map(user).collect(),
            mode: entry.mode.to_string(),
            group: entry.group.clone(),
            read: read.to_owned(),
            quiet_ms: None,
        }
    }
}
