//! Retention at one place: looks, plans and applies.

use std::collections::BTreeSet;

use holdfast_fault::chain;
use holdfast_format::{ArtefactId, CleanReport, ObjectKey, PackId, PlaceName, RunId};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_storage::{Place, StorageError};
use jiff::{SignedDuration, Timestamp};

use crate::apply::apply;
use crate::plan::{Others, Rules, asked, plan};
use crate::view::{Sight, look, nothing};
use crate::{Action, ApplyError, CleanError, Places, RetentionPlan, other_places};

/// The result of retention at a place.
#[derive(Debug)]
pub struct Applied {
    pub plan: RetentionPlan,
    /// The steps that were done, in order.
    pub done: Vec<Action>,
    /// The failure that ended it early, if there was one.
    pub failed: Option<ApplyError>,
}

impl Applied {
    /// Returns the report of the steps that were done, for the run `run`.
    #[must_use]
    pub fn report(&self, run: RunId) -> CleanReport {
        self.plan.report(run, &self.done)
    }
}

/// Plans retention at a place, and changes nothing. `confirm` lifts the brake on large deletions.
///
/// # Errors
/// [`CleanError`] if the place cannot be read.
pub async fn plan_place(places: &Places, place: &PlaceName, confirm: bool) -> Result<RetentionPlan, CleanError> {
    let planned = Planned::make(places, place, confirm, false).await?;
    Ok(planned.plan)
}

/// Plans retention at a place and applies the plan at once, until `stop` returns true. Then removes the leftovers of
/// crashes. `confirm` lifts the brake on large deletions. Within a process, one call at a time works on a place.
///
/// # Errors
/// [`CleanError`] if the place cannot be read. A step that failed is in [`Applied::failed`].
pub async fn apply_place(
    places: &Places,
    place: &PlaceName,
    confirm: bool,
    stop: &(dyn Fn() -> bool + Send + Sync),
) -> Result<Applied, CleanError> {
    let _turn = places.turn(place).await?;
    let repository = places.at(place).await?;
    let Planned { sight, plan } = Planned::make(places, place, confirm, true).await?;
    let (done, result) = apply(repository, &sight, &plan, stop).await;
    let failed = result.err();
    if let Some(rules) = places.rules(place)?
        && failed.is_none()
        && !plan.blocked
    {
        tidy(repository.place(), &sight, rules).await;
    }
    Ok(Applied { plan, done, failed })
}

/// A plan, and the view of the place that it was made from.
struct Planned {
    sight: Sight,
    plan: RetentionPlan,
}

impl Planned {
    /// Reads the place and makes a plan. The place is asked for its time only if `may_write` is true, since that takes
    /// a write.
    async fn make(places: &Places, place: &PlaceName, confirm: bool, may_write: bool) -> Result<Self, CleanError> {
        let rules = places.rules(place)?;
        let repository = places.at(place).await?;
        let looked = Self::look(places, repository, rules, may_write).await;
        let (sight, others, to_come) = looked.map_err(|source| CleanError::Look {
            place: place.clone(),
            source: Box::new(source),
        })?;
        let mut plan = plan(&sight.view, rules, &others, sight.at, confirm);
        plan.orphans.retain(|id| !to_come.contains(id));
        Ok(Self { sight, plan })
    }

    async fn look(
        places: &Places,
        repository: &Repository,
        rules: Option<&Rules>,
        may_write: bool,
    ) -> Result<(Sight, Others, BTreeSet<ArtefactId>), RepositoryError> {
        let clock = places.clock().as_ref();
        let local = places.local();
        let place = repository.place();
        let is_local = *place.name() == PlaceName::local();
        if !is_local {
            match local.check_identity_at(place).await {
                Ok(()) => {}
                // No run was copied to this target yet.
                Err(RepositoryError::NoRepository { .. }) => {
                    return Ok((
                        nothing(place.name().clone(), clock.now()),
                        Others::new(),
                        BTreeSet::new(),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        let ask_time = rules.is_some() && may_write;
        let place_time = if ask_time { time_at(place).await } else { None };
        let mut sight = look(repository, clock).await?;
        sight.view.place_time = place_time;
        if is_local {
            let asked = asked(&sight.view, rules, sight.at);
            let others = other_places::of_local(places, &sight, &asked).await;
            return Ok((sight, others, BTreeSet::new()));
        }
        let (others, to_come) = other_places::of_target(local, &mut sight).await?;
        Ok((sight, others, to_come))
    }
}

/// Returns the time of a store's own clock. A directory has none.
async fn time_at(place: &Place) -> Option<Timestamp> {
    if place.describe().starts_with("file:") {
        return None;
    }
    match place.probe().await {
        Ok(probe) => Timestamp::now().checked_add(probe.clock_ahead).ok(),
        Err(error) => {
            tracing::warn!(place = %place.name(), reason = %chain(&error), "a place cannot be asked for its time");
            None
        }
    }
}

/// Removes the leftovers of crashes: files of writes that never ended, and marks of damaged packs that are long gone.
/// The plan does not mention them, since nothing of value goes. A failure does no harm, since the next call tries
/// again.
async fn tidy(place: &Place, sight: &Sight, rules: &Rules) {
    let tidied = async {
        let swept = place.sweep_unfinished(rules.grace).await?;
        if swept > 0 {
            tracing::info!(place = %place.name(), swept, "removed files of unfinished writes");
        }
        for pack in stale_marks(sight, rules) {
            let key = ObjectKey::Damaged(pack);
            place.delete(&key).await?;
            tracing::info!(
                place = %place.name(), object = %key, rule = "its pack is gone and nothing names it",
                "object deleted"
            );
        }
        Ok::<_, StorageError>(())
    };
    if let Err(error) = tidied.await {
        tracing::warn!(place = %place.name(), reason = %chain(&error), "leftovers of crashes could not be removed");
    }
}

/// Returns the marks that no capture needs any more: their packs are gone, no manifest names them, and no run goes on
/// that may have seen a manifest that did.
fn stale_marks(sight: &Sight, rules: &Rules) -> Vec<PackId> {
    let view = &sight.view;
    if view.runs.iter().any(|run| run.is_going_on(sight.at)) {
        return Vec::new();
    }
    let artefacts = view.runs.iter().flat_map(|run| &run.artefacts).chain(&view.orphans);
    let named: BTreeSet<PackId> = artefacts.flat_map(|a| a.packs.iter().copied()).collect();
    let grace = SignedDuration::try_from(rules.grace).unwrap_or(SignedDuration::MAX);
    let stale = sight.marks.iter().filter(|(pack, since)| {
        !view.packs.contains_key(*pack) && !named.contains(*pack) && sight.at.duration_since(**since) > grace
    });
    stale.map(|(pack, _)| *pack).collect()
}
