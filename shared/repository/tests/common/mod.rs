//! Keys, places and records to test with.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod ring;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_format::{
    Artefact, ArtefactKind, Captured, Content, ContentsRef, ContentsWriter, Digest, Extent, Level, Manifest, NewBytes,
    PackId, PackRef, RunId, Verdict, Verification,
};
use holdfast_repository::{ContentsPut, Repository, SealedManifest};
use holdfast_sealing::Profile;
use holdfast_storage::{Place, PlaceOptions, Put};
use jiff::Timestamp;
pub use ring::Ring;
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

pub async fn directory(name: &str, path: &Path) -> Place {
    let options = PlaceOptions {
        create_directory: true,
        ..PlaceOptions::new(Url::from_file_path(path).unwrap())
    };
    Place::open(name.parse().unwrap(), options).await.unwrap()
}

/// A repository in a directory, with everything that it needs.
pub struct Bed {
    pub ring: Ring,
    pub scratch: TempDir,
    pub repository: Repository,
}

impl Bed {
    pub async fn new() -> Self {
        let ring = Ring::new();
        let scratch = TempDir::new().unwrap();
        let place = directory("local", &scratch.path().join("place")).await;
        let repository = Repository::create(place, ring.service(), ring.members(), now())
            .await
            .unwrap();
        Self {
            ring,
            scratch,
            repository,
        }
    }

    /// The file of an object.
    pub fn file(&self, key: impl std::fmt::Display) -> PathBuf {
        self.scratch.path().join("place").join(key.to_string())
    }

    /// Changes one byte of an object.
    pub fn flip(&self, key: impl std::fmt::Display) {
        let path = self.file(key);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
}

pub fn now() -> Timestamp {
    "2026-11-24T02:00:00Z".parse().unwrap()
}

/// Run `n`; later runs have larger numbers.
pub fn run(n: u64) -> RunId {
    RunId::new(1_790_000_000_000 + n * 86_400_000, [n as u8; 10])
}

pub fn shop(run: RunId) -> Artefact {
    Artefact::new(run, &"main".parse().unwrap(), ArtefactKind::Database, "shop")
}

pub fn digest(bytes: &[u8]) -> Digest {
    holdfast_repository::sha256(bytes)
}

/// A draft of contents: `tables` tables and a piece of a dump. Returns its file and the size of its lines.
pub fn draft(directory: &Path, artefact: &Artefact, tables: u64) -> (PathBuf, u64) {
    let path = directory.join(format!("draft-{}-{tables}", Uuid::new_v4()));
    let mut writer = ContentsWriter::new(Vec::new(), artefact.id).unwrap();
    for n in 0..tables {
        writer.write(&Content::Table(format!("public.t{n}"), n)).unwrap();
    }
    let extent = Extent {
        pack: 0,
        offset: 0,
        length: 5,
        id: None,
    };
    writer.write(&Content::Data(vec![extent])).unwrap();
    let (lines, plain) = writer.finish(Vec::new()).unwrap();
    std::fs::write(&path, zstd::bulk::compress(&lines, 3).unwrap()).unwrap();
    (path, plain)
}

/// Writes a whole artefact: a pack, contents, a manifest.
pub async fn write_artefact(bed: &Bed, run: RunId, sequence: u64) -> SealedManifest {
    write_artefact_to(&bed.repository, &bed.ring, bed.scratch.path(), run, sequence).await
}

pub async fn write_artefact_to(
    repository: &Repository,
    ring: &Ring,
    scratch: &Path,
    run: RunId,
    sequence: u64,
) -> SealedManifest {
    let artefact = shop(run);
    let sealed = holdfast_sealing::seal(&ring.recipients(), Profile::Gnupg, b"hello").unwrap();
    let pack = PackRef {
        id: PackId::from_bytes([sequence as u8; 32]),
        size: sealed.len() as u64,
        sha256: digest(&sealed),
        plain: 5,
        used: 5,
    };
    let key = holdfast_format::ObjectKey::Pack(pack.id);
    repository.place().put(&key, Bytes::from(sealed), None).await.unwrap();
    let (draft, plain) = draft(scratch, &artefact, 3);
    let ContentsPut::Stored { size, sha256 } = repository.put_contents(artefact.id, &draft).await.unwrap() else {
        panic!("other contents were there");
    };
    let contents = ContentsRef { size, sha256, plain };
    let manifest = manifest(&artefact, run, sequence, contents, pack);
    let key = holdfast_format::ObjectKey::Manifest(artefact.id);
    assert_eq!(repository.write(&key, &manifest).await.unwrap(), Put::Created);
    let read = repository.manifest(artefact.id).await.unwrap().unwrap();
    assert_eq!(read.manifest, manifest);
    (*read).clone()
}

pub fn manifest(artefact: &Artefact, run: RunId, sequence: u64, contents: ContentsRef, pack: PackRef) -> Manifest {
    let mut manifest = Manifest::sample(artefact, run, contents, vec![pack]);
    manifest.captured = Captured {
        // The site of all services in tests.
        site: "here".parse().unwrap(),
        sequence,
        started: now(),
        finished: now(),
        new: NewBytes { bytes: 5, packs: 1 },
        ..manifest.captured
    };
    manifest
}

/// A verification at a place, the `n`th.
pub fn verification(artefact: &Artefact, place: &str, n: u64, level: Level, good: bool) -> Verification {
    let at = now() + jiff::SignedDuration::from_hours(n as i64);
    Verification {
        id: Uuid::from_u128(u128::from(n) + 1),
        artefact: artefact.id,
        run: None,
        place: place.parse().unwrap(),
        level,
        verdict: if good { Verdict::Good } else { Verdict::Damaged },
        findings: Vec::new(),
        total_findings: 0,
        started: at,
        finished: at,
        bytes_read: 0,
        recipients_proven: false,
    }
}
