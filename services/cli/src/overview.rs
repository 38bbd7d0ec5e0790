//! The runs and artefacts of a repository, with the standing of each.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use holdfast_format::{
    Artefact, ArtefactId, Expected, Finished, Level, ObjectKey, PointStatus, RestorePoint, RunId, SourceName, Stage,
};
use holdfast_repository::{Catalogue, RepositoryError, SealedManifest};
use holdfast_service::none_if_damaged;
use holdfast_storage::Prefix;
use jiff::Timestamp;
use serde::Serialize;

use crate::human;

/// Runs read at the same time.
const AT_ONCE: usize = 8;

/// The standing of an artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The artefact can be restored. When its run was recorded, it was verified to this level.
    Good(Option<Level>),
    /// The artefact did not come, or is not what it should be.
    Failed(Stage, String),
    /// The run is not recorded yet. The artefact has a manifest, or none yet.
    Open,
}

/// An artefact of a run.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) source: SourceName,
    pub(crate) artefact: Artefact,
    pub(crate) standing: Standing,
}

/// A run, as far as its records are at this place.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    pub(crate) run: RunId,
    pub(crate) expected: Option<Arc<Expected>>,
    pub(crate) point: Option<Arc<RestorePoint>>,
    pub(crate) finished: Option<Arc<Finished>>,
    pub(crate) artefacts: Vec<Known>,
}

impl RunView {
    /// Reads a run's records; `None` if the place has none of them.
    pub(crate) async fn read(catalogue: &Catalogue, run: RunId) -> Result<Option<Self>, RepositoryError> {
        let expected = catalogue.expected(run).await?;
        let point = catalogue.restore_point(run).await?;
        let finished = catalogue.finished(run).await?;
        if expected.is_none() && point.is_none() {
            return Ok(None);
        }
        let artefacts = match (&point, &expected) {
            (Some(point), _) => of_point(point),
            (None, Some(expected)) => of_listings(catalogue, expected).await?,
            (None, None) => Vec::new(),
        };
        Ok(Some(Self {
            run,
            expected,
            point,
            finished,
            artefacts,
        }))
    }

    /// Returns the time at which the run was started.
    pub(crate) fn started(&self) -> Timestamp {
        let recorded = self.point.as_ref().map(|p| p.started);
        recorded
            .or(self.expected.as_ref().map(|e| e.created))
            .unwrap_or_else(|| human::run_time(self.run))
    }

    /// `complete`, `partial`, `failed`; `recorded` while steps after the restore point go on; `unfinished`, or
    /// `overdue` once its deadline has passed.
    pub(crate) fn state(&self, now: Timestamp) -> &str {
        match (&self.finished, &self.point, &self.expected) {
            (Some(finished), ..) => &finished.outcome,
            // Targets hold restore points, and no word of how the whole run ended.
            (None, Some(point), None) => {
                if point.complete {
                    "complete"
                } else {
                    "partial"
                }
            }
            (None, _, Some(expected)) if expected.deadline < now => "overdue",
            (None, Some(_), Some(_)) => "recorded",
            (None, None, _) => "unfinished",
        }
    }

    /// Returns the word by which people find the run.
    pub(crate) fn label(&self) -> Option<&str> {
        let recorded = self.point.as_ref().and_then(|p| p.label.as_deref());
        recorded.or_else(|| self.expected.as_ref().and_then(|e| e.label.as_deref()))
    }

    /// Returns the class that retention goes by.
    pub(crate) fn class(&self) -> &'static str {
        let recorded = self.point.as_ref().map(|p| p.class);
        recorded
            .or(self.expected.as_ref().map(|e| e.class))
            .map_or("", |class| class.as_str())
    }

    /// Until when it was to be held from its start.
    pub(crate) fn hold_until(&self) -> Option<Timestamp> {
        let recorded = self.point.as_ref().and_then(|p| p.hold_until);
        recorded.or_else(|| self.expected.as_ref().and_then(|e| e.hold_until))
    }

    /// Returns the type that was asked for.
    pub(crate) fn backup_type(&self) -> &str {
        let recorded = self.point.as_ref().map(|p| p.backup_type.as_str());
        recorded
            .or(self.expected.as_ref().map(|e| e.backup_type.as_str()))
            .unwrap_or_default()
    }

    /// The stack that it is of, if one was asked for.
    pub(crate) fn stack(&self) -> Option<&str> {
        let recorded = self.point.as_ref().and_then(|p| p.stack.as_deref());
        recorded.or_else(|| self.expected.as_ref().and_then(|e| e.stack.as_deref()))
    }

    /// Returns the run's reason in a word: `manual`, or the schedule's name.
    pub(crate) fn reason(&self) -> String {
        let reason = self
            .point
            .as_ref()
            .map(|p| &p.reason)
            .or(self.expected.as_ref().map(|e| &e.reason));
        match reason {
            Some(holdfast_format::Reason::Schedule { name, .. }) => name.to_string(),
            Some(holdfast_format::Reason::Manual) => "manual".to_owned(),
            None => String::new(),
        }
    }
}

