//! Chunks: where content is cut, and how pieces and packs are identified (docs/format.md, section 3).

use std::borrow::Cow;
use std::fmt;

use fastcdc::v2020::{self, Normalization};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{ArtefactId, ChunkId, Digest, PackId};

/// Bytes of plaintext at which a pack is closed.
pub const PACK_TARGET: usize = 16 << 20;

/// Bytes of plaintext that no pack exceeds. An OpenPGP reader then authenticates it whole before it releases a byte.
pub const PACK_MAX: usize = 24 << 20;

const DIGEST_CONTEXT: &str = "holdfast 2026-11 stream digest";
const PACK_CONTEXT: &str = "holdfast 2026-11 pack id";

/// The repository's secret key for chunk ids, pack ids and stream digests. Never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct ChunkKey(#[serde(with = "hex::serde")] [u8; 32]);

impl ChunkKey {
    /// Makes a key of these bytes. They must come from a cryptographic random source.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Computes the id of a chunk.
    #[must_use]
    pub fn chunk_id(&self, bytes: &[u8]) -> ChunkId {
        let mut id = [0; 16];
        id.copy_from_slice(&blake3::keyed_hash(&self.0, bytes).as_bytes()[..16]);
        ChunkId::from_bytes(id)
    }

    /// Names the packs written for this artefact, for these readers (upper-case hex fingerprints of the keys that packs are
    /// sealed to; order does not matter) with this profile. Two artefacts never share an id: the same bytes sealed twice are
    /// two objects, and each manifest names the bytes of its own.
    #[must_use]
    pub fn pack_namer(&self, artefact: ArtefactId, profile: &str, readers: &[String]) -> PackNamer {
        let mut sorted: Vec<&str> = readers.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let mut hasher = blake3::Hasher::new_derive_key(PACK_CONTEXT);
        hasher
            .update(&self.0)
            .update(artefact.as_bytes())
            .update(profile.as_bytes())
            .update(b"\0");
        for fingerprint in sorted {
            hasher.update(fingerprint.as_bytes()).update(b"\0");
        }
        let fresh = blake3::Hasher::new_keyed(hasher.finalize().as_bytes());
        PackNamer {
            current: fresh.clone(),
            fresh,
        }
    }

    /// Begins a digest over the extents of a stream.
    #[must_use]
    pub fn extent_digest(&self) -> ExtentDigest {
        let key = blake3::derive_key(DIGEST_CONTEXT, &self.0);
        ExtentDigest {
            hasher: blake3::Hasher::new_keyed(&key),
            size: 0,
            extents: 0,
        }
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(***)")
    }
}

/// Makes the ids of one pack after another from the lengths and ids of the pieces in them: the plaintext was hashed once
/// for those, and need not be hashed again.
#[derive(Clone)]
pub struct PackNamer {
    fresh: blake3::Hasher,
    current: blake3::Hasher,
}

impl PackNamer {
    /// Adds the next piece of the pack.
    pub fn add(&mut self, length: u32, id: ChunkId) {
        self.current.update(&length.to_le_bytes()).update(id.as_bytes());
    }

    /// Returns the id of the pack that has the pieces added so far.
    #[must_use]
    pub fn id(&self) -> PackId {
        PackId::from_bytes(*self.current.finalize().as_bytes())
    }

    /// Begins the naming of the next pack.
    pub fn begin(&mut self) {
        self.current.clone_from(&self.fresh);
    }
}

/// The running digest of a stream: over the length and chunk id of each extent, in order. An unread file contributes
/// the ids that its parent recorded, so a whole stream has a digest although it was not read.
#[derive(Clone)]
pub struct ExtentDigest {
    hasher: blake3::Hasher,
    size: u64,
    extents: u64,
}

impl ExtentDigest {
    /// Adds the extent that follows.
    pub fn add(&mut self, length: u32, id: ChunkId) {
        self.hasher.update(&length.to_le_bytes()).update(id.as_bytes());
        self.size += u64::from(length);
        self.extents += 1;
    }

    /// Returns the stream's size in bytes, its number of extents, and its digest.
    #[must_use]
    pub fn finish(&self) -> (u64, u64, Digest) {
        (
            self.size,
            self.extents,
            Digest::from_bytes(*self.hasher.finalize().as_bytes()),
        )
    }
}

/// The parameters by which a repository cuts content. All sizes are bytes, even, and `minimum < average < maximum`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkerParams {
    /// The smallest size of a chunk, except of a content's last one.
    pub minimum: u32,
    /// The size that chunks come near to. Content up to this size is one chunk.
    pub average: u32,
    /// The largest size of a chunk.
    pub maximum: u32,
    /// The secret that decides where cuts fall: their places tell nothing to those who do not know it.
    #[serde(with = "seed_text")]
    pub seed: u64,
}

impl fmt::Debug for ChunkerParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ChunkerParams({}..{}..{}, seed ***)",
            self.minimum, self.average, self.maximum
        )
    }
}

impl ChunkerParams {
    /// Makes parameters of the default sizes with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            minimum: 256 << 10,
            average: 1 << 20,
            maximum: 4 << 20,
            seed,
        }
    }

    /// Tells whether the sizes are in order and within what the chunker supports.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let even = [self.minimum, self.average, self.maximum].iter().all(|n| n % 2 == 0);
        even && (64..=1 << 20).contains(&self.minimum)
            && self.minimum < self.average
            && (256..=4 << 20).contains(&self.average)
            && self.average < self.maximum
            && (1024..=4 << 20).contains(&self.maximum)
    }
}

