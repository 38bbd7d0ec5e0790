//! Reading facts.

use std::time::Duration;

use futures::StreamExt;
use holdfast_bus::{ArtefactProgress, Feed};
use holdfast_events::{Fact, What, encode, encode_json};
use holdfast_format::RunId;

use crate::support::{Rig, artefact, is_empty, run};

fn fact(run: RunId, n: u8) -> Fact {
    Fact {
        run,
        at: jiff::Timestamp::UNIX_EPOCH,
        what: What::ArtefactStarted {
            artefact: artefact(n),
            attempt: 1,
        },
    }
}

fn finished(run: RunId) -> Fact {
    Fact {
        run,
        at: jiff::Timestamp::UNIX_EPOCH,
        what: What::RunRecorded { complete: true },
    }
}

async fn next<T: Send + 'static>(feed: &mut Feed<T>) -> T {
    let next = tokio::time::timeout(Duration::from_secs(30), feed.next()).await;
    next.expect("a fact in time").expect("the feed goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_a_run_come_from_its_beginning_in_order_and_then_live() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let ours = run();
    let other = run();
    bus.publish_facts(&[fact(ours, 1), fact(other, 2), fact(ours, 3)])
        .await
        .unwrap();
    let raw = rig.raw().await;
    let rubbish = format!("holdfast.event.artefact.started.{ours}.x");
    raw.publish(rubbish, "?".into()).await.unwrap().await.unwrap();
    bus.publish_fact(&finished(ours)).await.unwrap();
    let mut facts = bus.facts(ours).await.unwrap();
    for expected in [fact(ours, 1), fact(ours, 3), finished(ours)] {
        assert_eq!(next(&mut facts).await.unwrap(), expected);
    }
    bus.publish_facts(&[fact(other, 4), fact(ours, 5)]).await.unwrap();
    assert_eq!(next(&mut facts).await.unwrap(), fact(ours, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_under_a_subject_that_is_not_its_own_is_passed_over_by_every_reader() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let ours = run();
    let other = run();
    let mut all = bus.new_facts().await.unwrap();
    let raw = rig.raw().await;
    let id = artefact(1);
    let lies = [
        // Another kind, another run, another artefact, and a subject that nobody has.
        (format!("holdfast.event.artefact.captured.{ours}.{id}"), finished(ours)),
        (format!("holdfast.event.artefact.started.{ours}.{id}"), fact(other, 1)),
        (format!("holdfast.event.artefact.started.{ours}.{id}"), fact(ours, 2)),
        (format!("holdfast.event.run.recorded.{ours}.{id}"), finished(ours)),
    ];
    for (subject, lie) in lies {
        for body in [encode(&lie).unwrap(), encode_json(&lie).unwrap()] {
            raw.publish(subject.clone(), body.into()).await.unwrap().await.unwrap();
        }
    }
    bus.publish_fact(&fact(ours, 1)).await.unwrap();
    assert_eq!(next(&mut all).await.unwrap(), fact(ours, 1));
    let mut of_run = bus.facts(ours).await.unwrap();
    assert_eq!(next(&mut of_run).await.unwrap(), fact(ours, 1));
    // A person's own message in JSON is a fact like any other.
    let told = encode_json(&finished(ours)).unwrap();
    let subject = bus.subjects().fact(&finished(ours));
    raw.publish(subject, told.into()).await.unwrap().await.unwrap();
    assert_eq!(next(&mut all).await.unwrap(), finished(ours));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_facts_survives_a_crash_and_a_lost_store() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    let run = run();
    let mut facts = bus.facts(run).await.unwrap();
    bus.publish_fact(&fact(run, 1)).await.unwrap();
    assert_eq!(next(&mut facts).await.unwrap(), fact(run, 1));
    rig.kill().await;
    bus.publish_fact(&fact(run, 2)).await.unwrap();
    assert_eq!(next(&mut facts).await.unwrap(), fact(run, 2), "each once, in order");
    rig.stop().await;
    rig.wipe();
    rig.again().await;
    bus.publish_fact(&fact(run, 3)).await.unwrap();
    assert_eq!(next(&mut facts).await.unwrap(), fact(run, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_facts_begin_where_the_reader_did_and_reach_every_reader() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let a = run();
    let b = run();
    bus.publish_facts(&[fact(a, 1), fact(b, 2)]).await.unwrap();
    let mut readers = [bus.new_facts().await.unwrap(), bus.new_facts().await.unwrap()];
    bus.publish_facts(&[fact(a, 3), fact(b, 4)]).await.unwrap();
    for reader in &mut readers {
        assert_eq!(next(reader).await.unwrap(), fact(a, 3));
        assert_eq!(next(reader).await.unwrap(), fact(b, 4));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_heard_and_kept_nowhere() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let run = run();
    let mut heard = std::pin::pin!(bus.subscribe_progress(run).await.unwrap());
    bus.tell_progress(crate::support::run(), artefact(9), 1, None).await;
    let another = ArtefactProgress {
        run: crate::support::run(),
        artefact: artefact(9),
        bytes: 1,
        total: None,
    };
    let body = encode(&another).unwrap();
    let client = rig.raw().await;
    let under_ours = bus.subjects().progress(run);
    client.client().publish(under_ours, body.into()).await.unwrap();
    client.client().flush().await.unwrap();
    bus.tell_progress(run, artefact(1), 512, Some(1024)).await;
    let progress = tokio::time::timeout(Duration::from_secs(10), heard.next())
        .await
        .unwrap()
        .unwrap();
    let expected = ArtefactProgress {
        run,
        artefact: artefact(1),
        bytes: 512,
        total: Some(1024),
    };
    assert_eq!(progress, expected);
    let raw = rig.raw().await;
    assert!(is_empty(&raw, "HOLDFAST_EVENTS").await && is_empty(&raw, "HOLDFAST_WORK").await);
}
