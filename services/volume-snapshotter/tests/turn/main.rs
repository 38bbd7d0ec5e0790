//! Quiet times: in which order containers stop, when volumes are read, and that every container is back whatever happens.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::Host;
use holdfast_service::JobError;

const PAUSED: [(&str, &str); 2] = [("holdfast.mode", "pause"), ("holdfast.group", "shop")];
const STOPPED: [(&str, &str); 2] = [("holdfast.mode", "stop"), ("holdfast.group", "shop")];

/// A shop: `web` uses `db`, and each has a volume of the group.
async fn shop(read: &str, group: &[(&str, &str)]) -> Host {
    let host = Host::reading(read).await;
    for name in ["data", "media"] {
        let folder = host.engine.volume(name, group);
        std::fs::write(folder.join("file"), format!("of {name}")).unwrap();
    }
    host.engine.container("db", &["data"], &[]);
    host.engine
        .container("web", &["media"], &[("holdfast.depends-on", "db")]);
    host.list(&["data", "media"]).await;
    host
}

fn is_retry(result: &Result<(), JobError>) -> bool {
    matches!(result, Err(JobError::Retry(_)))
}

#[tokio::test]
async fn a_group_is_stopped_read_and_started_in_one_quiet_time() {
    let host = shop("path", &STOPPED).await;
    host.capture("data").await.unwrap();
    assert_eq!(host.engine.done(), ["stop web", "stop db", "start db", "start web"]);
    for name in ["data", "media"] {
        let draft = host.draft(name).expect("both are staged");
        let volume = draft.captured.volume.unwrap();
        assert_eq!((volume.mode.as_str(), volume.group.as_deref()), ("stop", Some("shop")));
        assert!(volume.quiet_ms.is_some() && draft.captured.counts.files == 1, "{name}");
    }
    // The other's own job finds it done, and stops nothing.
    host.capture("media").await.unwrap();
    assert_eq!(host.engine.done().len(), 4);
    assert_eq!(host.staging.list().unwrap().len(), 2);
}

#[tokio::test]
async fn a_volume_whose_containers_need_not_be_quiet_is_read_alone() {
    let host = shop("path", &[]).await;
    host.capture("data").await.unwrap();
    assert_eq!(host.engine.done(), [""; 0]);
    assert!(host.draft("data").unwrap().captured.volume.unwrap().quiet_ms.is_none());
    assert!(host.draft("media").is_none());
}

#[tokio::test]
async fn nothing_is_made_quiet_before_all_are_prepared_and_nothing_is_back_before_all_are_read() {
    let host = shop("archive", &PAUSED).await;
    let (job, preparing) = host.begin_up_to("archive web").await;
    assert_eq!(host.engine.done(), [""; 0]);
    let quiet = preparing.go_on_up_to(&host.engine, "pause db").await;
    let reading = quiet.go_on_up_to(&host.engine, "archive web").await;
    assert_eq!(host.engine.done(), ["pause web", "pause db"]);
    reading.go_on();
    job.ended().await.unwrap();
    assert_eq!(
        host.engine.done(),
        ["pause web", "pause db", "unpause db", "unpause web"]
    );
    assert!(host.draft("data").is_some() && host.draft("media").is_some());
}

#[tokio::test]
async fn a_member_that_cannot_be_reached_holds_the_others_not_up_and_its_containers_run_on() {
    let host = shop("path", &PAUSED).await;
    std::fs::remove_dir_all(host.engine.volume("media", &PAUSED)).unwrap();
    host.capture("data").await.unwrap();
    assert_eq!(host.engine.done(), ["pause db", "unpause db"]);
    assert!(host.draft("data").is_some() && host.draft("media").is_none());
    // Its own job tells why.
    let own = host.capture("media").await;
    assert!(
        matches!(&own, Err(JobError::Fail(why)) if why.contains("volume media cannot be read")),
        "{own:?}"
    );
    assert_eq!(host.engine.done().len(), 2);
}

