//! Volumes, metadata and databases of a Docker engine.
//!
//! What is there is asked when a run lists it, and again when it is captured: nothing is kept of an engine but where it is.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use holdfast_bus::Delivery;
use holdfast_capture::Staging;
use holdfast_config::{Docker as Section, DockerPart, Settings};
use holdfast_docker::engine::{Engine, Limits};
use holdfast_docker::facts::Container;
use holdfast_docker::inventory::{self, Inventory, Selection};
use holdfast_docker::perform::{Quiet, Recovery};
use holdfast_events::Work;
use holdfast_fault::chain;
use holdfast_format::{ArtefactKind, SourceName};
use holdfast_service::{Context, JobError};
use holdfast_session::{Session, own_container};
use tokio::sync::{Mutex, OnceCell, Semaphore};

mod databases;
mod list;
mod metadata;
mod reading;
mod turn;
mod volume;

/// The time that a process which is to end waits for its containers to be back.
const END_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// The engine of this worker's site.
pub(crate) struct Docker {
    section: Section,
    source: SourceName,
    state_dir: PathBuf,
    staging: Arc<Staging>,
    engine: OnceCell<Engine>,
    /// Held from a turn until what was read in it is staged: whoever is next finds it done.
    quieting: Mutex<()>,
    /// Bounds the number of volumes that are read at the same time.
    reading: Arc<Semaphore>,
}

/// The containers and the inventory of an engine, at one moment.
pub(crate) struct Seen {
    containers: Vec<Container>,
    inventory: Inventory,
}

impl Docker {
    /// The engine that the configuration gives this worker's site, if it does.
    pub(crate) fn of(settings: &Settings, staging: &Arc<Staging>) -> Option<Self> {
        let mut sources = settings.docker_sources().iter();
        let here = sources.find(|source| source.site == settings.site && source.part == DockerPart::Volumes)?;
        Some(Self {
            section: settings.docker.clone()?,
            source: here.name.clone(),
            state_dir: settings.state_of("volume-snapshotter"),
            staging: staging.clone(),
            engine: OnceCell::new(),
            quieting: Mutex::new(()),
            reading: Arc::new(Semaphore::new(settings.workers.capture.max(1))),
        })
    }

    /// True if this engine brings the source.
    pub(crate) fn brings(&self, source: &SourceName) -> bool {
        self.source == *source
    }

    async fn engine(&self) -> Result<&Engine, JobError> {
        let connect = || Engine::connect(&self.section.host, Limits::default());
        Ok(self.engine.get_or_try_init(connect).await?)
    }

    async fn quiet(&self) -> Result<Quiet, JobError> {
        Ok(Quiet::new(self.engine().await?.clone(), &self.state_dir))
    }

    async fn look(&self) -> Result<Seen, JobError> {
        let engine = self.engine().await?;
        let containers = engine.containers().await?;
        let volumes = engine.volumes().await?;
        let inventory = inventory::take(&containers, &volumes, &Selection::of(&self.section));
        Ok(Seen { containers, inventory })
    }

    /// Captures a volume, or the engine's metadata.
    pub(crate) async fn capture(&self, cx: &Context, work: &Work, delivery: &Delivery) -> Result<(), JobError> {
        let Some(session) = Session::begin(cx, &self.staging, work, delivery).await? else {
            return Ok(());
        };
        match session.artefact().kind {
            ArtefactKind::Volume => Box::pin(self.volume(cx, session)).await,
            ArtefactKind::Engine => self.metadata(cx, session).await,
            kind => Err(JobError::Fail(format!(
                "no {kind} is captured from a Docker engine here"
            ))),
        }
    }

    /// Brings back what a worker left quiet that died, and answers the dumper, until the process drains.
    pub(crate) async fn attend(self: &Arc<Self>, cx: &Context) {
        let recovering = async {
            let mut every = tokio::time::interval(std::time::Duration::from_secs(60));
            loop {
                tokio::select! {
                    () = cx.drain.cancelled() => return,
                    _ = every.tick() => {}
                }
                if holdfast_docker::perform::has_abandoned(&self.state_dir) {
                    self.recover().await;
                }
            }
        };
        tokio::join!(recovering, self.answer(cx));
        // A quiet time that was given up is ended beside its job: the process must not end before.
        if holdfast_docker::perform::has_abandoned(&self.state_dir)
            && tokio::time::timeout(END_WITHIN, self.all_back()).await.is_err()
        {
            tracing::error!("containers are not back yet; the next worker of this site brings them back");
        }
    }

    async fn all_back(&self) {
        match self.quiet().await {
            Ok(quiet) => match quiet.turn(END_WITHIN).await {
                Ok(turn) => log(turn.recovery()),
                Err(error) => tracing::warn!("{}", chain(&error)),
            },
            Err(error) => tracing::warn!("{}", error.reason()),
        }
    }

    async fn recover(&self) {
        let Ok(quiet) = self.quiet().await else {
            tracing::warn!(
                "containers of a worker that died cannot be brought back yet: the Docker engine does not answer"
            );
            return;
        };
        match quiet.recover().await {
            Ok(recovery) => log(&recovery),
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
    }
}

/// Tells what was found of the dead.
fn log(recovery: &Recovery) {
    for ended in &recovery.ended {
        for failure in &ended.brought_back.failures {
            tracing::error!(run = ended.run, covers = ended.covers, "{}", chain(failure));
        }
        let back = ended.brought_back.back.join(", ");
        tracing::warn!(
            run = ended.run,
            covers = ended.covers,
            back,
            "ended a quiet time of a worker that died"
        );
    }
    for failure in &recovery.failures {
        tracing::error!("{}", chain(failure));
    }
}

/// The containers that Holdfast itself runs in and needs.
fn own(containers: &[Container]) -> BTreeSet<String> {
    own_container()
        .map(|id| inventory::needed_by(&id, containers))
        .unwrap_or_default()
}
