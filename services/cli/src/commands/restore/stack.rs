//! A stack as of a restore point.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use holdfast_docker::labels::PROJECT;
use holdfast_docker::network::Joined;
use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ArtefactKind, ImageInUse, PointArtefact, PointStatus, RestorePoint, RunId};
use holdfast_restore::{ExistingFiles, VolumeTarget};
use jiff::Timestamp;
use serde::Serialize;

use super::docker::{self, labels_of};
use super::{FromArgs, OpenPlace, Opened, database, files};
use crate::error::file_error;
use crate::output::{Output, Table};
use crate::{CliError, Exit, Global, human, parse};

/// What somebody wrote: a run's id, or `STACK[@TIME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// A run, and the stack if it is not one of a stack alone.
    Run(RunId),
    /// The newest restore point of a stack, or that of a time.
    Newest(String, Option<Timestamp>),
}

impl FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(run) = text.parse() {
            return Ok(Self::Run(run));
        }
        let (name, at) = match text.split_once('@') {
            Some((name, at)) => (name, Some(parse::time(at)?)),
            None => (text, None),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            return Err(format!("{text:?} is neither a run's id nor STACK[@TIME]"));
        }
        Ok(Self::Newest(name.to_owned(), at))
    }
}

/// A part of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Its volumes.
    Volumes,
    /// The databases of its containers, which must run.
    Databases,
    /// The images that it ran, as a Compose file that is laid over its own.
    Images,
}