fn of_point(point: &RestorePoint) -> Vec<Known> {
    let known = |a: &holdfast_format::PointArtefact| Known {
        source: a.source.clone(),
        artefact: a.artefact.clone(),
        standing: match &a.status {
            PointStatus::Good { verified, .. } => Standing::Good(*verified),
            PointStatus::Failed { stage, reason } => Standing::Failed(*stage, reason.clone()),
        },
    };
    point.artefacts.iter().map(known).collect()
}

async fn of_listings(catalogue: &Catalogue, expected: &Expected) -> Result<Vec<Known>, RepositoryError> {
    let mut all = Vec::new();
    for source in &expected.sources {
        let Some(listed) = catalogue.listed(expected.run, &source.name).await? else {
            continue;
        };
        let known = |a: &Artefact| Known {
            source: source.name.clone(),
            artefact: a.clone(),
            standing: Standing::Open,
        };
        all.extend(listed.artefacts.iter().map(known));
    }
    Ok(all)
}

/// Something of a repository that cannot be read, though it is there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable {
    /// The run or artefact.
    pub(crate) what: String,
    /// The reason.
    pub(crate) problem: String,
}

/// Runs, newest first, at most `limit`; damaged ones are told apart, and hold no other back.
pub(crate) async fn runs(
    catalogue: &Catalogue,
    limit: usize,
) -> Result<(Vec<RunView>, Vec<Unreadable>), RepositoryError> {
    let ids = catalogue.runs().await?;
    let reads = stream::iter(ids.into_iter().take(limit))
        .map(|run| async move { (run, RunView::read(catalogue, run).await) })
        .buffered(AT_ONCE);
    let mut reads = std::pin::pin!(reads);
    let mut views = Vec::new();
    let mut unreadable = Vec::new();
    while let Some((run, read)) = reads.next().await {
        match read {
            Ok(view) => views.extend(view),
            Err(error) if error.is_unreadable() => unreadable.push(problem(format!("run {run}"), &error)),
            Err(error) => return Err(error),
        }
    }
    Ok((views, unreadable))
}

/// The records of runs that are there and cannot be read, by key.
pub(crate) async fn unreadable(catalogue: &Catalogue) -> Result<Vec<Unreadable>, RepositoryError> {
    let place = catalogue.repository().place();
    let mut found = Vec::new();
    for run in catalogue.runs().await? {
        for object in place.list(Prefix::Run(run)).await?.objects {
            let read = match &object.key {
                ObjectKey::Expected(run) => catalogue.expected(*run).await.map(drop),
                ObjectKey::RestorePoint(run) => catalogue.restore_point(*run).await.map(drop),
                ObjectKey::Finished(run) => catalogue.finished(*run).await.map(drop),
                ObjectKey::Listed(run, source) => catalogue.listed(*run, source).await.map(drop),
                ObjectKey::Copied(run, place) => catalogue.copied(*run, place).await.map(drop),
                ObjectKey::Cleaned(run, place) => catalogue.cleaned(*run, place).await.map(drop),
                _ => continue,
            };
            match read {
                Err(error) if error.is_unreadable() => found.push(problem(object.key.to_string(), &error)),
                read => read?,
            }
        }
        match catalogue.failures(run).await {
            Err(error) if error.is_unreadable() => found.push(problem(format!("run {run}"), &error)),
            read => drop(read?),
        }
    }
    Ok(found)
}

/// The artefacts that restore points have as good, but for those of runs that retention has given up. A tombstone that
/// cannot be read gives nothing up.
pub(crate) async fn promised(catalogue: &Catalogue) -> Result<Vec<ArtefactId>, RepositoryError> {
    let tombstones = catalogue.repository().place().list(Prefix::Tombstones).await?.objects;
    let marked: HashSet<ObjectKey> = tombstones.into_iter().map(|object| object.key).collect();
    let mut promised = Vec::new();
    for run in catalogue.runs().await? {
        if marked.contains(&ObjectKey::Tombstone(run)) && is_given_up(catalogue, run).await? {
            continue;
        }
        let point = catalogue.restore_point(run).await.or_else(none_if_damaged)?;
        let artefacts = point.iter().flat_map(|point| &point.artefacts);
        let good = artefacts.filter(|a| matches!(a.status, PointStatus::Good { .. }));
        promised.extend(good.map(|a| a.artefact.id));
    }
    Ok(promised)
}

/// Tells whether retention gave a run up. A tombstone that cannot be read is warned of, and gives nothing up.
pub(crate) async fn is_given_up(catalogue: &Catalogue, run: RunId) -> Result<bool, RepositoryError> {
    match catalogue.is_given_up(run).await {
        Err(error) if error.is_unreadable() => {
            let reason = holdfast_fault::chain(&error);
            tracing::warn!(%run, %reason, "the run's tombstone cannot be read; the run counts as not given up");
            Ok(false)
        }
        told => told,
    }
}

