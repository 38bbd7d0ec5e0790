#![allow(clippy::unwrap_used)]
use holdfast_format::{ArtefactId, Digest, FailureSubject, Level, SourceName, Stage};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Outcome, What};

fn subjects() -> Subjects {
    Subjects::new(&SubjectPrefix::default())
}

fn place() -> PlaceName {
    "offsite".parse().unwrap()
}

fn source() -> SourceName {
    "main".parse().unwrap()
}

/// Facts of all kinds, of few runs and artefacts, so that two of them often agree in something.
fn facts() -> impl Strategy<Value = Fact> {
    (0..14_u8, 1..4_u64, 1..4_u8, any::<u32>()).prop_map(|(kind, run, artefact, number)| {
        let artefact = ArtefactId::from_bytes([artefact; 16]);
        Fact {
            run: RunId::new(run, [1; 10]),
            at: Timestamp::from_second(i64::from(number)).unwrap(),
            what: what(kind, artefact, number),
        }
    })
}

fn what(kind: u8, artefact: ArtefactId, number: u32) -> What {
    let failed = |subject| What::Failed {
        subject,
        stage: Stage::Sync,
        reason: number.to_string(),
    };
    match kind {
        0 => What::SourceListed {
            source: source(),
            page: number,
            pages: number,
            artefacts: Vec::new(),
        },
        1 => What::ArtefactStarted {
            artefact,
            attempt: number,
        },
        2 => What::ArtefactCaptured {
            artefact,
            attempt: number,
            size: 1,
            new_bytes: 1,
            warnings: 0,
        },
        3 => What::ArtefactSealed {
            artefact,
            manifest: Digest::from_bytes([1; 32]),
            size: u64::from(number),
            stored: 1,
            warnings: 0,
        },
        4 => What::ArtefactVerified {
            artefact,
            level: Level::Decrypt,
        },
        5 => What::ArtefactSynced {
            artefact,
            target: place(),
            sent: u64::from(number),
        },
        6 => failed(FailureSubject::Source(source())),
        7 => failed(FailureSubject::Artefact(artefact)),
        8 => failed(FailureSubject::ArtefactAt(artefact, place())),
        9 => failed(FailureSubject::Place(place())),
        10 => What::RunRecorded {
            complete: number.is_multiple_of(2),
        },
        11 => What::PointSynced { target: place() },
        12 => What::PlaceCleaned {
            place: place(),
            expired: u64::from(number),
            deleted: 0,
            freed: 0,
        },
        _ => What::RunFinished {
            outcome: Outcome::Complete,
        },
    }
}

proptest! {
    #[test]
    fn facts_share_a_subject_only_if_they_are_of_one_kind_one_run_and_one_artefact(one in facts(), other in facts()) {
        let names = |fact: &Fact| (fact.what.name(), fact.run, fact.what.artefact());
        let same = subjects().fact(&one) == subjects().fact(&other);
        prop_assert_eq!(same, names(&one) == names(&other), "{:?} {:?}", one, other);
    }

    #[test]
    fn the_subject_of_a_fact_lies_below_its_kind_and_is_found_by_its_run(fact in facts()) {
        let subject = subjects().fact(&fact);
        let (noun, verb) = fact.what.name();
        let below = format!("holdfast.event.{noun}.{verb}.{}", fact.run);
        prop_assert!(subject.starts_with(&below), "{}", subject);
        prop_assert_eq!(subject.split('.').count(), 5 + usize::from(fact.what.artefact().is_some()));
    }
}
