//! Chunk ids found in any order, and the digest of the stream in which they stand.

use std::sync::Mutex;

use holdfast_format::{ChunkId, Extent};

use crate::passes::lock;
use crate::source::Origin;
use crate::stream::{StreamError, compare};

/// The extents of a whole stream, in order: their lengths, and the ids that are written down or found.
#[derive(Default)]
pub(crate) struct Ledger {
    lengths: Vec<u32>,
    ids: Vec<Option<ChunkId>>,
    found: Mutex<Vec<(u32, ChunkId)>>,
}

impl Ledger {
    /// Enters the next extent, and gives its place.
    pub(crate) fn enter(&mut self, extent: &Extent) -> u32 {
        let place = u32::try_from(self.lengths.len()).unwrap_or(u32::MAX);
        self.lengths.push(extent.length);
        self.ids.push(extent.id);
        place
    }

    /// The id written down for the extent at this place.
    pub(crate) fn expected(&self, place: u32) -> Option<ChunkId> {
        self.ids.get(place as usize).copied().flatten()
    }

    /// Takes the ids of extents that have none written down.
    pub(crate) fn found(&self, ids: &[(u32, ChunkId)]) {
        lock(&self.found).extend_from_slice(ids);
    }

    /// Compares the whole with the manifest; an extent whose id was not found makes it differ.
    pub(crate) fn compare(mut self, origin: Origin<'_>) -> Result<(), StreamError> {
        for (place, id) in lock(&self.found).drain(..) {
            if let Some(slot) = self.ids.get_mut(place as usize) {
                *slot = Some(id);
            }
        }
        let mut digest = origin.key.extent_digest();
        for (length, id) in self.lengths.iter().zip(&self.ids) {
            let id = id.ok_or_else(|| StreamError::digest(origin, "an extent was not read"))?;
            digest.add(*length, id);
        }
        let (size, extents, digest) = digest.finish();
        compare(origin, size, extents, digest)
    }
}
