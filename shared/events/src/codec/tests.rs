#![allow(clippy::unwrap_used)]
use holdfast_format::{
    Artefact, ArtefactId, ArtefactKind, Digest, Level, PackId, PlaceName, RunId, SourceKind, SubjectPrefix,
};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Fact, Job, Subjects, Trigger, What, Work};

fn samples() -> Vec<Work> {
    let run = RunId::new(1_700_000_000_000, [1; 10]);
    let site: holdfast_format::Site = "host-a".parse().unwrap();
    let source: holdfast_format::SourceName = "main".parse().unwrap();
    let target: PlaceName = "s3".parse().unwrap();
    let artefact = ArtefactId::from_bytes([2; 16]);
    let jobs = vec![
        Job::List {
            source: source.clone(),
            kind: SourceKind::Postgres,
        },
        Job::Capture {
            source: source.clone(),
            kind: SourceKind::Files,
            artefact,
        },
        Job::Seal {
            artefact,
            attempt: 1,
            pack: PackId::from_bytes([3; 32]),
        },
        Job::Close {
            source: source.clone(),
            artefact,
            attempt: 1,
        },
        Job::Verify {
            source: source.clone(),
            artefact,
            level: Level::Decrypt,
        },
        Job::Sync {
            source,
            artefact,
            target: target.clone(),
        },
        Job::SyncPoint { target: target.clone() },
        Job::Clean { place: target },
    ];
    jobs.into_iter()
        .map(|job| Work {
            run,
            site: site.clone(),
            job,
        })
        .collect()
}

#[test]
fn work_and_its_subjects_are_the_documented_ones() {
    let subjects = Subjects::new(&SubjectPrefix::default());
    let mut lines = String::new();
    for work in samples() {
        let bytes = encode(&work).unwrap();
        assert_eq!(decode::<Work>(&bytes).unwrap(), work);
        let json = encode_json(&work).unwrap();
        assert_eq!(decode::<Work>(&json).unwrap(), work);
        lines += &format!(
            "{}\n  {}\n  {} bytes\n",
            subjects.work(&work),
            String::from_utf8(json).unwrap(),
            bytes.len()
        );
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn facts_are_the_documented_ones() {
    let subjects = Subjects::new(&SubjectPrefix::default());
    let run = RunId::new(1_700_000_000_000, [1; 10]);
    let artefact = ArtefactId::from_bytes([2; 16]);
    let source: holdfast_format::SourceName = "main".parse().unwrap();
    let listed = Artefact {
        id: artefact,
        kind: ArtefactKind::Database,
        name: "shop".to_owned(),
    };
    let whats = [
        What::SourceListed {
            source,
            page: 0,
            pages: 1,
            artefacts: vec![listed],
        },
        What::ArtefactSealed {
            artefact,
            manifest: Digest::from_bytes([9; 32]),
            size: 3,
            stored: 2,
            warnings: 0,
        },
        What::RunFinished {
            outcome: crate::Outcome::Partial,
        },
    ];
    let mut lines = String::new();
    for what in whats {
        let fact = Fact {
            run,
            at: Timestamp::UNIX_EPOCH,
            what,
        };
        assert_eq!(decode::<Fact>(&encode(&fact).unwrap()).unwrap(), fact);
        let json = String::from_utf8(encode_json(&fact).unwrap()).unwrap();
        lines += &format!("{}\n  {json}\n", subjects.fact(&fact));
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn poison_is_refused_by_name() {
    assert!(matches!(
        decode::<Work>(&[]),
        Err(CodecError::Version { found: None, .. })
    ));
    assert!(matches!(
        decode::<Work>(&[9, 1, 2]),
        Err(CodecError::Version { found: Some(9), .. })
    ));
    assert!(matches!(
        decode::<Work>(&[CODEC_VERSION, 255, 255]),
        Err(CodecError::Bincode { .. })
    ));
    assert!(matches!(
        decode::<Work>(&vec![b'{'; MAX_MESSAGE + 1]),
        Err(CodecError::TooLarge { .. })
    ));
    let deep = "{\"a\":".repeat(9000);
    assert!(matches!(
        decode::<Trigger>(deep.as_bytes()),
        Err(CodecError::Json { .. })
    ));
    // A length claim of 2^60 in a message of a few bytes must not be believed.
    assert!(decode::<Trigger>(&[CODEC_VERSION, 253, 0, 0, 0, 0, 0, 0, 0, 16]).is_err());
    let mut trailing = encode(&samples()[0]).unwrap();
    trailing.push(0);
    assert!(decode::<Work>(&trailing).is_err());
}

#[test]
fn a_message_over_the_limit_is_not_sent() {
    let trigger = Trigger {
        label: Some("x".repeat(MAX_MESSAGE)),
        ..Trigger::default()
    };
    assert!(matches!(encode(&trigger), Err(CodecError::TooLarge { .. })));
    assert!(matches!(encode_json(&trigger), Err(CodecError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), binary: bool) {
        if binary && !bytes.is_empty() {
            bytes[0] = CODEC_VERSION;
        }
        let _ = decode::<Work>(&bytes);
        let _ = decode::<Fact>(&bytes);
        let _ = decode::<Trigger>(&bytes);
    }
}
