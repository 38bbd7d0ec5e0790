//! A stack as of a restore point.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use holdfast_fault::chain;
use holdfast_format::{RestorePoint, RunId};
use holdfast_restore::{
    Progress, StackError, StackOptions, StackPart, StackPlan, StackReport, StackSource, StackStep, StackWarning,
    StackWatch, holds_stack, only_stack, restore_stack, volume_stacks,
};
use jiff::Timestamp;
use serde::Serialize;

use super::failures::volume_error;
use super::{Attended, FromArgs, OpenPlace, database, docker};
use crate::output::{Output, Table};
use crate::{CliError, Exit, Global, human, parse};

/// A restore point as an argument names it: a run's id, or `STACK[@TIME]`.
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
    /// The volumes.
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
    /// The file to write the images to [default: STACK.images.yaml]
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl From<Part> for StackPart {
    fn from(part: Part) -> Self {
        match part {
            Part::Volumes => Self::Volumes,
            Part::Databases => Self::Databases,
            Part::Images => Self::Images,
        }
    }
}

#[derive(Debug, Serialize)]
struct StepLine {
    what: &'static str,
    from: String,
    to: String,
    done: bool,
}

/// The report as JSON has it.
#[derive(Debug, Serialize)]
struct Told {
    run: RunId,
    stack: String,
    taken: Timestamp,
    complete: bool,
    dry_run: bool,
    steps: Vec<StepLine>,
    warnings: Vec<String>,
}

/// Shows each step on the terminal, and asks it to end when the order to stop comes.
#[derive(Default)]
struct Watch(Mutex<Option<Attended>>);

impl Watch {
    fn set(&self, attended: Option<Attended>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = attended;
    }
}

impl StackWatch for Watch {
    fn begin(&self, step: &StackStep, bytes: Option<u64>) -> Arc<Progress> {
        eprintln!("restoring {step}");
        let Some(bytes) = bytes else { return Arc::default() };
        let attended = Attended::begin(&step.captured_name(), bytes);
        let progress = attended.progress();
        self.set(Some(attended));
        progress
    }

    fn end(&self) {
        self.set(None);
    }
}

pub(crate) async fn run(global: &Global, args: &StackArgs) -> Result<Exit, CliError> {
    let from = args.from.access(global).await?;
    let (point, stack) = find(&from, &args.which).await?;
    let plan = plan(&from, args, &point, &stack).await?;
    let host = if plan.needs_engine() {
        Some(docker::host(from.settings.as_deref()).await?)
    } else {
        None
    };
    let options = StackOptions {
        replace: args.replace,
        dry_run: args.dry_run,
        client_dirs: from.client_dirs(),
    };
    let scratch = std::env::temp_dir();
    let source = StackSource {
        repository: &from.access.repository,
        keys: &from.keys,
        scratch: &scratch,
    };
    let watch = Watch::default();
    let restored = Box::pin(restore_stack(&plan, source, host.as_ref(), &options, &watch)).await;
    let report = told(&point, &plan, args.dry_run, &restored.map_err(stack_error)?);
    let out = Output::new(args.json);
    out.print(&report, |out| text(out, &report));
    Ok(Exit::good_if(report.complete))
}

/// Plans the restore.
async fn plan(from: &OpenPlace, args: &StackArgs, point: &RestorePoint, stack: &str) -> Result<StackPlan, CliError> {
    let into = args.into.as_deref().unwrap_or(stack);
    let images = args.images.clone();
    let images = images.unwrap_or_else(|| format!("{into}.images.yaml").into());
    let parts: Vec<StackPart> = if args.only.is_empty() {
        StackPart::ALL.to_vec()
    } else {
        args.only.iter().copied().map(StackPart::from).collect()
    };
    let volumes = if parts.contains(&StackPart::Volumes) {
        volume_stacks(&from.access.repository, point).await?
    } else {
        BTreeMap::new()
    };
    let plan = StackPlan::make(point, stack, into, &parts, &volumes, &images);
    plan.map_err(|error| CliError::failed(error.to_string()))
}

/// Says what to do about a stack that was not restored.
fn stack_error(error: StackError) -> CliError {
    let text = error.to_string();
    match error {
        StackError::Volume(error) => volume_error(error),
        StackError::Container(error) => database::container_error(error),
        StackError::Open { source, .. } => CliError::from(*source),
        StackError::Gone { .. } | StackError::NoEngine { .. } => CliError::failed(text),
        StackError::Scratch { source, .. } | StackError::Images { source, .. } => CliError::because(text, source),
    }
}

/// Makes the report of a restore that is done.
fn told(point: &RestorePoint, plan: &StackPlan, dry_run: bool, restored: &StackReport) -> Told {
    let mut warnings = Vec::new();
    if !plan.complete {
        let names: Vec<String> = plan.missing.iter().map(|name| human::shown(name)).collect();
        warnings.push(format!(
            "the restore point is not complete; it lacks: {}",
            names.join(", ")
        ));
    }
    warnings.extend(restored.warnings.iter().map(warning_text));
    let line = |(number, step): (usize, &StackStep)| StepLine {
        what: step.what(),
        from: step.captured_name(),
        to: step.target_name(),
        done: number < restored.done,
    };
    Told {
        run: plan.run,
        stack: plan.stack.clone(),
        taken: point.started,
        complete: plan.complete && restored.is_whole(),
        dry_run,
        steps: plan.steps.iter().enumerate().map(line).collect(),
        warnings,
    }
}

fn warning_text(warning: &StackWarning) -> String {
    match warning {
        StackWarning::Lost { volume, paths } => {
            format!(
                "{} of volume {volume} are not as they were",
                human::count(*paths, "path")
            )
        }
        StackWarning::Property(text) => text.clone(),
        StackWarning::Statement {
            container,
            statement,
            reason,
        } => format!("{container}: {statement}: {reason}"),
        StackWarning::ImageById { service, image } => format!(
            "image {image} of service {service} was made on the host: it is named by its id, which only that host knows"
        ),
        StackWarning::Network(error) => format!(
            "this container is still in a network that it was put into: {}",
            chain(error)
        ),
    }
}

/// The restore point, and the stack that is meant.
async fn find(from: &OpenPlace, which: &Which) -> Result<(Arc<RestorePoint>, String), CliError> {
    let catalogue = &from.access.catalogue;
    let (name, at) = match which {
        Which::Run(run) => {
            let point = catalogue.restore_point(*run).await?;
            let point =
                point.ok_or_else(|| CliError::failed(format!("run {run} has no restore point at this place")))?;
            let stack = only_stack(&point);
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
            Ok(Some(point)) if point.complete && holds_stack(&point, name) => return Ok((point, name.clone())),
            Ok(_) => {}
            Err(error) if error.is_unreadable() => {
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

fn text(out: Output, report: &Told) -> String {
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
