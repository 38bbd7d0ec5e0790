//! Pieces of a stream into packs: what the parent or this capture already has is referenced, the rest is stored.

use std::collections::{HashMap, HashSet};

use holdfast_format::{
    ChunkId, ChunkKey, ChunkerParams, Cutter, Digest, Extent, ExtentDigest, NewBytes, PACK_MAX, PACK_TARGET, PackId,
    PackNamer, Stream, StreamFormat,
};

use crate::parent::Origin;
use crate::staging::{DraftPack, StagingError};
use crate::{CaptureError, ParentIndex};

/// Takes a full pack, and gives the buffer back for the next one.
pub type Sink<'s> = Box<dyn FnMut(PackId, Vec<u8>) -> Result<Vec<u8>, StagingError> + Send + 's>;

/// The options of a packer.
pub struct PackerOptions {
    /// The parameters of the cut between chunks.
    pub params: ChunkerParams,
    /// The key of chunk ids and of the stream's digest.
    pub key: ChunkKey,
    /// Names packs for the recipients of this capture.
    pub namer: PackNamer,
    /// Chunks that need not be stored again.
    pub parent: Option<ParentIndex>,
    /// Packs that a verification found damaged or missing. Objects are never changed, so no new pack may get such an id.
    pub bad: HashSet<PackId>,
}

/// The result of packing a stream.
#[derive(Debug)]
pub struct Packed {
    /// The packs that extents name by index, in order of first use.
    pub packs: Vec<DraftPack>,
    /// The stream's size in bytes.
    pub size: u64,
    /// The number of the stream's extents.
    pub extents: u64,
    pub digest: Digest,
    /// The packs and bytes that are new in the repository.
    pub new: NewBytes,
}

impl Packed {
    /// The manifest's record of a stream of this format.
    #[must_use]
    pub fn stream(&self, format: StreamFormat) -> Stream {
        Stream {
            format,
            size: self.size,
            extents: self.extents,
            digest: self.digest,
        }
    }
}

/// The parent's chunks, and which of its packs this stream has used.
struct Adopted {
    index: ParentIndex,
    /// Own index of each of the parent's packs, once it is used.
    rows: Vec<Option<u32>>,
}

/// Counts the bytes of a pack that a stream uses.
#[derive(Default)]
struct Used {
    /// The offsets of extents that are counted, in order.
    offsets: Vec<u32>,
    bytes: u32,
}

impl Used {
    fn count(&mut self, offset: u32, length: u32) {
        // A stream mostly uses a pack from its beginning to its end.
        let at = match self.offsets.last() {
            Some(last) if *last >= offset => match self.offsets.binary_search(&offset) {
                Ok(_) => return,
                Err(at) => at,
            },
            _ => self.offsets.len(),
        };
        self.offsets.insert(at, offset);
        self.bytes = self.bytes.saturating_add(length);
    }
}

/// Cuts nothing itself: it is given the pieces of a stream in order, and answers with the extent of each.
pub struct Packer<'s> {
    cutter: Cutter,
    key: ChunkKey,
    namer: PackNamer,
    digest: ExtentDigest,
    size: u64,
    parent: Option<Adopted>,
    bad: HashSet<PackId>,
    own: HashMap<ChunkId, (u32, u32, u32)>,
    rows: Vec<Option<DraftPack>>,
    /// The use that the stream makes of each row's pack. Packs of this capture are counted only after the stream was
    /// begun again: until then, all of each is used.
    used: Vec<Used>,
    again: bool,
    written: HashSet<PackId>,
    buffer: Vec<u8>,
    open: Option<u32>,
    new: NewBytes,
    sink: Sink<'s>,
}

impl<'s> Packer<'s> {
    /// A packer that gives full packs to `sink`.
    #[must_use]
    pub fn new(options: PackerOptions, sink: Sink<'s>) -> Self {
        let parent = options.parent.map(|index| Adopted {
            rows: vec![None; index.packs()],
            index,
        });
        Self {
            cutter: Cutter::new(&options.params),
            digest: options.key.extent_digest(),
            key: options.key,
            namer: options.namer,
            size: 0,
            parent,
            bad: options.bad,
            own: HashMap::new(),
            rows: Vec::new(),
            used: Vec::new(),
            again: false,
            written: HashSet::new(),
            buffer: Vec::new(),
            open: None,
            new: NewBytes::default(),
            sink,
        }
    }

    /// Finds where content is to be cut.
    #[must_use]
    pub fn cutter(&self) -> &Cutter {
        &self.cutter
    }

