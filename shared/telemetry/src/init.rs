//! Logs and traces of a process: set up once, flushed at its end.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_config::{LogFormat, Telemetry};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt};

use crate::error::{InitError, ShutdownError};
use crate::export::{self, Delivery};

/// Crates that say at `info` what only their authors want to know: they start at `warn`, unless named in the filter.
/// bollard says at `debug` all that the engine answers: the environments of containers, with their passwords.
const NOISY: [&str; 13] = [
    "async_nats",
    "bollard",
    "h2",
    "hyper",
    "hyper_util",
    "object_store",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "reqwest",
    "rustls",
    "tokio_postgres",
    "tower",
];

/// Time for the last request to a collector that did not take the one before: as long as connecting may take, and some.
const LAST_ATTEMPT: Duration = Duration::from_millis(1_200);

/// The destination of log lines.
#[derive(Debug, Default)]
pub enum LogWriter {
    /// Standard error, coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Stderr,
    /// Somewhere else, without colours: past a progress bar, or into a test.
    Custom(BoxMakeWriter),
}

/// The settings of [`init`].
#[derive(Debug)]
pub struct Options<'a> {
    /// The service's name in traces, such as `holdfast-encryptor`.
    pub service: &'a str,
    /// The log filter: a level, or directives such as `info,holdfast_bus=debug`.
    pub log: &'a str,
    /// The form of log lines.
    pub format: LogFormat,
    /// The collector's base address, such as `http://collector:4318`; `None`: traces are not exported.
    pub otlp_endpoint: Option<&'a str>,
    pub writer: LogWriter,
}

impl<'a> Options<'a> {
    /// Takes the settings from the section `[telemetry]`; log lines go to standard error.
    #[must_use]
    pub fn new(service: &'a str, telemetry: &'a Telemetry) -> Self {
        Self {
            service,
            log: &telemetry.log,
            format: telemetry.format,
            otlp_endpoint: telemetry.otlp_endpoint.as_ref().map(|url| url.as_str()),
            writer: LogWriter::Stderr,
        }
    }
}

/// Keeps what has to be flushed; call [`Guard::shutdown`] last of all.
#[derive(Debug)]
#[must_use = "shut it down at the end of the process, or the last traces are lost"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    delivery: Option<Arc<Delivery>>,
}

/// Sets up logs to stderr, traces and the form in which they travel, for the whole process.
///
/// Spans of level `info` and above always have ids, whatever is logged and whether or not an exporter is configured.
/// A second call in one process (as in tests) changes nothing and yields a guard with nothing to flush.
///
/// # Errors
/// The filter is malformed, or the collector's address cannot be used. That the collector answers is not checked.
pub fn init(options: Options<'_>) -> Result<Guard, InitError> {
    let filter = log_filter(options.log)?;
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    if tracing::dispatcher::has_been_set() {
        return Ok(Guard {
            provider: None,
            delivery: None,
        });
    }
    let (provider, delivery) = tracer_provider(options.service, options.otlp_endpoint)?;
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("holdfast"))
        .with_threads(false)
        .with_location(false)
        .with_filter(trace_filter());
    let logs = log_layer(options.format, options.writer).with_filter(filter);
    // Lost only in a race with another first call, which is then the one that counts.
    let installed = tracing_subscriber::registry()
        .with(logs)
        .with(traces)
        .try_init()
        .is_ok();
    Ok(Guard {
        provider: installed.then_some(provider),
        delivery,
    })
}

