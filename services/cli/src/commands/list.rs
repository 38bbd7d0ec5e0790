//! `holdfast list`: what can be restored.

use clap::Args;
use holdfast_format::{PlaceName, SourceName};
use jiff::Timestamp;
use serde::Serialize;

use crate::access::{self, Access, READING};
use crate::logs::Logs;
use crate::output::{Output, Table};
use crate::overview::{self, Row, RunView, Unreadable};
use crate::{CliError, Exit, Global, human, parse};

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only what this source brought.
    #[arg(long, value_name = "SOURCE", value_parser = parse::source)]
    pub(crate) source: Option<SourceName>,
    /// List runs instead of artefacts.
    #[arg(long)]
    pub(crate) runs: bool,
    /// Look at this place instead of the local repository.
    #[arg(long, value_name = "PLACE", value_parser = parse::place)]
    pub(crate) place: Option<PlaceName>,
    /// The number of runs to look at, newest first.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(crate) limit: usize,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Serialize)]
struct Artefacts {
    place: PlaceName,
    artefacts: Vec<Row>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct Runs {
    place: PlaceName,
    runs: Vec<RunRow>,
    unreadable: Vec<Unreadable>,
}

#[derive(Serialize)]
struct RunRow {
    run: holdfast_format::RunId,
    started: Timestamp,
    /// `complete`, `partial`, `failed`, `recorded`, `unfinished`, `overdue`.
    state: String,
    backup_type: String,
    reason: String,
    class: &'static str,
    label: Option<String>,
    artefacts: usize,
    failed: usize,
}

pub(crate) async fn run(global: &Global, args: &ListArgs) -> Result<Exit, CliError> {
    let settings = access::load(global, READING)?;
    let _logs = Logs::start(global, Some(&settings), None)?;
    let access = Access::open(&settings, args.place.as_ref()).await?;
    let out = Output::new(args.json);
    let (mut views, unreadable) = overview::runs(&access.catalogue, args.limit).await?;
    if views.len() + unreadable.len() >= args.limit {
        eprintln!(
            "only the newest {} runs were looked at; --limit N looks at more",
            args.limit
        );
    }
    let place = access.repository.place().name().clone();
    let exit = Exit::good_if(unreadable.is_empty());
    if args.runs {
        if let Some(source) = &args.source {
            views.retain(|view| has_source(view, source));
        }
        let runs = views.iter().map(run_row).collect();
        out.print(
            &Runs {
                place,
                runs,
                unreadable,
            },
            |out| runs_text(out, &views),
        );
    } else {
        let wanted = |known: &overview::Known| args.source.as_ref().is_none_or(|s| *s == known.source);
        let artefacts = overview::rows(&access.catalogue, &views, wanted).await?;
        let all = Artefacts {
            place,
            artefacts,
            unreadable,
        };
        out.print(&all, |out| artefacts_text(out, &all));
    }
    Ok(exit)
}

fn has_source(view: &RunView, source: &SourceName) -> bool {
    let expected = view.expected.as_ref().is_some_and(|e| e.source(source).is_some());
    expected || view.artefacts.iter().any(|a| a.source == *source)
}

fn run_row(view: &RunView) -> RunRow {
    RunRow {
        run: view.run,
        started: view.started(),
        state: view.state(Timestamp::now()).to_owned(),
        backup_type: view.backup_type().to_owned(),
        reason: view.reason(),
        class: view.class(),
        label: view.label().map(str::to_owned),
        artefacts: view.artefacts.len(),
        failed: view
            .artefacts
            .iter()
            .filter(|a| matches!(a.standing, overview::Standing::Failed(..)))
            .count(),
    }
}

fn runs_text(out: Output, views: &[RunView]) -> String {
    let mut table = Table::new(&["run", "started", "state", "type", "why", "class", ">artefacts", "label"]);
    for view in views {
        let row = run_row(view);
        let count = match row.failed {
            0 => row.artefacts.to_string(),
            failed => format!("{} ({failed} failed)", row.artefacts),
        };
        let started = human::time(row.started);
        let label = row.label.unwrap_or_default();
        table.row([
            &row.run.to_string(),
            &started,
            &row.state,
            &row.backup_type,
            &row.reason,
            row.class,
            &count,
            &label,
        ]);
    }
    if table.is_empty() {
        "no runs yet: make a backup with `holdfast run`".to_owned()
    } else {
        out.table(&table)
    }
}

fn artefacts_text(out: Output, all: &Artefacts) -> String {
    let mut text = rows_text(out, &all.artefacts);
    for unreadable in &all.unreadable {
        text.push_str(&format!(
            "{} cannot be read: {}\n",
            unreadable.what,
            human::shown(&unreadable.problem)
        ));
    }
    text
}

/// A table of artefacts.
pub(crate) fn rows_text(out: Output, rows: &[Row]) -> String {
    let columns = [
        "artefact", "source", "name", "kind", "captured", ">size", ">new", "status", "verified",
    ];
    let mut table = Table::new(&columns);
    for row in rows {
        let size = |bytes: Option<u64>| bytes.map(human::bytes).unwrap_or_default();
        let verified = row.verified.map_or("", |level| level.as_str());
        let status = match row.warnings {
            Some(warnings) if warnings > 0 => format!("{}, {}", row.status, human::count(warnings, "warning")),
            _ => row.status.to_owned(),
        };
        let id = row.artefact.to_string();
        let started = row.started.map(human::time).unwrap_or_default();
        let new = size(row.new);
        let size = size(row.size);
        table.row([
            &id[..12],
            row.source.as_str(),
            &row.name,
            row.kind,
            &started,
            &size,
            &new,
            &status,
            verified,
        ]);
    }
    if table.is_empty() {
        "nothing yet: make a backup with `holdfast run`\n".to_owned()
    } else {
        out.table(&table)
    }
}
