//! Session keys that were already unwrapped.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sequoia_openpgp::{crypto::SessionKey, packet::PKESK, types::SymmetricAlgorithm};

/// Enough for every artefact of a large stack, each with a session key of its own per worker.
const CAPACITY: usize = 64;

/// The result of a secret-key operation on a PKESK.
pub(crate) struct Session {
    /// The cipher, where the PKESK states it (version 3).
    pub(crate) cipher: Option<SymmetricAlgorithm>,
    /// Overwritten with zeros when dropped.
    pub(crate) key: SessionKey,
    /// Index of the certificate whose key unwrapped it.
    pub(crate) holder: usize,
}

/// The most recently used sessions by their PKESK. A PKESK always unwraps to the same session, so an entry is never stale.
#[derive(Default)]
pub(crate) struct SessionCache {
    entries: Mutex<Entries>,
}

/// Sessions, the newest first.
#[derive(Default)]
pub(crate) struct Entries(VecDeque<(PKESK, Session)>);

impl SessionCache {
    /// Locks the cache while a session is looked up *and* unwrapped, so that parallel readers of one artefact unwrap
    /// once.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Entries> {
        // Entries are valid at every moment, so a panic elsewhere does not make them wrong.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    pub(crate) fn get(&mut self, packet: &PKESK) -> Option<&Session> {
        let at = self.0.iter().position(|(known, _)| known == packet)?;
        let entry = self.0.remove(at)?;
        self.0.push_front(entry);
        self.0.front().map(|(_, session)| session)
    }

    pub(crate) fn insert(&mut self, packet: PKESK, session: Session) {
        self.0.truncate(CAPACITY - 1);
        self.0.push_front((packet, session));
    }
}
