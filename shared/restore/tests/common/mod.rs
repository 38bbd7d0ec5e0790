//! Small repositories made by hand, with a packer of the tests' own: what this crate reads must not depend on what the
//! capture crate happens to write.

pub(crate) mod archive;
pub(crate) mod cluster;
#[path = "../../../repository/tests/common/ring.rs"]
mod ring;

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, Captured, ChunkKey, Content, ContentsRef, ContentsWriter, Digest, Entry,
    Extent, Manifest, ObjectKey, PackId, PackRef, PlaceName, RunId, Stream,
};
use holdfast_repository::{ContentsPut, Repository};
use holdfast_restore::OpenArtefact;
use holdfast_sealing::{PackSealer, Profile, Recipients, SecretKeys};
use holdfast_storage::{Place, PlaceOptions};
pub(crate) use ring::Ring;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) struct Repo {
    pub(crate) runtime: Runtime,
    pub(crate) root: TempDir,
    pub(crate) scratch: TempDir,
    pub(crate) repository: Repository,
    /// The backup key, which opens packs.
    pub(crate) secret: SecretKeys,
    pub(crate) recipients: Recipients,
    pub(crate) sealer: PackSealer,
}

impl Repo {
    pub(crate) fn new() -> Self {
        Self::with(&Ring::new())
    }

    pub(crate) fn with(ring: &Ring) -> Self {
        let runtime = Runtime::new().unwrap();
        let root = TempDir::new().unwrap();
        let scratch = TempDir::new().unwrap();
        let recipients = ring.recipients();
        let url = url::Url::from_directory_path(root.path()).unwrap();
        let repository = runtime.block_on(async {
            let place = Place::open(PlaceName::local(), PlaceOptions::new(url)).await.unwrap();
            Repository::create(place, ring.service(), ring.members(), jiff::Timestamp::now())
                .await
                .unwrap()
        });
        Self {
            runtime,
            root,
            scratch,
            repository,
            secret: SecretKeys::from_bytes(ring.backup.secret_armored.as_bytes(), None).unwrap(),
            sealer: PackSealer::new(&recipients, Profile::Gnupg).unwrap(),
            recipients,
        }
    }

    pub(crate) fn key(&self) -> &ChunkKey {
        &self.repository.info().chunk_key
    }

    pub(crate) fn open(&self, id: ArtefactId) -> Arc<OpenArtefact> {
        self.open_with(id, self.secret.clone())
    }

    pub(crate) fn open_with(&self, id: ArtefactId, keys: SecretKeys) -> Arc<OpenArtefact> {
        let opened = OpenArtefact::open(&self.repository, keys, id, self.scratch.path());
        Arc::new(self.runtime.block_on(opened).unwrap().unwrap())
    }

    /// Returns the path of an object.
    pub(crate) fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.path().join(key.to_string())
    }

    /// Changes a byte in the middle of an object.
    pub(crate) fn flip(&self, key: &ObjectKey) {
        let path = self.path(key);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        overwrite(&path, &bytes);
    }
}

/// Objects are written read-only.
pub(crate) fn overwrite(path: &FilePath, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// An artefact being made.
pub(crate) struct Draft<'r> {
    repo: &'r Repo,
    lines: Vec<Content>,
    packs: Vec<Vec<u8>>,
    pack_size: usize,
    chunk_size: usize,
    digest: Vec<(u32, holdfast_format::ChunkId)>,
    /// Changes the manifest before it is signed.
    pub(crate) adjust: fn(&mut Manifest),
    /// The stream, as it should come back.
    pub(crate) stream: Vec<u8>,
    pub(crate) tools: BTreeMap<String, String>,
}

impl<'r> Draft<'r> {
    pub(crate) fn new(repo: &'r Repo, pack_size: usize, chunk_size: usize) -> Self {
        Self {
            repo,
            lines: Vec::new(),
            packs: vec![Vec::new()],
            pack_size,
            chunk_size,
            digest: Vec::new(),
            adjust: |_| {},
            stream: Vec::new(),
            tools: BTreeMap::new(),
        }
    }

    /// Puts bytes into the pack that is being filled.
    pub(crate) fn extent(&mut self, bytes: &[u8], with_id: bool) -> Extent {
        if self.packs.last().unwrap().len() >= self.pack_size {
            self.packs.push(Vec::new());
        }
        let pack = self.packs.len() - 1;
        let id = self.repo.key().chunk_id(bytes);
        let extent = Extent {
            pack: u32::try_from(pack).unwrap(),
            offset: u32::try_from(self.packs[pack].len()).unwrap(),
            length: u32::try_from(bytes.len()).unwrap(),
            id: with_id.then_some(id),
        };
        self.packs[pack].extend_from_slice(bytes);
        self.use_again(extent, bytes);
        extent
    }

    /// Notes an extent as the stream's next.
    fn use_again(&mut self, extent: Extent, bytes: &[u8]) {
        self.digest.push((extent.length, self.repo.key().chunk_id(bytes)));
        self.stream.extend_from_slice(bytes);
    }

    /// Forgets the order of the stream, but not the packs.
    pub(crate) fn restart(&mut self) {
        self.digest.clear();
        self.stream.clear();
    }