/// Arguments of `restore stack`.
#[derive(Debug, Args)]
pub(crate) struct StackArgs {
    /// A stack (a Compose project) with @TIME or without (the newest complete restore point at or before it), or a run's id.
    #[arg(value_name = "STACK[@TIME]|RUN")]
    which: Which,
    #[command(flatten)]
    from: FromArgs,
    /// Only this part. Repeatable.
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// Into a stack of this name: its volumes and containers are called by it.
    #[arg(long = "as", value_name = "STACK")]
    into: Option<String>,
    /// Put volumes and databases that are there out of the way: what the backup does not hold is gone afterwards.
    #[arg(long)]
    replace: bool,
    /// Where to write the images [default: STACK.images.yaml]
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One thing to do.
#[derive(Debug, Serialize)]
struct Step {
    what: &'static str,
    from: String,
    to: String,
    #[serde(skip)]
    artefact: Option<ArtefactId>,
    done: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    run: RunId,
    stack: String,
    taken: Timestamp,
    complete: bool,
    dry_run: bool,
    steps: Vec<Step>,
    warnings: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: &StackArgs) -> Result<Exit, CliError> {
    let from = Arc::new(args.from.access(global).await?);
    let (point, stack) = find(&from, &args.which).await?;
    let into = args.into.clone().unwrap_or_else(|| stack.clone());
    let wants = |part| args.only.is_empty() || args.only.contains(&part);
    let mut steps = Vec::new();
    let images: Vec<&ImageInUse> = point
        .images
        .iter()
        .filter(|image| image.stack.as_deref() == Some(&stack))
        .collect();
    let file = args
        .images
        .clone()
        .unwrap_or_else(|| format!("{into}.images.yaml").into());
    if wants(Part::Images) && !images.is_empty() {
        steps.push(Step {
            what: "images",
            from: human::count(images.len() as u64, "container"),
            to: file.display().to_string(),
            artefact: None,
            done: false,
        });
    }
    steps.extend(things(&from, &point, &stack, &into, wants).await?);
    if steps.is_empty() {
        return Err(CliError::failed(format!(
            "run {} holds nothing of stack {stack}",
            point.run
        )));
    }
    let mut report = Report {
        run: point.run,
        stack: stack.clone(),
        taken: point.started,
        complete: point.complete,
        dry_run: args.dry_run,
        steps,
        warnings: Vec::new(),
    };
    if !point.complete {
        let failed = point
            .artefacts
            .iter()
            .filter(|one| matches!(one.status, PointStatus::Failed { .. }));
        let names: Vec<String> = failed.map(|one| human::shown(&one.artefact.name)).collect();
        report.warnings.push(format!(
            "the restore point is not complete; it lacks: {}",
            names.join(", ")
        ));
    }
    let out = Output::new(args.json);
    let mut joined = Vec::new();
    let done = restore(&from, args, &mut report, &into, (&file, &images), &mut joined).await;
    for network in joined {
        if let Err(error) = network.leave().await {
            let problem = format!(
                "this container is still in a network that it was put into: {}",
                chain(&error)
            );
            report.warnings.push(problem);
        }
    }
    done?;
    out.print(&report, |out| text(out, &report));
    Ok(Exit::good_if(report.complete))
}

/// Looks at all before anything is changed, and then does it.
async fn restore(
    from: &Arc<OpenPlace>,
    args: &StackArgs,
    report: &mut Report,
    into: &str,
    (file, images): (&PathBuf, &[&ImageInUse]),
    joined: &mut Vec<Joined>,
) -> Result<(), CliError> {
    let mut prepared = Vec::new();
    for step in &report.steps {
        prepared.push(prepare(from, args, step, &report.stack, into, joined).await?);
    }
    if args.dry_run {
        return Ok(());
    }
    for (step, prepared) in report.steps.iter_mut().zip(prepared) {
        eprintln!("restoring {} {} into {}", step.what, step.from, step.to);
        match prepared {
            Prepared::Images => write_images(file, images, &mut report.warnings)?,
            Prepared::Volume(target, opened) => {
                let lost = files::whole_volume(&opened, *target).await?;
                if lost > 0 {
                    let problem = format!(
                        "{} of volume {} are not as they were",
                        human::count(lost, "path"),
                        step.from
                    );
                    report.warnings.push(problem);
                    report.complete = false;
                }
            }
            Prepared::Database(server, opened) => {
                let warnings = database::into_container(&opened, &server, args.replace).await?;
                report.warnings.extend(warnings);
            }
        }
        step.done = true;
    }
    Ok(())
}

enum Prepared {
    Images,
    Volume(Box<VolumeTarget>, Box<Opened>),
    Database(Box<database::ContainerServer>, Box<Opened>),
}

async fn prepare(
    from: &Arc<OpenPlace>,
    args: &StackArgs,
    step: &Step,
    stack: &str,
    into: &str,
    joined: &mut Vec<Joined>,
) -> Result<Prepared, CliError> {
    let Some(id) = step.artefact else {
        return Ok(Prepared::Images);
    };
    let opened = Opened::open(from, id).await?;
    let settings = from.settings.as_deref();
    if opened.manifest().captured.kind == ArtefactKind::Volume {
        let existing = if args.replace {
            ExistingFiles::Replace
        } else {
            ExistingFiles::Refuse
        };
        let mut labels = labels_of(&opened);
        if let Some(project) = labels.get_mut(PROJECT).filter(|project| *project == stack) {
            into.clone_into(project);
        }
        let host = docker::host(settings).await?;
        let target = VolumeTarget::look(&host, &step.to, existing).await;
        let target = target.map_err(docker::volume_error)?;
        return Ok(Prepared::Volume(Box::new(target.with_labels(labels)), Box::new(opened)));
    }
    let (container, database) = step.to.split_once('/').unwrap_or((&step.to, ""));
    let server = database::ContainerServer::look(settings, container, database, joined).await?;
    Ok(Prepared::Database(Box::new(server), Box::new(opened)))
}

/// The restore point, and the stack that is meant.
async fn find(from: &OpenPlace, which: &Which) -> Result<(Arc<RestorePoint>, String), CliError> {
    let catalogue = &from.access.catalogue;
    let (name, at) = match which {
        Which::Run(run) => {
            let point = catalogue.restore_point(*run).await?;
            let point =
                point.ok_or_else(|| CliError::failed(format!("run {run} has no restore point at this place")))?;
            let stack = point.stack.clone().or_else(|| only_stack(&point));
            let stack = stack.ok_or_else(|| {
                CliError::Usage(format!(
                    "run {run} is of several stacks: name one as STACK@\"{}\"",
                    human::time(point.started)
                ))
            })?;
            return Ok((point, stack));
        }
        Which::Newest(name, at) => (name, *at),
    };
    for run in catalogue.runs().await? {
        if at.is_some_and(|at| human::run_time(run) > at) {
            continue;
        }
        match catalogue.restore_point(run).await {
            Ok(Some(point)) if point.complete && is_of(&point, name) => return Ok((point, name.clone())),
            Ok(_) => {}
            Err(error) if error.is_damage() => {
                tracing::warn!(%run, reason = %holdfast_fault::chain(&error), "a run cannot be read and is passed over");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::failed(format!(
        "there is no complete restore point of stack {name} at this place; `holdfast list` shows all, and a run's id names one \
         that is not complete"
    )))
}

fn is_of(point: &RestorePoint, stack: &str) -> bool {
    match &point.stack {
        Some(own) => own == stack,
        None => point.images.iter().any(|image| image.stack.as_deref() == Some(stack)),
    }
}

fn only_stack(point: &RestorePoint) -> Option<String> {
    let mut stacks: Vec<&String> = point.images.iter().filter_map(|image| image.stack.as_ref()).collect();
    stacks.sort();
    stacks.dedup();
    match stacks[..] {
        [one] => Some(one.clone()),
        _ => None,
    }
}

/// Volumes, then databases: a container's globals before its databases.
async fn things(
    from: &OpenPlace,
    point: &RestorePoint,
    stack: &str,
    into: &str,
    wants: impl Fn(Part) -> bool,
) -> Result<Vec<Step>, CliError> {
    let (mut volumes, mut databases) = (Vec::new(), Vec::new());
    for PointArtefact { artefact, .. } in point.good() {
        let step = |what, to| Step {
            what,
            from: artefact.name.clone(),
            to,
            artefact: Some(artefact.id),
            done: false,
        };
        match artefact.kind {
            ArtefactKind::Volume if wants(Part::Volumes) => {
                let manifest = from.access.repository.manifest(artefact.id).await?;
                let volume = manifest
                    .as_ref()
                    .and_then(|manifest| manifest.manifest.captured.volume.as_ref());
                if volume.is_some_and(|volume| volume.stack.as_deref() == Some(stack)) {
                    volumes.push(step("volume", renamed(&artefact.name, stack, into)));
                }
            }
            ArtefactKind::Database | ArtefactKind::Globals if wants(Part::Databases) => {
                let (container, rest) = artefact.name.split_once('/').unwrap_or((&artefact.name, ""));
                let mut images = point.images.iter();
                let ours = images.any(|image| image.container == container && image.stack.as_deref() == Some(stack));
                if ours {
                    let container = renamed(container, stack, into);
                    let what = artefact.kind.as_str();
                    let to = if what == "globals" {
                        container
                    } else {
                        format!("{container}/{rest}")
                    };
                    databases.push((what != "globals", step(what, to)));
                }
            }
            _ => {}
        }
    }
    databases.sort_by_key(|(later, _)| *later);
    volumes.extend(databases.into_iter().map(|(_, step)| step));
    Ok(volumes)
}

/// A name that begins with the stack's begins with the other's; any other name is put behind it.
fn renamed(name: &str, stack: &str, into: &str) -> String {
    if stack == into {
        return name.to_owned();
    }
    match name.strip_prefix(stack).filter(|rest| rest.starts_with(['_', '-'])) {
        Some(rest) => format!("{into}{rest}"),
        None => format!("{into}_{name}"),
    }
}

/// A Compose file that pins the services of a stack to the images that they ran.
fn write_images(file: &PathBuf, images: &[&ImageInUse], warnings: &mut Vec<String>) -> Result<(), CliError> {
    let mut text = "# The images of a restore point, to be laid over the stack's own file:\n\
                    # docker compose -f compose.yaml -f THIS up -d\nservices:\n"
        .to_owned();
    let mut pinned: Vec<&str> = Vec::new();
    for image in images {
        let Some(service) = image.service.as_deref().filter(|service| !pinned.contains(service)) else {
            continue;
        };
        pinned.push(service);
        let reference = match image.digests.first() {
            Some(digest) => digest,
            None => {
                warnings.push(format!(
                    "image {} of service {service} was made on the host: it is named by its id, which only that host knows",
                    image.image
                ));
                &image.id
            }
        };
        // Quoted as JSON is, which YAML reads.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let _ = write!(text, "  {}:\n    image: {}\n", quoted(service), quoted(reference));
    }
    std::fs::write(file, text).map_err(file_error("write the images into", file))
}

fn text(out: Output, report: &Report) -> String {
    let mut table = Table::new(&["what", "from", "into", "state"]);
    for step in &report.steps {
        let state = match (step.done, report.dry_run) {
            (true, _) => "restored",
            (false, true) => "would be restored",
            (false, false) => "not done",
        };
        table.row([step.what, &step.from, &step.to, state]);
    }
    let mut text = out.table(&table);
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {}", human::shown(warning));
    }
    let _ = writeln!(
        text,
        "stack {} as of {} (run {})",
        report.stack,
        human::time(report.taken),
        report.run
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_stack() {
        assert_eq!(renamed("shop_files", "shop", "shop"), "shop_files");
        assert_eq!(renamed("shop_files", "shop", "trial"), "trial_files");
        assert_eq!(renamed("shop-db-1", "shop", "trial"), "trial-db-1");
        assert_eq!(renamed("shopping", "shop", "trial"), "trial_shopping");
    }
}
