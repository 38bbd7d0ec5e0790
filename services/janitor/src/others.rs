//! What the other places hold.
//!
//! The local place asks its targets what they still lack. A target asks the local place, from which alone it is filled.

use std::collections::BTreeSet;

use holdfast_fault::chain;
use holdfast_format::{ArtefactId, ObjectKey, PlaceName, Verification};
use holdfast_repository::{Repository, RepositoryError};

use crate::Places;
use crate::plan::{ArtefactView, Other, Others};
use crate::view::{Inventory, Reader, Sight, hold_of, in_time, is_known_bad, later};

/// What the targets hold that runs of the local place are to be copied to. A target that does not answer is told as such.
pub(crate) async fn of_local(places: &Places, sight: &Sight) -> Others {
    let wanted: BTreeSet<&PlaceName> = sight.view.runs.iter().flat_map(|run| &run.targets).collect();
    let mut others = Others::new();
    for target in wanted.into_iter().filter(|t| places.is_configured(t)) {
        let other = match see(places, target, sight).await {
            Ok(seen) => seen,
            Err(why) => Other::Unseen(why),
        };
        others.insert(target.clone(), other);
    }
    others
}

async fn see(places: &Places, target: &PlaceName, sight: &Sight) -> Result<Other, String> {
    let there = places.at(target).await.map_err(|error| chain(&error).to_string())?;
    let seen = async {
        places.local().check_identity_at(there.place()).await?;
        let inventory = Inventory::without_packs(there.place()).await?;
        let bad = known_bad(there, &inventory, sight).await?;
        let mut other = seen(&inventory);
        if let Other::Seen { artefacts, .. } = &mut other {
            artefacts.retain(|id| !bad.contains(id));
        }
        Ok(other)
    };
    seen.await.map_err(|error: RepositoryError| chain(&error).to_string())
}

/// What is there, by its keys.
fn seen(inventory: &Inventory) -> Other {
    let given_up: BTreeSet<_> = inventory.tombstones.iter().copied().collect();
    let manifests = inventory.artefacts.keys().filter(|id| inventory.has_manifest(**id));
    Other::Seen {
        runs: inventory
            .runs
            .keys()
            .filter(|run| !given_up.contains(run))
            .copied()
            .collect(),
        artefacts: manifests.copied().collect(),
        given_up,
    }
}

/// Artefacts whose copy at a target is known to be damaged: the target lacks them. Verifications of a target are written
/// down there, here, or at both.
async fn known_bad(
    there: &Repository,
    inventory: &Inventory,
    sight: &Sight,
) -> Result<BTreeSet<ArtefactId>, RepositoryError> {
    let artefacts = sight.view.runs.iter().flat_map(|run| &run.artefacts);
    let here: BTreeSet<ArtefactId> = artefacts.map(|a| a.id).collect();
    let known: BTreeSet<_> = sight.verifications.values().flatten().map(|v| v.id).collect();
    let only_there =
        |key: &ObjectKey| matches!(key, ObjectKey::Verified(id, v) if here.contains(id) && !known.contains(v));
    let mut reader = Reader::new(there);
    let mut all = reader.verifications(inventory.of_artefacts(only_there)).await?;
    for (id, of) in &sight.verifications {
        all.entry(*id).or_default().extend(of.iter().cloned());
    }
    let place = there.place().name();
    let is_bad = |of: Vec<Verification>| is_known_bad(&in_time(of), place);
    let mut bad: BTreeSet<ArtefactId> = all
        .into_iter()
        .filter_map(|(id, of)| is_bad(of).then_some(id))
        .collect();
    for (key, why) in reader.unreadable {
        tracing::warn!(%place, object = %key, why, "a verification cannot be read; its artefact counts as lacking there");
        if let ObjectKey::Verified(id, _) = key {
            bad.insert(id);
        }
    }
    Ok(bad)
}

/// Adds to what was seen of a target what the local place says of it, and returns that place as the other one.
///
/// A run that is held locally is held there. Packs that the manifests name of artefacts which the target may still get are
/// in use there already: the syncer counts on those that it finds. The local place is listed last, so that no manifest is
/// overlooked which the syncer knew of when the target's packs were listed. Those artefacts are returned; they are not
/// there, and no orphans.
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
    let given_up = view
        .runs
        .iter()
        .filter(|run| run.tombstone.is_some())
        .map(|run| run.run);
    let given_up: BTreeSet<_> = given_up.chain(inventory.tombstones.iter().copied()).collect();
    let to_come = manifests
        .into_iter()
        .filter(|(_, sealed)| !given_up.contains(&sealed.run));
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
    Ok((Others::from([(place.clone(), seen(&inventory))]), ids))
}
