//! The stage: its workers, what it finds missing, and what it puts away.

use holdfast_capture::Attempt;
use holdfast_events::{Work, WorkStage};
use holdfast_format::{ArtefactKind, Failure, FailureSubject, Finished, ObjectKey, Stage as StageName};
use holdfast_service::{Context, JobError, Stage as _};

use crate::common::{Sealing, artefact, close_of, expected, noise, now, run, seal, site, source, work};

async fn missing(host: &Sealing, attempt: &Attempt) -> Vec<Work> {
    let state = host.cx.state(attempt.run()).await.unwrap();
    host.encryptor.missing(&host.cx, &state).await.unwrap()
}

async fn write_failure(host: &Sealing, attempt: &Attempt) {
    let failure = Failure {
        run: attempt.run(),
        subject: FailureSubject::Artefact(attempt.artefact()),
        stage: StageName::Seal,
        reason: "the place is full".to_owned(),
        at: now(),
    };
    host.bed.repository.write(&failure.key(), &failure).await.unwrap();
}

#[tokio::test]
async fn it_has_workers_for_seals_and_closes_and_does_nothing_else() {
    let host = Sealing::new().await;
    let workers = host.encryptor.workers();
    let stages: Vec<WorkStage> = workers.iter().map(|worker| worker.stage).collect();
    assert_eq!(stages, [WorkStage::Seal, WorkStage::Close]);
    let configured = &host.cx.settings.workers;
    assert_eq!(workers[0].parallel, configured.seal);
    assert_eq!(workers[1].parallel, configured.close);
    let refused = host.run(&work(run(1))).await;
    assert!(
        matches!(&refused, Err(JobError::Fail(reason)) if reason.contains("capture")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_a_staged_artefact_lacks_is_found_until_it_is_closed() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    let pack = host.only_pack(&attempt);
    assert_eq!(missing(&host, &attempt).await, [seal(&attempt, pack)]);
    host.seal_all(&attempt).await;
    assert_eq!(missing(&host, &attempt).await, [close_of(&attempt)]);
    host.run(&close_of(&attempt)).await.unwrap();
    assert_eq!(missing(&host, &attempt).await, []);
}

#[tokio::test]
async fn nothing_is_missing_of_artefacts_that_failed_or_that_no_listing_has_or_that_are_not_whole() {
    let host = Sealing::new().await;
    let attempt = host.capture(run(1), noise(1000, 1)).await;
    write_failure(&host, &attempt).await;
    assert_eq!(missing(&host, &attempt).await, []);

    let other = holdfast_format::Artefact::new(run(2), &source(), ArtefactKind::Directory, "other");
    let listed = host.capture(run(2), noise(1000, 2)).await;
    host.staging.begin(run(2), other.id).unwrap();
    let works = missing(&host, &listed).await;
    assert_eq!(works, [seal(&listed, host.only_pack(&listed))]);
}

#[tokio::test]
async fn staging_of_runs_that_ended_and_of_artefacts_that_failed_is_put_away_and_no_other() {
    let host = Sealing::new().await;
    let goes_on = host.capture(run(1), noise(1000, 1)).await;
    let ended = host.capture(run(2), noise(1000, 2)).await;
    let failed = host.capture(run(3), noise(1000, 3)).await;
    let finished = Finished {
        run: run(2),
        at: now(),
        outcome: "partial".to_owned(),
        failures: Vec::new(),
    };
    let key = ObjectKey::Finished(run(2));
    host.bed.repository.write(&key, &finished).await.unwrap();
    write_failure(&host, &failed).await;
    host.encryptor.tidy(&host.cx).await.unwrap();
    assert!(goes_on.is_current());
    assert!(!ended.is_current() && !failed.is_current());
    host.encryptor.tidy(&host.cx).await.unwrap();
    assert!(goes_on.is_current());
}

#[tokio::test]
async fn it_finds_its_own_work_for_a_run_of_another_site_too() {
    let host = Sealing::new().await;
    let mut elsewhere = expected(run(1));
    elsewhere.site = "elsewhere".parse().unwrap();
    host.begin_run(&elsewhere).await;
    let session = host.session(run(1)).await;
    let captured = session.capture(now(), |mut input| crate::common::stream(b"small", &mut input));
    captured.await.unwrap();
    let attempt = host.attempt(run(1));
    let cx: &Context = &host.cx;
    let state = cx.state(run(1)).await.unwrap();
    let works = host.encryptor.missing(cx, &state).await.unwrap();
    assert_eq!(works, [seal(&attempt, host.only_pack(&attempt))]);
    assert_eq!(works[0].site, site(), "staged data never leaves its host");
    assert_eq!(attempt.artefact(), artefact(run(1)).id);
}
