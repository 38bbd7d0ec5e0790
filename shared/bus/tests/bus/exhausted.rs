//! Jobs whose deliveries ran out.

use std::time::Duration;

use futures::StreamExt;
use holdfast_bus::{Bus, Disposition, Exhausted, Feed, Queued, WorkerOptions};
use holdfast_events::WorkStage;

use crate::support::{Rig, Running, eventually, held, is_empty, quick, run, seal};

fn impatient() -> WorkerOptions {
    let mut options = quick(1);
    options.max_deliver = 2;
    options.ack_wait = Duration::from_secs(1);
    options
}

/// A worker that never gets anywhere.
fn hopeless(bus: &Bus) -> Running {
    Running::start(bus, impatient(), |_, _| async {
        Disposition::RetryAfter(Duration::ZERO)
    })
}

async fn next(feed: &mut Feed<Exhausted>) -> Exhausted {
    tokio::time::timeout(Duration::from_secs(30), feed.next())
        .await
        .expect("in time")
        .unwrap()
}

async fn silent(feed: &mut Feed<Exhausted>) -> bool {
    tokio::time::timeout(Duration::from_secs(2), feed.next()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_job_is_told_once_and_leaves_when_removed() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let mut exhausted = bus.exhausted().await.unwrap();
    let worker = hopeless(&bus);
    let work = seal(run(), 1);
    bus.publish_work(&work).await.unwrap();
    let told = next(&mut exhausted).await;
    assert_eq!(
        (&told.work, told.stage, told.stream_sequence),
        (&work, WorkStage::Seal, 1)
    );
    assert!(silent(&mut exhausted).await, "told twice");
    assert_eq!(bus.publish_work(&work).await.unwrap(), Queued::AlreadyThere);
    told.remove().await.unwrap();
    assert!(is_empty(&raw, "HOLDFAST_WORK").await);
    // The same job can be asked for again, and is another one then.
    bus.publish_work(&work).await.unwrap();
    let again = next(&mut exhausted).await;
    assert_eq!(again.stream_sequence, 2);
    again.remove().await.unwrap();
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_job_whose_advisory_is_lost_is_found_by_the_sweep() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let worker = hopeless(&bus);
    let work = seal(run(), 1);
    bus.publish_work(&work).await.unwrap();
    eventually("the server gives it up", || async {
        held(&raw, "HOLDFAST_ADVISORIES").await == 1
    })
    .await;
    worker.drained().await;
    raw.get_stream("HOLDFAST_ADVISORIES")
        .await
        .unwrap()
        .purge()
        .await
        .unwrap();
    // One that waits, unlike one that was given up, is not told.
    bus.publish_work(&seal(run(), 2)).await.unwrap();
    let mut exhausted = bus.exhausted().await.unwrap();
    let told = next(&mut exhausted).await;
    assert_eq!(told.work, work);
    told.remove().await.unwrap();
    assert!(silent(&mut exhausted).await);
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_but_not_removed_is_told_to_the_next() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let worker = hopeless(&bus);
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    eventually("the server gives it up", || async {
        held(&raw, "HOLDFAST_ADVISORIES").await == 1
    })
    .await;
    worker.drained().await;
    for _ in 0..2 {
        let mut exhausted = bus.exhausted().await.unwrap();
        let told = next(&mut exhausted).await;
        assert_eq!(told.stream_sequence, 1);
    }
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_spares_a_job_that_took_its_number_in_a_new_stream() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    let mut exhausted = bus.exhausted().await.unwrap();
    let worker = hopeless(&bus);
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    let told = next(&mut exhausted).await;
    worker.drained().await;
    rig.stop().await;
    rig.wipe();
    rig.again().await;
    bus.publish_work(&seal(run(), 2)).await.unwrap();
    told.remove().await.unwrap();
    assert_eq!(held(&rig.raw().await, "HOLDFAST_WORK").await, 1);
}
