//! Reads the content of a place for the plan.

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

/// The largest difference between the clocks of this host and of a place. The plan allows the same.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// The content of a place, as it was read.
#[derive(Debug)]
pub(crate) struct Sight {
    /// The content in the form that the plan needs.
    pub view: PlaceView,
    /// Time at which the reading began, by this host's clock. The plan is made for this time.
    pub at: Timestamp,
    /// Every verification of the place's artefacts that is recorded here, sorted by time.
    pub(crate) verifications: BTreeMap<ArtefactId, Vec<Verification>>,
    /// Runs that are held, with the time of each hold.
    pub(crate) holds: BTreeMap<RunId, Timestamp>,
    /// Marks of damaged packs, with the time of each.
    pub(crate) marks: BTreeMap<PackId, Timestamp>,
}

/// Reads everything at the place of `repository` that retention needs. Objects that exist and cannot be read are listed
/// in the view's `unreadable`.
///
/// Packs are listed before manifests. So a pack that is written meanwhile never looks as if no manifest named it. Holds
/// are listed last, so that a hold that is placed meanwhile counts.
///
/// # Errors
/// [`RepositoryError`] if the place does not answer.
pub(crate) async fn look(repository: &Repository, clock: &dyn Clock) -> Result<Sight, RepositoryError> {
    let at = clock.now();
    let place = repository.place();
    let inventory = Inventory::of(place).await?;
    let records = read::Records::of(repository, &inventory).await?;
    let mut sight = build::sight(place.name().clone(), at, inventory, records);
    let view = &mut sight.view;
    // A record that was written while this host looked does not come from the future.
    let until = clock.now();
    view.newest_record = view.newest_record.map(|t| if t <= until { t.min(at) } else { t });
    add_packs_of_meanwhile(place, view, at).await?;
    Ok(sight)
}

/// Returns the view of a place that holds nothing of this repository.
pub(crate) fn nothing(place: PlaceName, at: Timestamp) -> Sight {
    build::sight(place, at, Inventory::default(), read::Records::default())
}

/// Adds the packs that were stored after packs were listed, and that later manifests name. An older pack that was not
/// listed stays missing: then the listing was incomplete, and no conclusion from it is safe.
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
            let size = object.size;
            let modified = object.modified;
            view.packs.insert(id, PackView { size, modified });
        }
    }
    Ok(())
}
