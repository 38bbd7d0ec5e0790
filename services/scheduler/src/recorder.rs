//! The recorder: folds facts into the states of runs, writes restore points when runs are ready, fails what did not
//! come by the deadline, and ends runs. Everything it writes is written once, so any number of replicas may do it side
//! by side.
//!
//! Facts are hints of when to look. What is written down follows from what the repository holds in that moment: a fact that
//! nothing there proves has no part in a restore point or in the end of a run.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use holdfast_events::{Fact, Job, RunState, TargetState, What, missing, point_status};
use holdfast_format::{
    ArtefactId, FailureSubject, Finished, ObjectKey, PlaceName, PointArtefact, RestorePoint, RunId, SourceName, Stage,
};
use holdfast_repository::Catalogue;
use holdfast_service::{Context, JobError, none_if_damaged, proven_facts, unfinished};
use holdfast_telemetry::failpoint;
use tokio::time::MissedTickBehavior;
use tracing::Instrument as _;

/// The interval at which the repository is searched for facts that the bus may have lost.
const EVIDENCE_EVERY: Duration = Duration::from_secs(30);
/// The interval at which the deadlines of runs are checked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Keeps the states of unfinished runs.
pub(crate) struct Recorder {
    cx: Context,
    runs: HashMap<RunId, RunState>,
    finished: std::collections::HashSet<RunId>,
}

impl Recorder {
    pub(crate) fn new(cx: Context) -> Self {
        Self {
            cx,
            runs: HashMap::new(),
            finished: std::collections::HashSet::new(),
        }
    }

