//! Asking for runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast_bus::{Answer, Asked, Bus, BusError};
use holdfast_events::{Refusal, Trigger, TriggerReply};
use holdfast_format::BusUser;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, eventually, run};

const SOON: Duration = Duration::from_secs(10);

/// The requests that wait for the end of a run which does not come.
static WAITING: AtomicUsize = AtomicUsize::new(0);

fn trigger(label: &str) -> Trigger {
    Trigger {
        backup_type: "all".into(),
        label: Some(label.into()),
        ..Trigger::default()
    }
}

/// A scheduler that starts everything but `refused`, fails on `panic` and is slow on `slow`.
async fn serve(bus: &Bus) -> (CancellationToken, JoinHandle<Result<(), BusError>>) {
    let drain = CancellationToken::new();
    let started = run();
    let server = bus.clone();
    let token = drain.clone();
    let task = tokio::spawn(async move {
        let handler = move |asked: Asked| async move {
            assert_eq!(asked.user, BusUser::operator());
            match asked.trigger.label.as_deref() {
                Some("refused") => Answer::Now(TriggerReply::Refused(Refusal::Overlap(started))),
                Some("panic") => panic!("as asked"),
                Some("slow") => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    Answer::Now(TriggerReply::Started(started))
                }
                Some("end") => {
                    WAITING.fetch_add(1, Ordering::Relaxed);
                    Answer::AtEnd(Box::pin(std::future::pending()))
                }
                _ => Answer::Now(TriggerReply::Started(started)),
            }
        };
        server.serve_triggers(handler, token).await
    });
    eventually("somebody answers", || async {
        bus.request(&trigger("x"), SOON).await.is_ok()
    })
    .await;
    (drain, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_is_said_at_once() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let error = bus.request(&trigger("x"), SOON).await.unwrap_err();
    assert!(matches!(error, BusError::NobodyAnswers), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_in_kind() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let (drain, task) = serve(&bus).await;
    assert!(matches!(
        bus.request(&trigger("a"), SOON).await.unwrap(),
        TriggerReply::Started(_)
    ));
    let refused = bus.request(&trigger("refused"), SOON).await.unwrap();
    assert!(matches!(refused, TriggerReply::Refused(Refusal::Overlap(_))));
    let failed = bus.request(&trigger("panic"), SOON).await.unwrap();
    assert!(
        matches!(failed, TriggerReply::Refused(Refusal::NotReady(_))),
        "{failed:?}"
    );
    let raw = rig.raw().await.client();
    let ask = |body: &'static str| raw.request("holdfast.trigger.operator", body.into());
    let json: serde_json::Value =
        serde_json::from_slice(&ask(r#"{"backup_type":"all"}"#).await.unwrap().payload).unwrap();
    assert!(json.get("started").is_some(), "{json}");
    for bad in ["", "backup please", r#"{"backup_tpye":"all"}"#] {
        let json: serde_json::Value = serde_json::from_slice(&ask(bad).await.unwrap().payload).unwrap();
        assert!(json["refused"]["invalid"].is_string(), "{bad}: {json}");
    }
    drain.cancel();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_not_waited_for_and_a_drain_finishes_it() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let (drain, task) = serve(&bus).await;
    let error = bus
        .request(&trigger("slow"), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, BusError::NotInTime { .. }), "{error:?}");
    let asker = bus.clone();
    let asked = trigger("slow");
    let waiting = tokio::spawn(async move { asker.request(&asked, SOON).await });
    // The request is sent before this one, so it is in hand when this one is answered.
    bus.request(&trigger("x"), SOON).await.unwrap();
    drain.cancel();
    assert!(matches!(
        waiting.await.unwrap(),
        Ok(TriggerReply::Started(_)) | Err(BusError::NobodyAnswers)
    ));
    task.await.unwrap().unwrap();
    eventually("nobody answers any more", || async {
        matches!(bus.request(&trigger("x"), SOON).await, Err(BusError::NobodyAnswers))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_for_an_end_take_nobodys_place() {
    let rig = Rig::start().await;
    let bus = rig.bus().await;
    let (drain, task) = serve(&bus).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let asker = bus.clone();
        waiting.spawn(async move {
            // One that is told to ask again does.
            loop {
                match asker.request(&trigger("end"), SOON).await {
                    Ok(TriggerReply::Refused(Refusal::AskAgain(_))) => {}
                    answer => return answer,
                }
            }
        });
    }
    eventually("all wait", || async { WAITING.load(Ordering::Relaxed) >= 100 }).await;
    assert!(matches!(
        bus.request(&trigger("x"), SOON).await,
        Ok(TriggerReply::Started(_))
    ));
    // Their senders are gone: nobody is shut out, either.
    waiting.shutdown().await;
    assert!(matches!(
        bus.request(&trigger("x"), SOON).await,
        Ok(TriggerReply::Started(_))
    ));
    drain.cancel();
    task.abort();
}
