//! The parent: an earlier artefact of the same source, whose chunks a capture references in place of storing them again.

use std::collections::HashSet;

use holdfast_format::{ChunkId, Content, ContentsError, Extent, Manifest, PackId, PackRef, Stamp};

use crate::ParentError;

/// A parent's contents, line after line.
pub type ContentsIter<'a> = Box<dyn Iterator<Item = Result<Content, ContentsError>> + 'a>;

/// A parent as a tree's capture uses it.
#[derive(Clone, Copy)]
pub struct Parent<'a> {
    /// Its manifest, whose signature was checked.
    pub manifest: &'a Manifest,
    /// Reads its contents from the start.
    pub contents: &'a (dyn Fn() -> Result<ContentsIter<'a>, ContentsError> + Sync),
}

impl Parent<'_> {
    /// The time from which on the parent's word on a file is not trusted: the file could have been written again after it
    /// was read, within the same tick of its filesystem's clock.
    pub(crate) fn settled_before(&self) -> Stamp {
        let started = self.manifest.started;
        Stamp {
            seconds: started.as_second() - i64::from(started.subsec_nanosecond() < 0),
            nanoseconds: started.subsec_nanosecond().rem_euclid(1_000_000_000).unsigned_abs(),
        }
    }
}

/// A chunk's place. 28 bytes: a parent of a million chunks costs 28 MB.
#[derive(Clone, Copy)]
struct Slot {
    id: [u8; 16],
    pack: u32,
    offset: u32,
    length: u32,
}

/// Finds a parent's chunks by their ids.
///
/// Only chunks of packs that may be referenced are in it: the parent uses half of the pack or more, and no verification
/// found it damaged or missing.
pub struct ParentIndex {
    packs: Vec<PackRef>,
    usable: Vec<bool>,
    slots: Vec<Slot>,
    /// Where the slots of each bucket begin, and where the last one's end. Ids are spread evenly, so a bucket holds a few:
    /// a search over all of a large parent would wait for memory at each step.
    buckets: Vec<u32>,
}

/// Buckets of ids: by their first two bytes.
const BUCKETS: usize = 1 << 16;

fn bucket(id: &[u8; 16]) -> usize {
    usize::from(u16::from_be_bytes([id[0], id[1]]))
}

/// The bounds of buckets in sorted slots.
fn bounds(slots: &[Slot]) -> Vec<u32> {
    let mut bounds = vec![0; BUCKETS + 1];
    for slot in slots {
        bounds[bucket(&slot.id) + 1] += 1;
    }
    let mut before = 0;
    for bound in &mut bounds {
        before += *bound;
        *bound = before;
    }
    bounds
}

impl ParentIndex {
    /// Reads a parent's contents. `packs` are its manifest's; `bad` those packs that a verification could not read.
    ///
    /// # Errors
    /// [`ParentError`] if the contents do not read, or do not fit `packs`.
    pub fn build(
        packs: &[PackRef],
        contents: impl Iterator<Item = Result<Content, ContentsError>>,
        bad: &HashSet<PackId>,
    ) -> Result<Self, ParentError> {
        let usable: Vec<bool> = packs.iter().map(|p| p.is_dense() && !bad.contains(&p.id)).collect();
        let mut slots = Vec::new();
        for content in contents {
            for extent in content.map_err(ParentError::Contents)?.extents() {
                let index = check(packs, extent)?;
                if let (Some(id), true) = (extent.id, usable[index]) {
                    slots.push(Slot {
                        id: *id.as_bytes(),
                        pack: extent.pack,
                        offset: extent.offset,
                        length: extent.length,
                    });
                }
            }
        }
        slots.sort_unstable_by_key(|slot| (slot.id, slot.pack, slot.offset));
        slots.dedup_by_key(|slot| slot.id);
        slots.shrink_to_fit();
        Ok(Self {
            packs: packs.to_vec(),
            usable,
            buckets: bounds(&slots),
            slots,
        })
    }

    /// How many chunks can be referenced.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no chunk can be referenced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn pack(&self, index: u32) -> Option<&PackRef> {
        self.packs.get(index as usize)
    }

    pub(crate) fn packs(&self) -> usize {
        self.packs.len()
    }

    pub(crate) fn is_usable(&self, extent: &Extent) -> bool {
        check(&self.packs, extent).is_ok_and(|index| self.usable[index])
    }

    /// A chunk's rank among all, and its extent in the parent's numbering.
    pub(crate) fn find(&self, id: ChunkId) -> Option<(usize, Extent)> {
        let bucket = bucket(id.as_bytes());
        let (start, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let found = self.slots[start..end].binary_search_by(|slot| slot.id.cmp(id.as_bytes()));
        let rank = start + found.ok()?;
        let slot = &self.slots[rank];
        let extent = Extent {
            pack: slot.pack,
            offset: slot.offset,
            length: slot.length,
            id: Some(id),
        };
        Some((rank, extent))
    }
}

/// The extent's pack as an index, if the extent lies within it.
fn check(packs: &[PackRef], extent: &Extent) -> Result<usize, ParentError> {
    let index = extent.pack as usize;
    let within = |pack: &PackRef| u64::from(extent.offset) + u64::from(extent.length) <= u64::from(pack.plain);
    match packs.get(index) {
        Some(pack) if within(pack) => Ok(index),
        _ => Err(ParentError::Extent {
            pack: extent.pack,
            offset: extent.offset,
            length: extent.length,
        }),
    }
}
