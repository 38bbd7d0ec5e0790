//! Facts that a target proves and that were told again, so that not every look tells them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use holdfast_events::What;
use holdfast_format::{ArtefactId, PlaceName, RunId};
use tokio::sync::watch;

/// How long a fact counts as heard. Who has lost it (a recorder that was restarted) hears it again after that.
const HEARD_FOR: Duration = Duration::from_secs(5 * 60);

/// After this, what is known of a copy is looked up anew.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// A copy: of an artefact, or of a run's restore point.
pub(crate) type Key = (RunId, Option<ArtefactId>, PlaceName);

struct Entry {
    proven: Instant,
    told: Option<Instant>,
}

/// What was proven at targets, and when it was told.
pub(crate) struct Told {
    entries: Mutex<HashMap<Key, Entry>>,
    reconnected: Mutex<watch::Receiver<u64>>,
}

impl Told {
    /// Nothing yet. `reconnected` changes when the bus may have lost what it was told.
    pub(crate) fn new(reconnected: watch::Receiver<u64>) -> Self {
        Self {
            entries: Mutex::default(),
            reconnected: Mutex::new(reconnected),
        }
    }

    /// Forgets what is old, and that anything was told if the bus may have lost it.
    pub(crate) fn refresh(&self) {
        let mut reconnected = self.reconnected.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = reconnected.has_changed().unwrap_or(false);
        reconnected.mark_unchanged();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.proven.elapsed() < KNOWN_FOR);
        if lost {
            entries.values_mut().for_each(|entry| entry.told = None);
        }
    }

    /// Whether the copy was proven before.
    pub(crate) fn is_proven(&self, key: &Key) -> bool {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(key)
    }

    /// Takes down that a copy is proven; whether its fact is to be told now.
    pub(crate) fn prove(&self, key: Key) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(key).or_insert_with(|| Entry {
            proven: Instant::now(),
            told: None,
        });
        let due = entry.told.is_none_or(|told| told.elapsed() >= HEARD_FOR);
        if due {
            entry.told = Some(Instant::now());
        }
        due
    }

    /// Takes back that a copy's fact was told.
    pub(crate) fn was_not_told(&self, key: &Key) {
        if let Some(entry) = self.entries.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            entry.told = None;
        }
    }
}

/// The fact that a copy is there.
pub(crate) fn what(key: &Key, sent: u64) -> What {
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
        let told = Told::new(prompts.subscribe());
        let key: Key = (RunId::new(1, [1; 10]), None, "s3".parse().unwrap());
        assert!(!told.is_proven(&key));
        assert!(told.prove(key.clone()));
        told.refresh();
        assert!(told.is_proven(&key));
        assert!(!told.prove(key.clone()));
        prompts.send_modify(|count| *count += 1);
        told.refresh();
        assert!(told.prove(key.clone()));
        told.was_not_told(&key);
        assert!(told.prove(key.clone()));
        assert!(!told.prove(key));
    }
}
