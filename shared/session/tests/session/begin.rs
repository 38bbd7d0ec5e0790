//! The begin of a session: results that are there already decide if there is anything to capture.

use crate::common::{
    Host, artefact, close, context, delivery, expected, noise, now, run, seal_packs, source, stream, work,
};
use holdfast_events::{Job, What, Work};
use holdfast_service::JobError;
use holdfast_session::{Session, missing_captures, next_works, staged_artefacts};
use holdfast_tests::nats::Server;
use jiff::{SignedDuration, Timestamp};

fn works(run: holdfast_format::RunId, jobs: impl IntoIterator<Item = Job>) -> Vec<Work> {
    let site: holdfast_format::Site = "here".parse().unwrap();
    let work = |job| Work {
        run,
        site: site.clone(),
        job,
    };
    jobs.into_iter().map(work).collect()
}

#[tokio::test]
async fn what_is_sealed_already_is_only_handed_on() {
    let host = Host::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let sealed = close(&host.bed, &attempt).await;
    // A run that went on: even after its deadline, what is sealed is not lost.
    let cx = holdfast_service::Context {
        clock: std::sync::Arc::new(Later),
        ..host.cx.clone()
    };
    let begun = Session::begin(&cx, &host.staging, &work(run(1)), &delivery(1)).await;
    assert!(begun.unwrap().is_none());
    let sync = Job::Sync {
        source: source(),
        artefact: artefact(run(1)).id,
        target: "offsite".parse().unwrap(),
    };
    assert!(host.was_asked(&works(run(1), [sync])[0]).await);
    let told = host.facts(run(1), 3).await;
    let What::ArtefactSealed { manifest, size, .. } = &told[2] else {
        panic!("{told:?}")
    };
    assert_eq!((*manifest, *size), (sealed.sha256, 1000));
    assert!(host.staged().is_empty());
}

/// A clock that stands after every deadline.
#[derive(Debug)]
struct Later;

impl holdfast_telemetry::clock::Clock for Later {
    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_hours(24)
    }
}

#[tokio::test]
async fn what_is_staged_whole_is_only_asked_to_be_sealed() {
    let host = Host::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let seals = next_works(&attempt, &host.cx.site, &source()).unwrap();
    let pack = attempt.unsealed().unwrap()[0];
    let seal = Job::Seal {
        artefact: attempt.artefact(),
        attempt: 1,
        pack,
    };
    assert_eq!(seals, works(run(1), [seal]));
    // The bus has lost everything meanwhile.
    let empty = Server::start().unwrap();
    let cx = context(&host.bed, &empty, "").await;
    let begun = Session::begin(&cx, &host.staging, &work(run(1)), &delivery(2)).await;
    assert!(begun.unwrap().is_none());
    let asked = cx.bus.publish_work(&seals[0]).await.unwrap();
    assert_eq!(asked, holdfast_bus::Queued::AlreadyThere);
    assert_eq!(host.attempt(run(1)).number(), 1);

    seal_packs(&host.bed, &attempt).await;
    let begun = Session::begin(&cx, &host.staging, &work(run(1)), &delivery(2)).await;
    assert!(begun.unwrap().is_none());
    let close = Job::Close {
        source: source(),
        artefact: attempt.artefact(),
        attempt: 1,
    };
    let close = works(run(1), [close]);
    assert_eq!(next_works(&attempt, &cx.site, &source()).unwrap(), close);
    let asked = cx.bus.publish_work(&close[0]).await.unwrap();
    assert_eq!(asked, holdfast_bus::Queued::AlreadyThere);
}

#[tokio::test]
async fn what_comes_after_the_deadline_is_not_captured_any_more() {
    let host = Host::new().await;
    let mut late = expected(run(1));
    late.deadline = Timestamp::now() - SignedDuration::from_secs(1);
    host.begin_run(&late).await;
    let begun = Session::begin(&host.cx, &host.staging, &work(run(1)), &delivery(1)).await;
    let Err(JobError::Fail(why)) = begun.map(|_| ()) else {
        panic!("it was begun")
    };
    assert!(why.contains(&late.deadline.to_string()), "{why}");
    assert!(host.staged().is_empty());
}

#[tokio::test]
async fn work_that_makes_no_sense_is_refused() {
    let host = Host::new().await;
    let refused = async |work: &Work| {
        let begun = Session::begin(&host.cx, &host.staging, work, &delivery(1)).await;
        match begun.map(|_| ()) {
            Err(JobError::Fail(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    // Of a run that nobody knows, of an artefact that was not listed, and of another stage.
    assert!(refused(&work(run(1))).await.contains("stray"));
    host.begin_run(&expected(run(1))).await;
    assert!(
        refused(&crate::common::work_for(run(1), &artefact(run(2))))
            .await
            .contains("not in the listing")
    );
    let seal = Job::Close {
        source: source(),
        artefact: artefact(run(1)).id,
        attempt: 1,
    };
    assert!(refused(&works(run(1), [seal])[0]).await.contains("no capture"));
}

#[tokio::test]
async fn a_sibling_is_another_artefact_of_the_same_listing() {
    let host = Host::new().await;
    let other = holdfast_format::Artefact::new(run(1), &source(), holdfast_format::ArtefactKind::Directory, "other");
    host.begin_run_of(&expected(run(1)), vec![artefact(run(1)), other.clone()])
        .await;
    let session = host.session(run(1)).await;
    let sibling = session
        .sibling(other.id)
        .await
        .unwrap()
        .expect("it is not captured yet");
    assert_eq!((sibling.artefact(), sibling.run_id()), (&other, run(1)));
    let captured = sibling.capture(now(), |mut input| stream(b"small", &mut input));
    captured.await.unwrap();
    assert!(session.sibling(other.id).await.unwrap().is_none());
    assert!(session.sibling(artefact(run(1)).id).await.unwrap().is_some());
}

#[tokio::test]
async fn captures_are_missing_until_they_are_staged_whole() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let stage = holdfast_events::WorkStage::CaptureFiles;
    let workers = [holdfast_service::WorkerSpec::new(stage, 1)];
    let missing = async || {
        let state = host.cx.state(run(1)).await.unwrap();
        missing_captures(&host.cx, &host.staging, &workers, &state).unwrap()
    };
    assert_eq!(missing().await, [work(run(1))]);
    let recording = host.session(run(1)).await.recording(now()).await.unwrap();
    // Begun is not staged.
    assert_eq!(missing().await, [work(run(1))]);
    assert_eq!(staged_artefacts(&host.staging, run(1)).unwrap(), []);
    let recorded = recording.read(|mut input| stream(b"small", &mut input)).await.unwrap();
    recorded.finish().await.unwrap();
    assert_eq!(missing().await, []);
    let staged = staged_artefacts(&host.staging, run(1)).unwrap();
    assert_eq!(staged, [(artefact(run(1)).id, 1)]);
    // What another worker of another site has staged is not ours.
    let elsewhere = holdfast_service::Context {
        site: "elsewhere".parse().unwrap(),
        ..host.cx.clone()
    };
    let state = host.cx.state(run(1)).await.unwrap();
    assert_eq!(
        missing_captures(&elsewhere, &host.staging, &workers, &state).unwrap(),
        []
    );
}
