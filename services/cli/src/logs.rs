//! Logs and traces of a command.

use std::io::{self, Write};
use std::time::Duration;

use holdfast_config::{LogFormat, Settings};
use holdfast_telemetry::{Guard, LogWriter, Options};
use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::{CliError, Global};

/// Telemetry of a command, ended by [`Logs::end`].
pub(crate) struct Logs {
    guard: Guard,
}

impl Logs {
    /// Logs of a command that does one thing and ends: warnings, unless more is asked for. Lines go past the bars.
    ///
    /// # Errors
    /// A malformed filter; an unusable collector.
    pub(crate) fn start(
        global: &Global,
        settings: Option<&Settings>,
        bars: Option<&MultiProgress>,
    ) -> Result<Self, CliError> {
        Self::init(global.log.as_deref().unwrap_or("warn"), settings, bars)
    }

    /// Logs of a service: as the configuration has them.
    ///
    /// # Errors
    /// As [`Logs::start`].
    pub(crate) fn service(global: &Global, settings: &Settings) -> Result<Self, CliError> {
        Self::init(
            global.log.as_deref().unwrap_or(&settings.telemetry.log),
            Some(settings),
            None,
        )
    }

    fn init(log: &str, settings: Option<&Settings>, bars: Option<&MultiProgress>) -> Result<Self, CliError> {
        let telemetry = settings.map(|s| &s.telemetry);
        let options = Options {
            service: "holdfast",
            log,
            format: telemetry.map_or(LogFormat::Text, |t| t.format),
            otlp_endpoint: telemetry.and_then(|t| t.otlp_endpoint.as_ref()).map(|url| url.as_str()),
            writer: match bars {
                Some(bars) => LogWriter::Custom(BoxMakeWriter::new(PastBars(bars.clone()))),
                None => LogWriter::Stderr,
            },
        };
        let guard = holdfast_telemetry::init(options).map_err(|error| match error {
            error @ holdfast_telemetry::InitError::Filter { .. } => {
                CliError::Usage(holdfast_fault::chain(&error).to_string())
            }
            error => CliError::because("set up logs and traces", error),
        })?;
        Ok(Self { guard })
    }

    /// Sends the last traces, and says what was lost: waits for a collector that works, and not for one that is not there.
    pub(crate) async fn end(self) {
        let guard = self.guard;
        let sent = tokio::task::spawn_blocking(move || guard.shutdown(Duration::from_secs(5))).await;
        if let Ok(Err(error)) = sent {
            tracing::warn!("{}", holdfast_fault::chain(&error));
        }
    }
}

/// Writes log lines above the progress bars.
#[derive(Clone, Debug)]
struct PastBars(MultiProgress);

impl Write for PastBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line)).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for PastBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