    /// Uses extents that are there already.
    pub(crate) fn reuse(&mut self, extents: &[Extent]) {
        for extent in extents {
            let pack = &self.packs[extent.pack as usize];
            let bytes = pack[extent.offset as usize..(extent.offset + extent.length) as usize].to_vec();
            self.use_again(*extent, &bytes);
        }
    }

    pub(crate) fn data(&mut self, bytes: &[u8]) -> Vec<Extent> {
        let size = self.chunk_size;
        bytes.chunks(size).map(|chunk| self.extent(chunk, true)).collect()
    }

    pub(crate) fn line(&mut self, content: Content) {
        self.lines.push(content);
    }

    /// A piece of a dump.
    pub(crate) fn dump(&mut self, bytes: &[u8]) {
        let extents = self.data(bytes);
        self.line(Content::Data(extents));
    }

    /// Another use of extents that are there already, as captures make of their parents' chunks.
    pub(crate) fn again(&mut self, extents: &[Extent]) {
        self.reuse(extents);
        self.line(Content::Data(extents.to_vec()));
    }

    /// An entry with these headers and this data in the archive.
    pub(crate) fn entry(&mut self, mut entry: Entry, header: &[u8], data: &[u8]) {
        let mut padded = data.to_vec();
        padded.resize(padded.len().next_multiple_of(512), 0);
        entry.extents = vec![self.extent(header, false)];
        let data = self.data(&padded);
        entry.extents.extend(data);
        self.line(Content::Entry(entry));
    }

    /// Closes a tar.
    pub(crate) fn close_tar(mut self, kind: ArtefactKind, name: &str) -> ArtefactId {
        let end = vec![self.extent(&[0; 1024], false)];
        self.store(kind, name, end)
    }

    /// Seals everything, and writes it in the order of a capture.
    pub(crate) fn store(self, kind: ArtefactKind, name: &str, end: Vec<Extent>) -> ArtefactId {
        let repo = self.repo;
        let id = ArtefactId::from_bytes(*uuid::Uuid::new_v4().as_bytes());
        let packs: Vec<PackRef> = self.packs.iter().map(|plain| repo.put_pack(plain)).collect();
        let draft = repo.scratch.path().join(format!("draft-{id}"));
        let mut writer = ContentsWriter::new(Vec::new(), id).unwrap();
        for line in &self.lines {
            writer.write(line).unwrap();
        }
        let (plain, written) = writer.finish(end).unwrap();
        std::fs::write(&draft, zstd::bulk::compress(&plain, 3).unwrap()).unwrap();
        let put = repo.runtime.block_on(repo.repository.put_contents(id, &draft)).unwrap();
        let ContentsPut::Stored { size, sha256 } = put else {
            panic!("{put:?}");
        };
        let mut digest = repo.key().extent_digest();
        for (length, id) in &self.digest {
            digest.add(*length, *id);
        }
        let (stream_size, extents, digest) = digest.finish();
        let artefact = Artefact {
            id,
            kind,
            name: name.to_owned(),
        };
        let contents = ContentsRef {
            size,
            sha256,
            plain: written,
        };
        let run = RunId::new(1_700_000_000_000, [1; 10]);
        let mut manifest = Manifest::sample(&artefact, run, contents, packs);
        manifest.captured = Captured {
            started: "2026-11-24T02:00:01Z".parse().unwrap(),
            finished: "2026-11-24T02:00:05Z".parse().unwrap(),
            recipients: repo.recipients.fingerprints(),
            readers: repo.recipients.readers(),
            tools: self.tools,
            stream: Stream {
                format: kind.stream_format(),
                size: stream_size,
                extents,
                digest,
            },
            ..manifest.captured
        };
        (self.adjust)(&mut manifest);
        let key = ObjectKey::Manifest(id);
        repo.runtime.block_on(repo.repository.write(&key, &manifest)).unwrap();
        id
    }
}

impl Repo {
    fn put_pack(&self, plain: &[u8]) -> PackRef {
        let sealed = self.sealer.seal(&zstd::bulk::compress(plain, 3).unwrap()).unwrap();
        let mut namer = self.key().pack_namer(
            holdfast_format::ArtefactId::from_bytes([9; 16]),
            "gnupg",
            &self.recipients.readers(),
        );
        namer.add(u32::try_from(plain.len()).unwrap(), self.key().chunk_id(plain));
        let id: PackId = namer.id();
        let key = ObjectKey::Pack(id);
        let put = self.repository.place().put(&key, Bytes::from(sealed), None);
        self.runtime.block_on(put).unwrap();
        // Another artefact may have brought it already, under other bytes.
        let stored = std::fs::read(self.path(&key)).unwrap();
        let size = u32::try_from(plain.len()).unwrap();
        PackRef {
            id,
            size: stored.len() as u64,
            sha256: Digest::from_bytes(openssl::sha::sha256(&stored)),
            plain: size,
            used: size,
        }
    }
}

/// Bytes without pattern, the same for the same seed.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Key of the pack at this index of an artefact's manifest.
pub(crate) fn pack_key(artefact: &OpenArtefact, index: usize) -> ObjectKey {
    ObjectKey::Pack(artefact.manifest().packs[index].id)
}
