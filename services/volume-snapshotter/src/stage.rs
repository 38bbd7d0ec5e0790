//! The stage: listing is reading the configuration; capturing is one walk.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_bus::Delivery;
use holdfast_capture::{LAYOUT, Root, Staging, TreeSpec, capture_tree};
use holdfast_config::Settings;
use holdfast_events::{Job, RunState, Work, WorkStage};
use holdfast_format::{Artefact, ArtefactKind, SourceName};
use holdfast_service::{Context, JobError, Stage, WorkerSpec};
use holdfast_session::{Input, Listing, Session, SourceFacts, missing_captures, write_listing};

use crate::docker::Docker;

/// Captures directories, system paths and Docker volumes.
pub struct Snapshotter {
    staging: Arc<Staging>,
    docker: Option<Arc<Docker>>,
    list: usize,
    capture: usize,
}

impl Snapshotter {
    /// The stage over this staging folder.
    #[must_use]
    pub fn new(cx: &Context, staging: Arc<Staging>) -> Self {
        let workers = &cx.settings.workers;
        Self {
            docker: Docker::of(&cx.settings, &staging).map(Arc::new),
            staging,
            list: workers.list,
            capture: workers.capture,
        }
    }
}

#[async_trait]
impl Stage for Snapshotter {
    fn workers(&self) -> Vec<WorkerSpec> {
        vec![
            WorkerSpec::new(WorkStage::ListFiles, self.list),
            WorkerSpec::new(WorkStage::CaptureFiles, self.capture),
        ]
    }

    async fn run(&self, cx: &Context, work: &Work, delivery: &Delivery) -> Result<(), JobError> {
        if let Job::List { source, .. } | Job::Capture { source, .. } = &work.job
            && let Some(docker) = self.docker.as_ref().filter(|docker| docker.brings(source))
        {
            return match &work.job {
                Job::List { .. } => self.list_docker(cx, docker, work, source).await,
                _ => docker.capture(cx, work, delivery).await,
            };
        }
        match &work.job {
            Job::List { source, .. } => {
                let kind = Configured::find(&cx.settings, source)?.kind;
                let artefact = Artefact::new(work.run, source, kind, source.as_str());
                write_listing(cx, work.run, source, vec![artefact]).await
            }
            Job::Capture { source, .. } => {
                let Some(session) = Session::begin(cx, &self.staging, work, delivery).await? else {
                    return Ok(());
                };
                let spec = Configured::find(&cx.settings, source)?.spec()?;
                session.capture(cx.now(), move |input| read(&spec, input)).await
            }
            _ => Err(JobError::Fail(format!(
                "the volume-snapshotter does not do {}",
                work.stage()
            ))),
        }
    }

    async fn attend(&self, cx: &Context) {
        if let Some(docker) = &self.docker {
            docker.attend(cx).await;
        }
    }

    async fn missing(&self, cx: &Context, state: &RunState) -> Result<Vec<Work>, JobError> {
        Ok(missing_captures(cx, &self.staging, &self.workers(), state)?)
    }
}

impl Snapshotter {
    async fn list_docker(
        &self,
        cx: &Context,
        docker: &Docker,
        work: &Work,
        source: &SourceName,
    ) -> Result<(), JobError> {
        let listing = match cx.catalogue.listed(work.run, source).await? {
            Some(listed) => Listing {
                artefacts: listed.artefacts.clone(),
                images: listed.images.clone(),
                notes: listed.notes.clone(),
            },
            None => docker.list(cx, work, source).await?,
        };
        write_listing(cx, work.run, source, listing).await
    }
}

/// A source of files as the configuration has it.
struct Configured<'a> {
    kind: ArtefactKind,
    roots: Vec<Root>,
    exclude: &'a [String],
    one_file_system: bool,
}

impl<'a> Configured<'a> {
    fn find(settings: &'a Settings, source: &SourceName) -> Result<Self, JobError> {
        if let Some(directory) = settings.directory.iter().find(|d| d.name == *source) {
            return Ok(Self {
                kind: ArtefactKind::Directory,
                roots: vec![Root::directory(&directory.path)],
                exclude: &directory.exclude,
                one_file_system: directory.one_file_system,
            });
        }
        match &settings.system {
            Some(system) if system.name == *source => Ok(Self {
                kind: ArtefactKind::System,
                roots: system.paths.iter().map(|p| Root::system(p)).collect(),
                exclude: &system.exclude,
                one_file_system: false,
            }),
            _ => Err(JobError::Fail(format!(
                "source {source} is not in this worker's configuration: its site must have it, or the run be started again"
            ))),
        }
    }

    fn spec(self) -> Result<TreeSpec, JobError> {
        Ok(TreeSpec::new(self.roots, self.exclude, self.one_file_system)?)
    }
}

fn read(spec: &TreeSpec, mut input: Input<'_>) -> Result<SourceFacts, JobError> {
    let earlier = input.earlier.as_ref();
    let outcome = capture_tree(spec, earlier, input.packer, input.contents, &mut input.watch)?;
    Ok(SourceFacts {
        counts: outcome.counts,
        warnings: outcome.warnings,
        tools: tools(LAYOUT),
        closing: outcome.closing,
        ..SourceFacts::default()
    })
}

/// Returns the programs that took part in a capture of files, with their versions.
pub(crate) fn tools(layout: &str) -> BTreeMap<String, String> {
    let tools = [("holdfast", env!("CARGO_PKG_VERSION")), ("tar", layout)];
    let owned = tools.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
    owned.collect()
}
