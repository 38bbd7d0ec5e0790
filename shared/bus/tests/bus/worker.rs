//! The worker loop: what it does with the answers of handlers.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_bus::Disposition;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::support::{Rig, Running, eventually, held, is_empty, quick, run, seal, within};

fn counter() -> Arc<AtomicU32> {
    Arc::default()
}

fn count(counter: &AtomicU32) -> u32 {
    counter.load(Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_done_once_and_leave_the_queue() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let worker = Running::start(&bus, quick(3), move |work, delivery| {
        list.lock().unwrap().push((work, delivery.count));
        async { Disposition::Done }
    });
    let run = run();
    let works: Vec<_> = (0..20).map(|n| seal(run, n)).collect();
    bus.publish_works(&works).await.unwrap();
    eventually("the queue is empty", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_by_key(|(work, _)| format!("{work:?}"));
    assert_eq!(seen, works.into_iter().map(|work| (work, 1)).collect::<Vec<_>>());
    assert!(is_empty(&raw, "HOLDFAST_PARKED").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_after_its_delay_and_not_before() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let times = Arc::new(Mutex::new(Vec::new()));
    let list = times.clone();
    let worker = Running::start(&bus, quick(1), move |_, delivery| {
        list.lock().unwrap().push((delivery.count, Instant::now()));
        async move {
            if delivery.count == 1 {
                Disposition::RetryAfter(Duration::from_millis(700))
            } else {
                Disposition::Done
            }
        }
    });
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    eventually("the job is done", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
    let times = times.lock().unwrap().clone();
    assert_eq!(times.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [1, 2]);
    assert!(times[1].1 - times[0].1 >= Duration::from_millis(690), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_job_leaves_a_copy_with_its_reason() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let worker = Running::start(&bus, quick(1), |_, _| async {
        Disposition::Park("no such\nsource".into())
    });
    let work = seal(run(), 1);
    bus.publish_work(&work).await.unwrap();
    eventually("the job is gone", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
    let parked = raw.get_stream("HOLDFAST_PARKED").await.unwrap();
    let copy = parked
        .get_last_raw_message_by_subject("holdfast.parked.seal")
        .await
        .unwrap();
    assert_eq!(copy.headers.get("Holdfast-Reason").unwrap().as_str(), "no such source");
    assert_eq!(
        copy.headers.get("Holdfast-Subject").unwrap().as_str(),
        bus.subjects().work(&work)
    );
    assert_eq!(
        holdfast_events::decode::<holdfast_events::Work>(&copy.payload).unwrap(),
        work
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_parked_within_a_second_and_the_next_job_goes_on() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let done = counter();
    let counted = done.clone();
    let worker = Running::start(&bus, quick(1), move |_, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Disposition::Done }
    });
    eventually("the worker waits for jobs", || async {
        let consumer = raw
            .get_stream("HOLDFAST_WORK")
            .await
            .unwrap()
            .consumer_info("seal_host-a")
            .await;
        consumer.is_ok_and(|info| info.num_waiting > 0)
    })
    .await;
    let run = run();
    let nested = format!("{}{}", "{\"run\":[".repeat(10_000), "]}".repeat(10_000));
    let elsewhere = holdfast_events::encode(&seal(run, 99)).unwrap();
    let poison: [Vec<u8>; 6] = [
        b"\xff\xfe".to_vec(),
        Vec::new(),
        b"{\"run\":1}".to_vec(),
        nested.into_bytes(),
        vec![1; 200 * 1024],
        elsewhere,
    ];
    let begun = Instant::now();
    for (n, bytes) in poison.into_iter().enumerate() {
        let subject = format!("holdfast.work.seal.host-a.{run}.poison.{n}");
        raw.publish(subject, bytes.into()).await.unwrap().await.unwrap();
    }
    bus.publish_work(&seal(run, 1)).await.unwrap();
    within(Duration::from_secs(2), "the good job is done", || async {
        count(&done) == 1
    })
    .await;
    eventually("the queue is empty", || is_empty(&raw, "HOLDFAST_WORK")).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    worker.drained().await;
    let mut parked = raw.get_stream("HOLDFAST_PARKED").await.unwrap();
    assert_eq!(parked.info().await.unwrap().state.messages, 6);
    let large = parked.get_raw_message(5).await.unwrap();
    assert_eq!(large.payload.len(), holdfast_events::MAX_MESSAGE);
    assert_eq!(large.headers.get("Holdfast-Truncated-From").unwrap().as_str(), "204800");
}

#[tokio::test(flavor = "multi_thread")]
async fn signs_of_life_keep_a_job_that_takes_three_times_its_ack_wait() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let begun = counter();
    let counted = begun.clone();
    let mut options = quick(2);
    options.ack_wait = Duration::from_secs(1);
    let worker = Running::start(&bus, options, move |_, delivery| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(3)) => Disposition::Done,
                () = delivery.lost.cancelled() => Disposition::Park("lost".into()),
            }
        }
    });
    bus.publish_work(&seal(run(), 1)).await.unwrap();
    eventually("the job is done", || is_empty(&raw, "HOLDFAST_WORK")).await;
    worker.drained().await;
    assert_eq!(count(&begun), 1);
    let mut stream = raw.get_stream("HOLDFAST_WORK").await.unwrap();
    let consumer = stream.consumer_info("seal_host-a").await.unwrap();
    assert_eq!(consumer.delivered.consumer_sequence, 1, "the server delivered it again");
    assert_eq!(stream.info().await.unwrap().state.messages, 0);
    assert!(is_empty(&raw, "HOLDFAST_PARKED").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_one_job_a_delay_and_the_others_nothing() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let run = run();
    let bad = seal(run, 1);
    let panics = bad.clone();
    let worker = Running::start(&bus, quick(1), move |work, _| {
        let panics = work == panics;
        async move {
            assert!(!panics, "this one");
            Disposition::Done
        }
    });
    bus.publish_works(&[bad, seal(run, 2), seal(run, 3)]).await.unwrap();
    eventually("only the bad one is left", || async {
        held(&raw, "HOLDFAST_WORK").await == 1
    })
    .await;
    worker.drained().await;
    let consumer = raw
        .get_stream("HOLDFAST_WORK")
        .await
        .unwrap()
        .consumer_info("seal_host-a")
        .await
        .unwrap();
    assert_eq!(consumer.num_ack_pending, 1, "it waits for its delay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_it_can_and_gives_the_rest_back() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let raw = rig.raw().await;
    let run = run();
    let short = seal(run, 1);
    let begun = counter();
    let lost = Arc::new(Notify::new());
    let is_short = short.clone();
    let counted = begun.clone();
    let told = lost.clone();
    let mut options = quick(2);
    options.drain_timeout = Duration::from_secs(1);
    let worker = Running::start(&bus, options.clone(), move |work, delivery| {
        counted.fetch_add(1, Ordering::SeqCst);
        let short = work == is_short;
        let told = told.clone();
        async move {
            if short {
                tokio::time::sleep(Duration::from_millis(500)).await;
                return Disposition::Done;
            }
            delivery.lost.cancelled().await;
            told.notify_one();
            std::future::pending().await
        }
    });
    bus.publish_works(&[short, seal(run, 2)]).await.unwrap();
    eventually("both are in hand", || async { count(&begun) == 2 }).await;
    worker.drain.cancel();
    bus.publish_work(&seal(run, 3)).await.unwrap();
    let drained = Instant::now();
    worker.drained().await;
    assert!(drained.elapsed() < Duration::from_secs(4), "{:?}", drained.elapsed());
    lost.notified().await;
    assert_eq!(count(&begun), 2, "nothing is taken after the drain has begun");
    assert_eq!(held(&raw, "HOLDFAST_WORK").await, 2);
    // What was given back is there for the next worker at once, long before its ack_wait is over.
    let next = Running::start(&bus, options, |_, _| async { Disposition::Done });
    within(Duration::from_secs(2), "both are done", || {
        is_empty(&raw, "HOLDFAST_WORK")
    })
    .await;
    next.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_drains_at_once() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let worker = Running::start(&bus, quick(4), |_, _| async { Disposition::Done });
    let begun = Instant::now();
    worker.drained().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
