//! A collector that is not there holds no process up at its end, and what it did not get is told. A process of its own,
//! because the set-up is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use holdfast_config::LogFormat;
use holdfast_telemetry::{LogWriter, Options, init};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// An address that answers no attempt to connect, as a host that is gone: its queue of connections is full.
fn silent() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => waiting.push(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => return (listener, waiting),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_waited_for_a_second_and_what_is_lost_is_counted() {
    let (listener, _waiting) = silent();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let guard = init(Options {
        service: "holdfast-test",
        log: "off",
        format: LogFormat::Text,
        otlp_endpoint: Some(&address),
        writer: LogWriter::Custom(BoxMakeWriter::new(std::io::sink)),
    })
    .unwrap();
    for number in 0..600 {
        drop(tracing::info_span!("a span", number).entered());
    }
    let started = Instant::now();
    let error = guard.shutdown(Duration::from_secs(60)).unwrap_err().to_string();
    // Two batches: the second may be waiting when the first is given up. An exporter's usual patience is 5 s for each.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(error.contains("600 spans are lost"), "{error}");
    assert!(error.contains(&address), "{error}");
}
