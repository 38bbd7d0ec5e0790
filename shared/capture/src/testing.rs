//! Shared code of this crate's tests.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};

use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, Captured, ChunkKey, ChunkerParams, Content, ContentsError, ContentsReader,
    ContentsRef, ContentsWriter, Digest, Extent, Manifest, PackId, PackRef, RunId, StreamFormat,
};
use jiff::Timestamp;

use crate::{
    CaptureError, ContentsIter, Earlier, Packed, Packer, PackerOptions, ParentIndex, ReadContents, TreeOutcome,
    TreeSpec, Watch, capture_archive, capture_tree,
};

pub(crate) const ARTEFACT: ArtefactId = ArtefactId::from_bytes([1; 16]);

/// A repository of plaintext packs.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<HashMap<PackId, Vec<u8>>>>);

impl Store {
    pub(crate) fn borrow(&self) -> MutexGuard<'_, HashMap<PackId, Vec<u8>>> {
        self.0.lock().unwrap()
    }
}

pub(crate) fn key() -> ChunkKey {
    ChunkKey::from_bytes([7; 32])
}

/// Small chunks, so that small tests cut.
pub(crate) fn params() -> ChunkerParams {
    ChunkerParams {
        minimum: 512,
        average: 4096,
        maximum: 16384,
        seed: 3,
    }
}

pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

pub(crate) fn packer(store: &Store, parent: Option<ParentIndex>, bad: &HashSet<PackId>) -> Packer<'static> {
    let options = PackerOptions {
        params: params(),
        namer: key().pack_namer(
            holdfast_format::ArtefactId::from_bytes([9; 16]),
            "gnupg",
            &["AB".to_owned()],
        ),
        key: key(),
        parent,
        bad: bad.clone(),
    };
    let store = store.clone();
    Packer::new(
        options,
        Box::new(move |id, plaintext| {
            store.borrow().insert(id, plaintext.clone());
            Ok(plaintext)
        }),
    )
}

/// The packs as a manifest would name them.
pub(crate) fn pack_refs(packed: &Packed) -> Vec<PackRef> {
    let digest = Digest::from_bytes([0; 32]);
    let sealed = |p: &crate::DraftPack| PackRef {
        id: p.id,
        size: 1,
        sha256: digest,
        plain: p.plain,
        used: p.used,
    };
    packed.packs.iter().map(sealed).collect()
}

/// The stream that these extents make. Checks ids, and the digest and sizes that the packer told.
pub(crate) fn assemble(store: &Store, packed: &Packed, extents: &[Extent]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut digest = key().extent_digest();
    let store = store.borrow();
    for extent in extents {
        let pack = &store[&packed.packs[extent.pack as usize].id];
        let bytes = &pack[extent.offset as usize..][..extent.length as usize];
        let id = key().chunk_id(bytes);
        assert!(extent.id.is_none_or(|told| told == id), "a chunk has its id");
        digest.add(extent.length, id);
        out.extend_from_slice(bytes);
    }
    assert_eq!(digest.finish(), (packed.size, packed.extents, packed.digest));
    // What a pack's extents cover, each byte once, is what is used of it.
    for (at, pack) in packed.packs.iter().enumerate() {
        assert_eq!(store[&pack.id].len(), pack.plain as usize);
        let mut covered = vec![false; pack.plain as usize];
        for x in extents.iter().filter(|x| x.pack as usize == at) {
            covered[x.offset as usize..][..x.length as usize].fill(true);
        }
        assert_eq!(covered.iter().filter(|c| **c).count(), pack.used as usize);
    }
    out
}

impl ReadContents for Vec<u8> {
    fn lines(&self) -> Result<ContentsIter<'_>, ContentsError> {
        Ok(Box::new(ContentsReader::new(&self[..], ARTEFACT)?))
    }
}

/// A captured tree, and everything that its capture made.
pub(crate) struct Shot {
    pub(crate) manifest: Manifest,
    pub(crate) packed: Packed,
    pub(crate) outcome: TreeOutcome,
    pub(crate) contents: Vec<u8>,
    pub(crate) stream: Vec<u8>,
}

impl Shot {
    pub(crate) fn lines(&self) -> Vec<Content> {
        let reader = ContentsReader::new(&self.contents[..], ARTEFACT).unwrap();
        reader.map(Result::unwrap).collect()
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        let path = |line: &Content| match line {
            Content::Entry(entry) => Some(entry.path.display()),
            Content::Skip(path, why) => Some(format!("{} {}", why.as_str(), path.display())),
            _ => None,
        };
        self.lines().iter().filter_map(path).collect()
    }

