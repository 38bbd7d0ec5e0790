//! Artefacts that stay whatever their age: the last good ones, and the last verified one, of each database or directory.

use std::collections::BTreeMap;

use super::{ArtefactView, Guards, Keep, PlaceView, Subject};

/// The artefacts that must stay, each with the reason.
///
/// Artefacts of runs that are already given up count last: they are going, so they must not stand in for one that
/// stays; but if nothing else is left they are what is left, and their deletion is not finished.
pub(super) fn guards(view: &PlaceView, keep_last: u32) -> Guards {
    let mut of: BTreeMap<&Subject, Vec<(bool, &ArtefactView)>> = BTreeMap::new();
    for run in view.newest_first() {
        let given_up = run.tombstone.is_some();
        for artefact in run.artefacts.iter().filter(|a| a.is_good()) {
            if let Some(subject) = &artefact.subject {
                of.entry(subject).or_default().push((given_up, artefact));
            }
        }
    }
    let keep_last = usize::try_from(keep_last.max(1)).unwrap_or(usize::MAX);
    let mut guards = Guards::new();
    for (subject, mut artefacts) in of {
        artefacts.sort_by_key(|(given_up, _)| *given_up);
        let verified = artefacts.iter().find(|(_, a)| a.verified.is_some());
        guards.extend(verified.map(|(_, a)| (a.id, Keep::LastVerified(subject.clone()))));
        let last = artefacts.iter().take(keep_last);
        guards.extend(last.map(|(_, a)| (a.id, Keep::LastGood(subject.clone()))));
    }
    guards
}