fn problem(what: String, error: &RepositoryError) -> Unreadable {
    Unreadable {
        what,
        problem: holdfast_fault::chain(error).to_string(),
    }
}

/// An artefact with its manifest, if it has one that can be read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) artefact: ArtefactId,
    pub(crate) run: RunId,
    pub(crate) source: SourceName,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `good`, `bad` (a verification found it so), `failed`, `unfinished`, `unreadable`.
    pub(crate) status: &'static str,
    /// The reason why the artefact failed or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The deepest verification at this place that found it good.
    pub(crate) verified: Option<Level>,
    /// The beginning of the capture.
    pub(crate) started: Option<Timestamp>,
    pub(crate) finished: Option<Timestamp>,
    /// Bytes of its stream, and how many of them were new.
    pub(crate) size: Option<u64>,
    pub(crate) new: Option<u64>,
    pub(crate) warnings: Option<u64>,
    pub(crate) class: &'static str,
    pub(crate) label: Option<String>,
}

impl Row {
    fn new(view: &RunView, known: &Known) -> Self {
        Self {
            artefact: known.artefact.id,
            run: view.run,
            source: known.source.clone(),
            kind: known.artefact.kind.as_str(),
            name: known.artefact.name.clone(),
            status: "unfinished",
            reason: None,
            verified: None,
            started: None,
            finished: None,
            size: None,
            new: None,
            warnings: None,
            class: view.class(),
            label: view.label().map(str::to_owned),
        }
    }

    fn describe(&mut self, sealed: &SealedManifest) {
        let manifest = &sealed.manifest;
        (self.started, self.finished) = (Some(manifest.captured.started), Some(manifest.captured.finished));
        (self.size, self.new) = (Some(manifest.captured.stream.size), Some(manifest.captured.new.bytes));
        self.warnings = Some(manifest.warnings.total);
    }
}

/// One artefact of a run, looked up in full.
pub(crate) async fn row(catalogue: &Catalogue, view: &RunView, known: &Known) -> Result<Row, RepositoryError> {
    let mut row = Row::new(view, known);
    let id = known.artefact.id;
    match catalogue.repository().manifest(id).await {
        Ok(Some(sealed)) => row.describe(&sealed),
        Ok(None) => {
            match &known.standing {
                Standing::Failed(stage, reason) => {
                    (row.status, row.reason) = ("failed", Some(format!("{stage}: {reason}")));
                }
                Standing::Good(_) => {
                    (row.status, row.reason) = ("unreadable", Some("its manifest is missing".to_owned()));
                }
                Standing::Open => {}
            }
            return Ok(row);
        }
        Err(error) if error.is_unreadable() => {
            (row.status, row.reason) = ("unreadable", Some(problem(String::new(), &error).problem));
            return Ok(row);
        }
        Err(error) => return Err(error),
    }
    let here = catalogue.repository().place().name();
    let (later, closed) = catalogue.readable_verifications(id).await?;
    if let Some(key) = closed.first() {
        row.reason = Some(format!(
            "{key}: the record of a verification cannot be read, and says nothing"
        ));
    }
    let found = later
        .iter()
        .filter(|v| v.is_good() && v.place == *here)
        .map(|v| v.level)
        .max();
    row.verified = match &known.standing {
        Standing::Good(level) => found.max(*level),
        _ => found,
    };
    row.status = match &known.standing {
        _ if catalogue.calls_bad(&later) => "bad",
        Standing::Failed(stage, reason) => {
            row.reason = Some(format!("{stage}: {reason}"));
            "failed"
        }
        Standing::Good(_) | Standing::Open => "good",
    };
    Ok(row)
}

/// The rows of several runs, in their order.
pub(crate) async fn rows(
    catalogue: &Catalogue,
    views: &[RunView],
    wanted: impl Fn(&Known) -> bool,
) -> Result<Vec<Row>, RepositoryError> {
    let all: Vec<(&RunView, &Known)> = views
        .iter()
        .flat_map(|view| view.artefacts.iter().map(move |a| (view, a)))
        .filter(|(_, a)| wanted(a))
        .collect();
    let mut reads = stream::iter(all)
        .map(|(view, known)| row(catalogue, view, known))
        .buffered(AT_ONCE);
    let mut rows = Vec::new();
    while let Some(read) = reads.next().await {
        rows.push(read?);
    }
    Ok(rows)
}

/// Until when a run is held at this place, if it is.
pub(crate) async fn hold(catalogue: &Catalogue, run: RunId) -> Result<Option<holdfast_format::Hold>, RepositoryError> {
    catalogue.repository().read(&ObjectKey::Hold(run)).await
}
