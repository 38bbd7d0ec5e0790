#![allow(clippy::unwrap_used)]
use holdfast_format::{ArtefactKind, AskedBy, BusUser, Class, ExpectedSource, Reason, RunId, Site, SourceKind, Steps};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{Job, Work, missing};

fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

fn expected() -> Expected {
    let site: Site = name("here");
    let source = |n: &str| ExpectedSource {
        name: name(n),
        kind: SourceKind::Postgres,
        site: site.clone(),
    };
    Expected {
        run: RunId::new(1, [0; 10]),
        created: Timestamp::UNIX_EPOCH,
        reason: Reason::Manual,
        requester: AskedBy::User {
            name: BusUser::operator(),
            person: None,
        },
        site: site.clone(),
        backup_type: "all".to_owned(),
        stack: None,
        sources: vec![source("a"), source("b")],
        steps: Steps {
            verify: Some(Level::Decrypt),
            targets: vec![name("s3"), name("nas")],
            clean: vec![PlaceName::local()],
        },
        class: Class::Daily,
        label: None,
        hold_until: None,
        fresh: false,
        deadline: Timestamp::UNIX_EPOCH,
        trace: BTreeMap::new(),
    }
}

fn artefacts(expected: &Expected, source: &str, count: usize) -> Vec<Artefact> {
    let source: SourceName = name(source);
    (0..count)
        .map(|i| Artefact::new(expected.run, &source, ArtefactKind::Database, &format!("db{i}")))
        .collect()
}

/// All facts of one run in which the artefacts at `bad` fail, and one fails at one target.
fn history(bad: &[bool]) -> (Expected, Vec<Fact>) {
    let expected = expected();
    let mut whats = vec![];
    let a = artefacts(&expected, "a", bad.len());
    for (page, artefact) in a.iter().enumerate() {
        let page = page as u32;
        let pages = a.len() as u32;
        whats.push(What::SourceListed {
            source: name("a"),
            page,
            pages,
            artefacts: vec![artefact.clone()],
        });
    }
    whats.push(What::Failed {
        subject: FailureSubject::Source(name("b")),
        stage: Stage::List,
        reason: "down".into(),
    });
    for (artefact, bad) in a.iter().zip(bad) {
        let id = artefact.id;
        whats.push(What::ArtefactStarted {
            artefact: id,
            attempt: 1,
        });
        whats.push(What::ArtefactStarted {
            artefact: id,
            attempt: 2,
        });
        if *bad {
            let subject = FailureSubject::Artefact(id);
            whats.push(What::Failed {
                subject: subject.clone(),
                stage: Stage::Capture,
                reason: "x".into(),
            });
            whats.push(What::Failed {
                subject,
                stage: Stage::Capture,
                reason: "y".into(),
            });
            continue;
        }
        whats.push(What::ArtefactCaptured {
            artefact: id,
            attempt: 2,
            size: 9,
            new_bytes: 3,
            warnings: 0,
        });
        let manifest = Digest::from_bytes([7; 32]);
        whats.push(What::ArtefactSealed {
            artefact: id,
            manifest,
            size: 9,
            stored: 4,
            warnings: 0,
        });
        whats.push(What::ArtefactVerified {
            artefact: id,
            level: Level::Integrity,
        });
        whats.push(What::ArtefactVerified {
            artefact: id,
            level: Level::Decrypt,
        });
        whats.push(What::ArtefactSynced {
            artefact: id,
            target: name("s3"),
            sent: 1,
        });
        let subject = FailureSubject::ArtefactAt(id, name("nas"));
        whats.push(What::Failed {
            subject,
            stage: Stage::Sync,
            reason: "refused".into(),
        });
    }
    whats.push(What::RunRecorded { complete: false });
    whats.push(What::PointSynced { target: name("s3") });
    let subject = FailureSubject::Place(name("nas"));
    whats.push(What::Failed {
        subject,
        stage: Stage::Sync,
        reason: "lacks".into(),
    });
    whats.push(What::PlaceCleaned {
        place: PlaceName::local(),
        expired: 0,
        deleted: 0,
        freed: 0,
    });
    let run = expected.run;
    (
        expected,
        whats
            .into_iter()
            .map(|what| Fact {
                run,
                at: Timestamp::UNIX_EPOCH,
                what,
            })
            .collect(),
    )
}

fn fold(expected: &Expected, facts: &[Fact]) -> RunState {
    let mut state = RunState::new(expected.clone());
    for fact in facts {
        state.apply(fact).unwrap();
    }
    state
}

