//! The result of a run, told at its end.

use std::collections::BTreeSet;

use holdfast_events::{ArtefactState, Outcome, RunState, TargetState};
use holdfast_format::{ArtefactId, Class, Level, PlaceName, RunId, SourceName, Stage};
use holdfast_repository::Catalogue;
use jiff::Timestamp;
use serde::Serialize;

use crate::human;
use crate::output::{Output, Table};
use crate::progress::{stage, title};

/// The JSON of `holdfast run`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    run: RunId,
    /// `complete`, `partial`, `failed`.
    outcome: Outcome,
    class: Class,
    label: Option<String>,
    started: Timestamp,
    finished: Option<Timestamp>,
    artefacts: Vec<Line>,
    /// Copies of the restore point, and retention, by place.
    steps: Vec<StepLine>,
    failures: Vec<FailureLine>,
    /// Notes for the operator on the listings.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    artefact: ArtefactId,
    source: Option<SourceName>,
    kind: Option<&'static str>,
    name: Option<String>,
    /// Bytes of the stream, how many were new, and the sealed bytes that it added.
    size: u64,
    new: Option<u64>,
    stored: u64,
    /// `done`, `failed`, `not everywhere`.
    stage: &'static str,
    verified: Option<Level>,
    synced: BTreeSet<PlaceName>,
    warnings: u64,
    /// The artefact's name in tables.
    #[serde(skip)]
    title: String,
}

#[derive(Debug, Serialize)]
struct StepLine {
    step: &'static str,
    place: PlaceName,
    done: bool,
}

#[derive(Debug, Serialize)]
struct FailureLine {
    subject: String,
    stage: Stage,
    reason: String,
}

impl Report {
    /// The report of a run that has ended.
    pub(super) async fn new(catalogue: &Catalogue, state: &RunState, outcome: Outcome) -> Self {
        let expected = &state.expected;
        // The report does not depend on it: the run has ended, whether or not the record can be read just now.
        let point = catalogue.restore_point(expected.run).await.ok().flatten();
        let finished = catalogue.finished(expected.run).await.ok().flatten().map(|f| f.at);
        let mut artefacts = Vec::new();
        for (id, artefact) in &state.artefacts {
            artefacts.push(line(catalogue, state, *id, artefact).await);
        }
        artefacts.sort_by(|a, b| (&a.source, &a.kind, &a.name).cmp(&(&b.source, &b.kind, &b.name)));
        let step = |step, places: &std::collections::BTreeMap<PlaceName, TargetState>| {
            let lines = places.iter().map(move |(place, state)| StepLine {
                step,
                place: place.clone(),
                done: *state == TargetState::Done,
            });
            lines.collect::<Vec<_>>()
        };
        let failure = |(subject, stage, reason)| FailureLine { subject, stage, reason };
        Self {
            run: expected.run,
            outcome,
            class: expected.class,
            label: expected.label.clone(),
            started: expected.created,
            finished,
            artefacts,
            steps: step("restore point", &state.points)
                .into_iter()
                .chain(step("retention", &state.cleaned))
                .collect(),
            failures: state.failures().into_iter().map(failure).collect(),
            notes: point.map(|point| point.notes.clone()).unwrap_or_default(),
        }
    }

    /// For people: a table, what failed and why, and the end in one line.
    pub(super) fn text(&self, out: Output) -> String {
        let columns = [
            "artefact",
            "kind",
            ">size",
            ">new",
            ">stored",
            "stage",
            "verified",
            "copied to",
            ">warnings",
        ];
        let mut table = Table::new(&columns);
        for line in &self.artefacts {
            let copied: Vec<&str> = line.synced.iter().map(PlaceName::as_str).collect();
            let warnings = if line.warnings > 0 {
                line.warnings.to_string()
            } else {
                String::new()
            };
            table.row([
                line.title.as_str(),
                line.kind.unwrap_or_default(),
                &human::bytes(line.size),
                &line.new.map(human::bytes).unwrap_or_default(),
                &human::bytes(line.stored),
                line.stage,
                line.verified.map_or("", Level::as_str),
                &copied.join(", "),
                &warnings,
            ]);
        }
        let mut text = if table.is_empty() {
            String::new()
        } else {
            out.table(&table)
        };
        for note in &self.notes {
            text.push_str(&format!("note: {}\n", human::shown(note)));
        }
        for failure in &self.failures {
            let subject = human::shown(&failure.subject);
            let reason = human::shown(&failure.reason);
            text.push_str(&format!("failed in {}: {subject}: {reason}\n", failure.stage));
        }
        for step in &self.steps {
            text.push_str(&format!(
                "{} at {}: {}\n",
                step.step,
                step.place,
                if step.done { "done" } else { "failed" }
            ));
        }
        let took = self
            .finished
            .map(|at| format!(" after {}", human::duration(at.duration_since(self.started))));
        text + &format!(
            "run {} is {}{}\n",
            self.run,
            self.outcome.as_str(),
            took.unwrap_or_default()
        )
    }
}

async fn line(catalogue: &Catalogue, state: &RunState, id: ArtefactId, artefact: &ArtefactState) -> Line {
    let listed = artefact.listed.as_ref();
    let mut new = artefact.captured.map(|(_, _, new)| new);
    if new.is_none()
        && artefact.sealed.is_some()
        && let Ok(Some(sealed)) = catalogue.repository().manifest(id).await
    {
        // The bus has lost the fact that told it.
        new = Some(sealed.manifest.captured.new.bytes);
    }
    Line {
        artefact: id,
        source: listed.map(|(source, _)| source.clone()),
        kind: listed.map(|(_, a)| a.kind.as_str()),
        name: listed.map(|(_, a)| a.name.clone()),
        size: artefact.size,
        new,
        stored: artefact.stored,
        stage: stage(state, artefact),
        verified: artefact.verified,
        synced: artefact.synced.clone(),
        warnings: artefact.warnings,
        title: title(id, artefact),
    }
}