#[tokio::test]
async fn a_member_that_fails_in_the_quiet_time_holds_the_others_not_up() {
    let host = shop("archive", &PAUSED).await;
    // Also while all run: an engine may break an archive off then, so that is no failure yet.
    host.engine.fail("archive web", 2);
    host.capture("data").await.unwrap();
    assert_eq!(
        host.engine.done(),
        ["pause web", "pause db", "unpause db", "unpause web"]
    );
    assert!(host.draft("data").is_some() && host.draft("media").is_none());
    assert_eq!(host.staging.list().unwrap().len(), 1, "what failed left nothing");
    host.capture("media").await.unwrap();
    assert!(host.draft("media").is_some());
}

#[tokio::test]
async fn an_archive_that_breaks_off_while_containers_run_is_read_in_the_quiet_time() {
    let host = shop("archive", &PAUSED).await;
    host.engine.fail("archive db", 1);
    host.capture("data").await.unwrap();
    let draft = host.draft("data").unwrap();
    assert_eq!(
        (
            draft.captured.counts.files,
            draft.captured.volume.unwrap().read.as_str()
        ),
        (1, "archive")
    );
}

#[tokio::test]
async fn if_one_does_not_become_quiet_those_that_did_are_brought_back() {
    let host = shop("path", &STOPPED).await;
    host.engine.fail("stop db", 1);
    let failed = host.capture("data").await;
    assert!(
        matches!(&failed, Err(JobError::Fail(why)) if why.contains("make container db quiet")),
        "{failed:?}"
    );
    // What failed may be under way all the same, so it is done again, and undone.
    assert_eq!(host.engine.done(), ["stop web", "stop db", "start db", "start web"]);
    assert!(host.engine.quiet().is_empty() && host.nothing_is_staged());
}

#[tokio::test]
async fn what_is_read_while_a_container_runs_after_all_is_void() {
    let host = shop("archive", &STOPPED).await;
    let (job, quiet) = host.begin_up_to("stop db").await;
    let reading = quiet.go_on_up_to(&host.engine, "archive db").await;
    host.engine.start_behind("db");
    reading.go_on();
    let read = job.ended().await;
    assert!(
        matches!(&read, Err(JobError::Retry(why)) if why.contains("its containers ran: db")),
        "{read:?}"
    );
    assert!(host.engine.quiet().is_empty() && host.nothing_is_staged());
}

#[tokio::test]
async fn a_container_that_does_not_come_back_is_a_failure_until_the_next_turn_mends_it() {
    let host = shop("path", &STOPPED).await;
    host.engine.fail("start db", 1);
    let failed = host.capture("data").await;
    assert!(
        matches!(&failed, Err(JobError::Fail(why)) if why.contains("bring back container db")),
        "{failed:?}"
    );
    assert_eq!(host.engine.quiet(), ["db"]);
    assert!(host.nothing_is_staged());
    host.capture("data").await.unwrap();
    assert!(host.engine.quiet().is_empty());
    assert!(host.draft("data").is_some());
}

#[tokio::test]
async fn who_has_lost_the_job_while_it_prepared_stops_nothing() {
    let host = shop("archive", &PAUSED).await;
    let (job, preparing) = host.begin_up_to("archive db").await;
    job.lost.cancel();
    preparing.go_on();
    let ended = job.ended().await;
    assert!(is_retry(&ended), "{ended:?}");
    assert_eq!(host.engine.done(), [""; 0]);
    assert!(host.nothing_is_staged());
}

