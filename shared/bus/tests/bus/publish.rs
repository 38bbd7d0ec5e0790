//! Publishing work and facts, and the streams they go to.

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use holdfast_bus::{Bus, BusError, Queued};
use holdfast_events::{Fact, Job, What, Work};
use holdfast_fault::{Retry, Retryable as _};
use holdfast_format::FailureSubject;

use crate::support::{Rig, artefact, held, is_empty, run, seal, site};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_job_is_queued_once() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let work = seal(run(), 1);
    assert_eq!(bus.publish_work(&work).await.unwrap(), Queued::New);
    assert_eq!(bus.publish_work(&work).await.unwrap(), Queued::AlreadyThere);
    // A crash of the server changes nothing about that.
    rig.kill().await;
    assert_eq!(bus.publish_work(&work).await.unwrap(), Queued::AlreadyThere);
    assert_eq!(held(&rig.raw().await, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_are_all_confirmed() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let works: Vec<Work> = (0..500).map(|n| seal(run(), n)).collect();
    bus.publish_works(&works).await.unwrap();
    bus.publish_works(&works).await.unwrap();
    assert_eq!(held(&rig.raw().await, "HOLDFAST_WORK").await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_run_leaves_no_work_and_others_keep_theirs() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let gone = run();
    let stays = run();
    let target: holdfast_format::PlaceName = "s3".parse().unwrap();
    for run in [gone, stays] {
        let sync = Job::Sync {
            source: "main".parse().unwrap(),
            artefact: artefact(1),
            target: target.clone(),
        };
        let clean = Job::Clean { place: target.clone() };
        for job in [seal(run, 1).job, sync, Job::SyncPoint { target: target.clone() }, clean] {
            bus.publish_work(&Work { run, site: site(), job }).await.unwrap();
        }
    }
    bus.forget_run(gone).await.unwrap();
    let raw = rig.raw().await;
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 4);
    bus.forget_run(stays).await.unwrap();
    assert!(is_empty(&raw, "HOLDFAST_WORK").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_fact_is_refused_here_and_not_by_the_server() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let fact = Fact {
        run: run(),
        at: jiff::Timestamp::UNIX_EPOCH,
        what: What::Failed {
            subject: FailureSubject::Artefact(artefact(1)),
            stage: holdfast_format::Stage::Capture,
            reason: "x".repeat(2 * 1024 * 1024),
        },
    };
    let error = bus.publish_fact(&fact).await.unwrap_err();
    assert!(matches!(error, BusError::Encode { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
    assert!(bus.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prefixes_on_one_server_never_meet() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let mut options = rig.options();
    options.prefix = "other".parse().unwrap();
    let other = Bus::connect(&options).await.unwrap();
    other.ensure_topology().await.unwrap();
    let work = seal(run(), 1);
    assert_eq!(bus.publish_work(&work).await.unwrap(), Queued::New);
    assert_eq!(other.publish_work(&work).await.unwrap(), Queued::New);
    other.forget_run(work.run).await.unwrap();
    let raw = rig.raw().await;
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1);
    assert!(is_empty(&raw, "OTHER_WORK").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_set_up_by_many_at_once_and_changed_where_they_differ() {
    let rig = Rig::start().await;
    let raw = rig.raw().await;
    let foreign = |name: &str, subject: &str, retention| Config {
        name: name.into(),
        subjects: vec![subject.into()],
        retention,
        ..Config::default()
    };
    // A work stream that cannot be changed in place, and facts that can.
    raw.create_stream(foreign("HOLDFAST_WORK", "holdfast.work.>", RetentionPolicy::Limits))
        .await
        .unwrap();
    raw.create_stream(foreign(
        "HOLDFAST_EVENTS",
        "holdfast.event.old.>",
        RetentionPolicy::Limits,
    ))
    .await
    .unwrap();
    let bus = Bus::connect(&rig.options()).await.unwrap();
    let all = (0..8).map(|_| bus.ensure_topology());
    for done in futures::future::join_all(all).await {
        done.unwrap();
    }
    let work = raw
        .get_stream("HOLDFAST_WORK")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(work.retention, RetentionPolicy::WorkQueue);
    assert!(work.discard_new_per_subject && work.max_messages_per_subject == 1);
    let events = raw
        .get_stream("HOLDFAST_EVENTS")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(events.subjects, ["holdfast.event.>"]);
    assert!(events.deny_delete && events.max_age.as_secs() == 90 * 24 * 60 * 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_with_another_retention_are_not_thrown_away() {
    let rig = Rig::start().await;
    let raw = rig.raw().await;
    let config = Config {
        name: "HOLDFAST_EVENTS".into(),
        subjects: vec!["holdfast.event.>".into()],
        retention: RetentionPolicy::Interest,
        ..Config::default()
    };
    raw.create_stream(config).await.unwrap();
    let bus = Bus::connect(&rig.options()).await.unwrap();
    let error = bus.ensure_topology().await.unwrap_err();
    assert!(matches!(error, BusError::Foreign { .. }), "{error:?}");
}
