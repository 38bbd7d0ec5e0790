//! A recording: packs on their way while it goes on, attempts that follow each other, and every way in which it can fail.

use std::sync::mpsc;
use std::time::Duration;

use crate::common::{Host, PACK, SOON, artefact, delivery, expected, noise, now, run, seal_packs, stream};
use holdfast_bus::Delivery;
use holdfast_capture::{CaptureError, Root, TreeSpec, capture_tree};
use holdfast_events::{Job, What, Work, WorkStage};
use holdfast_format::{ArtefactKind, RunId};
use holdfast_service::JobError;
use holdfast_session::{Input, SourceFacts};
use holdfast_tests::wait_until;
use jiff::{SignedDuration, Timestamp};

fn tree(dir: &std::path::Path, input: &mut Input<'_>) -> Result<SourceFacts, JobError> {
    let spec = TreeSpec::new(vec![Root::directory(dir)], &[], false)?;
    let earlier = input.earlier.as_ref();
    let outcome = capture_tree(&spec, earlier, input.packer, input.contents, &mut input.watch)?;
    Ok(SourceFacts {
        counts: outcome.counts,
        warnings: outcome.warnings,
        closing: outcome.closing,
        ..SourceFacts::default()
    })
}

/// Reads until the job is given up.
fn until_stopped(input: &mut Input<'_>) -> Result<SourceFacts, JobError> {
    wait_until("the capture is told to stop", SOON, || Ok(input.watch.stopped())).unwrap();
    Err(CaptureError::Stopped.into())
}

fn seal(run: RunId, attempt: u32, pack: holdfast_format::PackId) -> Work {
    Work {
        run,
        site: "here".parse().unwrap(),
        job: Job::Seal {
            artefact: artefact(run).id,
            attempt,
            pack,
        },
    }
}

#[tokio::test]
async fn a_capture_is_told_from_its_beginning_to_its_seals() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let bytes = noise(PACK + 1000, 1);
    let session = host.session(run(1)).await;
    let captured = session.capture(now(), move |mut input| {
        let found = stream(&bytes, &mut input)?;
        let tools = [("probe".to_owned(), "7".to_owned())].into();
        Ok(SourceFacts { tools, ..found })
    });
    captured.await.unwrap();
    let told = host.facts(run(1), 2).await;
    let id = artefact(run(1)).id;
    assert!(
        matches!(told[0], What::ArtefactStarted { artefact, attempt: 1 } if artefact == id),
        "{told:?}"
    );
    let What::ArtefactCaptured {
        artefact,
        size,
        new_bytes,
        ..
    } = told[1]
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        (artefact, size, new_bytes),
        (id, PACK as u64 + 1000, PACK as u64 + 1000)
    );
    let attempt = host.attempt(run(1));
    let draft = attempt.draft().unwrap().unwrap();
    assert_eq!(
        (draft.captured.sequence, draft.captured.started, draft.captured.attempt),
        (1, now(), 1)
    );
    assert_eq!(
        (draft.captured.kind, draft.captured.name.as_str()),
        (ArtefactKind::Directory, "files")
    );
    assert_eq!(draft.captured.tools["probe"], "7");
    let recipients = host.bed.ring.recipients();
    assert_eq!(draft.captured.recipients, recipients.fingerprints());
    assert_eq!(draft.captured.readers, recipients.readers());
    assert_eq!((draft.captured.parent, draft.captured.previous), (None, None));
    let packs = attempt.unsealed().unwrap();
    assert_eq!(packs.len(), 2);
    for pack in packs {
        assert!(host.was_asked(&seal(run(1), 1, pack)).await);
    }
}

