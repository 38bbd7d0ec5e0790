//! `holdfast status`: of every source, how old its newest good backup is. From the repository alone.

use clap::Args;
use holdfast_config::Settings;
use holdfast_format::{Level, PlaceName, RunId, SourceName};
use jiff::Timestamp;
use serde::Serialize;

use crate::access::{self, Access, READING};
use crate::catalog::{self, Row, RunView, Unreadable};
use crate::logs::Logs;
use crate::output::{Output, Table};
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
    /// Whether every configured source has a good backup, and its last run that ended brought it whole.
    good: bool,
    sources: Vec<SourceStatus>,
    unfinished: Vec<Unfinished>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct SourceStatus {
    source: SourceName,
    configured: bool,
    /// The newest run of which everything of this source is good.
    newest_good: Option<Backup>,
    /// The newest of those that was verified by decrypting it, or deeper.
    newest_verified: Option<Backup>,
    /// The last run that ended, and whether it brought this source whole.
    last_run: Option<LastRun>,
    good: bool,
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
    /// Whether this source came whole.
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
    let now = Timestamp::now();
    let (views, unreadable) = catalog::runs(&access.catalogue, RUNS).await?;
    let mut sources = Vec::new();
    for name in source_names(&settings, &views) {
        sources.push(status_of(&access, &settings, &views, name, now).await?);
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
    now: Timestamp,
) -> Result<SourceStatus, CliError> {
    let configured = settings.sources().any(|(name, _)| *name == source);
    let docker = settings.docker_sources().iter().any(|known| known.name == source);
    // A run of one stack is no backup of the whole engine.
    let of_source = |view: &&RunView| {
        let has = view.expected.as_ref().is_none_or(|e| e.source(&source).is_some());
        has && (!docker || view.stack().is_none())
    };
    let (mut newest_good, mut newest_verified, mut last_run) = (None, None, None);
    for view in views.iter().filter(of_source) {
        let rows = catalog::rows(&access.catalogue, std::slice::from_ref(view), |a| a.source == source).await?;
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
    let good = newest_good.is_some() && last_run.as_ref().is_some_and(|last| last.whole);
    Ok(SourceStatus {
        source,
        configured,
        newest_good,
        newest_verified,
        last_run,
        good,
    })
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
        let age = |backup: &Option<Backup>| match backup {
            Some(backup) => format!("{} ago", human::duration(report.at.duration_since(backup.at))),
            None => "none".to_owned(),
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
    text
}
