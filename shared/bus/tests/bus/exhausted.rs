//! Jobs whose deliveries ran out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use holdfast_bus::{Bus, Disposition, Exhausted, Feed, Queue, Queued, WorkerOptions};
use holdfast_events::WorkStage;

use crate::support::{Rig, Running, eventually, held, is_empty, quick, run, seal, site};

/// No second sweep comes within a test.
const RARELY: Duration = Duration::from_secs(600);
const OFTEN: Duration = Duration::from_millis(300);

fn impatient() -> WorkerOptions {
    let mut options = quick(1);
    options.max_deliver = 2;
    options.ack_wait = Duration::from_secs(1);
    options
}

fn seals() -> Queue {
    Queue {
        stage: WorkStage::Seal,
        site: site(),
        target: None,
    }
}

async fn watch(bus: &Bus, sweep_every: Duration) -> Feed<Exhausted> {
    bus.exhausted(&[seals()], sweep_every).await.unwrap()
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

/// Publishes a job and waits until the server has given it up and said so.
async fn exhaust(bus: &Bus, raw: &async_nats::jetstream::Context, work: &holdfast_events::Work) {
    let before = held(raw, "HOLDFAST_ADVISORIES").await;
    let worker = hopeless(bus);
    bus.publish_work(work).await.unwrap();
    eventually("the server gives it up", || async {
        held(raw, "HOLDFAST_ADVISORIES").await == before + 1
    })
    .await;
    worker.drained().await;
}

async fn silent(feed: &mut Feed<Exhausted>) -> bool {
    tokio::time::timeout(Duration::from_secs(2), feed.next()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_job_is_told_once_and_leaves_when_removed() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let mut exhausted = watch(&bus, RARELY).await;
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
async fn an_exhausted_job_whose_advisory_is_lost_is_taken_out_to_be_asked_for_again() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let work = seal(run(), 1);
    exhaust(&bus, &raw, &work).await;
    let advisories = raw.get_stream("HOLDFAST_ADVISORIES").await.unwrap();
    advisories.purge().await.unwrap();
    // One that waits, unlike one that was given up, stays.
    let waiting = seal(run(), 2);
    bus.publish_work(&waiting).await.unwrap();
    let mut asked = bus.reconnected();
    asked.mark_unchanged();
    let mut exhausted = watch(&bus, OFTEN).await;
    tokio::time::timeout(Duration::from_secs(30), asked.changed())
        .await
        .expect("the reconciler is told in time")
        .unwrap();
    assert!(silent(&mut exhausted).await, "the sweep's word ended a job");
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1);
    assert_eq!(bus.publish_work(&waiting).await.unwrap(), Queued::AlreadyThere);
    assert_eq!(bus.publish_work(&work).await.unwrap(), Queued::New);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sweep_alone_takes_nothing_out() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    exhaust(&bus, &raw, &seal(run(), 1)).await;
    let advisories = raw.get_stream("HOLDFAST_ADVISORIES").await.unwrap();
    advisories.purge().await.unwrap();
    for _ in 0..2 {
        let mut exhausted = watch(&bus, RARELY).await;
        assert!(silent(&mut exhausted).await);
    }
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sweep_takes_a_job_out_that_is_in_hand_or_waits_for_its_next_delivery() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let mut exhausted = watch(&bus, Duration::from_millis(50)).await;
    let asked = bus.reconnected();
    let worker = Running::start(&bus, quick(1), |_, delivery| async move {
        if delivery.count < 3 {
            return Disposition::RetryAfter(Duration::from_millis(400));
        }
        tokio::time::sleep(Duration::from_millis(400)).await;
        Disposition::Done
    });
    let works: Vec<_> = (0..3).map(|n| seal(run(), n)).collect();
    bus.publish_works(&works).await.unwrap();
    eventually("all are done", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
    assert!(silent(&mut exhausted).await);
    assert!(!asked.has_changed().unwrap(), "a job was taken out");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_but_not_removed_is_told_to_the_next() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    exhaust(&bus, &raw, &seal(run(), 1)).await;
    for _ in 0..2 {
        let mut exhausted = watch(&bus, RARELY).await;
        let told = next(&mut exhausted).await;
        assert_eq!(told.stream_sequence, 1);
    }
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advisory_finds_its_way_to_the_service_whose_job_it_is() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let mut others = Vec::new();
    for stage in [WorkStage::Close, WorkStage::Verify, WorkStage::ListFiles] {
        let queue = Queue { stage, ..seals() };
        others.push(bus.exhausted(&[queue], OFTEN).await.unwrap());
    }
    let elsewhere = Queue {
        site: "host-b".parse().unwrap(),
        ..seals()
    };
    others.push(bus.exhausted(&[elsewhere], OFTEN).await.unwrap());
    let work = seal(run(), 1);
    exhaust(&bus, &raw, &work).await;
    for other in &mut others {
        assert!(silent(other).await);
    }
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 1, "another service took it out");
    let mut exhausted = watch(&bus, RARELY).await;
    let told = next(&mut exhausted).await;
    assert_eq!(told.work, work);
    told.remove().await.unwrap();
    assert!(is_empty(&raw, "HOLDFAST_WORK").await);
}

/// The server is killed, and has lost all that its work stream held; its consumers and its advisories are as before. Each
/// fresh job gets the number of one that was given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_job_is_not_taken_for_the_exhausted_one_whose_number_it_got() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    rig.stop().await;
    let empty = rig.copy_work();
    rig.again().await;
    let raw = rig.raw().await;
    let old: Vec<_> = (1..=3).map(|n| seal(run(), n)).collect();
    for work in &old {
        exhaust(&bus, &raw, work).await;
    }
    rig.kill().await;
    rig.stop().await;
    rig.put_work_back(&empty);
    rig.again().await;

    let raw = rig.raw().await;
    assert_eq!(
        held(&raw, "HOLDFAST_ADVISORIES").await,
        3,
        "the old advisories are still there"
    );
    let fresh: Vec<_> = (4..=6).map(|n| seal(run(), n)).collect();
    for (work, number) in fresh.iter().zip(1..) {
        bus.publish_work(work).await.unwrap();
        let work_stream = raw.get_stream("HOLDFAST_WORK").await.unwrap();
        let stored = work_stream.get_raw_message(number).await.unwrap();
        assert_eq!(
            stored.subject.as_str(),
            bus.subjects().work(work),
            "a number is used again"
        );
    }
    let mut exhausted = watch(&bus, OFTEN).await;
    assert!(
        silent(&mut exhausted).await,
        "a fresh job was taken for an exhausted one"
    );

    // Whether or not the consumer thinks that it has passed them, they are done, as they are asked for again.
    let done = Arc::new(Mutex::new(Vec::new()));
    let list = done.clone();
    let worker = Running::start(&bus, impatient(), move |work, _| {
        list.lock().unwrap().push(work);
        async { Disposition::Done }
    });
    for work in &fresh {
        eventually("a fresh job is done", || async {
            let is_done = done.lock().unwrap().contains(work);
            if !is_done {
                bus.publish_work(work).await.unwrap();
            }
            is_done
        })
        .await;
    }
    eventually("the queue is empty", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;

    let last = seal(run(), 7);
    exhaust(&bus, &raw, &last).await;
    let told = next(&mut exhausted).await;
    assert_eq!(told.work, last, "what is truly exhausted still ends");
    told.remove().await.unwrap();
    assert!(silent(&mut exhausted).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_spares_a_job_that_took_its_number_in_a_new_stream() {
    let mut rig = Rig::start().await;
    let bus = rig.bus().await;
    let mut exhausted = watch(&bus, RARELY).await;
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