#[tokio::test]
async fn packs_are_handed_to_the_encryptor_while_the_capture_goes_on() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let (go_on, held) = mpsc::channel();
    let bytes = noise(2 * PACK + 1000, 1);
    let recording = host.session(run(1)).await.recording(now()).await.unwrap();
    let reading = tokio::spawn(recording.read(move |mut input| {
        let found = stream(&bytes, &mut input)?;
        held.recv().unwrap();
        Ok(found)
    }));
    let attempt = host.attempt(run(1));
    let mut progress = Box::pin(host.cx.bus.subscribe_progress(run(1)).await.unwrap());
    let told = tokio::time::timeout(SOON, futures::StreamExt::next(&mut progress)).await;
    assert_eq!(told.unwrap().unwrap().artefact, artefact(run(1)).id);
    let mut seals = host.take(WorkStage::Seal);
    for _ in 0..2 {
        let taken = tokio::time::timeout(SOON, seals.recv()).await.unwrap().unwrap();
        let Job::Seal { pack, .. } = taken.job else {
            panic!("{taken:?}")
        };
        assert_eq!(taken, seal(run(1), 1, pack));
        assert!(attempt.unsealed().unwrap().contains(&pack));
    }
    assert!(!reading.is_finished() && attempt.draft().unwrap().is_none());
    go_on.send(()).unwrap();
    let recorded = reading.await.unwrap().unwrap();
    seal_packs(&host.bed, &attempt).await;
    recorded.finish().await.unwrap();
    assert_eq!(attempt.draft().unwrap().unwrap().packs.len(), 3);
    assert_eq!(attempt.unsealed().unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_attempt_replaces_the_first_which_finds_itself_superseded() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let first = host.session(run(1)).await.recording(now()).await.unwrap();
    let second = host
        .session_of(run(1), &delivery(2))
        .await
        .recording(now())
        .await
        .unwrap();
    let read = first.read(|mut input| stream(&noise(1000, 1), &mut input)).await;
    let finished = read.unwrap().finish().await;
    assert!(matches!(finished, Err(JobError::Superseded(_))), "{finished:?}");
    // Whoever fails late removes nothing of the second.
    let recorded = second.read(|mut input| stream(&noise(1000, 2), &mut input)).await;
    recorded.unwrap().finish().await.unwrap();
    let attempt = host.attempt(run(1));
    assert_eq!((attempt.number(), attempt.unsealed().unwrap().len()), (2, 1));
    let told = host.facts(run(1), 3).await;
    let attempts = told.iter().map(|what| match what {
        What::ArtefactStarted { attempt, .. } | What::ArtefactCaptured { attempt, .. } => *attempt,
        other => panic!("{other:?}"),
    });
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 2, 2]);
}

#[tokio::test]
async fn an_attempt_that_is_superseded_while_it_reads_stages_nothing_more() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let (superseded, go_on) = mpsc::channel();
    let first = host.session(run(1)).await.recording(now()).await.unwrap();
    let reading = tokio::spawn(first.read(move |mut input| {
        go_on.recv().unwrap();
        stream(&noise(2 * PACK, 1), &mut input)
    }));
    let second = host
        .session_of(run(1), &delivery(2))
        .await
        .recording(now())
        .await
        .unwrap();
    superseded.send(()).unwrap();
    // Packs are staged beside the reading, so it may have come to its end.
    let ended = match reading.await.unwrap() {
        Ok(recorded) => recorded.finish().await,
        Err(error) => Err(error),
    };
    assert!(matches!(ended, Err(JobError::Superseded(_))), "{ended:?}");
    assert_eq!(host.attempt(run(1)).unsealed().unwrap(), []);
    second.give_up().await;
    assert_eq!(host.staged(), Vec::<String>::new());
}

