//! Earlier captures. The parent: an earlier artefact of the same source, whose chunks a capture references in place of
//! storing them again. The pre-copy: a capture of the same artefact, made while its files were in use, so that there is
//! little left to read once they are not (as in live migration: Clark et al., "Live Migration of Virtual Machines", 2005).

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use holdfast_format::{ChunkId, Content, ContentsError, Extent, Manifest, PackId, PackRef, Stamp};
use jiff::Timestamp;

use crate::{LAYOUT, ParentError};

/// The numbering of packs that an extent uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The numbers of the parent's manifest.
    Parent,
    /// The packer's own numbers, from before the stream was [begun again](Packer::begin_again).
    Precopy,
}

/// An iterator over the lines of contents.
pub type ContentsIter<'a> = Box<dyn Iterator<Item = Result<Content, ContentsError>> + 'a>;

/// Contents that can be read from the start, as often as needed.
pub trait ReadContents: Sync {
    /// The lines.
    ///
    /// # Errors
    /// [`ContentsError`] if they do not read at all.
    fn lines(&self) -> Result<ContentsIter<'_>, ContentsError>;
}

/// An earlier capture of the same files: what stands as it tells is not read again.
#[derive(Clone, Copy)]
pub struct Earlier<'a> {
    pub(crate) contents: &'a dyn ReadContents,
    pub(crate) origin: Origin,
    /// True if the earlier capture's headers have the layout of this version's.
    pub(crate) same_layout: bool,
    started: Timestamp,
}

impl<'a> Earlier<'a> {
    /// The parent, by its manifest, whose signature was checked. Its index must be in the packer.
    #[must_use]
    pub fn parent(manifest: &Manifest, contents: &'a dyn ReadContents) -> Self {
        Self {
            contents,
            origin: Origin::Parent,
            same_layout: manifest
                .captured
                .tools
                .get("tar")
                .is_some_and(|layout| layout == LAYOUT),
            started: manifest.captured.started,
        }
    }

    /// The pre-copy of the same artefact: a capture into the same packer, which was told to
    /// [begin again](crate::Packer::begin_again) after it. `started` is from before it.
    #[must_use]
    pub fn precopy(started: Timestamp, contents: &'a dyn ReadContents) -> Self {
        Self {
            contents,
            origin: Origin::Precopy,
            same_layout: true,
            started,
        }
    }

    /// Returns the time at which the artefact's capture began, if this is its pre-copy.
    pub(crate) fn begun(&self) -> Option<Stamp> {
        (self.origin == Origin::Precopy).then(|| self.settled_before())
    }

