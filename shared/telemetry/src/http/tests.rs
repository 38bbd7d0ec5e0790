#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::*;

/// One HTTP request over a plain connection: status line, headers and body.
async fn request(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn metrics_are_served() {
    metrics::global().work("http_test", "done", Duration::from_secs(1));
    let server = serve(any_port(), Health::new(), std::future::pending()).await.unwrap();
    let (head, body) = request(server.local_addr(), "GET", "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        body.contains("holdfast_work_handled_total{outcome=\"done\",stage=\"http_test\"} 1\n"),
        "{body}"
    );
    assert!(
        request(server.local_addr(), "GET", "/other")
            .await
            .0
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        request(server.local_addr(), "POST", "/metrics")
            .await
            .0
            .starts_with("HTTP/1.1 405")
    );
}

#[tokio::test]
async fn health_follows_its_checks() {
    let health = Health::new();
    let server = serve(any_port(), health.clone(), std::future::pending()).await.unwrap();
    let ask = || request(server.local_addr(), "GET", "/healthz");
    let (head, body) = ask().await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-type: application/json"),
        "{head}"
    );
    assert_eq!(body, r#"{"healthy":true,"checks":[]}"#);
    health.set("nats", Err("not \"connected\"".to_owned()));
    health.set("disk", Ok(()));
    let (head, body) = ask().await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let expected = r#"{"healthy":false,"checks":[{"name":"disk","ok":true},{"name":"nats","ok":false,"reason":"not \"connected\""}]}"#;
    assert_eq!(body, expected);
    health.set("nats", Ok(()));
    assert!(ask().await.0.starts_with("HTTP/1.1 200"));
    health.set("nats", Err("gone".to_owned()));
    health.remove("nats");
    assert!(ask().await.0.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_shutdown_ends_the_server_even_with_a_connection_open() {
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let server = serve(any_port(), Health::new(), shutdown).await.unwrap();
    let address = server.local_addr();
    // Half a request: an orderly shutdown alone would wait for the rest for ever.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /metr").await.unwrap();
    stop.send(()).unwrap();
    tokio::time::timeout(DRAIN * 3, server.ended())
        .await
        .expect("the server must end");
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_refused_by_name() {
    let server = serve(any_port(), Health::new(), std::future::pending()).await.unwrap();
    let error = serve(server.local_addr(), Health::new(), std::future::pending())
        .await
        .unwrap_err();
    let expected = format!(
        "serve /metrics and /healthz on {} (telemetry.listen)",
        server.local_addr()
    );
    assert_eq!(error.to_string(), expected);
}