#[tokio::test]
async fn who_loses_the_job_at_the_last_moment_stops_nothing() {
    let host = shop("path", &PAUSED).await;
    // The engine is asked once for what there is, and again in the turn, right before containers are made quiet.
    let (job, asked) = host.begin_up_to("list").await;
    let planning = asked.go_on_up_to(&host.engine, "list").await;
    job.lost.cancel();
    planning.go_on();
    let ended = job.ended().await;
    assert!(
        matches!(&ended, Err(JobError::Retry(why)) if why.contains("given up before")),
        "{ended:?}"
    );
    assert_eq!(host.engine.done(), [""; 0]);
    assert!(host.nothing_is_staged());
}

#[tokio::test]
async fn who_waited_for_a_turn_and_has_lost_the_job_meanwhile_begins_no_attempt() {
    let host = shop("archive", &PAUSED).await;
    let (first, preparing) = host.begin_up_to("archive db").await;
    let second = host.begin("media");
    second.lost.cancel();
    first.drop().await;
    preparing.go_on();
    let ended = second.ended().await;
    assert!(
        matches!(&ended, Err(JobError::Retry(why)) if why.contains("before its turn came")),
        "{ended:?}"
    );
    assert_eq!(host.engine.done(), [""; 0]);
    common::until("nothing is staged", async || host.nothing_is_staged()).await;
}

#[tokio::test]
async fn all_are_back_when_the_job_is_lost_while_containers_become_quiet() {
    let host = shop("path", &PAUSED).await;
    let (job, quiet) = host.begin_up_to("pause db").await;
    job.lost.cancel();
    quiet.go_on();
    let ended = job.ended().await;
    assert!(is_retry(&ended), "{ended:?}");
    assert_eq!(
        host.engine.done(),
        ["pause web", "pause db", "unpause db", "unpause web"]
    );
    assert!(host.nothing_is_staged());
}

#[tokio::test]
async fn all_are_back_when_the_job_is_lost_while_volumes_are_read() {
    let host = shop("archive", &PAUSED).await;
    let (job, quiet) = host.begin_up_to("pause db").await;
    let reading = quiet.go_on_up_to(&host.engine, "archive db").await;
    job.lost.cancel();
    reading.go_on();
    let ended = job.ended().await;
    assert!(is_retry(&ended), "{ended:?}");
    assert!(host.engine.quiet().is_empty());
    assert!(host.draft("data").is_none());
}

#[tokio::test]
async fn all_are_back_when_the_job_is_lost_while_containers_are_brought_back() {
    let host = shop("path", &PAUSED).await;
    let (job, back) = host.begin_up_to("unpause db").await;
    job.lost.cancel();
    back.go_on();
    // What was read is whole, so it may be handed on.
    job.ended().await.unwrap();
    assert!(host.engine.quiet().is_empty());
}

#[tokio::test]
async fn all_are_back_when_the_job_is_dropped_while_containers_become_quiet() {
    let host = shop("path", &PAUSED).await;
    let (job, quiet) = host.begin_up_to("pause db").await;
    job.drop().await;
    quiet.go_on();
    host.all_back().await;
    assert!(host.nothing_is_staged());
    // The next delivery does it.
    host.capture("data").await.unwrap();
    assert!(host.draft("data").is_some());
}

#[tokio::test]
async fn all_are_back_when_the_job_is_dropped_while_volumes_are_read() {
    let host = shop("archive", &PAUSED).await;
    let (job, quiet) = host.begin_up_to("pause db").await;
    let reading = quiet.go_on_up_to(&host.engine, "archive db").await;
    job.drop().await;
    host.all_back().await;
    reading.go_on();
    common::until("its staging is gone", async || host.nothing_is_staged()).await;
    assert_eq!(
        host.engine.done(),
        ["pause web", "pause db", "unpause db", "unpause web"]
    );
}

#[tokio::test]
async fn all_are_back_when_the_job_is_dropped_while_containers_are_brought_back() {
    let host = shop("path", &PAUSED).await;
    let (job, back) = host.begin_up_to("unpause db").await;
    job.drop().await;
    back.go_on();
    host.all_back().await;
    common::until("its staging is gone", async || host.nothing_is_staged()).await;
}
