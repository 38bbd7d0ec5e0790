//! `holdfast status`: of every source, how old its newest good backup is. From the repository alone.

use clap::Args;
use holdfast_config::Settings;
use holdfast_format::{Level, PlaceName, RunId, SourceName};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::access::{self, Access, READING};
use crate::age::{self, Age, Limits};
use crate::checks::{self, Check};
use crate::logs::Logs;
use crate::output::{Output, Table};
use crate::overview::{self, Row, RunView, Unreadable};
use crate::{CliError, Exit, Global, human, parse};

/// Runs looked at: for hourly backups, a month.
const RUNS: usize = 750;

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Look at this place instead of the local repository.
    #[arg(long, value_name = "PLACE", value_parser = parse::place)]
    pub(crate) place: Option<PlaceName>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Report {
    place: PlaceName,
    at: Timestamp,
    /// True if every configured source is good.
    good: bool,
    sources: Vec<SourceStatus>,
    unfinished: Vec<Unfinished>,
    unreadable: Vec<Unreadable>,
    /// Keys that have ended or end within 30 days.
    keys: Vec<Check>,
}

#[derive(Serialize)]
struct SourceStatus {
    source: SourceName,
    configured: bool,
    /// The newest run of which everything of this source is good.
    newest_good: Option<Backup>,
    /// The newest of those that was verified by decrypting it, or deeper.
    newest_verified: Option<Backup>,
    /// The last run that ended. A target knows of none.
    last_run: Option<LastRun>,
    /// The greatest age of its newest good backup; of a source that is no longer configured, none.
    max_age_seconds: Option<i64>,
    good: bool,
    /// The reason for which a configured source is not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Serialize)]
struct Backup {
    run: RunId,
    at: Timestamp,
    age_seconds: i64,
    artefacts: usize,
}

#[derive(Serialize)]
struct LastRun {
    run: RunId,
    at: Timestamp,
    /// `complete`, `partial`, `failed`.
    outcome: String,
    /// True if it brought all of this source.
    whole: bool,
}

#[derive(Serialize)]
struct Unfinished {
    run: RunId,
    started: Timestamp,
    deadline: Option<Timestamp>,
    state: String,
}

pub(crate) async fn run(global: &Global, args: &StatusArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, READING)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let access = Access::open(&settings, args.place.as_ref()).await?;
    let now = holdfast_telemetry::clock::system().now();
    let mut limits = Limits::of(&settings, access.repository.place().name(), now);
    let (views, unreadable) = overview::runs(&access.catalogue, RUNS).await?;
    let mut sources = Vec::new();
    for name in source_names(&settings, &views) {
        let configured = settings.sources().any(|(source, _)| *source == name);
        let max_age = configured.then(|| limits.max_age(&name));
        sources.push(status_of(&access, &settings, &views, name, max_age, now).await?);
    }
    let is_open = |view: &&RunView| !matches!(view.state(now), "complete" | "partial" | "failed");
    let unfinished = views.iter().filter(is_open).map(|view| Unfinished {
        run: view.run,
        started: view.started(),
        deadline: view.expected.as_ref().map(|e| e.deadline),
        state: view.state(now).to_owned(),
    });
    let good = unreadable.is_empty() && sources.iter().all(|s| s.good || !s.configured);
    let place = access.repository.place().name().clone();
    let report = Report {
        place,
        at: now,
        good,
        sources,
        unfinished: unfinished.collect(),
        unreadable,
        keys: checks::keys::ends(&settings),
    };
    Output::new(args.json).print(&report, |out| text(out, &report));
    Ok(Exit::good_if(report.good))
}

/// Configured sources, then those of which only backups are left.
fn source_names(settings: &Settings, views: &[RunView]) -> Vec<SourceName> {
    let mut names: Vec<SourceName> = settings.sources().map(|(name, _)| name.clone()).collect();
    for known in views.iter().flat_map(|view| &view.artefacts) {
        if !names.contains(&known.source) {
            names.push(known.source.clone());
        }
    }
    names
}