impl Guard {
    /// Sends what traces are still held back, within `timeout`; within about a second if there is no collector, or if its
    /// last request failed. Blocks; callable from within a runtime as well, because the sending is done by threads of
    /// its own.
    ///
    /// # Errors
    /// Spans of this process were lost, now or earlier. The process can end all the same.
    pub fn shutdown(self, timeout: Duration) -> Result<(), ShutdownError> {
        let Some(provider) = self.provider else { return Ok(()) };
        let was_failing = self.delivery.as_ref().is_some_and(|delivery| delivery.end());
        let timeout = if was_failing {
            timeout.min(LAST_ATTEMPT)
        } else {
            timeout
        };
        let (done, outcome) = std::sync::mpsc::channel();
        // The exporter's client is a blocking one, which must not be waited for or dropped on a runtime's thread.
        let flush = move || {
            let started = Instant::now();
            let flushed = provider.force_flush();
            // Nothing is tried a second time: a collector that is not there would be waited for twice.
            let rest = timeout.saturating_sub(started.elapsed());
            let _ = done.send(flushed.and_then(|()| provider.shutdown_with_timeout(rest)));
        };
        let thread = std::thread::Builder::new()
            .name("telemetry-flush".to_owned())
            .spawn(flush);
        thread.map_err(ShutdownError::Thread)?;
        let in_time = outcome.recv_timeout(timeout).is_ok();
        match self.delivery {
            Some(delivery) if delivery.missing() > 0 => Err(lost(&delivery, in_time, timeout)),
            _ => Ok(()),
        }
    }
}

fn lost(delivery: &Delivery, in_time: bool, timeout: Duration) -> ShutdownError {
    let reason = if in_time {
        delivery.last_error()
    } else {
        Some(format!("not taken within {timeout:?}"))
    };
    ShutdownError::Lost {
        collector: delivery.address.clone(),
        spans: delivery.missing(),
        reason: reason.unwrap_or_else(|| "there were too many at a time".to_owned()),
    }
}

fn tracer_provider(
    service: &str,
    endpoint: Option<&str>,
) -> Result<(SdkTracerProvider, Option<Arc<Delivery>>), InitError> {
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = endpoint else {
        return Ok((builder.build(), None));
    };
    let (processor, delivery) = export::to_collector(endpoint)?;
    Ok((builder.with_span_processor(processor).build(), Some(delivery)))
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn log_layer(format: LogFormat, writer: LogWriter) -> BoxedLayer {
    let (writer, ansi) = match writer {
        LogWriter::Stderr => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            (
                BoxMakeWriter::new(std::io::stderr),
                std::io::stderr().is_terminal() && !plain,
            )
        }
        LogWriter::Custom(writer) => (writer, false),
    };
    let layer = fmt::layer().with_writer(writer).with_ansi(ansi);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// The user's filter, after directives that quieten the noisy crates: of two for one crate the later counts.
fn log_filter(log: &str) -> Result<EnvFilter, InitError> {
    let bare = |directive: &str| directive.trim().parse::<LevelFilter>().ok();
    let general = log
        .split(',')
        .filter_map(bare)
        .next_back()
        .unwrap_or(LevelFilter::ERROR);
    // Someone who asks for errors alone does not want the noisy crates' warnings.
    let noisy = quietened(general.min(LevelFilter::WARN));
    EnvFilter::builder()
        .parse(format!("{noisy},{log}"))
        .map_err(|source| InitError::Filter {
            filter: log.to_owned(),
            source,
        })
}

/// Returns the filter of spans and of the events in them. Leaves out the exporter's own requests, which would make
/// spans that it would then export.
fn trace_filter() -> EnvFilter {
    EnvFilter::new(format!("info,{}", quietened(LevelFilter::WARN)))
}

fn quietened(level: LevelFilter) -> String {
    NOISY.map(|name| format!("{name}={level}")).join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_users_filter_wins_over_the_quietening() {
        let shown = |log| {
            let mut parts: Vec<_> = log_filter(log)
                .unwrap()
                .to_string()
                .split(',')
                .map(str::to_owned)
                .collect();
            parts.sort();
            parts
        };
        assert!(shown("info").contains(&"hyper=warn".to_owned()) && shown("info").contains(&"info".to_owned()));
        assert!(shown("error").contains(&"hyper=error".to_owned()));
        assert!(shown("off").contains(&"hyper=off".to_owned()));
        let debug = shown("info,hyper=debug");
        assert!(
            debug.contains(&"hyper=debug".to_owned()) && !debug.contains(&"hyper=warn".to_owned()),
            "{debug:?}"
        );
    }

    #[test]
    fn a_malformed_filter_is_refused() {
        let error = log_filter("info,holdfast=loud").unwrap_err();
        assert_eq!(
            error.to_string(),
            "read the log filter `info,holdfast=loud` (telemetry.log)"
        );
    }
}