    /// Words and places of the warnings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let first = &self.outcome.warnings.first;
        first.iter().map(|w| format!("{} {}", w.what, w.at)).collect()
    }
}

pub(crate) fn shoot(store: &Store, spec: &TreeSpec, parent: Option<&Shot>) -> Shot {
    try_shoot(store, spec, parent, &HashSet::new()).unwrap()
}

pub(crate) fn try_shoot(
    store: &Store,
    spec: &TreeSpec,
    parent: Option<&Shot>,
    bad: &HashSet<PackId>,
) -> Result<Shot, CaptureError> {
    shoot_with(store, parent, bad, |parent, packer, contents, watch| {
        capture_tree(spec, parent, packer, contents, watch)
    })
}

/// Captures a tree after a pre-copy of it; `between` is called in between.
pub(crate) fn shoot_precopied(store: &Store, spec: &TreeSpec, parent: Option<&Shot>, between: impl FnOnce()) -> Shot {
    let captured = shoot_with(store, parent, &HashSet::new(), |parent, packer, contents, watch| {
        let started = Timestamp::now();
        let mut lines = ContentsWriter::new(Vec::new(), ARTEFACT).unwrap();
        let ahead = capture_tree(spec, parent, packer, &mut lines, watch)?;
        let (lines, _) = lines.finish(ahead.closing).unwrap();
        packer.begin_again();
        between();
        capture_tree(spec, Some(&Earlier::precopy(started, &lines)), packer, contents, watch)
    });
    captured.unwrap()
}

/// Captures a tar archive that is read from `archive`.
pub(crate) fn shoot_archive(store: &Store, archive: impl Read, parent: Option<&Shot>) -> Result<Shot, CaptureError> {
    shoot_with(store, parent, &HashSet::new(), |parent, packer, contents, watch| {
        capture_archive(archive, parent, packer, contents, watch)
    })
}

fn shoot_with(
    store: &Store,
    parent: Option<&Shot>,
    bad: &HashSet<PackId>,
    capture: impl FnOnce(
        Option<&Earlier<'_>>,
        &mut Packer<'_>,
        &mut ContentsWriter<Vec<u8>>,
        &mut Watch<'_>,
    ) -> Result<TreeOutcome, CaptureError>,
) -> Result<Shot, CaptureError> {
    let started = Timestamp::now();
    let index = parent.map(|p| ParentIndex::build(&p.manifest.packs, p.contents.lines().unwrap(), bad).unwrap());
    let mut packer = packer(store, index, bad);
    let mut contents = ContentsWriter::new(Vec::new(), ARTEFACT).unwrap();
    let mut watch = Watch {
        progress: &mut |_| {},
        stop: &|| false,
    };
    let earlier = parent.map(|p| Earlier::parent(&p.manifest, &p.contents));
    let outcome = capture(earlier.as_ref(), &mut packer, &mut contents, &mut watch)?;
    let packed = packer.finish()?;
    let (contents, _) = contents.finish(outcome.closing.clone()).unwrap();
    let reader = ContentsReader::new(&contents[..], ARTEFACT).unwrap();
    let extents: Vec<Extent> = reader.flat_map(|line| line.unwrap().extents().to_vec()).collect();
    let stream = assemble(store, &packed, &extents);
    Ok(Shot {
        manifest: manifest(started, &packed),
        packed,
        outcome,
        contents,
        stream,
    })
}

pub(crate) fn manifest(started: Timestamp, packed: &Packed) -> Manifest {
    let artefact = Artefact {
        id: ARTEFACT,
        kind: ArtefactKind::Directory,
        name: "data".to_owned(),
    };
    let contents = ContentsRef {
        size: 1,
        sha256: Digest::from_bytes([0; 32]),
        plain: 1,
    };
    let mut manifest = Manifest::sample(&artefact, RunId::new(1, [1; 10]), contents, pack_refs(packed));
    manifest.captured = Captured {
        started,
        finished: started,
        recipients: vec!["AB".to_owned()],
        readers: vec!["1A".to_owned()],
        tools: BTreeMap::from([("tar".to_owned(), crate::LAYOUT.to_owned())]),
        stream: packed.stream(StreamFormat::Tar),
        new: packed.new,
        ..manifest.captured
    };
    manifest
}
