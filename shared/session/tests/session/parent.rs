//! The artefact whose chunks a capture references: the newest good one, if it is sealed to the keys of today.

use std::sync::Arc;
use std::time::SystemTime;

use crate::common::{Host, PACK, artefact, close, close_with, context, delivery, expected, noise, now, run, stream};
use holdfast_capture::Draft;
use holdfast_format::{Expected, Level, ObjectKey};
use holdfast_repository::{Repository, SealedManifest};
use holdfast_sealing::{Recipients, SecretKeys};
use holdfast_service::Context;
use holdfast_session::Session;
use holdfast_tests::gnupg;

/// Bytes that several captures have in common.
fn common_bytes() -> Vec<u8> {
    noise(PACK + 1000, 1)
}

/// A host with one sealed artefact, of run 1.
async fn with_parent() -> (Host, Arc<SealedManifest>) {
    let host = Host::new().await;
    let attempt = host.capture(run(1), common_bytes()).await;
    let sealed = close(&host.bed, &attempt).await;
    (host, sealed)
}

/// Captures the same bytes in another run, in the `count`th delivery of its job.
async fn again(host: &Host, cx: &Context, expected: &Expected, count: u64) -> Draft {
    host.begin_run(expected).await;
    let work = crate::common::work(expected.run);
    let begun = Session::begin(cx, &host.staging, &work, &delivery(count)).await;
    let session = begun.unwrap().expect("there is something to capture");
    let captured = session.capture(now(), |mut input| stream(&common_bytes(), &mut input));
    captured.await.unwrap();
    host.attempt(expected.run).draft().unwrap().unwrap()
}

fn is_stored_anew(draft: &Draft) -> bool {
    draft.captured.parent.is_none() && draft.captured.new.bytes == common_bytes().len() as u64
}

#[tokio::test]
async fn what_the_parent_has_is_referenced_and_not_stored() {
    let (host, parent) = with_parent().await;
    let draft = again(&host, &host.cx, &expected(run(2)), 1).await;
    assert_eq!(draft.captured.parent, Some(artefact(run(1)).id));
    assert_eq!((draft.captured.new.bytes, draft.captured.new.packs), (0, 0));
    assert_eq!(draft.captured.stream, parent.manifest.captured.stream);
    assert_eq!(draft.captured.sequence, 2);
    let previous = draft.captured.previous.unwrap();
    assert_eq!(
        (previous.artefact, previous.sha256),
        (artefact(run(1)).id, parent.sha256)
    );
    // Nothing of the parent's contents is left beside.
    let scratch = std::fs::read_dir(&host.cx.scratch).unwrap();
    assert_eq!(scratch.count(), 0);
}

#[tokio::test]
async fn a_run_that_is_to_be_fresh_has_no_parent() {
    let (host, _) = with_parent().await;
    let fresh = Expected {
        fresh: true,
        ..expected(run(2))
    };
    let draft = again(&host, &host.cx, &fresh, 1).await;
    assert!(is_stored_anew(&draft), "{draft:?}");
    assert_eq!(draft.captured.sequence, 2, "it follows all the same");
}

#[tokio::test]
async fn from_the_third_delivery_on_no_parent_is_tried() {
    let (host, _) = with_parent().await;
    let draft = again(&host, &host.cx, &expected(run(2)), 2).await;
    assert!(draft.captured.parent.is_some());
    let draft = again(&host, &host.cx, &expected(run(3)), 3).await;
    assert!(is_stored_anew(&draft), "{draft:?}");
}

#[tokio::test]
async fn an_artefact_that_is_sealed_to_other_readers_is_no_parent() {
    let (host, _) = with_parent().await;
    let mut keys = host.bed.ring.service();
    keys.recipients = Some(crate::common::Ring::new().recipients());
    let place = host.bed.repository.place().clone();
    let repository = Repository::open(place, keys).await.unwrap();
    let cx = context(&host.bed, &host.nats, "").await;
    let cx = Context::with(cx.settings.clone(), repository, cx.bus.clone()).unwrap();
    let draft = again(&host, &cx, &expected(run(2)), 1).await;
    assert!(is_stored_anew(&draft), "{draft:?}");

    let mut keys = host.bed.ring.service();
    keys.profile = holdfast_sealing::Profile::Rfc9580;
    let place = host.bed.repository.place().clone();
    let repository = Repository::open(place, keys).await.unwrap();
    let cx = Context::with(cx.settings.clone(), repository, cx.bus.clone()).unwrap();
    let draft = again(&host, &cx, &expected(run(3)), 1).await;
    assert!(is_stored_anew(&draft), "{draft:?}");
}

