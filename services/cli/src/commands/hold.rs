//! `holdfast hold` and `release`: keeping a run whatever retention says, and no longer.

use std::time::Duration;

use clap::Args;
use holdfast_config::Settings;
use holdfast_format::{Hold, ObjectKey, PlaceName, RunId};
use holdfast_repository::{Catalogue, Repository};
use jiff::Timestamp;
use serde::Serialize;

use crate::access::{self, Access, READING};
use crate::logs::Logs;
use crate::output::Output;
use crate::{CliError, Exit, Global, human, overview, parse};

/// Arguments of `hold`.
#[derive(Debug, Args)]
pub(crate) struct HoldArgs {
    /// The run.
    #[arg(value_name = "RUN", value_parser = parse::run)]
    pub(crate) run: RunId,
    /// For so long; without this and --until, until it is released.
    #[arg(long = "for", value_name = "14d", value_parser = parse::period, conflicts_with = "until")]
    pub(crate) period: Option<Duration>,
    /// Until then: 2026-12-24, "2026-12-24 12:00" or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub(crate) until: Option<Timestamp>,
    /// The reason, for whoever finds the hold.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only at this place; else at every place that has the run.
    #[arg(long, value_name = "PLACE", value_parser = parse::place)]
    pub(crate) place: Option<PlaceName>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `release`.
#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// The run.
    #[arg(value_name = "RUN", value_parser = parse::run)]
    pub(crate) run: RunId,
    /// Only at this place; else at every place that has the run.
    #[arg(long, value_name = "PLACE", value_parser = parse::place)]
    pub(crate) place: Option<PlaceName>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    run: RunId,
    places: Vec<PlaceResult>,
}

#[derive(Serialize)]
struct PlaceResult {
    place: PlaceName,
    /// `held`, `released`, `not held`, `absent` (the place does not have the run), `failed`.
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(crate) async fn run_hold(global: &Global, args: &HoldArgs) -> Result<Exit, CliError> {
    let now = Timestamp::now();
    let until = match args.period {
        Some(period) => Some(
            now.checked_add(period)
                .map_err(|_| CliError::Usage("--for reaches beyond the calendar".into()))?,
        ),
        None => args.until,
    };
    if until.is_some_and(|until| until <= now) {
        return Err(CliError::Usage("--until is past already".to_owned()));
    }
    let hold = Hold {
        run: args.run,
        until,
        at: now,
        reason: args.reason.clone(),
    };
    let results = at_places(global, args.run, args.place.as_ref(), |repository| {
        put(repository, hold.clone())
    })
    .await?;
    let text = until.map_or("until it is released".to_owned(), |until| {
        format!("until {}", human::time(until))
    });
    finish(args.run, results, args.json, &text)
}

pub(crate) async fn run_release(global: &Global, args: &ReleaseArgs) -> Result<Exit, CliError> {
    let results = at_places(global, args.run, args.place.as_ref(), |repository| {
        remove(repository, args.run)
    })
    .await?;
    let note = "a hold that the run was started with stays until its own date";
    finish(args.run, results, args.json, note)
}

async fn put(repository: Repository, hold: Hold) -> Result<&'static str, CliError> {
    let place = repository.place();
    let key = ObjectKey::Hold(hold.run);
    if overview::is_given_up(&Catalogue::new(repository.clone()), hold.run).await? {
        return Err(CliError::refused(
            "retention has given the run up already",
            "take it from another place",
        ));
    }
    // A hold is written once, so another one takes its place.
    if place.head(&key).await?.is_some() {
        place.delete(&key).await?;
    }
    repository.write(&key, &hold).await?;
    Ok("held")
}

async fn remove(repository: Repository, run: RunId) -> Result<&'static str, CliError> {
    let place = repository.place();
    let key = ObjectKey::Hold(run);
    if place.head(&key).await?.is_none() {
        return Ok("not held");
    }
    place.delete(&key).await?;
    Ok("released")
}

/// Does something at every place that has the run, or at one.
async fn at_places<F, Fut>(
    global: &Global,
    run: RunId,
    only: Option<&PlaceName>,
    act: F,
) -> Result<Vec<PlaceResult>, CliError>
where
    F: Fn(Repository) -> Fut,
    Fut: Future<Output = Result<&'static str, CliError>>,
{
    let settings = access::load(global, READING)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let mut results = Vec::new();
    for place in places(&settings, only) {
        let result = match at_place(&settings, &place, run, &act).await {
            Ok(result) => PlaceResult {
                place,
                result,
                reason: None,
            },
            Err(error) if only.is_some() => return Err(error),
            Err(error) => {
                let reason = Some(holdfast_fault::chain(&error).to_string());
                PlaceResult {
                    place,
                    result: "failed",
                    reason,
                }
            }
        };
        results.push(result);
    }
    Ok(results)
}

fn places(settings: &Settings, only: Option<&PlaceName>) -> Vec<PlaceName> {
    match only {
        Some(place) => vec![place.clone()],
        None => {
            let targets = settings.target.iter().map(|target| target.name.clone());
            std::iter::once(PlaceName::local()).chain(targets).collect()
        }
    }
}

async fn at_place<F, Fut>(settings: &Settings, place: &PlaceName, run: RunId, act: &F) -> Result<&'static str, CliError>
where
    F: Fn(Repository) -> Fut,
    Fut: Future<Output = Result<&'static str, CliError>>,
{
    let access = match Access::open(settings, Some(place)).await {
        Ok(access) => access,
        // A target to which nothing was copied yet.
        Err(CliError::Repository(error))
            if matches!(*error, holdfast_repository::RepositoryError::NoRepository { .. }) =>
        {
            return Ok("absent");
        }

        Err(error) => return Err(error),
    };
    let here = access.repository.place();
    let known = [ObjectKey::Expected(run), ObjectKey::RestorePoint(run)];
    for key in known {
        if here.head(&key).await?.is_some() {
            return act(access.repository.clone()).await;
        }
    }
    Ok("absent")
}

fn finish(run: RunId, places: Vec<PlaceResult>, json: bool, note: &str) -> Result<Exit, CliError> {
    if places.iter().all(|place| place.result == "absent") {
        return Err(CliError::failed(format!(
            "no place has run {run}; `holdfast list --runs` shows all"
        )));
    }
    let report = Report { run, places };
    let failed = report.places.iter().any(|place| place.result == "failed");
    Output::new(json).print(&report, |_| {
        let mut text = String::new();
        for place in &report.places {
            let reason = place
                .reason
                .as_ref()
                .map(|why| format!(": {}", human::shown(why)))
                .unwrap_or_default();
            text.push_str(&format!("{}: {}{reason}\n", place.place, place.result));
        }
        text + note
    });
    Ok(Exit::good_if(!failed))
}