    /// Keeps the record until the process drains.
    pub(crate) async fn run(mut self) {
        while !self.cx.drain.is_cancelled() {
            if let Err(error) = self.follow().await {
                tracing::warn!(
                    reason = error.reason(),
                    "the record of runs was interrupted; starting it again"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn follow(&mut self) -> Result<(), JobError> {
        let mut facts = self.cx.bus.new_facts().await?;
        let mut evidence = tokio::time::interval(EVIDENCE_EVERY);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.cx.drain.cancelled() => return Ok(()),
                fact = facts.next() => match fact {
                    Some(fact) => self.take(&fact?).await?,
                    None => return Ok(()),
                },
                _ = evidence.tick() => {
                    for run in unfinished(&self.cx, &mut self.finished).await? {
                        self.learn(run).await?;
                    }
                    self.step_all().await?;
                }
                _ = look.tick(), if !self.runs.is_empty() => self.step_all().await?,
            }
        }
    }

    async fn step_all(&mut self) -> Result<(), JobError> {
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        for run in runs {
            self.step(run).await?;
        }
        Ok(())
    }

    /// Applies the facts that the repository proves about a run to its state. Returns false if the repository does not
    /// know the run, or one of the run's records cannot be read; other runs are not affected.
    async fn learn(&mut self, run: RunId) -> Result<bool, JobError> {
        let found = proven_facts(&self.cx.catalogue, run).await.or_else(none_if_damaged)?;
        let Some(found) = found else {
            return Ok(false);
        };
        let state = self
            .runs
            .entry(run)
            .or_insert_with(|| RunState::new((*found.expected).clone()));
        for fact in &found.facts {
            if let Err(error) = state.apply(fact) {
                tracing::warn!(
                    %run, %error,
                    "ignoring a record of the repository that contradicts the facts of its run"
                );
            }
        }
        Ok(true)
    }

    async fn take(&mut self, fact: &Fact) -> Result<(), JobError> {
        if self.finished.contains(&fact.run) {
            return Ok(());
        }
        if !self.runs.contains_key(&fact.run) && !self.learn(fact.run).await? {
            tracing::warn!(run = %fact.run, "ignoring a fact of a run that the repository does not know");
            return Ok(());
        }
        // Only records of the repository end a run, or say that it has its restore point.
        if matches!(fact.what, What::RunRecorded { .. } | What::RunFinished { .. }) {
            self.learn(fact.run).await?;
        } else if let Some(state) = self.runs.get_mut(&fact.run)
            && let Err(error) = state.apply(fact)
        {
            tracing::warn!(run = %fact.run, %error, "ignoring a fact that contradicts the state of its run");
        }
        self.step(fact.run).await
    }

    /// Does what the state of a run calls for: at the deadline fails what did not come, records, copies, cleans, ends.
    async fn step(&mut self, run: RunId) -> Result<(), JobError> {
        let Some(state) = self.runs.get(&run) else {
            return Ok(());
        };
        let is_due = state.expected.deadline < self.cx.now() || state.is_ready_to_record();
        if state.recorded.is_none() && state.finished.is_none() && !is_due && state.outcome().is_none() {
            // No span for a run that just goes on: a long run is looked at thousands of times.
            return Ok(());
        }
        let span = tracing::info_span!("record", %run);
        holdfast_telemetry::propagate::set_parent(&span, &state.expected.trace);
        self.step_within(run).instrument(span).await
    }

    /// Replaces the state of a run by what the repository proves in this moment. Of the facts that were told, those are kept
    /// that nothing is written down by: what was tried and captured, and which targets have which artefact.
    /// Returns false if the repository does not tell: then nothing is written down.
    async fn confirm(&mut self, run: RunId) -> Result<bool, JobError> {
        // Through a new view, which has nothing in memory: only the place knows what is still there.
        let place = self.cx.repository.place().clone();
        let fresh = Catalogue::new(self.cx.repository.at(place));
        let Some(found) = proven_facts(&fresh, run).await.or_else(none_if_damaged)? else {
            return Ok(false);
        };
        let mut proven = found.state();
        if let Some(told) = self.runs.get(&run) {
            for (id, artefact) in &mut proven.artefacts {
                let Some(told) = told.artefacts.get(id) else { continue };
                artefact.attempt = told.attempt;
                artefact.captured = told.captured;
                artefact.synced.clone_from(&told.synced);
                artefact.stored = told.stored;
            }
            if told.is_ready_to_record() && !proven.is_ready_to_record() {
                tracing::warn!(%run, "facts told that a run has all that it is to have, and the repository does not hold it; the run goes on");
            }
        }
        self.runs.insert(run, proven);
        Ok(true)
    }

    async fn step_within(&mut self, run: RunId) -> Result<(), JobError> {
        let Some(state) = self.runs.get(&run) else {
            return Ok(());
        };
        let is_due = state.expected.deadline < self.cx.now() || state.outcome().is_some();
        let is_due = is_due || (state.recorded.is_none() && state.is_ready_to_record());
        if is_due && !self.confirm(run).await? {
            return Ok(());
        }
        let Some(state) = self.runs.get_mut(&run) else {
            return Ok(());
        };
        if state.finished.is_none() {
            let overdue = state.expected.deadline < self.cx.now();
            if overdue && state.recorded.is_none() {
                fail_unsettled(&self.cx, state).await?;
            }
            if state.recorded.is_none() && state.is_ready_to_record() {
                record(&self.cx, state).await?;
            }
            if state.recorded.is_some() {
                after_record(&self.cx, state, overdue).await?;
            }
            if let Some(outcome) = state.outcome() {
                let failures = state
                    .failures()
                    .into_iter()
                    .map(|(what, stage, why)| format!("{what}: {stage}: {why}"));
                let finished = Finished {
                    run,
                    at: self.cx.now(),
                    outcome: outcome.as_str().to_owned(),
                    failures: failures.collect(),
                };
                self.cx.repository.write(&ObjectKey::Finished(run), &finished).await?;
                self.cx.tell(run, What::RunFinished { outcome }).await?;
                tracing::info!(%run, outcome = outcome.as_str(), "run finished");
                self.finished.insert(run);
                self.runs.remove(&run);
            }
            return Ok(());
        }
        self.finished.insert(run);
        self.runs.remove(&run);
        Ok(())
    }
}

fn applied(cx: &Context, state: &mut RunState, what: What) {
    let fact = Fact {
        run: state.expected.run,
        at: cx.now(),
        what,
    };
    if let Err(error) = state.apply(&fact) {
        tracing::warn!(run = %fact.run, %error, "ignoring a fact of our own that contradicts the state of its run");
    }
}

async fn fail(
    cx: &Context,
    state: &mut RunState,
    subject: FailureSubject,
    stage: Stage,
    reason: &str,
) -> Result<(), JobError> {
    cx.fail(state.expected.run, subject.clone(), stage, reason).await?;
    applied(
        cx,
        state,
        What::Failed {
            subject,
            stage,
            reason: reason.to_owned(),
        },
    );
    Ok(())
}

/// Writes a failure for each source and artefact that has not come by the deadline, even if the worker that should have
/// done it is dead.
async fn fail_unsettled(cx: &Context, state: &mut RunState) -> Result<(), JobError> {
    let deadline = state.expected.deadline;
    let sources: Vec<SourceName> = state
        .sources
        .iter()
        .filter(|(_, s)| !s.is_settled())
        .map(|(name, _)| name.clone())
        .collect();
    for source in sources {
        let reason = format!("was not listed by the deadline, {deadline}: is the worker of its site running?");
        fail(cx, state, FailureSubject::Source(source), Stage::List, &reason).await?;
    }
    let open = state.artefacts.iter().filter(|(_, a)| !a.is_settled(&state.expected));
    let open: Vec<(ArtefactId, Stage)> = open
        .map(|(id, a)| match (a.captured, a.sealed) {
            (_, Some(_)) => (*id, Stage::Verify),
            (Some(_), None) => (*id, Stage::Seal),
            (None, None) => (*id, Stage::Capture),
        })
        .collect();
    for (artefact, stage) in open {
        let reason = format!("did not come by the deadline, {deadline}: is the worker of this stage running?");
        fail(cx, state, FailureSubject::Artefact(artefact), stage, &reason).await?;
    }
    Ok(())
}

/// Writes the restore point unless there is one, and applies the one that is there.
async fn record(cx: &Context, state: &mut RunState) -> Result<(), JobError> {
    let expected = &state.expected;
    let artefacts = state.artefacts.values().filter_map(|a| {
        let (source, artefact) = a.listed.clone()?;
        Some(PointArtefact {
            source,
            artefact,
            status: point_status(expected, a),
        })
    });
    let failed = state
        .sources
        .iter()
        .filter_map(|(name, s)| Some((name.clone(), s.failed.as_ref()?.1.clone())));
    let mut point = RestorePoint {
        run: expected.run,
        started: expected.created,
        recorded: cx.now(),
        complete: state.is_complete(),
        reason: expected.reason.clone(),
        backup_type: expected.backup_type.clone(),
        stack: expected.stack.clone(),
        class: expected.class,
        label: expected.label.clone(),
        hold_until: expected.hold_until,
        artefacts: artefacts.collect(),
        failed_sources: failed.collect(),
        images: Vec::new(),
        notes: Vec::new(),
    };
    for source in &expected.sources {
        // A listing that cannot be read was reported by the workers that need it.
        let listed = cx
            .catalogue
            .listed(expected.run, &source.name)
            .await
            .or_else(none_if_damaged)?;
        if let Some(listed) = listed {
            point.images.extend(listed.images.iter().cloned());
            let note = |note: &String| format!("{}: {note}", source.name);
            point.notes.extend(listed.notes.iter().map(note));
        }
    }
    point.images.sort();
    point
        .artefacts
        .sort_by(|a, b| (&a.source, &a.artefact.name).cmp(&(&b.source, &b.artefact.name)));
    failpoint::hit_async("scheduler.before_restore_point").await?;
    cx.repository.write(&ObjectKey::RestorePoint(point.run), &point).await?;
    let stands = cx.catalogue.restore_point(point.run).await?;
    let complete = stands.map_or(point.complete, |p| p.complete);
    let what = What::RunRecorded { complete };
    cx.tell(point.run, what.clone()).await?;
    applied(cx, state, what);
    Ok(())
}

/// Asks for the steps after the restore point: its copies, then retention. At the deadline, fails those that did not
/// come.
async fn after_record(cx: &Context, state: &mut RunState, overdue: bool) -> Result<(), JobError> {
    for (target, (stage, reason)) in state.lacking_targets() {
        fail(cx, state, FailureSubject::Place(target), stage, &reason).await?;
    }
    if overdue {
        let open = |all: &[PlaceName], done: &std::collections::BTreeMap<PlaceName, TargetState>| -> Vec<PlaceName> {
            all.iter().filter(|p| !done.contains_key(*p)).cloned().collect()
        };
        let steps = &state.expected.steps;
        let late = open(&steps.targets, &state.points)
            .into_iter()
            .map(|p| (p, Stage::Sync));
        let late: Vec<_> = late
            .chain(
                open(&steps.clean, &state.cleaned)
                    .into_iter()
                    .map(|p| (p, Stage::Clean)),
            )
            .collect();
        for (place, stage) in late {
            let reason = format!("was not done by the deadline, {}", state.expected.deadline);
            fail(cx, state, FailureSubject::Place(place), stage, &reason).await?;
        }
        return Ok(());
    }
    let works: Vec<_> = missing(state)
        .into_iter()
        .filter(|w| matches!(w.job, Job::SyncPoint { .. } | Job::Clean { .. }))
        .collect();
    Ok(cx.bus.publish_works(&works).await?)
}
