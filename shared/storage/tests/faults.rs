//! Places on stores that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::fake::{Answer, Fake, hang_up, status};
use common::{bucket_options, contents, directory, noise, pack};
use holdfast_fault::Retryable as _;
use holdfast_storage::{Place, PlaceOptions, Prefix, Put, StorageError};
use tempfile::TempDir;
use url::Url;

async fn place(fake: &Fake) -> Place {
    let options = bucket_options(fake.port, "bucket", "");
    Place::open("bucket".parse().unwrap(), options).await.unwrap()
}

#[tokio::test]
async fn denied_is_denied_at_once_and_shows_no_credentials() {
    let fake = Fake::start(|_, _| Answer {
        body: b"<Error><Code>InvalidAccessKeyId</Code><Id>AKIATESTTESTTEST</Id></Error>".to_vec(),
        ..status(403)
    })
    .await;
    let place = place(&fake).await;
    let error = place.get(&pack(1), 100).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Denied { .. }) && !error.retry().is_later(),
        "{error:?}"
    );
    assert_eq!(fake.seen().len(), 1, "a second try");
    let shown = format!("{error} {error:?} {place:?}");
    assert!(
        shown.contains("InvalidAccessKeyId") && !shown.contains("AKIATEST"),
        "{shown}"
    );
    assert!(!shown.contains("secret-of-the-test"));
    let error = place.list(Prefix::Packs).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
    let error = place.put(&pack(1), noise(10), None).await.unwrap_err();
    assert!(matches!(error, StorageError::Denied { .. }), "{error:?}");
    assert_eq!(fake.count("PUT"), 1);
}

#[tokio::test]
async fn a_store_without_conditions_is_looked_at_first() {
    for refusal in [501, 400] {
        let fake = Fake::start(move |_, request| match request.method.as_str() {
            "HEAD" => status(404),
            "PUT" if request.is_conditional() => Answer {
                body: b"<Error><Code>NotImplemented</Code></Error>".to_vec(),
                ..status(refusal)
            },
            _ => status(200),
        })
        .await;
        let place = place(&fake).await;
        assert_eq!(place.put(&pack(1), noise(10), None).await.unwrap(), Put::Created);
        assert_eq!(fake.count("PUT"), 2);
        assert_eq!(place.put(&pack(2), noise(10), None).await.unwrap(), Put::Created);
        assert_eq!(fake.count("PUT"), 3, "it is remembered");
    }
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_found_out_and_does_not_overwrite() {
    let stored = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let fake = Fake::start(move |_, request| {
        let mut stored = stored.lock().unwrap();
        match request.method.as_str() {
            "PUT" => {
                *stored = request.body.clone();
                status(200)
            }
            "DELETE" => {
                stored.clear();
                status(204)
            }
            "GET" if request.target.contains("list-type") => Answer {
                body: b"<ListBucketResult></ListBucketResult>".to_vec(),
                ..status(200)
            },
            _ if stored.is_empty() => status(404),
            _ => Answer {
                body: stored.clone(),
                ..status(200)
            },
        }
    })
    .await;
    let place = place(&fake).await;
    assert!(!place.probe().await.unwrap().conditional_create);
    assert_eq!(place.put(&pack(1), noise(10), None).await.unwrap(), Put::Created);
    let again = place.put(&pack(1), noise(20), None).await.unwrap();
    assert_eq!(again, Put::AlreadyThere { size: 10 });
}

#[tokio::test]
async fn an_object_that_exists_and_then_does_not_is_written_again() {
    let mut puts = 0;
    let fake = Fake::start(move |_, request| match request.method.as_str() {
        "HEAD" => status(404),
        "PUT" => {
            puts += 1;
            status(if puts < 3 { 409 } else { 200 })
        }
        _ => status(500),
    })
    .await;
    let place = place(&fake).await;
    assert_eq!(place.put(&pack(1), noise(10), None).await.unwrap(), Put::Created);
    assert_eq!(fake.count("PUT"), 3);
}

#[tokio::test]
async fn an_object_that_never_appears_is_an_error_that_may_pass() {
    let fake = Fake::start(|_, request| status(if request.method == "HEAD" { 404 } else { 412 })).await;
    let error = place(&fake).await.put(&pack(1), noise(10), None).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Unreachable { .. }) && error.retry().is_later(),
        "{error:?}"
    );
    assert_eq!(fake.count("PUT"), 4);
}

