//! `holdfast cleanup`: applies retention now, or shows what it would do.

use std::sync::Arc;

use clap::Args;
use holdfast_config::Settings;
use holdfast_format::{PlaceName, RunId};
use holdfast_janitor::{Action, Places, RetentionPlan, apply_place, plan_place};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::access::{self, Access, READING};
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global, human, parse};

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
pub(crate) struct CleanupArgs {
    /// Print the plan, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Only at this place; else at every place that has a [retention.PLACE] section. Repeatable.
    #[arg(long = "place", value_name = "PLACE", value_parser = parse::place)]
    pub(crate) places: Vec<PlaceName>,
    /// Delete even if it is more of a place at once than janitor.max_delete_percent. No other rule is lifted.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) confirm: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    dry_run: bool,
    good: bool,
    places: Vec<PlaceReport>,
}

#[derive(Serialize)]
struct PlaceReport {
    place: PlaceName,
    /// Runs that stay, and that are given up.
    kept_runs: usize,
    expired_runs: Vec<RunId>,
    condemned_packs: usize,
    spared_packs: usize,
    /// Objects that are (or would be) deleted, and their bytes.
    deleted: u64,
    freed_bytes: u64,
    /// Deletions that were refused, each with the reason.
    refused: Vec<String>,
    /// True if nothing at all is deleted until somebody has looked.
    blocked: bool,
    /// The reason why not all of the plan was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// The plan, for people.
    plan: Vec<String>,
}

pub(crate) async fn run(global: &Global, args: &CleanupArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, READING)?;
    let logs = Logs::start(global, Some(&settings), None)?;
    let names = chosen(&settings, args)?;
    let access = Access::open(&settings, None).await?;
    let clock = holdfast_telemetry::clock::system();
    let places = Arc::new(Places::new(access.repository.clone(), &settings, clock));
    let stop = super::restore::interrupt();
    let mut reports = Vec::new();
    for name in &names {
        reports.push(at_place(&places, name, args, &stop).await);
    }
    let good = reports.iter().all(|place| place.failure.is_none() && !place.blocked);
    let report = Report {
        dry_run: args.dry_run,
        good,
        places: reports,
    };
    Output::new(args.json).print(&report, |_| text(&report));
    logs.end().await;
    Ok(Exit::good_if(report.good))
}

fn chosen(settings: &Settings, args: &CleanupArgs) -> Result<Vec<PlaceName>, CliError> {
    if !args.places.is_empty() {
        return Ok(args.places.clone());
    }
    let names: Vec<PlaceName> = settings.retention.keys().cloned().collect();
    if names.is_empty() {
        return Err(CliError::Usage(
            "nothing is ever deleted: there is no [retention.PLACE] section".to_owned(),
        ));
    }
    Ok(names)
}

async fn at_place(places: &Places, name: &PlaceName, args: &CleanupArgs, stop: &CancellationToken) -> PlaceReport {
    if args.dry_run {
        return match plan_place(places, name, args.confirm).await {
            Ok(plan) => report(&plan, &plan.steps(), None),
            Err(error) => failed(name, &error),
        };
    }
    let token = stop.clone();
    let stopped = move || token.is_cancelled();
    match apply_place(places, name, args.confirm, &stopped).await {
        Ok(applied) => {
            let failure = applied
                .failed
                .as_ref()
                .map(|error| holdfast_fault::chain(error).to_string());
            report(&applied.plan, &applied.done, failure)
        }
        Err(error) => failed(name, &error),
    }
}

fn report(plan: &RetentionPlan, done: &[Action], failure: Option<String>) -> PlaceReport {
    let mut expired = Vec::new();
    let mut condemned = 0;
    let mut deleted = 0;
    let mut freed = 0u64;
    for action in done {
        match action {
            Action::WriteTombstone { run, .. } => expired.push(*run),
            Action::Condemn(_) => condemned += 1,
            Action::Delete { object, .. } => {
                deleted += 1;
                freed = freed.saturating_add(object.size);
            }
        }
    }
    PlaceReport {
        place: plan.place.clone(),
        kept_runs: plan.keep.len(),
        expired_runs: expired,
        condemned_packs: condemned,
        spared_packs: plan.spare.len(),
        deleted,
        freed_bytes: freed,
        refused: plan.refused.clone(),
        blocked: plan.blocked,
        failure,
        plan: plan.lines(),
    }
}

fn failed(name: &PlaceName, error: &dyn std::error::Error) -> PlaceReport {
    PlaceReport {
        place: name.clone(),
        kept_runs: 0,
        expired_runs: Vec::new(),
        condemned_packs: 0,
        spared_packs: 0,
        deleted: 0,
        freed_bytes: 0,
        refused: Vec::new(),
        blocked: false,
        failure: Some(holdfast_fault::chain(error).to_string()),
        plan: Vec::new(),
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for place in &report.places {
        if report.dry_run {
            text.extend(place.plan.iter().map(|line| format!("{}\n", human::shown(line))));
        } else {
            let kept = place.kept_runs;
            let gone = place.expired_runs.len();
            let deleted = human::count(place.deleted, "object");
            let freed = human::bytes(place.freed_bytes);
            let condemned = place.condemned_packs;
            let spared = place.spared_packs;
            text.push_str(&format!(
                "{}: {kept} runs kept, {gone} given up; {deleted} deleted, {freed} freed; {condemned} packs condemned, {spared} \
                 spared\n",
                place.place
            ));
            text.extend(
                place
                    .refused
                    .iter()
                    .map(|why| format!("  not done: {}\n", human::shown(why))),
            );
        }
        if let Some(why) = &place.failure {
            text.push_str(&format!("{}: failed: {}\n", place.place, human::shown(why)));
        }
    }
    text
}
