//! Carries out the plan of a stack's restore: looks at everything before anything is changed, and then does it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_docker::facts::Labels;
use holdfast_docker::labels::PROJECT;
use holdfast_docker::network::JoinError;
use holdfast_fault::{Retry, Retryable, chain};
use holdfast_format::{ArtefactId, ArtefactKind, ImageInUse, RestorePoint};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_sealing::SecretKeys;
use tempfile::TempDir;

use super::images;
use super::plan::{StackPlan, StackStep};
use crate::docker::{
    ContainerError, ContainerOptions, ContainerReport, ContainerServer, DockerHost, ExistingFiles, JoinedNetworks,
    VolumeError, VolumeTarget,
};
use crate::files::FilesOptions;
use crate::progress::Progress;
use crate::select::Selection;
use crate::source::OpenArtefact;

/// A stack was not restored, or only in part: the steps before the one that failed are done.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// No folder can be made for an artefact's contents. Nothing was done.
    #[error("make a folder for the contents of an artefact in {}", path.display())]
    Scratch {
        /// The folder in which it was to be made.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// An artefact cannot be opened. Nothing was done.
    #[error("open artefact {artefact}")]
    Open {
        artefact: ArtefactId,
        #[source]
        source: Box<RepositoryError>,
    },
    /// An artefact was removed while it was wanted. Nothing was done.
    #[error("artefact {artefact} has gone in this moment")]
    Gone { artefact: ArtefactId },
    /// The plan has volumes or databases, and the caller gave no engine. Nothing was done.
    #[error("restore {step}: that needs a Docker engine")]
    NoEngine {
        /// The first step that needs the engine.
        step: String,
    },
    /// A volume was not restored.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A container's databases were not restored.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The file with the images was not written.
    #[error("write the images to {}", path.display())]
    Images {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Retryable for StackError {
    fn retry(&self) -> Retry {
        match self {
            Self::Scratch { source, .. } | Self::Images { source, .. } => Retry::of_io(source),
            Self::Open { source, .. } => source.retry(),
            Self::Gone { .. } | Self::NoEngine { .. } => Retry::Never,
            Self::Volume(source) => source.retry(),
            Self::Container(source) => source.retry(),
        }
    }
}

/// The repository that a stack is restored from.
#[derive(Clone, Copy, Debug)]
pub struct StackSource<'a> {
    pub repository: &'a Repository,
    /// The secret backup keys.
    pub keys: &'a SecretKeys,
    /// A folder for artefacts' contents, which stay sealed there.
    pub scratch: &'a Path,
}

/// Options of a stack's restore.
#[derive(Clone, Debug, Default)]
pub struct StackOptions {
    /// Puts volumes and databases that are there out of the way. Else the restore is refused because of them.
    pub replace: bool,
    /// Looks at everything, and changes nothing.
    pub dry_run: bool,
    /// Further folders to search for PostgreSQL's programs.
    pub client_dirs: Vec<PathBuf>,
}

/// Follows a stack's restore step by step.
pub trait StackWatch: Send + Sync {
    /// Hears of a step that begins, and of the bytes to restore if they are known. Returns the progress that the step
    /// reports to; [`Progress::stop`] ends the step, and the restore with it.
    fn begin(&self, step: &StackStep, bytes: Option<u64>) -> Arc<Progress>;

    /// Hears that the step has ended, well or not.
    fn end(&self);
}

/// Something that the operator should know of a stack that was restored.
#[derive(Debug)]
pub enum StackWarning {
    /// Paths of a volume are not as they were.
    Lost {
        /// The captured volume.
        volume: String,
        paths: u64,
    },
    /// A property of a database could not be applied.
    Property(String),
    /// A statement of the globals failed.
    Statement {
        /// The container that was restored into.
        container: String,
        statement: String,
        reason: String,
    },
    /// An image was made on the captured host and can only be named by an id, which no other host knows.
    ImageById {
        /// The stack's service.
        service: String,
        image: String,
    },
    /// The container of this process is still in a network that it was put into.
    Network(JoinError),
}

/// The result of a stack's restore.
#[derive(Debug, Default)]
pub struct StackReport {
    /// The number of steps that are done, from the first on. None in a dry run.
    pub done: usize,
    pub warnings: Vec<StackWarning>,
}

impl StackReport {
    /// True if every path of every volume is as it was.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self
            .warnings
            .iter()
            .any(|warning| matches!(warning, StackWarning::Lost { .. }))
    }
}

