#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, Class, Counts, Digest, NewBytes, Predecessor, RunId, Stream, StreamFormat,
    VolumeInfo, Warning, Warnings,
};

use super::*;

/// A staged draft of an earlier day: a process that is started anew, perhaps of another release, goes on with it.
const GOLDEN: &str = include_str!("golden.json");

fn draft() -> Draft {
    let digest = Digest::from_bytes;
    let artefact = Artefact {
        id: ArtefactId::from_bytes([1; 16]),
        kind: ArtefactKind::Volume,
        name: "data".to_owned(),
    };
    let sample = Captured::sample(&artefact, RunId::new(1_800_000_000_000, [2; 10]));
    Draft {
        captured: Captured {
            source: "files".parse().unwrap(),
            sequence: u64::MAX,
            previous: Some(Predecessor {
                artefact: ArtefactId::from_bytes([3; 16]),
                sha256: digest([4; 32]),
            }),
            parent: Some(ArtefactId::from_bytes([3; 16])),
            started: "2026-11-24T02:00:01.000000009Z".parse().unwrap(),
            finished: "2026-11-24T02:00:05Z".parse().unwrap(),
            attempt: 2,
            class: Class::Weekly,
            recipients: vec!["AB".to_owned()],
            readers: vec!["1A".to_owned()],
            tools: BTreeMap::from([("tar".to_owned(), "1".to_owned())]),
            stream: Stream {
                format: StreamFormat::Tar,
                size: 1 << 60,
                extents: 3,
                digest: digest([5; 32]),
            },
            new: NewBytes { bytes: 7, packs: 1 },
            counts: Counts {
                files: 4,
                ..Counts::default()
            },
            volume: Some(VolumeInfo {
                driver: "local".to_owned(),
                mode: "stop".to_owned(),
                read: "path".to_owned(),
                quiet_ms: Some(1900),
                ..VolumeInfo::default()
            }),
            ..sample
        },
        warnings: Warnings {
            total: 1,
            first: vec![Warning {
                what: "changed".to_owned(),
                at: "etc/passwd".to_owned(),
            }],
        },
        packs: vec![
            DraftPack {
                id: PackId::from_bytes([7; 32]),
                plain: 12,
                used: 6,
                stored: None,
            },
            DraftPack {
                id: PackId::from_bytes([8; 32]),
                plain: 14,
                used: 14,
                stored: Some(PackRef {
                    id: PackId::from_bytes([8; 32]),
                    size: 15,
                    sha256: digest([9; 32]),
                    plain: 14,
                    used: 14,
                }),
            },
        ],
        contents_plain: 100,
    }
}

#[test]
fn a_draft_is_written_as_it_always_was_and_a_stored_one_is_read() {
    assert_eq!(serde_json::to_string(&draft()).unwrap(), GOLDEN.trim_end());
    assert_eq!(serde_json::from_str::<Draft>(GOLDEN).unwrap(), draft());
}

#[test]
fn a_manifest_has_all_that_its_draft_has() {
    let receipt = Receipt {
        size: 20,
        sha256: Digest::from_bytes([10; 32]),
        plain: 12,
    };
    let receipts = HashMap::from([(PackId::from_bytes([7; 32]), receipt)]);
    let contents = ContentsRef {
        size: 1,
        sha256: Digest::from_bytes([11; 32]),
        plain: draft().contents_plain,
    };
    let manifest = draft().manifest(&receipts, contents).unwrap();
    let mut drafted = serde_json::to_value(draft()).unwrap();
    let mut sealed = serde_json::to_value(&manifest).unwrap();
    for only_drafted in ["packs", "contents_plain"] {
        assert!(drafted.as_object_mut().unwrap().remove(only_drafted).is_some());
    }
    for only_sealed in ["packs", "contents"] {
        assert!(sealed.as_object_mut().unwrap().remove(only_sealed).is_some());
    }
    assert_eq!(drafted, sealed);
    assert_eq!(manifest.contents, contents);
    let packs: Vec<_> = manifest.packs.iter().map(|pack| (pack.id, pack.size)).collect();
    assert_eq!(
        packs,
        [(PackId::from_bytes([7; 32]), 20), (PackId::from_bytes([8; 32]), 15)]
    );
}
