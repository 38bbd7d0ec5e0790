//! `holdfast sync`: copies to off-site targets what they lack.

use clap::Args;
use holdfast_config::{Settings, Target};
use holdfast_format::{PlaceName, RunId};
use holdfast_service::target_place;
use holdfast_syncer::{Copied, Copier, CopyOptions, SyncError};
use serde::Serialize;

use crate::access::{self, Access, READING};
use crate::logs::Logs;
use crate::output::Output;
use crate::overview::{self, RunView, Standing, Unreadable};
use crate::progress::Meter;
use crate::{CliError, Exit, Global, human, parse, resolve};

/// Runs copied at most, newest first: all of them for years of nightly backups.
const RUNS: usize = 10_000;

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Only to this target.
    #[arg(value_name = "TARGET", value_parser = parse::place)]
    pub(crate) target: Option<PlaceName>,
    /// Only this run.
    #[arg(long, value_name = "RUN", value_parser = parse::run)]
    pub(crate) run: Option<RunId>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    good: bool,
    targets: Vec<TargetReport>,
    /// Runs of which a record cannot be read; they are not copied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
}

#[derive(Default, Serialize)]
struct TargetReport {
    target: String,
    runs: u64,
    objects: u64,
    packs: u64,
    bytes: u64,
    failures: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: &SyncArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, READING)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let targets = chosen(&settings, args.target.as_ref())?;
    let access = Access::open(&settings, None).await?;
    let (views, unreadable) = match args.run {
        Some(run) => (vec![resolve::run_view(&access.catalogue, run).await?], Vec::new()),
        None => overview::runs(&access.catalogue, RUNS).await?,
    };
    let scratch = tempfile::tempdir().map_err(|error| CliError::because("make a temporary folder", error))?;
    let mut reports = Vec::new();
    for target in targets {
        let options = CopyOptions::of(target, scratch.path().to_owned());
        reports.push(match target_place(target).await {
            Ok(place) => to_target(&Copier::new(access.repository.clone(), place, options), &access, &views).await,
            Err(error) => TargetReport {
                target: target.name.to_string(),
                failures: vec![holdfast_fault::chain(&error).to_string()],
                ..TargetReport::default()
            },
        });
    }
    let report = Report {
        good: unreadable.is_empty() && reports.iter().all(|t| t.failures.is_empty()),
        targets: reports,
        unreadable,
    };
    Output::new(args.json).print(&report, |_| text(&report));
    Ok(Exit::good_if(report.good))
}

fn chosen<'a>(settings: &'a Settings, name: Option<&PlaceName>) -> Result<Vec<&'a Target>, CliError> {
    if settings.target.is_empty() {
        return Err(CliError::Usage(
            "there is no target to copy to: configure a [[target]]".to_owned(),
        ));
    }
    match name {
        None => Ok(settings.target.iter().collect()),
        Some(name) => match settings.target(name) {
            Some(target) => Ok(vec![target]),
            None => {
                let names: Vec<&str> = settings.target.iter().map(|t| t.name.as_str()).collect();
                Err(CliError::Usage(format!(
                    "there is no target {name}; there are {}",
                    names.join(", ")
                )))
            }
        },
    }
}

/// Copies runs to one target, oldest first, so that each finds the packs of those before it. What fails holds no other run.
async fn to_target(copier: &Copier, access: &Access, views: &[RunView]) -> TargetReport {
    let name = copier.to().name().to_string();
    let watched = copier.clone();
    let meter = Meter::new(&format!("copy to {name}"), 0, move || watched.sent());
    let mut report = TargetReport {
        target: name,
        ..TargetReport::default()
    };
    for view in views.iter().rev() {
        // Given up here: what is left of it is not to be spread.
        match overview::is_given_up(&access.catalogue, view.run).await {
            Ok(false) => {}
            Ok(true) => continue,
            Err(error) => {
                report.failures.push(holdfast_fault::chain(&error).to_string());
                break;
            }
        }
        match one_run(copier, view, &mut report).await {
            Ok(()) => report.runs += 1,
            Err(error) => report
                .failures
                .push(format!("run {}: {}", view.run, holdfast_fault::chain(&error))),
        }
    }
    drop(meter);
    report
}

async fn one_run(copier: &Copier, view: &RunView, report: &mut TargetReport) -> Result<(), SyncError> {
    let good = view
        .artefacts
        .iter()
        .filter(|a| matches!(a.standing, Standing::Good(_)));
    for known in good {
        report.add(copier.copy_artefact(known.artefact.id).await?);
    }
    if view.point.is_some() {
        report.add(copier.copy_point(view.run).await?);
    }
    Ok(())
}

impl TargetReport {
    fn add(&mut self, copied: Copied) {
        self.objects += copied.objects;
        self.packs += copied.packs;
        self.bytes += copied.bytes;
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for target in &report.targets {
        let runs = human::count(target.runs, "run");
        let objects = human::count(target.objects, "object");
        let packs = human::count(target.packs, "pack");
        let bytes = human::bytes(target.bytes);
        text.push_str(&format!(
            "{}: {runs} there; {objects} sent, {packs} among them, {bytes}\n",
            target.target
        ));
        for failure in &target.failures {
            text.push_str(&format!("  failed: {}\n", human::shown(failure)));
        }
    }
    for unreadable in &report.unreadable {
        text.push_str(&format!(
            "{} cannot be read and is not copied: {}\n",
            unreadable.what,
            human::shown(&unreadable.problem)
        ));
    }
    text
}
