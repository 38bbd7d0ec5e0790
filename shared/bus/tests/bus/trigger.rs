//! Asking for runs.

use std::time::Duration;

use holdfast_bus::{Bus, BusError};
use holdfast_events::{Refusal, Trigger, TriggerReply};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Rig, eventually, run};

const SOON: Duration = Duration::from_secs(10);

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
        let handler = move |trigger: Trigger| async move {
            match trigger.label.as_deref() {
                Some("refused") => TriggerReply::Refused(Refusal::Overlap(started)),
                Some("panic") => panic!("as asked"),
                Some("slow") => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    TriggerReply::Started(started)
                }
                _ => TriggerReply::Started(started),
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
    let ask = |body: &'static str| raw.request("holdfast.trigger", body.into());
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
