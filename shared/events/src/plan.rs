//! The steps that a run still lacks, from its state. Handlers ask for the next step, reconcilers for every step.

use holdfast_format::{Artefact, ArtefactId, Expected, PointStatus, SourceName, Stage};

use crate::fold::{ArtefactState, TargetState, Why};
use crate::{Job, Outcome, RunState, Work};

impl ArtefactState {
    /// Tells whether the artefact is sealed, and verified as deep as the run wants.
    #[must_use]
    pub fn is_good(&self, expected: &Expected) -> bool {
        self.failed.is_none() && self.sealed.is_some() && expected.steps.verify.is_none_or(|l| self.verified >= Some(l))
    }

    /// Tells whether nothing more can come of the artefact before the restore point.
    #[must_use]
    pub fn is_settled(&self, expected: &Expected) -> bool {
        self.failed.is_some() || self.is_good(expected)
    }
}

impl RunState {
    /// Tells whether every source is listed or failed and every artefact settled: time for the restore point.
    #[must_use]
    pub fn is_ready_to_record(&self) -> bool {
        self.sources.values().all(crate::SourceState::is_settled)
            && self.artefacts.values().all(|a| a.is_settled(&self.expected))
    }

    /// Tells whether everything expected is there and good.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sources.values().all(|s| s.failed.is_none() && s.is_listed())
            && !self.artefacts.is_empty()
            && self.artefacts.values().all(|a| a.is_good(&self.expected))
    }

    /// Tells whether no source has anything: a mistyped name, or a filter that matches nothing, must not pass for a backup.
    fn is_empty(&self) -> bool {
        self.artefacts.is_empty() && self.sources.values().all(crate::SourceState::is_settled)
    }

    /// Returns the end of the run, once all its steps are done.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let complete = self.recorded?;
        let steps = &self.expected.steps;
        let copied = steps.targets.iter().all(|t| self.points.contains_key(t));
        let cleaned = steps.clean.iter().all(|p| self.cleaned.contains_key(p));
        if !copied || !cleaned {
            return None;
        }
        let failed = |states: &std::collections::BTreeMap<_, TargetState>| {
            states.values().any(|s| matches!(s, TargetState::Failed(_)))
        };
        let any_good = self.artefacts.values().any(|a| a.is_good(&self.expected));
        Some(match complete && !failed(&self.points) && !failed(&self.cleaned) {
            true => Outcome::Complete,
            false if any_good => Outcome::Partial,
            false => Outcome::Failed,
        })
    }

    /// Targets that will never have the whole restore point, with the reason: they lack an artefact.
    #[must_use]
    pub fn lacking_targets(&self) -> Vec<(holdfast_format::PlaceName, Why)> {
        let open = self
            .expected
            .steps
            .targets
            .iter()
            .filter(|t| !self.points.contains_key(*t));
        open.filter_map(|target| {
            let lacks = self.artefacts.values().find_map(|a| a.failed_at.get(target));
            lacks.map(|(_, reason)| (target.clone(), (Stage::Sync, format!("it lacks an artefact: {reason}"))))
        })
        .collect()
    }

    /// Lists the artefacts, sources and places that did not come, for people: subject, stage, reason.
    #[must_use]
    pub fn failures(&self) -> Vec<(String, Stage, String)> {
        let mut all = Vec::new();
        for (name, source) in &self.sources {
            all.extend(
                source
                    .failed
                    .iter()
                    .map(|(stage, why)| (format!("source {name}"), *stage, why.clone())),
            );
        }
        if self.is_empty() {
            all.push(match &self.expected.stack {
                Some(stack) => {
                    let why =
                        "no volume and no database of it was found; `docker compose ls` shows the names of stacks";
                    (format!("stack {stack}"), Stage::List, why.to_owned())
                }
                None => {
                    let why = "no source has anything to back up; `holdfast config show` tells what is looked for";
                    ("run".to_owned(), Stage::List, why.to_owned())
                }
            });
        }
        for (id, artefact) in &self.artefacts {
            let name = match &artefact.listed {
                Some((source, a)) => format!("{source}/{}", a.name),
                None => format!("artefact {id}"),
            };
            all.extend(
                artefact
                    .failed
                    .iter()
                    .map(|(stage, why)| (name.clone(), *stage, why.clone())),
            );
            let at = artefact.failed_at.iter();
            all.extend(at.map(|(place, (stage, why))| (format!("{name} at {place}"), *stage, why.clone())));
        }
        for (place, state) in self.points.iter().chain(&self.cleaned) {
            if let TargetState::Failed((stage, why)) = state {
                all.push((format!("place {place}"), *stage, why.clone()));
            }
        }
        all
    }
}