/// Reads of which stack each volume of a restore point is. A volume without a manifest is left out.
///
/// # Errors
/// [`RepositoryError`] if a manifest cannot be read.
pub async fn volume_stacks(
    repository: &Repository,
    point: &RestorePoint,
) -> Result<BTreeMap<ArtefactId, Option<String>>, RepositoryError> {
    let mut stacks = BTreeMap::new();
    for one in point.good().filter(|one| one.artefact.kind == ArtefactKind::Volume) {
        if let Some(sealed) = repository.manifest(one.artefact.id).await? {
            let volume = sealed.manifest.captured.volume.as_ref();
            stacks.insert(one.artefact.id, volume.and_then(|volume| volume.stack.clone()));
        }
    }
    Ok(stacks)
}

/// Restores a stack as planned: looks at everything first, and changes nothing if any step is refused.
///
/// Networks that this process's container had to be put into are left at the end, whatever the end is. If the future is
/// dropped, the next recovery leaves them. `host` may be none if no step needs the engine.
///
/// # Errors
/// [`StackError`] of the first step that fails. The steps before it stay done.
pub async fn restore_stack(
    plan: &StackPlan,
    from: StackSource<'_>,
    host: Option<&DockerHost>,
    options: &StackOptions,
    watch: &dyn StackWatch,
) -> Result<StackReport, StackError> {
    let mut networks = JoinedNetworks::default();
    let restored = look_and_restore(plan, from, host, options, watch, &mut networks).await;
    let failures = networks.leave().await;
    match restored {
        Ok(mut report) => {
            report.warnings.extend(failures.into_iter().map(StackWarning::Network));
            Ok(report)
        }
        Err(error) => {
            for failure in failures {
                tracing::warn!(
                    reason = %chain(&failure),
                    "this container is still in a network that it was put into; the next recovery takes it out"
                );
            }
            Err(error)
        }
    }
}

async fn look_and_restore(
    plan: &StackPlan,
    from: StackSource<'_>,
    host: Option<&DockerHost>,
    options: &StackOptions,
    watch: &dyn StackWatch,
    networks: &mut JoinedNetworks,
) -> Result<StackReport, StackError> {
    let mut ready = Vec::new();
    for step in &plan.steps {
        ready.push(look(plan, step, from, host, options, networks).await?);
    }
    let mut report = StackReport::default();
    if options.dry_run {
        return Ok(report);
    }
    for (step, ready) in plan.steps.iter().zip(ready) {
        let progress = watch.begin(step, ready.bytes());
        let done = Box::pin(ready.restore(step, options, progress, &mut report.warnings)).await;
        watch.end();
        done?;
        report.done += 1;
    }
    Ok(report)
}

/// A step that was looked at, and can be done.
enum Ready {
    Images(PathBuf, Vec<ImageInUse>),
    Volume(Box<VolumeTarget>, Open),
    Server(Box<ContainerServer>, Open),
}

/// An artefact that is ready to be restored. Its contents stay in the folder as long as it is read.
struct Open {
    artefact: Arc<OpenArtefact>,
    _scratch: TempDir,
}

impl Open {
    async fn open(from: StackSource<'_>, artefact: ArtefactId) -> Result<Self, StackError> {
        let scratch = tempfile::tempdir_in(from.scratch).map_err(|source| StackError::Scratch {
            path: from.scratch.to_owned(),
            source,
        })?;
        let opened = OpenArtefact::open(from.repository, from.keys.clone(), artefact, scratch.path()).await;
        let opened = opened.map_err(|source| StackError::Open {
            artefact,
            source: Box::new(source),
        })?;
        Ok(Self {
            artefact: Arc::new(opened.ok_or(StackError::Gone { artefact })?),
            _scratch: scratch,
        })
    }
}