#[tokio::test]
async fn a_cut_connection_is_tried_again() {
    let fake = Fake::start(|number, request| match request.method.as_str() {
        "HEAD" => status(404),
        _ if number < 3 => hang_up(),
        _ => status(200),
    })
    .await;
    assert_eq!(
        place(&fake).await.put(&pack(1), noise(10), None).await.unwrap(),
        Put::Created
    );
}

#[tokio::test]
async fn a_short_answer_is_no_object() {
    let fake = Fake::start(|_, _| Answer {
        declared: Some(1000),
        body: noise(400).to_vec(),
        ..status(200)
    })
    .await;
    let scratch = TempDir::new().unwrap();
    let target = scratch.path().join("copy");
    let error = place(&fake)
        .await
        .get_to_file(&pack(1), &target, 5000)
        .await
        .unwrap_err();
    assert!(error.retry().is_later(), "{error:?}");
    assert!(!target.exists());
}

#[tokio::test]
async fn silence_ends() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let options = PlaceOptions {
        timeout: Duration::from_millis(200),
        retry_for: Duration::ZERO,
        ..bucket_options(port, "bucket", "")
    };
    let place = Place::open("bucket".parse().unwrap(), options).await.unwrap();
    let begun = Instant::now();
    let error = place.get(&pack(1), 100).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::Unreachable { .. }) && error.retry().is_later(),
        "{error:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn failures_are_told_apart() {
    for (answer, retry) in [(503, true), (507, false), (400, false), (301, false)] {
        let fake = Fake::start(move |_, request| status(if request.method == "HEAD" { 404 } else { answer })).await;
        let error = place(&fake).await.put(&pack(1), noise(10), None).await.unwrap_err();
        assert_eq!(error.retry().is_later(), retry, "{answer}: {error:?}");
        assert_eq!(error.is_no_space(), answer == 507, "{answer}: {error:?}");
    }
    let fake = Fake::start(|_, request| match request.method.as_str() {
        "HEAD" => status(404),
        _ => Answer {
            body: b"<Error><Code>NoSuchBucket</Code></Error>".to_vec(),
            ..status(404)
        },
    })
    .await;
    let error = place(&fake).await.put(&pack(1), noise(10), None).await.unwrap_err();
    assert!(matches!(&error, StorageError::NoPlace { .. }), "{error:?}");
    let error = place(&fake).await.list(Prefix::Packs).await.unwrap_err();
    assert!(matches!(&error, StorageError::NoPlace { .. }), "{error:?}");
}

#[tokio::test]
async fn a_large_file_is_completed_conditionally_and_aborted_if_it_lost() {
    let file = TempDir::new().unwrap();
    let path = file.path().join("large");
    std::fs::write(&path, noise(20 << 20)).unwrap();
    let mut completed = false;
    let fake = Fake::start(move |_, request| match request.method.as_str() {
        "HEAD" if completed => Answer {
            body: noise(77).to_vec(),
            ..status(200)
        },
        "HEAD" => status(404),
        "POST" if request.target.contains("uploadid=") => {
            assert!(request.is_conditional(), "{request:?}");
            completed = true;
            status(412)
        }
        "POST" => Answer {
            body: b"<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>".to_vec(),
            ..status(200)
        },
        "DELETE" => status(204),
        _ => status(200),
    })
    .await;
    let put = place(&fake).await.put_file(&contents(1), &path, None).await.unwrap();
    assert_eq!(put, Put::AlreadyThere { size: 77 });
    assert_eq!(fake.count("PUT"), 3);
    assert_eq!(fake.count("DELETE"), 1);
}

