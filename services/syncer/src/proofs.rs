//! A memory of copies that were proven at targets, so that their facts are not published at every look.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_events::What;
use holdfast_format::{ArtefactId, PlaceName, RunId};
use tokio::sync::watch;

/// The time for which a published fact counts as known to all. A recorder that lost it, by a restart, gets it again
/// afterwards.
const HEARD_FOR: Duration = Duration::from_secs(5 * 60);

/// The time after which a copy is looked up at its target again.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// A copy of an artefact, or of a run's restore point (`None`), at a target.
pub(crate) type Key = (RunId, Option<ArtefactId>, PlaceName);

struct Entry {
    proven: Instant,
    announced: Option<Instant>,
}

/// Copies that were proven at targets, with the times at which their facts were published.
pub(crate) struct Proofs {
    entries: Mutex<HashMap<Key, Entry>>,
    reconnected: Mutex<watch::Receiver<u64>>,
}

impl Proofs {
    /// Makes an empty memory. A change of `reconnected` means that the bus may have lost facts.
    pub(crate) fn new(reconnected: watch::Receiver<u64>) -> Self {
        Self {
            entries: Mutex::default(),
            reconnected: Mutex::new(reconnected),
        }
    }

    /// Forgets old entries. If the bus may have lost facts, all facts count as not published.
    pub(crate) fn refresh(&self) {
        let mut reconnected = self.reconnected.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = reconnected.has_changed().unwrap_or(false);
        reconnected.mark_unchanged();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.proven.elapsed() < KNOWN_FOR);
        if lost {
            entries.values_mut().for_each(|entry| entry.announced = None);
        }
    }

    /// True if the copy was proven before.
    pub(crate) fn is_proven(&self, key: &Key) -> bool {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(key)
    }

    /// Notes that a copy is proven. Returns true if its fact has to be published now.
    pub(crate) fn prove(&self, key: Key) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(key).or_insert_with(|| Entry {
            proven: Instant::now(),
            announced: None,
        });
        let due = entry.announced.is_none_or(|at| at.elapsed() >= HEARD_FOR);
        if due {
            entry.announced = Some(Instant::now());
        }
        due
    }

    /// Notes that the fact of a copy could not be published.
    pub(crate) fn was_not_announced(&self, key: &Key) {
        if let Some(entry) = self.entries.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            entry.announced = None;
        }
    }
}

/// Returns the fact that a copy exists.
pub(crate) fn synced(key: &Key, sent: u64) -> What {
    let target = key.2.clone();
    match key.1 {
        Some(artefact) => What::ArtefactSynced { artefact, target, sent },
        None => What::PointSynced { target },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_fact_is_told_once_and_again_when_the_bus_may_have_lost_it() {
        let prompts = watch::Sender::new(1);
        let proofs = Proofs::new(prompts.subscribe());
        let key: Key = (RunId::new(1, [1; 10]), None, "s3".parse().unwrap());
        assert!(!proofs.is_proven(&key));
        assert!(proofs.prove(key.clone()));
        proofs.refresh();
        assert!(proofs.is_proven(&key));
        assert!(!proofs.prove(key.clone()));
        prompts.send_modify(|count| *count += 1);
        proofs.refresh();
        assert!(proofs.prove(key.clone()));
        proofs.was_not_announced(&key);
        assert!(proofs.prove(key.clone()));
        assert!(!proofs.prove(key));
    }
}