    /// Bytes of the stream so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Begins the stream again: what was given so far was not it. What is stored of it stays in its packs, which are named
    /// whether the stream comes to use them or not.
    pub fn begin_again(&mut self) {
        self.digest = self.key.extent_digest();
        self.size = 0;
        self.again = true;
        self.used.iter_mut().for_each(|used| *used = Used::default());
    }

    /// Adds bytes that are stored whether they are known or not: a tar entry's headers. Their id is written down only if
    /// `keep_id` says so. `bytes` is not empty.
    ///
    /// # Errors
    /// What the sink answers; [`CaptureError::Piece`] if no pack can hold them.
    pub fn literal(&mut self, bytes: &[u8], keep_id: bool) -> Result<Extent, CaptureError> {
        let id = self.key.chunk_id(bytes);
        let (pack, offset, length) = self.append(bytes, id)?;
        self.count(length, id);
        Ok(Extent {
            pack,
            offset,
            length,
            id: keep_id.then_some(id),
        })
    }

    /// Adds a chunk, which is stored only if neither the parent nor this capture has it. `bytes` is not empty.
    ///
    /// # Errors
    /// What the sink answers; [`CaptureError::Piece`] if no pack can hold it.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<Extent, CaptureError> {
        let id = self.key.chunk_id(bytes);
        let (pack, offset, length) = match self.known(id, bytes.len())? {
            Some(place) => place,
            None => {
                let place = self.append(bytes, id)?;
                self.own.insert(id, place);
                place
            }
        };
        self.count(length, id);
        Ok(Extent {
            pack,
            offset,
            length,
            id: Some(id),
        })
    }

    /// Adds an entry that stands in an earlier capture, unread: `extents` are those it has there, headers first, and
    /// `header` its headers made again. The earlier headers are referenced if they can be, and are known to be the same
    /// bytes: by their id, or, if none was written down, by their length and the caller's word (`same_header`). Else they
    /// are stored anew. `None`, and nothing is added, if the data cannot be referenced.
    ///
    /// # Errors
    /// What the sink answers.
    pub(crate) fn reuse(
        &mut self,
        origin: Origin,
        header: &[u8],
        same_header: bool,
        keep_id: bool,
        extents: &[Extent],
    ) -> Result<Option<Vec<Extent>>, CaptureError> {
        let Some((old, data)) = extents.split_first() else {
            return Ok(None);
        };
        if !data.iter().all(|x| x.id.is_some() && self.is_usable(origin, x)) {
            return Ok(None);
        }
        let id = self.key.chunk_id(header);
        let same = old.length as usize == header.len()
            && self.is_usable(origin, old)
            && old.id.map_or(same_header, |recorded| recorded == id);
        let mut out = Vec::with_capacity(extents.len());
        match if same { self.take_over(origin, *old) } else { None } {
            Some(own) => {
                self.count(own.length, id);
                out.push(Extent {
                    id: keep_id.then_some(id),
                    ..own
                });
            }
            None => out.push(self.literal(header, keep_id)?),
        }
        for extent in data {
            if let (Some(id), Some(own)) = (extent.id, self.take_over(origin, *extent)) {
                self.count(extent.length, id);
                out.push(own);
            }
        }
        Ok(Some(out))
    }

    /// True if an extent in own numbering lies in one of the parent's packs.
    pub(crate) fn is_of_parent(&self, extent: &Extent) -> bool {
        let pack = self.rows.get(extent.pack as usize).and_then(Option::as_ref);
        pack.is_some_and(|pack| pack.stored.is_some())
    }

    /// Closes the last pack.
    ///
    /// # Errors
    /// What the sink answers.
    pub fn finish(mut self) -> Result<Packed, CaptureError> {
        self.close()?;
        let (size, extents, digest) = self.digest.finish();
        let mut packs: Vec<DraftPack> = self.rows.into_iter().flatten().collect();
        for (pack, used) in packs.iter_mut().zip(&self.used) {
            if self.again || pack.stored.is_some() {
                pack.used = used.bytes.min(pack.plain);
            }
        }
        Ok(Packed {
            packs,
            size,
            extents,
            digest,
            new: self.new,
        })
    }

    fn count(&mut self, length: u32, id: ChunkId) {
        self.digest.add(length, id);
        self.size += u64::from(length);
    }

    /// Returns the row, offset and length of a chunk that is stored already, in own numbering.
    fn known(&mut self, id: ChunkId, length: usize) -> Result<Option<(u32, u32, u32)>, CaptureError> {
        if let Some(parent) = &mut self.parent
            && let Some(extent) = parent.index.find(id).map_err(CaptureError::Parent)?
            && extent.length as usize == length
        {
            return Ok(self.adopt(extent).map(|own| (own.pack, own.offset, own.length)));
        }
        let own = self.own.get(&id).copied().filter(|place| place.2 as usize == length);
        if let Some((row, offset, length)) = own {
            self.count_again(row, offset, length);
        }
        Ok(own)
    }

    fn is_usable(&self, origin: Origin, extent: &Extent) -> bool {
        match origin {
            Origin::Parent => self.parent.as_ref().is_some_and(|p| p.index.is_usable(extent)),
            Origin::Precopy => {
                let plain = match self.rows.get(extent.pack as usize) {
                    Some(Some(pack)) => u64::from(pack.plain),
                    Some(None) => self.buffer.len() as u64,
                    None => return false,
                };
                u64::from(extent.offset) + u64::from(extent.length) <= plain
            }
        }
    }

    /// A usable extent of an earlier capture in own numbering, its bytes counted as used.
    fn take_over(&mut self, origin: Origin, extent: Extent) -> Option<Extent> {
        match origin {
            Origin::Parent => self.adopt(extent),
            Origin::Precopy => {
                self.count_again(extent.pack, extent.offset, extent.length);
                Some(extent)
            }
        }
    }

    /// Counts bytes of an own pack as used, which are all used unless the stream was begun again.
    fn count_again(&mut self, row: u32, offset: u32, length: u32) {
        if self.again {
            self.used[row as usize].count(offset, length);
        }
    }

    fn add_row(&mut self, pack: Option<DraftPack>) -> u32 {
        self.rows.push(pack);
        self.used.push(Used::default());
        index(self.rows.len() - 1)
    }

    /// An extent of the parent in own numbering, its bytes counted as used.
    fn adopt(&mut self, extent: Extent) -> Option<Extent> {
        let parent = self.parent.as_ref()?;
        let stored = *parent.index.pack(extent.pack)?;
        let row = match parent.rows[extent.pack as usize] {
            Some(row) => row,
            None => {
                let row = self.add_row(Some(DraftPack {
                    id: stored.id,
                    plain: stored.plain,
                    used: 0,
                    stored: Some(stored),
                }));
                self.parent.as_mut()?.rows[extent.pack as usize] = Some(row);
                row
            }
        };
        self.used[row as usize].count(extent.offset, extent.length);
        Some(Extent { pack: row, ..extent })
    }

    /// Puts bytes into the open pack.
    fn append(&mut self, bytes: &[u8], id: ChunkId) -> Result<(u32, u32, u32), CaptureError> {
        if bytes.len() > PACK_MAX {
            return Err(CaptureError::Piece(bytes.len()));
        }
        if self.buffer.len() + bytes.len() > PACK_MAX {
            self.close()?;
        }
        let row = match self.open {
            Some(row) => row,
            None => self.add_row(None),
        };
        self.open = Some(row);
        let place = (row, index(self.buffer.len()), index(bytes.len()));
        self.count_again(place.0, place.1, place.2);
        self.namer.add(place.2, id);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PACK_TARGET {
            self.close()?;
        }
        Ok(place)
    }

    /// Hands the open pack to the sink.
    fn close(&mut self) -> Result<(), CaptureError> {
        let Some(row) = self.open.take() else {
            return Ok(());
        };
        let used = index(self.buffer.len());
        let id = self.name_pack();
        self.rows[row as usize] = Some(DraftPack {
            id,
            plain: index(self.buffer.len()),
            used,
            stored: None,
        });
        if self.written.insert(id) {
            self.new.packs += 1;
            self.new.bytes += self.buffer.len() as u64;
            let full = std::mem::take(&mut self.buffer);
            self.buffer = (self.sink)(id, full).map_err(|source| CaptureError::Staging { pack: id, source })?;
            holdfast_telemetry::failpoint::hit("capture.after_pack").map_err(CaptureError::Injected)?;
        }
        self.buffer.clear();
        Ok(())
    }

    /// The open pack's id. Bytes that would become a pack known to be bad get a zero byte behind them, which no extent
    /// names: the object under the bad id stays as it is, and the new one gets a key of its own.
    fn name_pack(&mut self) -> PackId {
        let mut id = self.namer.id();
        while self.bad.contains(&id) && self.buffer.len() < PACK_MAX {
            self.buffer.push(0);
            self.namer.add(1, self.key.chunk_id(&[0]));
            id = self.namer.id();
        }
        self.namer.begin();
        id
    }
}

/// A length or number that is known to be small: packs hold 24 MiB, and four thousand million packs are 64 PiB.
fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