/// Finds the ends of chunks. Cheap to use for many contents: the tables are made once.
pub struct Cutter {
    params: ChunkerParams,
    masks: (u64, u64),
    gear: Cow<'static, [u64]>,
    gear_shifted: Cow<'static, [u64]>,
}

impl Cutter {
    /// Makes a cutter for these parameters.
    #[must_use]
    pub fn new(params: &ChunkerParams) -> Self {
        let masks = v2020::select_masks(params.average as usize, Normalization::Level1);
        let (gear, gear_shifted) = v2020::get_gear_with_seed(params.seed);
        Self {
            params: params.clone(),
            masks,
            gear,
            gear_shifted,
        }
    }

    /// Returns the number of bytes that a caller should offer to [`Cutter::cut`], unless the content ends before.
    #[must_use]
    pub fn window(&self) -> usize {
        self.params.maximum as usize
    }

    /// Returns the size in bytes up to which content is never cut.
    #[must_use]
    pub fn whole(&self) -> usize {
        self.params.average as usize
    }

    /// Returns the length in bytes of the next chunk at the head of `buffer`, which holds [`Cutter::window`] bytes or
    /// all that is left. Zero only for an empty buffer.
    #[must_use]
    pub fn cut(&self, buffer: &[u8]) -> usize {
        let (small, large) = self.masks;
        let p = &self.params;
        let offered = &buffer[..buffer.len().min(p.maximum as usize)];
        let (_, length) = v2020::cut_gear(
            offered,
            p.minimum as usize,
            p.average as usize,
            p.maximum as usize,
            small,
            large,
            small << 1,
            large << 1,
            &self.gear,
            &self.gear_shifted,
        );
        length
    }
}

/// Writes the seed as hex text: JSON numbers lose precision above 2^53 in many readers.
mod seed_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{seed:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut_all(cutter: &Cutter, data: &[u8]) -> Vec<usize> {
        let mut at = 0;
        let mut lengths = Vec::new();
        while at < data.len() {
            let n = cutter.cut(&data[at..]);
            lengths.push(n);
            at += n;
        }
        lengths
    }

    fn noise(len: usize, seed: u8) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn cuts_move_with_the_content() {
        let cutter = Cutter::new(&ChunkerParams::new(42));
        let data = noise(24 << 20, 1);
        let mut shifted = b"inserted".to_vec();
        shifted.extend_from_slice(&data);
        let ends = |lengths: Vec<usize>, skip: usize| -> Vec<usize> {
            lengths
                .iter()
                .scan(0, |at, n| {
                    *at += n;
                    Some(*at)
                })
                .filter(|e| *e > skip)
                .map(|e| e - skip)
                .collect()
        };
        let a = ends(cut_all(&cutter, &data), 0);
        let b = ends(cut_all(&cutter, &shifted), 8);
        let common = a.iter().filter(|e| b.contains(e)).count();
        assert!(common * 10 >= a.len() * 8, "{common} of {}", a.len());
        let other = ends(cut_all(&Cutter::new(&ChunkerParams::new(43)), &data), 0);
        assert!(
            a.iter().filter(|e| other.contains(e)).count() < a.len() / 2,
            "the seed decides where cuts fall"
        );
    }

    #[test]
    fn ids_are_keyed_and_pack_ids_bound_to_their_readers() {
        let a = ChunkKey::from_bytes([1; 32]);
        let b = ChunkKey::from_bytes([2; 32]);
        assert_ne!(a.chunk_id(b"x"), b.chunk_id(b"x"));
        let name = |mut namer: PackNamer| {
            namer.add(1, a.chunk_id(b"x"));
            let id = namer.id();
            namer.begin();
            assert_ne!(namer.id(), id);
            namer.add(1, a.chunk_id(b"x"));
            assert_eq!(namer.id(), id);
            id
        };
        let id = |profile: &str, r: &[&str]| {
            let r: Vec<String> = r.iter().map(ToString::to_string).collect();
            name(a.pack_namer(ArtefactId::from_bytes([0; 16]), profile, &r))
        };
        assert_eq!(id("gnupg", &["A", "B"]), id("gnupg", &["B", "A"]));
        assert_ne!(id("gnupg", &["A", "B"]), id("gnupg", &["AB"]));
        assert_ne!(id("gnupg", &["A"]), id("rfc9580", &["A"]));
        let other = name(a.pack_namer(ArtefactId::from_bytes([1; 16]), "gnupg", &["A".to_owned()]));
        assert_ne!(id("gnupg", &["A"]), other);
        assert_eq!(format!("{a:?}"), "ChunkKey(***)");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunks_cover_the_content_within_bounds(len in 1usize..300_000, seed: u8) {
            let params = ChunkerParams { minimum: 512, average: 4096, maximum: 16384, seed: 7 };
            let data = noise(len, seed);
            let lengths = cut_all(&Cutter::new(&params), &data);
            prop_assert_eq!(lengths.iter().sum::<usize>(), len);
            prop_assert!(lengths.iter().all(|n| *n <= 16384));
            prop_assert!(lengths[..lengths.len() - 1].iter().all(|n| *n >= 512));
        }
    }
}
