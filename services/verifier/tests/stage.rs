//! The stage with a real bus.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bed, begin_run, capture_directory, context, delivery, directory_artefact, facts, run, tree};
use holdfast_bus::{Delivery, Queued};
use holdfast_events::{Job, What, Work, after_verify};
use holdfast_format::{Level, ObjectKey, RunId, Verdict, Verification};
use holdfast_service::secret_keys;
use holdfast_service::{Context, JobError, Stage};
use holdfast_tests::nats::Server;
use holdfast_verifier::Verifier;
use tokio_util::sync::CancellationToken;

const KEYS: &str = "[verifier]\nsecret_keys = [\"backup.asc\"]\nscratch_dir = \"trial\"\n";

fn work(run: RunId, level: Level) -> Work {
    let job = Job::Verify {
        source: "main".parse().unwrap(),
        artefact: directory_artefact(run).id,
        level,
    };
    Work {
        run,
        site: "here".parse().unwrap(),
        job,
    }
}

async fn serve(cx: &Context, work: &Work) -> Result<(), JobError> {
    let verifier = Verifier::new(cx, secret_keys(&cx.settings).unwrap());
    assert!(verifier.workers()[0].takes(work));
    verifier.run(cx, work, &delivery(1)).await
}

async fn records(cx: &Context, run: RunId) -> Vec<Verification> {
    let all = cx.catalogue.verifications(directory_artefact(run).id).await.unwrap();
    all.iter().map(|v| (**v).clone()).collect()
}

async fn first_fact(cx: &Context, run: RunId) -> What {
    facts(cx, run, 1).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_artefact_is_recorded_once_and_handed_on() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    let cx = context(&bed, &nats, KEYS).await;
    let stray = serve(&cx, &work(run(1), Level::Decrypt)).await.unwrap_err();
    assert!(matches!(stray, JobError::Fail(_)), "{stray:?}");
    capture_directory(&bed, run(1), &tree(&bed)).await;
    let expected = begin_run(&bed, run(1), &directory_artefact(run(1)), Level::Restore).await;
    let left = bed.scratch.path().join("trial/holdfast-trial-left/files");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.with_file_name("lock"), "").unwrap();
    serve(&cx, &work(run(1), Level::Restore)).await.unwrap();
    assert!(!left.exists(), "what a dead verifier left is removed");
    let first = records(&cx, run(1)).await;
    assert!(
        first[0].is_good() && first[0].run == Some(run(1)) && first[0].recipients_proven,
        "{first:?}"
    );
    let told = first_fact(&cx, run(1)).await;
    let id = directory_artefact(run(1)).id;
    assert_eq!(
        told,
        What::ArtefactVerified {
            artefact: id,
            level: Level::Restore
        }
    );
    let next = after_verify(&expected, &"main".parse().unwrap(), id);
    assert_eq!(next.len(), 1);
    assert_eq!(cx.bus.publish_work(&next[0]).await.unwrap(), Queued::AlreadyThere);
    // Again, and to a lower level: the record stands, and nothing is read.
    for level in [Level::Restore, Level::Decrypt] {
        serve(&cx, &work(run(1), level)).await.unwrap();
    }
    assert_eq!(records(&cx, run(1)).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_artefact_fails_with_what_was_found_and_is_not_copied() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    let cx = context(&bed, &nats, KEYS).await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    let expected = begin_run(&bed, run(1), &directory_artefact(run(1)), Level::Decrypt).await;
    let pack = sealed.manifest.packs[1].id;
    bed.flip(ObjectKey::Pack(pack));
    let error = serve(&cx, &work(run(1), Level::Decrypt)).await.unwrap_err();
    let named = |reason: &str| reason.contains(&ObjectKey::Pack(pack).to_string()) && reason.contains("1 finding ");
    assert!(matches!(&error, JobError::Fail(reason) if named(reason)), "{error:?}");
    assert!(records(&cx, run(1)).await[0].is_damaged());
    assert!(
        cx.repository
            .place()
            .head(&ObjectKey::Damaged(pack))
            .await
            .unwrap()
            .is_some()
    );
    let next = after_verify(&expected, &"main".parse().unwrap(), sealed.manifest.captured.artefact);
    assert_eq!(cx.bus.publish_work(&next[0]).await.unwrap(), Queued::New);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_only_integrity_is_verified() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    let cx = context(&bed, &nats, "").await;
    let sealed = capture_directory(&bed, run(1), &tree(&bed)).await;
    begin_run(&bed, run(1), &directory_artefact(run(1)), Level::Decrypt).await;
    let error = serve(&cx, &work(run(1), Level::Decrypt)).await.unwrap_err();
    let named = |reason: &str| reason.contains(&sealed.manifest.captured.readers[0]) && reason.contains("secret_keys");
    assert!(matches!(&error, JobError::Fail(reason) if named(reason)), "{error:?}");
    let recorded = records(&cx, run(1)).await;
    assert_eq!(recorded.len(), 1, "{recorded:?}");
    assert_eq!(recorded[0].verdict, Verdict::Unknown, "nothing is said of the artefact");
    serve(&cx, &work(run(1), Level::Integrity)).await.unwrap();
    let recorded = records(&cx, run(1)).await;
    assert!(
        recorded.iter().any(|v| v.is_good() && v.level == Level::Integrity),
        "{recorded:?}"
    );
    // The key is there again: what could not be judged is looked at, and not taken for done.
    let cx = context(&bed, &nats, KEYS).await;
    serve(&cx, &work(run(1), Level::Decrypt)).await.unwrap();
    let recorded = records(&cx, run(1)).await;
    assert!(
        recorded.iter().any(|v| v.is_good() && v.level == Level::Decrypt),
        "{recorded:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_no_longer_ours_is_broken_off() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    let cx = context(&bed, &nats, KEYS).await;
    capture_directory(&bed, run(1), &tree(&bed)).await;
    begin_run(&bed, run(1), &directory_artefact(run(1)), Level::Decrypt).await;
    let verifier = Verifier::new(&cx, secret_keys(&cx.settings).unwrap());
    let lost = CancellationToken::new();
    lost.cancel();
    let job = work(run(1), Level::Decrypt);
    let error = verifier.run(&cx, &job, &Delivery { count: 1, lost }).await.unwrap_err();
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    assert_eq!(records(&cx, run(1)).await, []);
}