#[tokio::test]
async fn whatever_fails_leaves_nothing_in_staging() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let begin = async || host.session(run(1)).await.recording(now()).await.unwrap();
    let fill = |input: &mut Input<'_>| stream(&noise(PACK + 1000, 1), input);

    let failed = begin().await.read(move |mut input| {
        fill(&mut input)?;
        Err(JobError::Fail("it broke".to_owned()))
    });
    assert!(matches!(failed.await.map(|_| ()), Err(JobError::Fail(why)) if why == "it broke"));
    assert_eq!(host.staged(), Vec::<String>::new(), "after a read that fails");

    let failed = begin().await.precopy(move |mut input| {
        fill(&mut input)?;
        Err(JobError::Retry("it broke".to_owned()))
    });
    assert!(matches!(failed.await.map(|_| ()), Err(JobError::Retry(why)) if why == "it broke"));
    assert_eq!(host.staged(), Vec::<String>::new(), "after a pre-copy that fails");

    let panicked = begin().await.read(move |mut input| {
        fill(&mut input)?;
        panic!("a reader may panic")
    });
    assert!(matches!(panicked.await.map(|_| ()), Err(JobError::Retry(_))));
    assert_eq!(host.staged(), Vec::<String>::new(), "after a panic");

    begin().await.give_up().await;
    assert_eq!(host.staged(), Vec::<String>::new(), "after giving a recording up");
    let recorded = begin().await.read(move |mut input| fill(&mut input)).await.unwrap();
    let is_pack = |name: &String| name.ends_with(".pack");
    crate::common::until("a pack is staged", async || host.staged().iter().any(is_pack)).await;
    recorded.give_up().await;
    assert_eq!(host.staged(), Vec::<String>::new(), "after giving a whole reading up");

    let recorded = begin().await.read(move |mut input| fill(&mut input)).await.unwrap();
    drop(recorded);
    assert_eq!(host.staged(), Vec::<String>::new(), "after a drop");
    // Its attempts count on, and the next one goes through.
    let recorded = begin().await.read(move |mut input| fill(&mut input)).await.unwrap();
    recorded.finish().await.unwrap();
    assert_eq!(host.attempt(run(1)).unsealed().unwrap().len(), 2);
}

#[tokio::test]
async fn a_job_that_is_lost_stops_reading() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let lost = delivery(1);
    let recording = host.session_of(run(1), &lost).await.recording(now()).await.unwrap();
    let reading = tokio::spawn(recording.read(|mut input| until_stopped(&mut input)));
    lost.lost.cancel();
    let read = reading.await.unwrap().map(|_| ());
    assert!(
        matches!(&read, Err(JobError::Retry(why)) if why.contains("stopped")),
        "{read:?}"
    );
    assert_eq!(host.staged(), Vec::<String>::new());
}

#[tokio::test]
async fn a_future_that_is_dropped_ends_its_reader_once_the_job_is_lost() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let lost = delivery(1);
    let recording = host.session_of(run(1), &lost).await.recording(now()).await.unwrap();
    let (begun, has_begun) = mpsc::channel();
    let reading = tokio::spawn(recording.read(move |mut input| {
        begun.send(()).unwrap();
        until_stopped(&mut input)
    }));
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap())
        .await
        .unwrap();
    reading.abort();
    assert!(reading.await.is_err_and(|error| error.is_cancelled()));
    assert_ne!(host.staged(), Vec::<String>::new());
    lost.lost.cancel();
    crate::common::until("its staging is gone", async || host.staged().is_empty()).await;
}

