//! The stage with a real bus: jobs, facts, and copies that are proven when their facts are lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bed, artefact, begin_run, context, delivery, facts, keys, pack, record_run, run, shop, target};
use holdfast_events::{Job, What, Work};
use holdfast_format::{Damaged, ObjectKey, RunId};
use holdfast_service::{JobError, Stage};
use holdfast_syncer::Syncer;
use holdfast_tests::nats::Server;

fn table(bed: &Bed) -> String {
    let path = bed.scratch.path().join("offsite");
    format!(
        "[[target]]\nname = \"offsite\"\nurl = \"{}\"\nconcurrency = 2\n",
        path.display()
    )
}

fn sync(run: RunId) -> Work {
    let job = Job::Sync {
        source: "main".parse().unwrap(),
        artefact: shop(run).id,
        target: "offsite".parse().unwrap(),
    };
    Work {
        run,
        site: "here".parse().unwrap(),
        job,
    }
}

fn sync_point(run: RunId) -> Work {
    Work {
        run,
        site: "here".parse().unwrap(),
        job: Job::SyncPoint {
            target: "offsite".parse().unwrap(),
        },
    }
}

#[tokio::test]
async fn jobs_copy_and_tell_and_what_was_told_can_be_told_again() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    let to = target(&bed).await;
    let cx = context(&bed, &nats, &table(&bed)).await;
    let syncer = Syncer::open(&cx).await;
    assert_eq!(syncer.workers().len(), 1);
    assert!(syncer.workers()[0].takes(&sync(run(1))) && syncer.workers()[0].takes(&sync_point(run(1))));
    let stray = syncer.run(&cx, &sync(run(1)), &delivery(1)).await.unwrap_err();
    assert!(matches!(stray, JobError::Fail(_)), "{stray:?}");

    let sealed = artefact(&bed, &shop(run(1)), run(1), &[pack(&bed, 1, 5000).await]).await;
    begin_run(&bed, run(1), &[shop(run(1))]).await;
    let state = cx.state(run(1)).await.unwrap();
    assert_eq!(syncer.missing(&cx, &state).await.unwrap(), [sync(run(1))]);
    syncer.run(&cx, &sync(run(1)), &delivery(1)).await.unwrap();
    let told = facts(&cx, run(1), 1).await;
    let What::ArtefactSynced { artefact, target, sent } = &told[0] else {
        panic!("{told:?}")
    };
    assert_eq!((*artefact, target.as_str()), (shop(run(1)).id, "offsite"));
    assert!(*sent > 5000);
    // The fact was published a moment ago, so the copy is neither looked up nor announced again.
    assert_eq!(syncer.missing(&cx, &state).await.unwrap(), []);

    record_run(&bed, run(1), &[(shop(run(1)), sealed)]).await;
    let state = cx.state(run(1)).await.unwrap();
    assert_eq!(syncer.missing(&cx, &state).await.unwrap(), [sync_point(run(1))]);
    syncer.run(&cx, &sync_point(run(1)), &delivery(1)).await.unwrap();
    assert!(keys(&to).await.contains(&ObjectKey::RestorePoint(run(1))));

    // Another process, which knows nothing yet, looks at the target and publishes.
    let fresh = Syncer::open(&cx).await;
    assert_eq!(fresh.missing(&cx, &state).await.unwrap(), []);
    let told = facts(&cx, run(1), 4).await;
    assert!(matches!(told[1], What::PointSynced { .. }), "{told:?}");
    assert!(matches!(told[2], What::ArtefactSynced { sent: 0, .. }), "{told:?}");
    assert!(matches!(told[3], What::PointSynced { .. }), "{told:?}");
}

#[tokio::test]
async fn a_target_that_is_away_is_tried_again_and_one_that_is_not_configured_is_not() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    artefact(&bed, &shop(run(1)), run(1), &[pack(&bed, 1, 50).await]).await;
    begin_run(&bed, run(1), &[shop(run(1))]).await;
    // The directory is not there, as if a disk were not mounted.
    let cx = context(&bed, &nats, &table(&bed)).await;
    let syncer = Syncer::open(&cx).await;
    let away = syncer.run(&cx, &sync(run(1)), &delivery(1)).await.unwrap_err();
    assert!(
        matches!(&away, JobError::Retry(reason) if reason.contains("offsite")),
        "{away:?}"
    );
    let state = cx.state(run(1)).await.unwrap();
    assert_eq!(syncer.missing(&cx, &state).await.unwrap(), [sync(run(1))]);
    target(&bed).await;
    syncer.run(&cx, &sync(run(1)), &delivery(1)).await.unwrap();

    let job = Job::SyncPoint {
        target: "elsewhere".parse().unwrap(),
    };
    let unknown = syncer
        .run(&cx, &Work { job, ..sync(run(1)) }, &delivery(1))
        .await
        .unwrap_err();
    assert!(
        matches!(&unknown, JobError::Fail(reason) if reason.contains("elsewhere")),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn no_later_capture_builds_on_a_pack_that_cannot_be_copied() {
    let nats = Server::start().unwrap();
    let bed = Bed::new().await;
    target(&bed).await;
    let only = pack(&bed, 1, 50).await;
    artefact(&bed, &shop(run(1)), run(1), &[only]).await;
    begin_run(&bed, run(1), &[shop(run(1))]).await;
    bed.flip(ObjectKey::Pack(only.id));
    let cx = context(&bed, &nats, &table(&bed)).await;
    let syncer = Syncer::open(&cx).await;
    let error = syncer.run(&cx, &sync(run(1)), &delivery(1)).await.unwrap_err();
    assert!(matches!(error, JobError::Fail(_)), "{error:?}");
    let mark = bed
        .repository
        .read::<Damaged>(&ObjectKey::Damaged(only.id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((mark.pack, mark.artefact), (only.id, shop(run(1)).id));
}
