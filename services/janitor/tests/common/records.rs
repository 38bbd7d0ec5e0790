//! What the deployment is made of: its configuration, and manifests.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use holdfast_config::Settings;
use holdfast_format::{
    Artefact, Class, ContentsRef, Counts, Digest, Manifest, NewBytes, PackRef, RunId, SourceName, Stream, StreamFormat,
    Warnings,
};
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
        pipeline_key = "pipeline.asc"
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
    Manifest {
        artefact: artefact.id,
        run,
        source,
        kind: artefact.kind,
        name: artefact.name.clone(),
        site: "host-a".parse().unwrap(),
        sequence: 1,
        previous: None,
        parent: None,
        started: at,
        finished: at,
        attempt: 1,
        class: Class::Daily,
        profile: "gnupg".to_owned(),
        recipients: Vec::new(),
        tools: BTreeMap::new(),
        stream: Stream {
            format: StreamFormat::PgDump,
            size: 5,
            extents: 1,
            digest: digest(b""),
        },
        new: NewBytes::default(),
        counts: Counts::default(),
        database: None,
        volume: None,
        contents: ContentsRef {
            size: 8,
            sha256: digest(b"contents"),
            plain: 8,
        },
        packs,
        warnings: Warnings::default(),
    }
}