#[tokio::test]
async fn a_full_staging_folder_makes_the_capture_wait_for_the_encryptor() {
    let host = Host::with_room(1 << 20).await;
    host.begin_run(&expected(run(1))).await;
    let session = host.session(run(1)).await;
    let captured = session.capture(now(), |mut input| stream(&noise(3 * PACK, 1), &mut input));
    let capturing = tokio::spawn(captured);
    let mut sealed = std::collections::HashSet::new();
    crate::common::until("there is an attempt", async || {
        host.staging.latest(run(1), artefact(run(1)).id).unwrap().is_some()
    })
    .await;
    let attempt = host.attempt(run(1));
    while !capturing.is_finished() {
        let packs = attempt.unsealed().unwrap();
        assert!(packs.len() <= 1, "more waits than fits: {packs:?}");
        sealed.extend(packs);
        seal_packs(&host.bed, &attempt).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    capturing.await.unwrap().unwrap();
    sealed.extend(attempt.unsealed().unwrap());
    assert_eq!(sealed.len(), attempt.draft().unwrap().unwrap().packs.len());
}

#[tokio::test]
async fn a_capture_that_finds_no_room_by_the_deadline_says_so() {
    let host = Host::with_room(1 << 20).await;
    let mut soon = expected(run(1));
    soon.deadline = Timestamp::now() + SignedDuration::from_secs(2);
    host.begin_run(&soon).await;
    let session = host.session(run(1)).await;
    let captured = session.capture(now(), |mut input| stream(&noise(3 * PACK, 1), &mut input));
    let error = captured.await.unwrap_err();
    assert!(
        matches!(&error, JobError::Retry(why) if why.contains("room")),
        "{error:?}"
    );
    assert_eq!(host.staged(), Vec::<String>::new());
}

#[tokio::test]
async fn a_bus_that_is_away_gives_the_capture_up_and_is_told_as_the_reason() {
    let mut host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let job: Delivery = delivery(1);
    let recording = host.session_of(run(1), &job).await.recording(now()).await.unwrap();
    host.nats.stop().unwrap();
    let reading = tokio::spawn(recording.read(|mut input| {
        stream(&noise(PACK + 1000, 1), &mut input)?;
        until_stopped(&mut input)
    }));
    crate::common::until("a pack is staged", async || {
        !host.attempt(run(1)).unsealed().unwrap().is_empty()
    })
    .await;
    // A publish is tried for half a minute.
    tokio::time::pause();
    while !job.lost.is_cancelled() {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    let read = reading.await.unwrap().map(|_| ());
    assert!(
        matches!(&read, Err(JobError::Retry(why)) if why.contains("publish")),
        "{read:?}"
    );
    assert_eq!(host.staged(), Vec::<String>::new());
    // The next delivery does it, once the bus is back.
    host.nats.restart().unwrap();
    let session = host.session_of(run(1), &delivery(2)).await;
    let captured = session.capture(now(), |mut input| stream(&noise(1000, 1), &mut input));
    captured.await.unwrap();
    assert!(host.attempt(run(1)).draft().unwrap().is_some());
}

#[tokio::test]
async fn after_a_precopy_all_its_packs_are_staged_and_only_what_changed_is_read_again() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("large"), noise(PACK + 1000, 1)).unwrap();
    std::fs::write(files.path().join("small"), "before").unwrap();
    let dir = files.path().to_owned();
    let recording = host.session(run(1)).await.recording(now()).await.unwrap();
    let path = dir.clone();
    let recording = recording
        .precopy(move |mut input| tree(&path, &mut input).map(Some))
        .await
        .unwrap();
    let attempt = host.attempt(run(1));
    assert_eq!(attempt.unsealed().unwrap().len(), 1, "the full pack is staged");
    assert!(host.staged().contains(&"precopy.zst".to_owned()));
    std::fs::write(dir.join("small"), "after").unwrap();
    let path = dir.clone();
    let mut recorded = recording.read(move |mut input| tree(&path, &mut input)).await.unwrap();
    recorded.facts_mut().warnings.add("probe", "added later");
    recorded.finish().await.unwrap();
    assert!(!host.staged().contains(&"precopy.zst".to_owned()));
    let draft = attempt.draft().unwrap().unwrap();
    // The large file once, and both states of the small one with their headers.
    assert_eq!((draft.captured.counts.files, draft.captured.new.packs), (2, 2));
    assert!(
        (draft.captured.new.bytes as usize) < PACK + 64 * 1024,
        "{:?}",
        draft.captured.new
    );
    assert!(
        draft.captured.stream.size < draft.captured.new.bytes,
        "{:?}",
        draft.captured.stream
    );
    assert_eq!(draft.warnings.total, 1);
    let mut lines = String::new();
    std::io::Read::read_to_string(&mut attempt.read_contents().unwrap().unwrap(), &mut lines).unwrap();
    assert_eq!(lines.matches("small").count(), 1, "{lines}");
}

#[tokio::test]
async fn nothing_is_compared_with_a_precopy_that_says_too_little() {
    let host = Host::new().await;
    host.begin_run(&expected(run(1))).await;
    let recording = host.session(run(1)).await.recording(now()).await.unwrap();
    let recording = recording.precopy(|mut input| {
        stream(&noise(1000, 1), &mut input)?;
        Ok(None)
    });
    let recorded = recording.await.unwrap().read(|mut input| {
        assert!(input.earlier.is_none());
        stream(&noise(1000, 2), &mut input)
    });
    recorded.await.unwrap().finish().await.unwrap();
    let draft = host.attempt(run(1)).draft().unwrap().unwrap();
    assert_eq!((draft.captured.stream.size, draft.captured.new.bytes), (1000, 2000));
    assert!(!host.staged().contains(&"precopy.zst".to_owned()));
}
