//! Copies to a bucket.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{Bed, artefact, pack, run, shop};
use holdfast_format::{Class, ObjectKey};
use holdfast_repository::Repository;
use holdfast_storage::{Place, PlaceOptions};
use holdfast_syncer::{Copier, CopyOptions};
use holdfast_tests::http;
use holdfast_tests::s3::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, Server};

async fn bucket(server: &Server, name: &str) -> Place {
    let url = format!("s3://{name}/host-a").parse().unwrap();
    let options = PlaceOptions {
        endpoint: Some(format!("http://127.0.0.1:{}", server.port()).parse().unwrap()),
        access_key_id: Some(ACCESS_KEY_ID.into()),
        secret_access_key: Some(SECRET_ACCESS_KEY.into()),
        allow_http: true,
        path_style: true,
        ..PlaceOptions::new(url)
    };
    Place::open("bucket".parse().unwrap(), options).await.unwrap()
}

#[tokio::test]
async fn packs_take_the_storage_class_of_their_backup_and_nothing_else_does() {
    let server = Server::start().unwrap();
    server.create_bucket("archive").unwrap();
    let to = bucket(&server, "archive").await;
    let bed = Bed::new().await;
    let packs = [pack(&bed, 1, 5000).await, pack(&bed, 2, 5000).await];
    artefact(&bed, &shop(run(1)), run(1), &packs).await;
    let options = CopyOptions {
        concurrency: 2,
        storage_class: BTreeMap::from([(Class::Daily, "STANDARD_IA".to_owned())]),
        scratch: bed.scratch.path().to_owned(),
    };
    let copier = Copier::new(bed.repository.clone(), to.clone(), options);
    assert_eq!(copier.copy_artefact(shop(run(1)).id).await.unwrap().objects, 4);
    assert_eq!(copier.copy_artefact(shop(run(1)).id).await.unwrap().objects, 0);
    assert!(copier.has_artefact(shop(run(1)).id).await.unwrap());

    let page = http::request(server.port(), "GET", "/archive?list-type=2", b"")
        .unwrap()
        .text();
    for object in page.split("<Contents>").skip(1) {
        let class = if object.contains("/packs/") {
            "STANDARD_IA"
        } else {
            "STANDARD"
        };
        assert!(
            object.contains(&format!("<StorageClass>{class}</StorageClass>")),
            "{object}"
        );
    }
    let restorer = Repository::open(to, bed.ring.restorer()).await.unwrap();
    for pack in &packs {
        assert_eq!(
            restorer.get_pack(pack).await.unwrap(),
            bed.repository.get_pack(pack).await.unwrap()
        );
    }
    assert!(
        server
            .keys("archive")
            .unwrap()
            .contains(&format!("host-a/{}", ObjectKey::Repository))
    );
}