fn work(expected: &Expected, job: Job) -> Work {
    Work {
        run: expected.run,
        site: expected.site.clone(),
        job,
    }
}

/// The captures that follow a source's listing.
#[must_use]
pub fn after_list(expected: &Expected, source: &SourceName, artefacts: &[Artefact]) -> Vec<Work> {
    let Some(known) = expected.source(source) else {
        return Vec::new();
    };
    let capture = |artefact: &Artefact| Work {
        run: expected.run,
        site: known.site.clone(),
        job: Job::Capture {
            source: source.clone(),
            kind: known.kind,
            artefact: artefact.id,
        },
    };
    artefacts.iter().map(capture).collect()
}

/// Returns the work that follows an artefact's manifest: its verification if wanted, else its copies.
#[must_use]
pub fn after_close(expected: &Expected, source: &SourceName, artefact: ArtefactId) -> Vec<Work> {
    match expected.steps.verify {
        Some(level) => vec![work(
            expected,
            Job::Verify {
                source: source.clone(),
                artefact,
                level,
            },
        )],
        None => after_verify(expected, source, artefact),
    }
}

/// Returns the work that follows an artefact's verification: one copy to each target.
#[must_use]
pub fn after_verify(expected: &Expected, source: &SourceName, artefact: ArtefactId) -> Vec<Work> {
    let copy = |target: &holdfast_format::PlaceName| {
        work(
            expected,
            Job::Sync {
                source: source.clone(),
                artefact,
                target: target.clone(),
            },
        )
    };
    expected.steps.targets.iter().map(copy).collect()
}

/// Every job that the state lacks the result of. Captures are among them as long as there is no manifest: whether one
/// is staged and only waits for its seal, the site that holds the staging knows.
#[must_use]
pub fn missing(state: &RunState) -> Vec<Work> {
    let expected = &state.expected;
    let mut jobs = Vec::new();
    if state.finished.is_some() {
        return jobs;
    }
    for source in &expected.sources {
        if state.sources.get(&source.name).is_some_and(|s| !s.is_settled()) {
            let job = Job::List {
                source: source.name.clone(),
                kind: source.kind,
            };
            jobs.push(Work {
                run: expected.run,
                site: source.site.clone(),
                job,
            });
        }
    }
    for (id, artefact) in &state.artefacts {
        let Some((source, listed)) = &artefact.listed else {
            continue;
        };
        if artefact.failed.is_some() {
            continue;
        }
        if artefact.sealed.is_none() {
            jobs.extend(after_list(expected, source, std::slice::from_ref(listed)));
        } else if !artefact.is_good(expected) {
            jobs.extend(after_close(expected, source, *id));
        } else {
            let wanted = |w: &Work| match &w.job {
                Job::Sync { target, .. } => {
                    !artefact.synced.contains(target) && !artefact.failed_at.contains_key(target)
                }
                _ => false,
            };
            jobs.extend(after_verify(expected, source, *id).into_iter().filter(wanted));
        }
    }
    jobs.extend(missing_after_record(state));
    jobs
}

/// The steps that come once the restore point is written: its copies, then retention.
fn missing_after_record(state: &RunState) -> Vec<Work> {
    let expected = &state.expected;
    if state.recorded.is_none() {
        return Vec::new();
    }
    let has_all = |target| {
        state
            .artefacts
            .values()
            .all(|a| !a.is_good(expected) || a.synced.contains(target))
    };
    let open: Vec<_> = expected
        .steps
        .targets
        .iter()
        .filter(|t| !state.points.contains_key(*t))
        .collect();
    if !open.is_empty() {
        let ready = open.into_iter().filter(|t| has_all(*t));
        return ready
            .map(|t| work(expected, Job::SyncPoint { target: t.clone() }))
            .collect();
    }
    let places = expected.steps.clean.iter().filter(|p| !state.cleaned.contains_key(*p));
    places
        .map(|p| work(expected, Job::Clean { place: p.clone() }))
        .collect()
}

/// Returns the artefact's status for a restore point that is written now.
#[must_use]
pub fn point_status(expected: &Expected, artefact: &ArtefactState) -> PointStatus {
    match (&artefact.failed, artefact.sealed) {
        (None, Some(manifest)) if artefact.is_good(expected) => PointStatus::Good {
            manifest,
            verified: artefact.verified,
        },
        (Some((stage, reason)), _) => PointStatus::Failed {
            stage: *stage,
            reason: reason.clone(),
        },
        (None, Some(_)) => PointStatus::Failed {
            stage: Stage::Verify,
            reason: "was not verified".to_owned(),
        },
        (None, None) => PointStatus::Failed {
            stage: Stage::Capture,
            reason: "did not come".to_owned(),
        },
    }
}
