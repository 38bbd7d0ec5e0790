//! The export of spans to the collector. It is bounded in time, and counts the spans that are lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_otlp::{ExporterBuildError, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use crate::error::InitError;

/// Time to find the collector and to connect to it. Also how long a refused request is tried again: the exporter would use
/// all of [`EXPORT_TIMEOUT`] for that, at the end of every command whose collector is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for one request to the collector.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts of spans, and how the collector answered last.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The address that spans are sent to.
    pub(crate) address: String,
    ended: AtomicU64,
    delivered: AtomicU64,
    failing: AtomicBool,
    ending: AtomicBool,
    given_up: AtomicBool,
    last_error: Mutex<Option<String>>,
}

impl Delivery {
    fn new(address: String) -> Self {
        Self {
            address,
            ended: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            last_error: Mutex::new(None),
        }
    }

    /// Spans that have ended and did not reach the collector.
    pub(crate) fn missing(&self) -> u64 {
        let delivered = self.delivered.load(Ordering::Acquire);
        self.ended.load(Ordering::Acquire).saturating_sub(delivered)
    }

    /// Begins the process's end, from when on nothing follows a failed request; whether the last one failed.
    pub(crate) fn end(&self) -> bool {
        self.ending.store(true, Ordering::Release);
        self.failing.load(Ordering::Acquire)
    }

    /// The reason of the last failed request.
    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells whether the collector failed while this process was ending.
    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    fn answered(&self, spans: u64, result: &OTelSdkResult) {
        match result {
            Ok(()) => {
                self.delivered.fetch_add(spans, Ordering::AcqRel);
                if self.failing.swap(false, Ordering::AcqRel) {
                    tracing::info!(
                        collector = self.address,
                        missing = self.missing(),
                        "traces are delivered again"
                    );
                }
            }
            Err(error) => {
                let reason = error.to_string();
                self.given_up
                    .store(self.ending.load(Ordering::Acquire), Ordering::Release);
                if !self.failing.swap(true, Ordering::AcqRel) {
                    // A command tells it at its end; only a service lives on and needs to say it now.
                    tracing::info!(collector = self.address, reason, "traces are not delivered");
                }
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            }
        }
    }
}

/// Makes the processor that sends spans in batches to the collector at `endpoint`, and the counts of what it sends.
pub(crate) fn to_collector(endpoint: &str) -> Result<(impl SpanProcessor + 'static, Arc<Delivery>), InitError> {
    let delivery = Arc::new(Delivery::new(traces_address(endpoint)));
    let exporter = Counted {
        exporter: exporter(&delivery.address)?,
        delivery: delivery.clone(),
    };
    let processor = Counting {
        batches: BatchSpanProcessor::builder(exporter).build(),
        delivery: delivery.clone(),
    };
    Ok((processor, delivery))
}

fn exporter(address: &str) -> Result<opentelemetry_otlp::SpanExporter, InitError> {
    opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client(address)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(address)
        .with_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(|source| InitError::Exporter {
            endpoint: address.to_owned(),
            source,
        })
}

/// Makes the client on a thread of its own: it is a blocking one, which panics if a runtime's thread makes it.
fn client(address: &str) -> Result<reqwest::blocking::Client, InitError> {
    let failed = |reason: String| InitError::Exporter {
        endpoint: address.to_owned(),
        source: ExporterBuildError::InternalFailure(reason),
    };
    let build = || {
        reqwest::blocking::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(EXPORT_TIMEOUT)
            .build()
    };
    let thread = std::thread::Builder::new().name("telemetry-client".to_owned());
    let built = thread.spawn(build).map_err(|error| failed(error.to_string()))?;
    let client = built
        .join()
        .map_err(|_| failed("the thread that makes the HTTP client panicked".to_owned()))?;
    client.map_err(|error| failed(holdfast_fault::chain(&error).to_string()))
}

/// The collector's address for traces, from its base address as everyone writes it.
fn traces_address(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    }
}

/// An exporter whose outcomes are counted.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    delivery: Arc<Delivery>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        if self.delivery.is_given_up() {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let result = self.exporter.export(batch).await;
        self.delivery.answered(spans, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A processor that counts the spans it is given, before a full queue may drop them.
#[derive(Debug)]
struct Counting {
    batches: BatchSpanProcessor,
    delivery: Arc<Delivery>,
}

impl SpanProcessor for Counting {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.batches.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        self.delivery.ended.fetch_add(1, Ordering::AcqRel);
        self.batches.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collectors_address_gets_its_path_once() {
        for base in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_address(base), "http://c:4318/v1/traces");
        }
    }

    #[test]
    fn what_was_not_delivered_is_missing_until_it_is() {
        let delivery = Delivery::new("http://c".to_owned());
        delivery.ended.store(5, Ordering::Release);
        delivery.answered(2, &Ok(()));
        assert_eq!((delivery.missing(), delivery.last_error()), (3, None));
        let refused = Err(OTelSdkError::InternalFailure("refused".to_owned()));
        delivery.answered(2, &refused);
        assert_eq!(delivery.missing(), 3);
        assert!(delivery.last_error().is_some_and(|reason| reason.contains("refused")));
        delivery.answered(1, &Ok(()));
        assert_eq!(delivery.missing(), 2);
    }

    #[test]
    fn at_the_end_a_failed_request_is_the_last_one() {
        let delivery = Delivery::new("http://c".to_owned());
        let refused = Err(OTelSdkError::InternalFailure("refused".to_owned()));
        delivery.answered(1, &refused);
        assert!(!delivery.is_given_up());
        assert!(delivery.end(), "the last request failed");
        assert!(!delivery.is_given_up(), "there is one more");
        delivery.answered(1, &refused);
        assert!(delivery.is_given_up());
    }
}