#[tokio::test]
async fn leftovers_of_a_crash_are_hidden_and_swept_and_foreign_files_stay() {
    let root = TempDir::new().unwrap();
    let place = directory(root.path()).await;
    place.put(&pack(1), noise(10), None).await.unwrap();
    let leftover = root.path().join(format!("{}#1", pack(2)));
    std::fs::create_dir_all(leftover.parent().unwrap()).unwrap();
    let foreign = root.path().join("packs/notes#1");
    let closed = root.path().join("lost+found");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    for path in [&leftover, &foreign, &root.path().join("README")] {
        std::fs::write(path, b"half").unwrap();
    }
    let all = place.list(Prefix::All).await.unwrap();
    assert_eq!(all.objects.len(), 1);
    assert_eq!(all.foreign, 2, "README and lost+found");
    assert_eq!(place.put(&pack(2), noise(10), None).await.unwrap(), Put::Created);
    assert_eq!(place.sweep_unfinished(Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(place.sweep_unfinished(Duration::ZERO).await.unwrap(), 1);
    assert!(!leftover.exists() && foreign.exists());
    assert_eq!(place.list(Prefix::Packs).await.unwrap().objects.len(), 2);
}

#[tokio::test]
async fn a_directory_must_be_there_unless_it_is_to_be_made() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("a/b");
    let mut options = PlaceOptions::new(Url::from_file_path(&path).unwrap());
    let error = Place::open("disk".parse().unwrap(), options.clone()).await.unwrap_err();
    assert!(
        matches!(&error, StorageError::NoPlace { .. }) && error.retry().is_later(),
        "{error:?}"
    );
    assert!(!path.exists());
    options.create_directory = true;
    let place = Place::open("disk".parse().unwrap(), options).await.unwrap();
    assert_eq!(place.describe(), format!("file://{}", path.display()));
    assert!(place.probe().await.unwrap().conditional_create);
}

#[tokio::test]
async fn a_name_that_is_not_text_stops_a_listing_that_it_would_cut_short() {
    use std::os::unix::ffi::OsStrExt;
    let root = TempDir::new().unwrap();
    let place = directory(root.path()).await;
    place.put(&pack(1), noise(10), None).await.unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"od\xffd");
    std::fs::write(root.path().join("packs").join(odd), b"x").unwrap();
    let error = place.list(Prefix::Packs).await.unwrap_err();
    assert!(matches!(&error, StorageError::Refused { source, .. } if source.to_string().contains("od%FFd")));
    assert_eq!(place.runs().await.unwrap(), []);
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let bad = [
        PlaceOptions::new(Url::parse("ftp://host/x").unwrap()),
        PlaceOptions {
            concurrency: 0,
            ..PlaceOptions::new(Url::parse("file:///tmp").unwrap())
        },
        PlaceOptions {
            secret_access_key: None,
            ..bucket_options(1, "bucket", "")
        },
        PlaceOptions {
            allow_http: false,
            ..bucket_options(1, "bucket", "")
        },
    ];
    for options in bad {
        let error = Place::open("bad".parse().unwrap(), options).await.unwrap_err();
        assert!(
            matches!(&error, StorageError::BadOptions { .. }) && !error.retry().is_later(),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_fifo_in_place_of_an_object_is_refused_and_not_waited_for() {
    let root = TempDir::new().unwrap();
    let place = directory(root.path()).await;
    place.put(&pack(1), noise(10), None).await.unwrap();
    let path = root.path().join(pack(1).to_string());
    std::fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let wait = Duration::from_secs(10);
    let read = tokio::time::timeout(wait, place.get(&pack(1), 100)).await.unwrap();
    let look = tokio::time::timeout(wait, place.head(&pack(1))).await.unwrap();
    for error in [read.err().unwrap(), look.err().unwrap()] {
        assert!(
            matches!(&error, StorageError::Refused { .. }) && !error.retry().is_later(),
            "{error:?}"
        );
    }
}
