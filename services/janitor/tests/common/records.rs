//! The deployment's configuration and its manifests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use holdfast_config::Settings;
use holdfast_format::{Artefact, Captured, ContentsRef, Digest, Manifest, PackRef, RunId, SourceName};
use jiff::Timestamp;

pub(super) fn settings(dir: &Path, retention: &str) -> Arc<Settings> {
    let text = format!(
        r#"
        site = "host-a"
        state_dir = "state"
        [repository]
        url = "local"
        [encryption]
        recipients = ["backup.pub.asc"]
        owner = "owner.asc"
        reader_key = "reader.asc"
        [[target]]
        name = "s3"
        url = "s3"
        [[target]]
        name = "away"
        url = "nowhere"
        {retention}
        "#
    );
    let file = dir.join("holdfast.toml");
    std::fs::write(&file, text).unwrap();
    let loaded = Settings::load(&file, &BTreeMap::new());
    Arc::new(loaded.unwrap_or_else(|error| panic!("{error}")))
}

pub(super) fn digest(bytes: &[u8]) -> Digest {
    holdfast_repository::sha256(bytes)
}

pub(super) fn manifest(
    artefact: &Artefact,
    run: RunId,
    source: SourceName,
    at: Timestamp,
    packs: Vec<PackRef>,
) -> Manifest {
    let contents = ContentsRef {
        size: 8,
        sha256: digest(b"contents"),
        plain: 8,
    };
    let mut manifest = Manifest::sample(artefact, run, contents, packs);
    manifest.captured = Captured {
        source,
        started: at,
        finished: at,
        ..manifest.captured
    };
    manifest
}