async fn look(
    plan: &StackPlan,
    step: &StackStep,
    from: StackSource<'_>,
    host: Option<&DockerHost>,
    options: &StackOptions,
    networks: &mut JoinedNetworks,
) -> Result<Ready, StackError> {
    let engine = || host.ok_or_else(|| StackError::NoEngine { step: step.to_string() });
    match step {
        StackStep::Images { images, file } => Ok(Ready::Images(file.clone(), images.clone())),
        StackStep::Volume { artefact, into, .. } => {
            let open = Open::open(from, *artefact).await?;
            let existing = if options.replace {
                ExistingFiles::Replace
            } else {
                ExistingFiles::Refuse
            };
            let target = VolumeTarget::look(engine()?, into, existing).await?;
            let target = target.with_labels(labels(plan, &open.artefact));
            Ok(Ready::Volume(Box::new(target), open))
        }
        StackStep::Globals { artefact, into, .. } => {
            let open = Open::open(from, *artefact).await?;
            let server = ContainerServer::look(engine()?, into, None, networks).await?;
            Ok(Ready::Server(Box::new(server), open))
        }
        StackStep::Database {
            artefact,
            database,
            into,
            ..
        } => {
            let open = Open::open(from, *artefact).await?;
            let server = ContainerServer::look(engine()?, into, Some(database), networks).await?;
            Ok(Ready::Server(Box::new(server), open))
        }
    }
}

/// Returns the labels that the volume had, with the name of the stack to restore into.
fn labels(plan: &StackPlan, artefact: &OpenArtefact) -> Labels {
    let volume = artefact.manifest().captured.volume.as_ref();
    let mut labels = volume.map(|volume| volume.labels.clone()).unwrap_or_default();
    if let Some(project) = labels.get_mut(PROJECT).filter(|project| **project == plan.stack) {
        project.clone_from(&plan.into);
    }
    labels
}

impl Ready {
    /// Returns the bytes that the step restores, if they are known.
    fn bytes(&self) -> Option<u64> {
        let open = match self {
            Self::Images(..) => return None,
            Self::Volume(_, open) | Self::Server(_, open) => open,
        };
        let captured = &open.artefact.manifest().captured;
        // The globals are a few statements, and run one by one.
        (captured.kind != ArtefactKind::Globals).then_some(captured.stream.size)
    }

    async fn restore(
        self,
        step: &StackStep,
        options: &StackOptions,
        progress: Arc<Progress>,
        warnings: &mut Vec<StackWarning>,
    ) -> Result<(), StackError> {
        match self {
            Self::Images(path, images) => write_images(path, &images, warnings),
            Self::Volume(target, open) => {
                let artefact = open.artefact.clone();
                let restored = target.restore(artefact, Selection::all(), FilesOptions::default(), progress);
                let paths = restored.await?.lost;
                if paths > 0 {
                    let volume = step.captured_name();
                    warnings.push(StackWarning::Lost { volume, paths });
                }
                Ok(())
            }
            Self::Server(server, open) => {
                let options = ContainerOptions {
                    replace: options.replace,
                    client_dirs: options.client_dirs.clone(),
                };
                let restored = server.restore(open.artefact.clone(), &options, progress).await?;
                warnings.extend(warnings_of(restored, step));
                Ok(())
            }
        }
    }
}

fn warnings_of(report: ContainerReport, step: &StackStep) -> Vec<StackWarning> {
    match report {
        ContainerReport::Database(done) => done.warnings.into_iter().map(StackWarning::Property).collect(),
        ContainerReport::Globals(done) => {
            let failed = done.failed.into_iter();
            let warning = |(statement, reason)| StackWarning::Statement {
                container: step.target_name(),
                statement,
                reason,
            };
            failed.map(warning).collect()
        }
    }
}

fn write_images(path: PathBuf, images: &[ImageInUse], warnings: &mut Vec<StackWarning>) -> Result<(), StackError> {
    let (text, unpullable) = images::compose_file(images);
    std::fs::write(&path, text).map_err(|source| StackError::Images { path, source })?;
    let by_id = |one: images::Unpullable| StackWarning::ImageById {
        service: one.service,
        image: one.image,
    };
    warnings.extend(unpullable.into_iter().map(by_id));
    Ok(())
}
