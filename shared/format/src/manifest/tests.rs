#![allow(clippy::unwrap_used)]

use uuid::Uuid;

use super::*;
use crate::{Artefact, RepositoryId, decode, encode};

/// Every field set, as today's program writes it.
const WHOLE: &str = include_str!("goldens/whole.json");
/// Only what every manifest has.
const SMALL: &str = include_str!("goldens/small.json");
/// A manifest of the first release: fields that came later are absent.
const EARLY: &str = include_str!("goldens/early.json");

fn repository() -> RepositoryId {
    RepositoryId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001))
}

fn read(golden: &str) -> Manifest {
    let key = ObjectKey::Manifest(ArtefactId::from_bytes([1; 16]));
    decode(Some(repository()), &key, golden.trim_end().as_bytes())
        .unwrap()
        .1
}

fn written(manifest: &Manifest) -> String {
    String::from_utf8(encode(repository(), manifest).unwrap()).unwrap()
}

/// The manifest that `goldens/whole.json` holds.
fn whole() -> Manifest {
    let digest = Digest::from_bytes;
    let artefact = Artefact {
        id: ArtefactId::from_bytes([1; 16]),
        kind: ArtefactKind::Database,
        name: "größe \"shop\"\n".to_owned(),
    };
    let sample = Captured::sample(&artefact, RunId::new(1_800_000_000_000, [2; 10]));
    Manifest {
        captured: Captured {
            sequence: u64::MAX,
            previous: Some(Predecessor {
                artefact: ArtefactId::from_bytes([3; 16]),
                sha256: digest([4; 32]),
            }),
            parent: Some(ArtefactId::from_bytes([3; 16])),
            started: "2026-11-24T02:00:01.000000009Z".parse().unwrap(),
            finished: "2026-11-24T02:00:05Z".parse().unwrap(),
            attempt: 2,
            class: Class::Monthly,
            recipients: vec!["AB".to_owned(), "CD".to_owned()],
            readers: vec!["1A".to_owned(), "1B".to_owned(), "2C".to_owned()],
            tools: BTreeMap::from([("pg_dump".to_owned(), "16.3".to_owned())]),
            stream: Stream {
                format: StreamFormat::PgDump,
                size: 1 << 60,
                extents: 3,
                digest: digest([5; 32]),
            },
            new: NewBytes { bytes: 7, packs: 1 },
            counts: Counts {
                tables: 1,
                rows: 2,
                large_objects: 3,
                files: 4,
                directories: 5,
                other: 6,
                skipped: 7,
                unread: 8,
            },
            database: Some(database()),
            volume: Some(volume()),
            ..sample
        },
        contents: ContentsRef {
            size: 9,
            sha256: digest([6; 32]),
            plain: 10,
        },
        packs: vec![PackRef {
            id: PackId::from_bytes([7; 32]),
            size: 11,
            sha256: digest([8; 32]),
            plain: 12,
            used: 6,
        }],
        warnings: Warnings {
            total: 200,
            first: vec![Warning {
                what: "changed".to_owned(),
                at: "etc/passwd".to_owned(),
            }],
        },
    }
}

fn database() -> DatabaseInfo {
    DatabaseInfo {
        encoding: "UTF8".into(),
        collate: "C".into(),
        ctype: "C".into(),
        locale_provider: Some("icu".into()),
        locale: Some("de".into()),
        icu_rules: Some("&V << w".into()),
        owner: "shop".into(),
        connection_limit: -1,
        is_template: true,
        comment: Some("the shop".into()),
        settings: vec![DatabaseSetting {
            role: Some("shop".into()),
            name: "search_path".into(),
            value: "\"$user\", public".into(),
        }],
        acl: Some(vec![DatabaseGrant {
            role: Some("shop".into()),
            privilege: "CONNECT".into(),
            grantable: true,
        }]),
    }
}

fn volume() -> VolumeInfo {
    VolumeInfo {
        driver: "local".to_owned(),
        options: BTreeMap::from([("type".to_owned(), "nfs".to_owned())]),
        labels: BTreeMap::from([("com.docker.compose.volume".to_owned(), "data".to_owned())]),
        stack: Some("shop".to_owned()),
        containers: vec![VolumeUser {
            container: "shop-web-1".to_owned(),
            destination: "/data".to_owned(),
            writable: true,
            running: true,
        }],
        mode: "pause".to_owned(),
        group: Some("shop".to_owned()),
        read: "path".to_owned(),
        quiet_ms: Some(1900),
    }
}

/// The manifest that `goldens/small.json` holds: nothing that may be absent.
fn small() -> Manifest {
    let Manifest { captured, contents, .. } = whole();
    Manifest {
        captured: Captured {
            previous: None,
            parent: None,
            tools: BTreeMap::new(),
            counts: Counts::default(),
            database: None,
            volume: None,
            ..captured
        },
        contents,
        packs: Vec::new(),
        warnings: Warnings::default(),
    }
}

#[test]
fn a_manifest_is_written_as_it_always_was() {
    assert_eq!(written(&whole()), WHOLE.trim_end());
    assert_eq!(written(&small()), SMALL.trim_end());
}

#[test]
fn a_stored_manifest_is_read_and_written_back_to_the_same_bytes() {
    assert_eq!(read(WHOLE), whole());
    for golden in [WHOLE, SMALL] {
        assert_eq!(written(&read(golden)), golden.trim_end());
    }
}

#[test]
fn a_manifest_of_the_first_release_is_read() {
    assert_eq!(read(EARLY), small());
}

#[test]
fn a_manifest_that_lacks_a_field_or_has_one_twice_is_refused_and_one_that_has_more_is_read() {
    let key = ObjectKey::Manifest(ArtefactId::from_bytes([1; 16]));
    let decoded = |json: String| decode::<Manifest>(None, &key, json.as_bytes());
    for field in ["run", "sequence", "readers", "stream", "contents", "packs"] {
        let without = SMALL.replacen(&format!("\"{field}\":"), "\"unknown\":", 1);
        assert!(decoded(without).is_err(), "{field} is missing");
    }
    for twice in [
        "\"sequence\":1",
        "\"contents\":null",
        "\"warnings\":{\"total\":0,\"first\":[]}",
    ] {
        let json = SMALL.replacen('{', &format!("{{{twice},"), 1);
        assert!(decoded(json).is_err(), "{twice} stands twice");
    }
    let more = SMALL.replacen('{', "{\"of a later release\":{\"a\":[1]},", 1);
    assert_eq!(decoded(more).unwrap().1, small());
}
