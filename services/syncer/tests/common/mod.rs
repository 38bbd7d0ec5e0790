//! A repository with artefacts of several packs, targets, and a service's context.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "../../../../shared/service/tests/common/mod.rs"]
mod service;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_format::{
    Artefact, ContentsRef, Manifest, ObjectKey, PackId, PackRef, PointArtefact, PointStatus, Reason, RestorePoint,
    RunId, SourceKind,
};
use holdfast_repository::{ContentsPut, SealedManifest};
use holdfast_storage::{Place, Put};
use holdfast_syncer::{Copier, CopyOptions};
pub use service::*;

/// Makes a pack of this repository, sealed and written.
pub async fn pack(bed: &Bed, n: u8, size: usize) -> PackRef {
    let plain = vec![n; size];
    let sealed = holdfast_sealing::seal(&bed.ring.recipients(), holdfast_sealing::Profile::Gnupg, &plain).unwrap();
    let pack = PackRef {
        id: PackId::from_bytes([n; 32]),
        size: sealed.len() as u64,
        sha256: digest(&sealed),
        plain: size as u32,
        used: size as u32,
    };
    let key = ObjectKey::Pack(pack.id);
    let put = bed
        .repository
        .place()
        .put(&key, Bytes::from(sealed), None)
        .await
        .unwrap();
    assert_eq!(put, Put::Created);
    pack
}

/// Writes an artefact of these packs, with contents, and returns its manifest.
pub async fn artefact(bed: &Bed, artefact: &Artefact, run: RunId, packs: &[PackRef]) -> Arc<SealedManifest> {
    let (draft, plain) = draft(bed.scratch.path(), artefact, 3);
    let ContentsPut::Stored { size, sha256 } = bed.repository.put_contents(artefact.id, &draft).await.unwrap() else {
        panic!("other contents were there");
    };
    let contents = ContentsRef { size, sha256, plain };
    let manifest = Manifest {
        packs: packs.to_vec(),
        ..manifest(artefact, run, 1, contents, packs[0])
    };
    let key = ObjectKey::Manifest(artefact.id);
    assert_eq!(bed.repository.write(&key, &manifest).await.unwrap(), Put::Created);
    bed.repository.manifest(artefact.id).await.unwrap().unwrap()
}

/// Makes a copier that copies two packs at a time.
pub fn copier(bed: &Bed, to: &Place) -> Copier {
    let options = CopyOptions {
        concurrency: 2,
        storage_class: BTreeMap::new(),
        scratch: bed.scratch.path().to_owned(),
    };
    Copier::new(bed.repository.clone(), to.clone(), options)
}

/// Makes an empty target in a directory of the bed.
pub async fn target(bed: &Bed) -> Place {
    directory("offsite", &bed.scratch.path().join("offsite")).await
}

pub fn target_file(bed: &Bed, key: &ObjectKey) -> PathBuf {
    bed.scratch.path().join("offsite").join(key.to_string())
}

/// Returns the keys of a target, sorted.
pub async fn keys(place: &Place) -> Vec<ObjectKey> {
    let listing = place.list(holdfast_storage::Prefix::All).await.unwrap();
    listing.objects.into_iter().map(|o| o.key).collect()
}

/// Writes the expectations and listings of a run, which is copied to one target.
pub async fn begin_run(bed: &Bed, run: RunId, artefacts: &[Artefact]) {
    let mut expected = expected_of(run, &"main".parse().unwrap(), SourceKind::Postgres);
    expected.steps.targets = vec!["offsite".parse().unwrap()];
    write_run(bed, &expected, artefacts).await;
}

/// Writes the restore point of a run with these artefacts, all of them good.
pub async fn record_run(bed: &Bed, run: RunId, artefacts: &[(Artefact, Arc<SealedManifest>)]) {
    let point = RestorePoint {
        run,
        started: now(),
        recorded: now(),
        complete: true,
        reason: Reason::Manual,
        backup_type: "all".to_owned(),
        stack: None,
        class: holdfast_format::Class::Daily,
        label: None,
        hold_until: None,
        artefacts: artefacts
            .iter()
            .map(|(artefact, sealed)| PointArtefact {
                source: "main".parse().unwrap(),
                artefact: artefact.clone(),
                status: PointStatus::Good {
                    manifest: sealed.sha256,
                    verified: None,
                },
            })
            .collect(),
        failed_sources: BTreeMap::new(),
        images: Vec::new(),
        notes: Vec::new(),
    };
    bed.repository
        .write(&ObjectKey::RestorePoint(run), &point)
        .await
        .unwrap();
}
