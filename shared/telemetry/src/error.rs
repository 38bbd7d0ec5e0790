//! Errors of logs and traces.

use tracing_subscriber::filter::ParseError;

/// Logs and traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The log filter is not one.
    #[error("read the log filter `{filter}` (telemetry.log)")]
    Filter {
        filter: String,
        #[source]
        source: ParseError,
    },
    /// The exporter cannot be made.
    #[error("export traces to {endpoint} (telemetry.otlp_endpoint)")]
    Exporter {
        endpoint: String,
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
}

/// Traces that did not reach the collector. The process can end all the same.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// The collector did not take all spans of this process, or not in time.
    #[error("send traces to {collector}: {spans} spans are lost: {reason}")]
    Lost {
        /// The collector's address.
        collector: String,
        /// The number of spans.
        spans: u64,
        /// The outcome of the last failed request, or of the wait.
        reason: String,
    },
    /// No thread could be started to send them.
    #[error("start the thread that sends the last traces")]
    Thread(#[source] std::io::Error),
}
