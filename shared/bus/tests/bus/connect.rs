//! Connections that are refused, and what is said about it.

use std::time::Duration;

use holdfast_bus::{Auth, Bus, BusError, BusOptions};
use holdfast_fault::{Retry, Retryable as _};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{Rig, binary, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_at_once_and_never_shown() {
    let rig = Rig::start().await;
    let mut options = rig.options();
    options.auth = Auth::Password {
        user: "holdfast".into(),
        password: "hunter2".to_owned().into(),
    };
    let begun = Instant::now();
    let error = Bus::connect(&options).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(matches!(error, BusError::Refused { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
    assert!(error.to_string().contains("nats.password"));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_tried_until_the_time_is_over() {
    // Bound, so that nobody else gets the port meanwhile, and not listened to.
    let taken = tokio::net::TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut options = BusOptions::new(format!("nats://u:secret@127.0.0.1:{port}"));
    options.connect_timeout = Duration::from_millis(600);
    let error = Bus::connect(&options).await.unwrap_err();
    assert!(matches!(error, BusError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.retry(), Retry::Later);
    assert!(
        error.to_string().contains(&format!("nats://127.0.0.1:{port}:")),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("secret"));
}

/// Says that it is an old server, and answers pings.
async fn old_server(listener: TcpListener) {
    let (stream, _) = listener.accept().await.unwrap();
    let (read, mut write) = stream.into_split();
    let info = r#"{"server_id":"x","server_name":"x","version":"2.9.10","go":"go1","host":"127.0.0.1","port":1,"headers":true,"max_payload":1048576,"proto":1,"jetstream":true}"#;
    write.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.starts_with("PING") {
            write.write_all(b"PONG\r\n").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_is_refused_with_both_versions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = BusOptions::new(format!("nats://{}", listener.local_addr().unwrap()));
    let server = tokio::spawn(old_server(listener));
    let error = Bus::connect(&options).await.unwrap_err();
    assert!(matches!(error, BusError::TooOld { .. }), "{error:?}");
    assert!(
        error.to_string().contains("2.9.10") && error.to_string().contains("2.10"),
        "{error}"
    );
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _server = tokio::process::Command::new(binary())
        .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
        .arg(dir.path())
        .kill_on_drop(true)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let url = || {
        let file = std::fs::read_dir(dir.path()).unwrap().flatten().next()?;
        let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    };
    eventually("the server listens", || async { url().is_some() }).await;
    let error = Bus::connect(&BusOptions::new(url().unwrap())).await.unwrap_err();
    assert!(matches!(error, BusError::NoJetStream { .. }), "{error:?}");
}