fn shuffled() -> impl Strategy<Value = (Vec<bool>, Vec<prop::sample::Index>, Vec<prop::sample::Index>)> {
    (
        prop::collection::vec(any::<bool>(), 1..5),
        prop::collection::vec(any::<prop::sample::Index>(), 80),
        prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    )
}

proptest! {
    #[test]
    fn order_and_repetition_do_not_matter((bad, order, again) in shuffled()) {
        let (expected, facts) = history(&bad);
        let straight = fold(&expected, &facts);
        let mut mixed = facts.clone();
        mixed.extend(again.iter().map(|i| facts[i.index(facts.len())].clone()));
        for (i, at) in order.iter().enumerate() {
            let n = mixed.len();
            mixed.swap(i % n, at.index(n));
        }
        prop_assert_eq!(&fold(&expected, &mixed), &straight);
        let mut state = straight.clone();
        for fact in &facts {
            prop_assert_eq!(state.apply(fact), Ok(Effect::AlreadySeen), "{:?}", fact);
        }
        prop_assert_eq!(state, straight);
    }

    #[test]
    fn what_is_missing_is_asked_for_and_what_is_told_is_not((bad, order, _) in shuffled()) {
        let (expected, facts) = history(&bad);
        let kept: Vec<Fact> = facts
            .iter()
            .zip(order.iter().cycle())
            .filter(|(_, i)| i.index(3) != 0)
            .map(|(fact, _)| fact.clone())
            .collect();
        let mut state = fold(&expected, &kept);
        prop_assert!(state.outcome().is_none() || missing(&state).is_empty() || state.outcome().is_some());
        for fact in &facts {
            state.apply(fact).unwrap();
        }
        prop_assert!(missing(&state).is_empty(), "{:?}", missing(&state));
        let all_bad = bad.iter().all(|b| *b);
        prop_assert_eq!(state.outcome(), Some(if all_bad { Outcome::Failed } else { Outcome::Partial }));
        // Each fact of a step, taken away alone, is asked for by a job or is one that only informs.
        for (i, fact) in facts.iter().enumerate() {
            let mut rest = facts.clone();
            rest.remove(i);
            let state = fold(&expected, &rest);
            let informs = matches!(fact.what, What::ArtefactStarted { .. } | What::ArtefactCaptured { .. })
                || matches!(&fact.what, What::Failed { reason, .. } if reason == "x" || reason == "y")
                || matches!(fact.what, What::ArtefactVerified { level: Level::Integrity, .. });
            let derived = matches!(fact.what, What::RunRecorded { .. })
                || matches!(&fact.what, What::Failed { subject: FailureSubject::Place(_), .. });
            prop_assert!(informs || derived || !missing(&state).is_empty(), "{:?}", fact);
        }
    }
}

#[test]
fn contradictions_change_nothing() {
    let (expected, facts) = history(&[false]);
    let state = fold(&expected, &facts);
    let id = *state.artefacts.keys().next().unwrap();
    let manifest = Digest::from_bytes([8; 32]);
    let wrong = [
        What::ArtefactSealed {
            artefact: id,
            manifest,
            size: 9,
            stored: 4,
            warnings: 0,
        },
        What::RunRecorded { complete: true },
        What::SourceListed {
            source: name("zzz"),
            page: 0,
            pages: 1,
            artefacts: vec![],
        },
        What::SourceListed {
            source: name("a"),
            page: 0,
            pages: 9,
            artefacts: vec![],
        },
        What::PointSynced {
            target: name("elsewhere"),
        },
    ];
    for what in wrong {
        let mut again = state.clone();
        let fact = Fact {
            run: expected.run,
            at: Timestamp::UNIX_EPOCH,
            what,
        };
        assert!(again.apply(&fact).is_err(), "{fact:?}");
        assert_eq!(again, state);
    }
    let mut again = state;
    let other = Fact {
        run: RunId::new(2, [0; 10]),
        at: Timestamp::UNIX_EPOCH,
        what: What::RunFinished {
            outcome: Outcome::Complete,
        },
    };
    assert_eq!(again.apply(&other), Err(IllegalFact::OtherRun));
}

#[test]
fn nothing_known_asks_for_every_listing_and_no_more() {
    let state = RunState::new(expected());
    let jobs = missing(&state);
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|w: &Work| matches!(w.job, Job::List { .. })));
    assert!(!state.is_ready_to_record());
}
