//! The content of the other places.
//!
//! The local place asks its targets what they still lack. A target asks the local place, which is the only one that it
//! is filled from.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ObjectKey, PlaceName, RunId, Verification};
use holdfast_repository::{Repository, RepositoryError};

use crate::Places;
use crate::plan::{ArtefactView, Asked, Other, Others};
use crate::view::{Inventory, Reader, Sight, hold_of, in_time, is_known_bad, later};

/// Asks the targets about the runs and artefacts in `asked`. A target that does not answer is listed as unseen.
pub(crate) async fn of_local(places: &Places, sight: &Sight, asked: &BTreeMap<PlaceName, Asked>) -> Others {
    let mut others = Others::new();
    for (target, asked) in asked.iter().filter(|(target, _)| places.is_configured(target)) {
        let other = match see(places, target, sight, asked).await {
            Ok(seen) => seen,
            Err(why) => Other::Unseen(why),
        };
        others.insert(target.clone(), other);
    }
    others
}

async fn see(places: &Places, target: &PlaceName, sight: &Sight, asked: &Asked) -> Result<Other, String> {
    let there = places.at(target).await.map_err(|error| chain(&error).to_string())?;
    let seen = async {
        places.local().check_identity_at(there.place()).await?;
        let inventory = Inventory::without_packs(there.place()).await?;
        proven(there, &inventory, sight, asked).await
    };
    seen.await.map_err(|error: RepositoryError| chain(&error).to_string())
}

/// Returns the objects that a target proves to hold, among those that it is asked for. Only an object that can be read
/// counts, so that a file that somebody wrote without a key cannot make anything go here.
async fn proven(
    there: &Repository,
    inventory: &Inventory,
    sight: &Sight,
    asked: &Asked,
) -> Result<Other, RepositoryError> {
    let mut reader = Reader::new(there);
    let tombstones = inventory.tombstones.iter().filter(|run| asked.runs.contains(run));
    let given_up: BTreeSet<RunId> = reader.tombstones(tombstones.copied()).await?.into_keys().collect();
    let wanted = |key: &ObjectKey| matches!(key, ObjectKey::Manifest(id) if asked.artefacts.contains(id));
    let manifests = reader.manifests(inventory.of_artefacts(wanted)).await?;
    let bad = known_bad(&mut reader, inventory, sight, asked).await?;
    let place = there.place().name();
    for (key, why) in reader.unreadable {
        tracing::warn!(
            %place, object = %key, why,
            "an object at a target cannot be read, so the target counts as lacking the artefact or run that it belongs to"
        );
    }
    Ok(Other::Seen {
        runs: inventory.runs_without(&given_up),
        artefacts: manifests.into_keys().filter(|id| !bad.contains(id)).collect(),
        given_up,
    })
}

/// Returns the artefacts whose copy at a target is known to be damaged, so that the target lacks them. Verifications of
/// a target are recorded at the target, here, or at both.
async fn known_bad(
    there: &mut Reader<'_>,
    inventory: &Inventory,
    sight: &Sight,
    asked: &Asked,
) -> Result<BTreeSet<ArtefactId>, RepositoryError> {
    let known: BTreeSet<_> = sight.verifications.values().flatten().map(|v| v.id).collect();
    let only_there = |key: &ObjectKey| matches!(key, ObjectKey::Verified(id, v) if asked.artefacts.contains(id) && !known.contains(v));
    let mut all = there.verifications(inventory.of_artefacts(only_there)).await?;
    for (id, of) in sight
        .verifications
        .iter()
        .filter(|(id, _)| asked.artefacts.contains(id))
    {
        all.entry(*id).or_default().extend(of.iter().cloned());
    }
    let is_bad = |of: Vec<Verification>| is_known_bad(&in_time(of), there.place());
    let bad = all.into_iter().filter_map(|(id, of)| is_bad(of).then_some(id));
    let unreadable = there.unreadable.iter().filter_map(|(key, _)| match key {
        ObjectKey::Verified(id, _) => Some(*id),
        _ => None,
    });
    Ok(bad.chain(unreadable).collect())
}

/// Adds to the view of a target the facts that only the local place has, and returns the local place as the other one.
///
/// A run that is held locally is held at the target, too. Packs are in use at the target if they are named by manifests
/// of artefacts that the target may still get, since the syncer counts on packs that it finds there. The local place is
/// listed last, so that no manifest is missed that the syncer knew when the target's packs were listed. Those artefacts
/// are returned; the target does not have them, and they are no orphans.
pub(crate) async fn of_target(
    local: &Repository,
    sight: &mut Sight,
) -> Result<(Others, BTreeSet<ArtefactId>), RepositoryError> {
    let inventory = Inventory::without_packs(local.place()).await?;
    let view = &mut sight.view;
    let mut reader = Reader::new(local);
    let holds = reader.holds(inventory.holds.keys().copied().collect()).await?;
    for run in &mut view.runs {
        let held = holds.get(&run.run).map(hold_of);
        run.hold = run.hold.into_iter().chain(held).reduce(later);
    }

    let artefacts = view.runs.iter().flat_map(|run| &run.artefacts).chain(&view.orphans);
    let there: BTreeSet<ArtefactId> = artefacts.filter(|a| a.manifest).map(|a| a.id).collect();
    let to_come = |key: &ObjectKey| matches!(key, ObjectKey::Manifest(id) if !there.contains(id));
    let manifests = reader.manifests(inventory.of_artefacts(to_come)).await?;
    let given_up = reader.tombstones(inventory.tombstones.iter().copied()).await?;
    let given_up: BTreeSet<RunId> = given_up.into_keys().collect();
    let going = view.runs.iter().filter(|run| run.tombstone.is_some());
    let going: BTreeSet<RunId> = going.map(|run| run.run).chain(given_up.iter().copied()).collect();
    let to_come = manifests.into_iter().filter(|(_, sealed)| !going.contains(&sealed.run));
    let mut ids = BTreeSet::new();
    for (id, sealed) in to_come {
        if let Some(begun) = view.orphans.iter_mut().find(|orphan| orphan.id == id) {
            begun.packs = sealed.packs;
            continue;
        }
        ids.insert(id);
        view.orphans.push(ArtefactView {
            id,
            subject: Some(sealed.subject),
            manifest: false,
            bad: false,
            verified: None,
            packs: sealed.packs,
            objects: Vec::new(),
        });
    }

    let place = local.place().name();
    let unreadable = reader.unreadable.into_iter();
    view.unreadable
        .extend(unreadable.map(|(key, why)| format!("{key} at place {place} ({why})")));
    let other = Other::Seen {
        runs: inventory.runs_without(&given_up),
        // Not needed: only runs of the local place wait for what other places have.
        artefacts: BTreeSet::new(),
        given_up,
    };
    Ok((Others::from([(place.clone(), other)]), ids))
}
