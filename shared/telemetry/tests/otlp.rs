//! Traces reach a collector. A process of its own, because the set-up is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use holdfast_config::LogFormat;
use holdfast_telemetry::{LogWriter, Options, init, propagate};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Answers one request with 200 and hands on its bytes.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (send, requests) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 65_536];
        while !is_whole(&request) {
            let read = stream.read(&mut buffer).unwrap();
            assert_ne!(read, 0, "the request ended early");
            request.extend_from_slice(&buffer[..read]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .unwrap();
        send.send(request).unwrap();
    });
    (address, requests)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.expect("a length").trim().parse().unwrap();
    request.len() >= head.len() + 4 + length
}

fn options<'a>(log: &'a str, endpoint: Option<&'a str>) -> Options<'a> {
    let writer = LogWriter::Custom(BoxMakeWriter::new(std::io::sink));
    Options {
        service: "holdfast-otlp-test",
        log,
        format: LogFormat::Text,
        otlp_endpoint: endpoint,
        writer,
    }
}

#[tokio::test]
async fn spans_are_sent_at_shutdown_whatever_is_logged() {
    let (address, requests) = collector();
    let guard = init(options("off", Some(&address))).unwrap();
    let id = {
        let span = tracing::info_span!("seal a pack", pack = "p-42");
        let _entered = span.enter();
        propagate::trace_id(&span).expect("spans have ids though nothing is logged")
    };
    // A second set-up changes nothing and has nothing to flush.
    init(options("info", None))
        .unwrap()
        .shutdown(Duration::from_secs(1))
        .unwrap();
    // From within a runtime, where a blocking client would panic if it were touched.
    guard.shutdown(Duration::from_secs(20)).unwrap();
    let request = requests.recv_timeout(Duration::from_secs(20)).unwrap();
    let has = |part: &[u8]| request.windows(part.len()).any(|window| window == part);
    assert!(request.starts_with(b"POST /v1/traces HTTP/1.1\r\n"));
    assert!(has(b"application/x-protobuf") && has(b"holdfast-otlp-test") && has(b"seal a pack") && has(b"p-42"));
    let bytes: Vec<u8> = (0..16)
        .map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap())
        .collect();
    assert!(has(&bytes), "the trace's id is sent");
}