/// A context whose backups are sealed to this certificate, and the certificate as recipients.
async fn sealing_to(host: &Host, certificate: &str) -> (Context, Recipients) {
    let files = [certificate.as_bytes().to_vec()];
    let recipients = Recipients::from_bytes(&files, SystemTime::now()).unwrap();
    let mut keys = host.bed.ring.service();
    keys.recipients = Some(recipients.clone());
    let place = host.bed.repository.place().clone();
    let repository = Repository::open(place, keys).await.unwrap();
    let cx = Context::with(host.cx.settings.clone(), repository, host.cx.bus.clone()).unwrap();
    (cx, recipients)
}

#[tokio::test]
async fn a_parent_that_is_sealed_to_a_subkey_replaced_since_is_none_and_what_is_stored_opens_with_the_new_one_alone() {
    let host = Host::new().await;
    let operator = gnupg::Home::new().unwrap();
    let (cx, before) = sealing_to(&host, &operator.public().unwrap()).await;
    let old = SecretKeys::from_bytes(operator.newest_secret().unwrap().as_bytes(), None).unwrap();
    again(&host, &cx, &expected(run(1)), 1).await;
    close_with(&cx, &host.bed, &host.attempt(run(1)), &before).await;
    let draft = again(&host, &cx, &expected(run(2)), 1).await;
    assert_eq!(draft.captured.parent, Some(artefact(run(1)).id));
    assert_eq!(draft.captured.readers, before.readers());

    operator.replace_subkey().unwrap();
    let (cx, after) = sealing_to(&host, &operator.public().unwrap()).await;
    assert_eq!(
        before.fingerprints(),
        after.fingerprints(),
        "the certificate is the same"
    );
    let draft = again(&host, &cx, &expected(run(3)), 1).await;
    assert!(is_stored_anew(&draft), "{draft:?}");
    assert_eq!(draft.captured.readers, after.readers());
    let sealed = close_with(&cx, &host.bed, &host.attempt(run(3)), &after).await;
    let new = SecretKeys::from_bytes(operator.newest_secret().unwrap().as_bytes(), None).unwrap();
    for pack in &sealed.manifest.packs {
        let bytes = std::fs::read(host.bed.file(ObjectKey::Pack(pack.id))).unwrap();
        assert!(new.open(&bytes, PACK * 2).is_ok() && old.open(&bytes, PACK * 2).is_err());
    }
    // With the same keys as before, the newest is a parent again.
    let draft = again(&host, &cx, &expected(run(4)), 1).await;
    assert_eq!(draft.captured.parent, Some(artefact(run(3)).id));
}

#[tokio::test]
async fn a_parent_whose_contents_cannot_be_fetched_is_none() {
    let (host, _) = with_parent().await;
    host.bed.flip(ObjectKey::Contents(artefact(run(1)).id));
    let draft = again(&host, &host.cx, &expected(run(2)), 1).await;
    assert!(is_stored_anew(&draft), "{draft:?}");
    // That it was there all the same, the chain says.
    assert_eq!(draft.captured.previous.map(|p| p.artefact), Some(artefact(run(1)).id));
}

#[tokio::test]
async fn an_artefact_that_a_verification_found_bad_is_no_parent() {
    let (host, _) = with_parent().await;
    let bad = crate::common::verification(&artefact(run(1)), "local", 1, Level::Decrypt, false);
    let key = ObjectKey::Verified(bad.artefact, bad.id);
    host.bed.repository.write(&key, &bad).await.unwrap();
    let draft = again(&host, &host.cx, &expected(run(2)), 1).await;
    assert!(is_stored_anew(&draft), "{draft:?}");
}

#[tokio::test]
async fn a_damaged_pack_of_the_parent_is_stored_anew_under_another_id() {
    let (host, parent) = with_parent().await;
    let damaged = parent.manifest.packs[0].id;
    let mark = holdfast_format::Damaged {
        pack: damaged,
        at: now(),
        artefact: artefact(run(1)).id,
        problem: "its bytes are others".to_owned(),
    };
    host.bed
        .repository
        .write(&ObjectKey::Damaged(damaged), &mark)
        .await
        .unwrap();
    let draft = again(&host, &host.cx, &expected(run(2)), 1).await;
    assert_eq!(draft.captured.parent, Some(artefact(run(1)).id));
    assert!(
        draft.captured.new.packs > 0 && draft.packs.iter().all(|pack| pack.id != damaged),
        "{draft:?}"
    );
}
