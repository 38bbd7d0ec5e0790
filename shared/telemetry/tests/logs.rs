//! Log lines as they are written. A process of its own, because the set-up is the process's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_config::LogFormat;
use holdfast_telemetry::{LogWriter, Options, init, propagate};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_json_with_their_span_and_noisy_crates_are_quiet() {
    let lines = Lines::default();
    let shared = lines.clone();
    let guard = init(Options {
        service: "holdfast-log-test",
        log: "info",
        format: LogFormat::Json,
        otlp_endpoint: None,
        writer: LogWriter::Custom(BoxMakeWriter::new(move || shared.clone())),
    })
    .unwrap();
    let span = tracing::info_span!("capture", artefact = "a-1");
    assert!(propagate::trace_id(&span).is_some(), "ids flow without an exporter");
    span.in_scope(|| tracing::info!(bytes = 7, "captured"));
    tracing::debug!("too fine");
    tracing::info!(target: "async_nats::connector", "noise");
    tracing::warn!(target: "async_nats::connector", "worth knowing");
    guard.shutdown(Duration::from_secs(5)).unwrap();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["captured", "worth knowing"]);
    assert_eq!((&lines[0]["bytes"], &lines[0]["level"]), (&7.into(), &"INFO".into()));
    assert_eq!(
        (&lines[0]["span"]["name"], &lines[0]["span"]["artefact"]),
        (&"capture".into(), &"a-1".into())
    );
}
