//! What a place holds, read for the plan.

mod build;
mod list;
mod read;
mod verified;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_format::{ArtefactId, PackId, PlaceName, RunId, Verification};
use holdfast_repository::{Repository, RepositoryError};
use holdfast_storage::{Place, Prefix};
use holdfast_telemetry::clock::Clock;
use jiff::{SignedDuration, Timestamp};

use crate::plan::{PackView, PlaceView};

pub(crate) use build::{hold_of, later};
pub(crate) use list::Inventory;
pub(crate) use read::Reader;
pub(crate) use verified::{in_time, is_known_bad};

/// By how much the clocks of this host and of a place may differ; the plan allows as much.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// What was seen of a place.
#[derive(Debug)]
pub struct Sight {
    /// What it holds.
    pub view: PlaceView,
    /// The time from which on it was looked at, by this host's clock: the time to plan for.
    pub at: Timestamp,
    /// Every verification of its artefacts that is written down here, by time.
    pub(crate) verifications: BTreeMap<ArtefactId, Vec<Verification>>,
    /// Runs that are held, and since when.
    pub(crate) holds: BTreeMap<RunId, Timestamp>,
    /// Marks of damaged packs, and since when.
    pub(crate) marks: BTreeMap<PackId, Timestamp>,
}

/// Looks at the place of `repository`, reading everything that retention goes by. What is there and cannot be read is in
/// the view's `unreadable`.
///
/// Packs are listed before manifests are, so that whatever is written meanwhile is never taken for a pack that nothing
/// names; holds are listed last, so that one placed meanwhile counts.
///
/// # Errors
/// [`RepositoryError`] if the place does not answer.
pub async fn look(repository: &Repository, clock: &dyn Clock) -> Result<Sight, RepositoryError> {
    let at = clock.now();
    let place = repository.place();
    let inventory = Inventory::of(place).await?;
    let records = read::Records::of(repository, &inventory).await?;
    let mut sight = build::sight(place.name().clone(), at, inventory, records);
    let view = &mut sight.view;
    // What was written while this host looked is not of the future.
    let until = clock.now();
    view.newest_record = view.newest_record.map(|t| if t <= until { t.min(at) } else { t });
    add_packs_of_meanwhile(place, view, at).await?;
    Ok(sight)
}

/// A place that holds nothing of this repository.
pub(crate) fn nothing(place: PlaceName, at: Timestamp) -> Sight {
    build::sight(place, at, Inventory::default(), read::Records::default())
}

/// Packs that were stored after packs were listed, and are named by manifests that were listed later. An older pack that
/// was not listed stays missing: then the listing was short, and no conclusion from it holds.
async fn add_packs_of_meanwhile(place: &Place, view: &mut PlaceView, at: Timestamp) -> Result<(), RepositoryError> {
    let artefacts = view.runs.iter().flat_map(|run| &run.artefacts).chain(&view.orphans);
    let named = artefacts.filter(|a| a.is_good()).flat_map(|a| &a.packs);
    let lacking: BTreeSet<PackId> = named.filter(|p| !view.packs.contains_key(*p)).copied().collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let since = at.saturating_sub(CLOCK_SLACK).unwrap_or(Timestamp::MIN);
    for object in place.list(Prefix::Packs).await?.objects {
        if let holdfast_format::ObjectKey::Pack(id) = object.key
            && object.modified >= since
            && lacking.contains(&id)
        {
            let (size, modified) = (object.size, object.modified);
            view.packs.insert(id, PackView { size, modified });
        }
    }
    Ok(())
}
