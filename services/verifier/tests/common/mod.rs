//! Artefacts that were really captured and sealed, and a service's context.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../../shared/service/tests/common/mod.rs"]
mod service;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use holdfast_capture::{Packed, Packer, PackerOptions, Root, TreeSpec, Watch, capture_stream, capture_tree};
use holdfast_format::{
    Artefact, ArtefactKind, Captured, ContentsRef, ContentsWriter, Counts, Expected, Extent, Level, ObjectKey, PackId,
    PackRef, RunId, SourceKind,
};
use holdfast_repository::{ContentsPut, SealedManifest};
use holdfast_sealing::{PackSealer, Profile, SecretKeys};
use holdfast_storage::Put;
use holdfast_tests::random::Random;
use holdfast_verifier::VerifyOptions;
pub use service::*;

pub type Contents = ContentsWriter<Vec<u8>>;

/// Returns the secret backup keys of a bed.
pub fn backup_keys(bed: &Bed) -> SecretKeys {
    SecretKeys::from_bytes(bed.ring.backup.secret_armored.as_bytes(), None).unwrap()
}

/// Returns options with the bed's own folders.
pub fn options(bed: &Bed) -> VerifyOptions {
    VerifyOptions {
        run: None,
        scratch: bed.scratch.path().to_owned(),
        trial: Some(bed.scratch.path().join("trial")),
        client_dirs: Vec::new(),
        limits: holdfast_restore::Limits::default(),
        clock: holdfast_telemetry::clock::system(),
        progress: Arc::default(),
    }
}

pub fn directory_artefact(run: RunId) -> Artefact {
    Artefact::new(run, &"main".parse().unwrap(), ArtefactKind::Directory, "data")
}

/// Makes a tree with a file of every kind, whose capture takes two packs.
pub fn tree(bed: &Bed) -> std::path::PathBuf {
    let dir = bed.scratch.path().join("tree");
    std::fs::create_dir_all(dir.join("sub/empty")).unwrap();
    let mut noise = vec![0; 18 << 20];
    Random::new(7).fill(&mut noise);
    std::fs::write(dir.join("large"), noise).unwrap();
    std::fs::write(dir.join("sub/small"), "small").unwrap();
    std::os::unix::fs::symlink("../large", dir.join("sub/link")).unwrap();
    dir
}

/// Captures a tree as the artefact of run `run`.
pub async fn capture_directory(bed: &Bed, run: RunId, dir: &Path) -> Arc<SealedManifest> {
    let body = |packer: &mut Packer<'_>, contents: &mut Contents, watch: &mut Watch<'_>| {
        let spec = TreeSpec::new(vec![Root::directory(dir)], &[], false).unwrap();
        let outcome = capture_tree(&spec, None, packer, contents, watch).unwrap();
        (outcome.counts, outcome.closing)
    };
    capture(bed, run, &directory_artefact(run), body).await
}

/// Captures a dump as the artefact of run `run`.
pub async fn capture_dump(bed: &Bed, run: RunId, dump: &[u8]) -> Arc<SealedManifest> {
    let body = |packer: &mut Packer<'_>, contents: &mut Contents, watch: &mut Watch<'_>| {
        capture_stream(dump, packer, contents, watch).unwrap();
        (Counts::default(), Vec::new())
    };
    capture(bed, run, &shop(run), body).await
}

async fn capture<F>(bed: &Bed, run: RunId, artefact: &Artefact, body: F) -> Arc<SealedManifest>
where
    F: FnOnce(&mut Packer<'_>, &mut Contents, &mut Watch<'_>) -> (Counts, Vec<Extent>),
{
    let info = bed.repository.info();
    let recipients = bed.ring.recipients();
    let mut plain: Vec<(PackId, Vec<u8>)> = Vec::new();
    let packer_options = PackerOptions {
        params: info.chunker.clone(),
        key: info.chunk_key.clone(),
        namer: info.chunk_key.pack_namer(
            holdfast_format::ArtefactId::from_bytes([9; 16]),
            "gnupg",
            &recipients.readers(),
        ),
        parent: None,
        bad: HashSet::new(),
    };
    let mut contents = ContentsWriter::new(Vec::new(), artefact.id).unwrap();
    let (packed, counts, closing) = {
        let sink = |id, plaintext: Vec<u8>| {
            plain.push((id, plaintext.clone()));
            Ok(plaintext)
        };
        let mut packer = Packer::new(packer_options, Box::new(sink));
        let mut watch = Watch {
            progress: &mut |_| {},
            stop: &|| false,
        };
        let (counts, closing) = body(&mut packer, &mut contents, &mut watch);
        (packer.finish().unwrap(), counts, closing)
    };
    let (lines, size) = contents.finish(closing).unwrap();
    let packs = seal_all(bed, &packed, &plain).await;
    let draft = bed.scratch.path().join(format!("draft-{}", artefact.id));
    std::fs::write(&draft, zstd::bulk::compress(&lines, 3).unwrap()).unwrap();
    let put = bed.repository.put_contents(artefact.id, &draft).await.unwrap();
    let ContentsPut::Stored { size: sealed, sha256 } = put else {
        panic!("other contents were there")
    };
    let contents = ContentsRef {
        size: sealed,
        sha256,
        plain: size,
    };
    let mut manifest = manifest(artefact, run, 1, contents, packs[0]);
    manifest.packs.clone_from(&packs);
    manifest.captured = Captured {
        recipients: recipients.fingerprints(),
        readers: recipients.readers(),
        stream: packed.stream(artefact.kind.stream_format()),
        new: packed.new,
        counts,
        ..manifest.captured
    };
    let key = ObjectKey::Manifest(artefact.id);
    assert_eq!(bed.repository.write(&key, &manifest).await.unwrap(), Put::Created);
    bed.repository.manifest(artefact.id).await.unwrap().unwrap()
}

async fn seal_all(bed: &Bed, packed: &Packed, plain: &[(PackId, Vec<u8>)]) -> Vec<PackRef> {
    let sealer = PackSealer::new(&bed.ring.recipients(), Profile::Gnupg).unwrap();
    let mut packs = Vec::new();
    for pack in &packed.packs {
        let (_, plaintext) = plain.iter().find(|(id, _)| *id == pack.id).unwrap();
        let sealed = sealer.seal(&zstd::bulk::compress(plaintext, 1).unwrap()).unwrap();
        packs.push(PackRef {
            id: pack.id,
            size: sealed.len() as u64,
            sha256: digest(&sealed),
            plain: pack.plain,
            used: pack.used,
        });
        bed.repository
            .place()
            .put(&ObjectKey::Pack(pack.id), sealed.into(), None)
            .await
            .unwrap();
    }
    packs
}

/// Writes the expectations and listing of a run with one artefact, which is verified to `level` and copied to one
/// target.
pub async fn begin_run(bed: &Bed, run: RunId, artefact: &Artefact, level: Level) -> Expected {
    let mut expected = expected_of(run, &"main".parse().unwrap(), SourceKind::Files);
    expected.steps.verify = Some(level);
    expected.steps.targets = vec!["offsite".parse().unwrap()];
    write_run(bed, &expected, std::slice::from_ref(artefact)).await;
    expected
}
