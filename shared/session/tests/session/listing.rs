//! A source's listing: whoever writes first decides, and what stands is handed on.

use crate::common::{Host, artefact, expected, run, source, work};
use holdfast_events::What;
use holdfast_format::{Artefact, ArtefactKind, ImageInUse, ObjectKey};
use holdfast_session::{Listing, write_listing};

async fn host() -> Host {
    let host = Host::new().await;
    let key = ObjectKey::Expected(run(1));
    host.bed.repository.write(&key, &expected(run(1))).await.unwrap();
    host
}

#[tokio::test]
async fn a_listing_is_written_with_its_notes_and_asks_for_its_captures() {
    let host = host().await;
    let image = ImageInUse {
        site: "here".parse().unwrap(),
        service: None,
        id: "sha256:1".to_owned(),
        container: "shop-db-1".to_owned(),
        image: "postgres:15".to_owned(),
        digests: Vec::new(),
        stack: None,
    };
    let listing = Listing {
        artefacts: vec![artefact(run(1))],
        images: vec![image.clone()],
        notes: vec!["a volume is left out".to_owned()],
    };
    write_listing(&host.cx, run(1), &source(), listing).await.unwrap();
    let written = host.cx.catalogue.listed(run(1), &source()).await.unwrap().unwrap();
    assert_eq!(
        (&written.images[..], &written.notes[..]),
        (&[image][..], &["a volume is left out".to_owned()][..])
    );
    assert!(host.was_asked(&work(run(1))).await);
    let told = host.facts(run(1), 1).await;
    assert!(
        matches!(&told[0], What::SourceListed { artefacts, .. } if *artefacts == [artefact(run(1))]),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_second_listing_hands_on_the_first() {
    let host = host().await;
    write_listing(&host.cx, run(1), &source(), vec![artefact(run(1))])
        .await
        .unwrap();
    let late = Artefact::new(run(1), &source(), ArtefactKind::Directory, "came later");
    write_listing(&host.cx, run(1), &source(), vec![late.clone()])
        .await
        .unwrap();
    let written = host.cx.catalogue.listed(run(1), &source()).await.unwrap().unwrap();
    assert_eq!(written.artefacts, [artefact(run(1))]);
    assert!(!host.was_asked(&crate::common::work_for(run(1), &late)).await);
    // The same facts again, which whoever folds them has seen already.
    let told = host.facts(run(1), 2).await;
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_source_without_artefacts_is_listed_all_the_same() {
    let host = host().await;
    write_listing(&host.cx, run(1), &source(), Vec::new()).await.unwrap();
    let told = host.facts(run(1), 1).await;
    assert!(
        matches!(&told[0], What::SourceListed { artefacts, pages: 1, .. } if artefacts.is_empty()),
        "{told:?}"
    );
    assert!(host.cx.state(run(1)).await.unwrap().sources[&source()].is_listed());
}
