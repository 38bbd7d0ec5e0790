//! Packs as a check looks at them: it remembers which ones it had, and whom they are sealed to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use bytes::Bytes;
use holdfast_format::{ObjectKey, PackId, PackRef};
use holdfast_sealing::missing_readers;

use super::findings::Findings;
use crate::passes::lock;
use crate::source::{PackError, PackSource};

/// Enough of a sealed object to hold its key packets.
const HEAD: usize = 64 << 10;

pub(super) struct Examined<'a> {
    packs: &'a dyn PackSource,
    /// The keys that every pack is sealed to, as the manifest says.
    readers: &'a [String],
    findings: &'a Findings,
    /// The packs that were looked at, each with true if it is sealed to all readers.
    seen: Mutex<BTreeMap<PackId, bool>>,
    opened: Mutex<BTreeSet<PackId>>,
}

impl<'a> Examined<'a> {
    pub(super) fn new(packs: &'a dyn PackSource, readers: &'a [String], findings: &'a Findings) -> Self {
        Self {
            packs,
            readers,
            findings,
            seen: Mutex::default(),
            opened: Mutex::default(),
        }
    }

    /// True if the pack came and was opened.
    pub(super) fn opened(&self, pack: &PackRef) -> bool {
        lock(&self.opened).contains(&pack.id)
    }

    /// True if the manifest names readers, and every pack that was asked for came and is sealed to all of them.
    pub(super) fn all_proven(&self) -> bool {
        !self.readers.is_empty() && lock(&self.seen).values().all(|proven| *proven)
    }

    fn is_proven(&self, pack: &PackRef, sealed: &[u8]) -> bool {
        // What is no sealed object at all, opening it will tell.
        let Ok(missing) = missing_readers(&sealed[..sealed.len().min(HEAD)], self.readers) else {
            return false;
        };
        if !missing.is_empty() && !lock(&self.seen).contains_key(&pack.id) {
            let problem = format!(
                "is not sealed to the key {}, though the manifest names it: who has no other key cannot open it",
                missing.join(", ")
            );
            self.findings.add(ObjectKey::Pack(pack.id), problem, true);
        }
        missing.is_empty()
    }
}

impl PackSource for Examined<'_> {
    fn sealed(&self, pack: &PackRef) -> Result<Bytes, PackError> {
        let sealed = self.packs.sealed(pack);
        let proven = sealed.as_ref().is_ok_and(|sealed| self.is_proven(pack, sealed));
        lock(&self.seen).insert(pack.id, proven);
        sealed
    }

    fn open(&self, pack: &PackRef, sealed: &[u8]) -> Result<Vec<u8>, PackError> {
        let plain = self.packs.open(pack, sealed)?;
        lock(&self.opened).insert(pack.id);
        Ok(plain)
    }
}
