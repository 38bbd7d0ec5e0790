//! The server dies, loses its store, loses a stream.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_bus::{Bus, Disposition};
use holdfast_events::Work;
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, Running, eventually, is_empty, quick, run, seal};

type Seen = Arc<Mutex<Vec<Work>>>;

/// A worker that notes what it does, and waits within it while `hold` is not cancelled.
fn noting(bus: &Bus, parallel: usize, hold: &CancellationToken) -> (Running, Seen) {
    let seen: Seen = Seen::default();
    let list = seen.clone();
    let hold = hold.clone();
    let worker = Running::start(bus, quick(parallel), move |work, _| {
        list.lock().unwrap().push(work);
        let hold = hold.clone();
        async move {
            hold.cancelled().await;
            Disposition::Done
        }
    });
    (worker, seen)
}

fn free() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

fn distinct(seen: &Seen) -> usize {
    seen.lock()
        .unwrap()
        .iter()
        .map(|work| format!("{work:?}"))
        .collect::<BTreeSet<_>>()
        .len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_server_in_mid_work_loses_no_job_and_doubles_none_here() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let hold = CancellationToken::new();
    let (worker, seen) = noting(&bus, 3, &hold);
    let run = run();
    let works: Vec<Work> = (0..30).map(|n| seal(run, n)).collect();
    bus.publish_works(&works).await.unwrap();
    eventually("three are in hand", || async { seen.lock().unwrap().len() == 3 }).await;
    rig.kill().await;
    // Over the ack_wait, so that the server has delivered them again unless signs of life have reached it.
    let mut reconnects = bus.reconnected();
    let _ = tokio::time::timeout(Duration::from_secs(4), reconnects.wait_for(|count| *count > 5)).await;
    hold.cancel();
    let raw = rig.raw().await;
    eventually("all are done", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
    assert_eq!(distinct(&seen), 30);
    assert_eq!(
        seen.lock().unwrap().len(),
        30,
        "a job that is being done here was begun again here"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_waits_for_a_server_that_is_away() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    let (worker, seen) = noting(&bus, 1, &free());
    rig.stop().await;
    let publisher = bus.clone();
    let work = seal(run(), 1);
    let publishing = tokio::spawn(async move { publisher.publish_work(&work).await });
    eventually("the loss is noticed", || async { !bus.is_connected() }).await;
    rig.again().await;
    publishing.await.unwrap().unwrap();
    eventually("the job is done", || async { seen.lock().unwrap().len() == 1 }).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_set_up_again_and_reconcilers_are_told() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    let (worker, seen) = noting(&bus, 2, &free());
    let run = run();
    bus.publish_work(&seal(run, 1)).await.unwrap();
    eventually("the first job is done", || async { distinct(&seen) == 1 }).await;
    rig.stop().await;
    rig.wipe();
    let mut told = bus.reconnected();
    let before = *told.borrow_and_update();
    rig.again().await;
    // Once for the connection, once for the streams.
    let told = tokio::time::timeout(Duration::from_secs(30), told.wait_for(|count| *count >= before + 2)).await;
    told.expect("told in time").unwrap();
    bus.publish_work(&seal(run, 2)).await.unwrap();
    eventually("the worker goes on", || async { distinct(&seen) == 2 }).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_is_set_up_again_by_worker_and_publisher() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    // With nobody at work, the publisher finds out.
    raw.delete_stream("HOLDFAST_WORK").await.unwrap();
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    let (worker, seen) = noting(&bus, 2, &free());
    eventually("its job is done", || async { distinct(&seen) == 1 }).await;
    let told = bus.reconnected();
    raw.delete_stream("HOLDFAST_WORK").await.unwrap();
    eventually("the worker sets it up", || async { told.has_changed().unwrap() }).await;
    bus.publish_work(&seal(run(), 2)).await.unwrap();
    eventually("its job is done", || async { distinct(&seen) == 2 }).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_consumer_is_made_again() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let (worker, seen) = noting(&bus, 2, &free());
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    eventually("the first job is done", || async { distinct(&seen) == 1 }).await;
    raw.delete_consumer_from_stream("seal_host-a", "HOLDFAST_WORK")
        .await
        .unwrap();
    bus.publish_work(&seal(run(), 2)).await.unwrap();
    eventually("the second job is done", || async { distinct(&seen) == 2 }).await;
    worker.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_learns_that_it_may_be_lost_when_no_sign_of_life_arrives() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    let lost = CancellationToken::new();
    let told = lost.clone();
    let mut options = quick(1);
    options.ack_wait = Duration::from_secs(1);
    let worker = Running::start(&bus, options, move |_, delivery| {
        let told = told.clone();
        async move {
            delivery.lost.cancelled().await;
            told.cancel();
            Disposition::Done
        }
    });
    let begun = bus.publish_work(&seal(run(), 1)).await;
    begun.unwrap();
    let raw = rig.raw().await;
    eventually("the job is in hand", || async {
        let consumer = raw
            .get_stream("HOLDFAST_WORK")
            .await
            .unwrap()
            .consumer_info("seal_host-a")
            .await;
        consumer.is_ok_and(|info| info.num_ack_pending == 1)
    })
    .await;
    rig.stop().await;
    eventually("the job is told", || async { lost.is_cancelled() }).await;
    // Its answer still arrives, once there is somebody to hear it.
    rig.again().await;
    let raw = rig.raw().await;
    eventually("the job is done", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
}
