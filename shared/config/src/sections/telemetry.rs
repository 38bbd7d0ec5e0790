//! `[telemetry]`: logs, traces, metrics.

use std::net::SocketAddr;

use holdfast_format::word_enum;
use serde::Serialize;
use url::Url;

use crate::reader::read_words;
use crate::table::Table;

word_enum! {
    /// The form of log lines.
    LogFormat {
        /// Lines for people. The default.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

read_words!(LogFormat);

/// `[telemetry]`: the outputs of all processes.
#[derive(Clone, Debug, Serialize)]
pub struct Telemetry {
    /// The messages to log: a level, or directives such as `info,holdfast_bus=debug`. Default: `info`.
    pub log: String,
    /// `text` or `json`. Default: `text`.
    pub format: LogFormat,
    /// The collector that traces are sent to (OTLP over HTTP, protobuf), such as `http://collector:4318`. Default:
    /// none.
    pub otlp_endpoint: Option<Url>,
    /// The address at which `/metrics` and `/healthz` are served: `127.0.0.1:9464`. Default: none.
    pub listen: Option<SocketAddr>,
}

impl Telemetry {
    pub(crate) fn read(mut table: Table<'_>) -> Self {
        let telemetry = Self {
            log: table.or("log", "info".to_owned()),
            format: table.or("format", LogFormat::Text),
            otlp_endpoint: table.optional("otlp_endpoint"),
            listen: table.optional("listen"),
        };
        if let Some(url) = &telemetry.otlp_endpoint {
            if !matches!(url.scheme(), "http" | "https") {
                table.fault("otlp_endpoint", "must be an http:// or https:// URL");
            }
            if !url.username().is_empty() || url.password().is_some() {
                table.fault("otlp_endpoint", "must not carry a user or password");
            }
        }
        table.finish();
        telemetry
    }
}