    /// The time from which on its word on a file is not trusted: the file could have been written again after it was read,
    /// within the same tick of its filesystem's clock.
    pub(crate) fn settled_before(&self) -> Stamp {
        let started = self.started;
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
/// found it damaged or missing. It may be made beside the capture that uses it: who looks for a chunk waits for it then.
pub struct ParentIndex {
    packs: Arc<[PackRef]>,
    usable: Arc<[bool]>,
    chunks: Chunks,
}

enum Chunks {
    Here(Slots),
    Coming(Receiver<Result<Slots, ParentError>>),
    /// The index could not be made. The error was returned once.
    Lost,
}

struct Slots {
    slots: Vec<Slot>,
    /// The first slot of each bucket, and the end of the last one. Ids are spread evenly, so a bucket holds a few: a
    /// search over all of a large parent would wait for memory at each step.
    buckets: Vec<u32>,
}

/// An index that is still to be made, on any thread.
pub struct IndexMaker {
    packs: Arc<[PackRef]>,
    usable: Arc<[bool]>,
    made: SyncSender<Result<Slots, ParentError>>,
}

/// After how many lines a maker looks whether it is to stop.
const LOOK_EVERY: usize = 4096;

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

impl IndexMaker {
    /// Reads the parent's contents and hands the index over; stops early if `stop` says so.
    pub fn make(self, contents: impl Iterator<Item = Result<Content, ContentsError>>, stop: &dyn Fn() -> bool) {
        let Some(result) = self.read(contents, stop) else {
            return;
        };
        // Nobody may want it by now.
        let _ = self.made.send(result);
    }

    /// Fails the index with the reason why its contents do not read at all.
    pub fn fail(self, error: ContentsError) {
        let _ = self.made.send(Err(ParentError::Contents(error)));
    }

    fn read(
        &self,
        contents: impl Iterator<Item = Result<Content, ContentsError>>,
        stop: &dyn Fn() -> bool,
    ) -> Option<Result<Slots, ParentError>> {
        let mut slots = Vec::new();
        for (at, content) in contents.enumerate() {
            if at % LOOK_EVERY == 0 && stop() {
                return None;
            }
            let content = match content {
                Ok(content) => content,
                Err(error) => return Some(Err(ParentError::Contents(error))),
            };
            for extent in content.extents() {
                let index = match check(&self.packs, extent) {
                    Ok(index) => index,
                    Err(error) => return Some(Err(error)),
                };
                if let (Some(id), true) = (extent.id, self.usable[index]) {
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
        Some(Ok(Slots {
            buckets: bounds(&slots),
            slots,
        }))
    }
}

impl Slots {
    fn find(&self, id: ChunkId) -> Option<Extent> {
        let bucket = bucket(id.as_bytes());
        let start = self.buckets[bucket] as usize;
        let end = self.buckets[bucket + 1] as usize;
        let found = self.slots[start..end].binary_search_by(|slot| slot.id.cmp(id.as_bytes()));
        let slot = &self.slots[start + found.ok()?];
        Some(Extent {
            pack: slot.pack,
            offset: slot.offset,
            length: slot.length,
            id: Some(id),
        })
    }
}

impl ParentIndex {
    /// An index, and its maker. `packs` are the parent's manifest's; `bad` those packs that a verification could not read.
    #[must_use]
    pub fn new(packs: &[PackRef], bad: &HashSet<PackId>) -> (Self, IndexMaker) {
        let usable: Arc<[bool]> = packs.iter().map(|p| p.is_dense() && !bad.contains(&p.id)).collect();
        let packs: Arc<[PackRef]> = packs.into();
        let (made, coming) = sync_channel(1);
        let maker = IndexMaker {
            packs: packs.clone(),
            usable: usable.clone(),
            made,
        };
        let index = Self {
            packs,
            usable,
            chunks: Chunks::Coming(coming),
        };
        (index, maker)
    }

    /// An index that is made already.
    #[cfg(test)]
    pub(crate) fn build(
        packs: &[PackRef],
        contents: impl Iterator<Item = Result<Content, ContentsError>>,
        bad: &HashSet<PackId>,
    ) -> Result<Self, ParentError> {
        let (mut index, maker) = Self::new(packs, bad);
        maker.make(contents, &|| false);
        index.find(ChunkId::from_bytes([0; 16]))?;
        Ok(index)
    }

    /// True if no chunk can be referenced. Only for an index that is made already.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.chunks, Chunks::Here(slots) if slots.slots.is_empty())
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

    /// A chunk's extent in the parent's numbering. Waits for the index to be made.
    ///
    /// # Errors
    /// [`ParentError`], once, if the contents do not read, or do not fit the manifest.
    pub(crate) fn find(&mut self, id: ChunkId) -> Result<Option<Extent>, ParentError> {
        if let Chunks::Coming(coming) = &self.chunks {
            // A maker that has gone without a word had no chunks to tell of.
            let made = coming.recv().map_or(Ok(None), |made| made.map(Some));
            self.chunks = Chunks::Lost;
            if let Some(slots) = made? {
                self.chunks = Chunks::Here(slots);
            }
        }
        match &self.chunks {
            Chunks::Here(slots) => Ok(slots.find(id)),
            _ => Ok(None),
        }
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