async fn status_of(
    access: &Access,
    settings: &Settings,
    views: &[RunView],
    source: SourceName,
    max_age: Option<SignedDuration>,
    now: Timestamp,
) -> Result<SourceStatus, CliError> {
    let docker = settings.docker_sources().iter().any(|known| known.name == source);
    // A run of one stack is no backup of the whole engine.
    let of_source = |view: &&RunView| {
        let has = view.expected.as_ref().is_none_or(|e| e.source(&source).is_some());
        has && (!docker || view.stack().is_none())
    };
    let mut newest_good = None;
    let mut newest_verified = None;
    let mut last_run = None;
    for view in views.iter().filter(of_source) {
        let rows = overview::rows(&access.catalogue, std::slice::from_ref(view), |a| a.source == source).await?;
        let state = view.state(now);
        // An engine may have no volume, or no database, and all is well.
        let nothing = docker && rows.is_empty() && state == "complete";
        let whole = nothing || (!rows.is_empty() && rows.iter().all(|row| row.status == "good"));
        if last_run.is_none() && matches!(state, "complete" | "partial" | "failed") {
            last_run = Some(LastRun {
                run: view.run,
                at: view.started(),
                outcome: state.to_owned(),
                whole,
            });
        }
        if whole {
            let verified = rows.iter().all(|row| row.verified.is_some_and(Level::opens));
            let backup = backup(view.run, &rows, now);
            newest_verified = newest_verified.or_else(|| verified.then(|| backup.clone()));
            newest_good = newest_good.or(Some(backup));
        }
        if newest_verified.is_some() && last_run.is_some() {
            break;
        }
    }
    // A target gets no record of a run's end, so there only the backups themselves can be judged.
    let at_target = *access.repository.place().name() != PlaceName::local();
    let end = match &last_run {
        Some(LastRun { whole: true, .. }) => None,
        Some(_) => Some("the last run that ended did not bring all of it"),
        None if at_target => None,
        None => Some("no run of it has ended"),
    };
    let reason = max_age.and_then(|max_age| fault(newest_good.as_ref(), end, max_age, now));
    Ok(SourceStatus {
        source,
        configured: max_age.is_some(),
        good: newest_good.is_some() && end.is_none() && reason.is_none(),
        newest_good,
        newest_verified,
        last_run,
        max_age_seconds: max_age.map(|age| age.as_secs()),
        reason,
    })
}

/// Says for people why a source is not good: by the age of its newest good backup, or else by `end`, the fault of its last run.
fn fault(newest_good: Option<&Backup>, end: Option<&str>, max_age: SignedDuration, now: Timestamp) -> Option<String> {
    let at = newest_good.map(|backup| backup.at);
    match (age::judge(at, max_age, now), at) {
        (Age::Missing, _) | (_, None) => Some("there is no good backup".to_owned()),
        (Age::Future, Some(at)) => Some(format!(
            "its newest good backup is of {}, which is still to come: a clock is or was wrong",
            human::time(at)
        )),
        (Age::TooOld, Some(at)) => Some(format!(
            "its newest good backup is {} old, and may be {} old at most",
            human::duration(now.duration_since(at)),
            human::duration(max_age)
        )),
        (Age::Fine, Some(_)) => end.map(str::to_owned),
    }
}

/// A backup is as old as the oldest thing in it.
fn backup(run: RunId, rows: &[Row], now: Timestamp) -> Backup {
    let at = rows
        .iter()
        .filter_map(|row| row.started)
        .min()
        .unwrap_or_else(|| human::run_time(run));
    Backup {
        run,
        at,
        age_seconds: now.duration_since(at).as_secs(),
        artefacts: rows.len(),
    }
}

fn text(out: Output, report: &Report) -> String {
    let mut table = Table::new(&["source", "state", "newest good", "newest verified", "last run"]);
    for source in &report.sources {
        let age = |backup: &Option<Backup>| {
            backup
                .as_ref()
                .map_or("none".to_owned(), |b| age::shown(b.at, report.at))
        };
        let last = match &source.last_run {
            Some(last) => format!("{}, {}", last.outcome, human::time(last.at)),
            None => "none".to_owned(),
        };
        let state = match (source.good, source.configured) {
            (true, true) => "good",
            (false, true) => "NOT GOOD",
            (_, false) => "no longer configured",
        };
        table.row([
            source.source.as_str(),
            state,
            &age(&source.newest_good),
            &age(&source.newest_verified),
            &last,
        ]);
    }
    let mut text = if table.is_empty() {
        "no sources are configured\n".to_owned()
    } else {
        out.table(&table)
    };
    for source in &report.sources {
        if let Some(reason) = &source.reason {
            text.push_str(&format!("{} is not good: {reason}\n", source.source));
        }
    }
    for open in &report.unfinished {
        text.push_str(&format!(
            "run {} of {} is {}\n",
            open.run,
            human::time(open.started),
            open.state
        ));
    }
    for unreadable in &report.unreadable {
        text.push_str(&format!(
            "{} cannot be read: {}\n",
            unreadable.what,
            human::shown(&unreadable.problem)
        ));
    }
    for key in &report.keys {
        let advice = key
            .advice
            .as_deref()
            .map_or_else(String::new, |advice| format!(": {advice}"));
        text.push_str(&format!(
            "{}: {}{advice}\n",
            human::shown(&key.check),
            human::shown(&key.found)
        ));
    }
    text
}
